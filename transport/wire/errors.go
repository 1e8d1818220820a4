package wire

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	protobuf "google.golang.org/protobuf/proto"

	"github.com/Ishan27g/ryo-faas/proto"
)

// ReasonMoved is the reason of an error for a request that was not begun, since another
// process has taken over: it may be made again, by another connection.
const ReasonMoved = "moved"

// kinds is the one table of errors, as kind, gRPC code and HTTP status. Several
// kinds share a code; an error without detail is then of the first of them.
var kinds = []struct {
	kind   proto.Kind
	code   codes.Code
	status int
}{
	{proto.ErrInvalid, codes.InvalidArgument, http.StatusBadRequest},
	{proto.ErrUnauthenticated, codes.Unauthenticated, http.StatusUnauthorized},
	{proto.ErrForbidden, codes.PermissionDenied, http.StatusForbidden},
	{proto.ErrNotFound, codes.NotFound, http.StatusNotFound},
	{proto.ErrUnsupported, codes.Unimplemented, http.StatusMethodNotAllowed},
	{proto.ErrIncapable, codes.FailedPrecondition, http.StatusUnprocessableEntity},
	{proto.ErrConflict, codes.AlreadyExists, http.StatusConflict},
	{proto.ErrTooLarge, codes.ResourceExhausted, http.StatusRequestEntityTooLarge}, // what grpc says of large messages
	{proto.ErrExhausted, codes.ResourceExhausted, http.StatusInsufficientStorage},
	{proto.ErrTooMany, codes.ResourceExhausted, http.StatusTooManyRequests},
	{proto.ErrCanceled, codes.Canceled, 499}, // as nginx says when the caller has closed
	{proto.ErrTimeout, codes.DeadlineExceeded, http.StatusGatewayTimeout},
	{proto.ErrStalled, codes.DeadlineExceeded, http.StatusRequestTimeout},
	{proto.ErrUnavailable, codes.Unavailable, http.StatusServiceUnavailable},
	{proto.ErrBadGateway, codes.Unavailable, http.StatusBadGateway},
	{proto.ErrInternal, codes.Internal, http.StatusInternalServerError},
}

// CodeOf returns the gRPC code and the HTTP status of a kind.
func CodeOf(kind proto.Kind) (codes.Code, int) {
	for _, k := range kinds {
		if k.kind == kind {
			return k.code, k.status
		}
	}
	return codes.Internal, http.StatusInternalServerError
}

// KindOf returns the kind of an error that has a gRPC code and no detail.
func KindOf(code codes.Code) proto.Kind {
	for _, k := range kinds {
		if k.code == code {
			return k.kind
		}
	}
	return proto.ErrInternal
}

// AsError is proto.AsError that also gives errors of the standard library their
// kinds.
func AsError(err error) *proto.Error {
	var kind proto.Kind
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &kind):
		return proto.AsError(err)
	case errors.Is(err, context.Canceled):
		return proto.Errorf(proto.ErrCanceled, "%w", err)
	case errors.Is(err, context.DeadlineExceeded):
		return proto.Errorf(proto.ErrTimeout, "%w", err)
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return proto.Errorf(proto.ErrExhausted, "%w", err).WithHint("free space on the disk of that folder")
	case errors.As(err, &tooLarge):
		return proto.Errorf(proto.ErrTooLarge, "the body is larger than %d bytes", tooLarge.Limit)
	}
	return proto.AsError(err)
}

// InputError gives an error of reading a body its kind.
func InputError(err error) error {
	if err == nil || err == io.EOF || AsError(err).Kind != proto.ErrInternal { //nolint:errorlint // readers return io.EOF itself
		return err
	}
	return proto.Errorf(proto.ErrInvalid, "read the body: %w", err)
}

// Detail is the form in which an error travels: valid UTF-8 of bounded length.
func Detail(err error) *proto.ErrorDetail {
	d := AsError(err).Detail()
	d.Message, d.Hint, d.RequestId = clip(d.GetMessage()), clip(d.GetHint()), clip(d.GetRequestId())
	return d
}

func clip(s string) string {
	if len(s) > MaxErrorText {
		s = s[:MaxErrorText] + "…"
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}

// ToStatus is an error in the form that gRPC sends.
func ToStatus(err error) *status.Status {
	d := Detail(err)
	code, _ := CodeOf(proto.Kind(d.GetCode()))
	bare := status.New(code, d.GetMessage())
	if full, err := bare.WithDetails(d); err == nil {
		return full
	}
	return bare
}

// WriteError answers an HTTP request with an error, in the JSON form and with
// the status that every part of the platform uses. The error gets the request id
// that the answer's headers hold. A 405 without an Allow header gets an empty one.
func WriteError(w http.ResponseWriter, err error) {
	d, h := Detail(err), w.Header()
	if id := h.Get(proto.RequestIDHeader); id != "" {
		d.RequestId = id
	}
	body, encodeErr := Encode(d)
	if encodeErr != nil {
		http.Error(w, encodeErr.Error(), http.StatusInternalServerError)
		return
	}
	_, code := CodeOf(proto.Kind(d.GetCode()))
	if _, said := h["Allow"]; code == http.StatusMethodNotAllowed && !said {
		h["Allow"] = []string{""} // as RFC 9110 section 15.5.6 asks
	}
	if code == http.StatusUnauthorized && h["Www-Authenticate"] == nil {
		h["Www-Authenticate"] = []string{"Bearer"} // RFC 6750 section 3
	}
	WriteJSON(w, code, slices.Concat([]byte(`{"error":`), body, []byte(`}`)))
}

// IsGRPC reports whether a request is a call by gRPC, which is spoken over HTTP/2.
// Kinds of messages have names of their own, such as application/grpc+proto; gRPC-Web is
// another protocol.
func IsGRPC(r *http.Request) bool {
	rest, ok := strings.CutPrefix(r.Header.Get("Content-Type"), grpcType)
	return ok && r.ProtoMajor == 2 && (rest == "" || rest[0] == '+' || rest[0] == ';')
}

const grpcType = "application/grpc"

// Refuse answers a request with an error, in the form of its protocol. The error gets the
// request id that the answer's headers hold.
func Refuse(w http.ResponseWriter, r *http.Request, err error) {
	if !IsGRPC(r) {
		WriteError(w, err)
		return
	}
	// A gRPC answer without messages is its trailers, sent as headers:
	// https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md#responses
	h := w.Header()
	e := *AsError(err)
	if id := h.Get(proto.RequestIDHeader); id != "" {
		e.RequestID = id
	}
	st := ToStatus(&e)
	h.Set("Content-Type", grpcType)
	h.Set("Grpc-Status", strconv.Itoa(int(st.Code())))
	h.Set("Grpc-Message", url.PathEscape(st.Message()))
	if data, err := protobuf.Marshal(st.Proto()); err == nil {
		h.Set("Grpc-Status-Details-Bin", base64.RawStdEncoding.EncodeToString(data))
	}
	w.WriteHeader(http.StatusOK)
}

// DecodeError reads the error in the body of an answer.
func DecodeError(data []byte) (*proto.ErrorDetail, bool) {
	var body struct{ Error json.RawMessage }
	if json.Unmarshal(data, &body) != nil || body.Error == nil {
		return nil, false
	}
	d := new(proto.ErrorDetail)
	if Read(body.Error, d) != nil || d.GetCode() == "" {
		return nil, false
	}
	return d, true
}

// APIHeader marks the answers of proxies and agents, so that clients can tell
// them from the JSON of a stranger.
const (
	APIHeader  = "Ryo-Api"
	APIVersion = "v1"
)

// WriteJSON answers with a line of JSON.
func WriteJSON(w http.ResponseWriter, code int, body []byte) {
	w.Header().Set(APIHeader, APIVersion)
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(code)
	_, _ = w.Write(append(body, '\n')) // an error means that the caller has closed
}
