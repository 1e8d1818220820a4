package transport

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"syscall"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/Ishan27g/ryo-faas/proto"
)

// maxErrorText bounds an error's message in bytes: gRPC carries it in headers,
// which many peers limit to 8 KiB. What a compiler says travels in rows.
const maxErrorText = 2 << 10

// kinds is the one table of errors, as kind, gRPC code and HTTP status. Several
// kinds share a code; an error without detail is then of the first of them.
var kinds = []struct {
	kind   proto.Kind
	code   codes.Code
	status int
}{
	{proto.ErrInvalid, codes.InvalidArgument, http.StatusBadRequest},
	{proto.ErrUnauthorized, codes.Unauthenticated, http.StatusUnauthorized},
	{proto.ErrForbidden, codes.PermissionDenied, http.StatusForbidden},
	{proto.ErrNotFound, codes.NotFound, http.StatusNotFound},
	{proto.ErrUnsupported, codes.Unimplemented, http.StatusMethodNotAllowed},
	{proto.ErrConflict, codes.AlreadyExists, http.StatusConflict},
	{proto.ErrTooLarge, codes.ResourceExhausted, http.StatusRequestEntityTooLarge}, // what grpc says of large messages
	{proto.ErrExhausted, codes.ResourceExhausted, http.StatusInsufficientStorage},
	{proto.ErrCanceled, codes.Canceled, 499}, // as nginx says when the caller left
	{proto.ErrTimeout, codes.DeadlineExceeded, http.StatusGatewayTimeout},
	{proto.ErrUnavailable, codes.Unavailable, http.StatusServiceUnavailable},
	{proto.ErrBadGateway, codes.Unavailable, http.StatusBadGateway},
	{proto.ErrInternal, codes.Internal, http.StatusInternalServerError},
}

// codeOf returns the gRPC code and the HTTP status of a kind.
func codeOf(kind proto.Kind) (codes.Code, int) {
	for _, k := range kinds {
		if k.kind == kind {
			return k.code, k.status
		}
	}
	return codes.Internal, http.StatusInternalServerError
}

// kindOf returns the kind of an error of which the gRPC code alone is known.
func kindOf(code codes.Code) proto.Kind {
	for _, k := range kinds {
		if k.code == code {
			return k.kind
		}
	}
	return proto.ErrInternal
}

// asError is proto.AsError, which also knows the errors of the standard library
// that have a kind.
func asError(err error) *proto.Error {
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

// detail is the form in which an error travels: valid UTF-8 of bounded length.
func detail(err error) *proto.ErrorDetail {
	d := asError(err).Detail()
	d.Message, d.Hint, d.RequestId = clip(d.GetMessage()), clip(d.GetHint()), clip(d.GetRequestId())
	return d
}

func clip(s string) string {
	if len(s) > maxErrorText {
		s = s[:maxErrorText] + "…"
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}

// toStatus is an error in the form that gRPC sends.
func toStatus(err error) *status.Status {
	d := detail(err)
	code, _ := codeOf(proto.Kind(d.GetCode()))
	bare := status.New(code, d.GetMessage())
	if full, err := bare.WithDetails(d); err == nil {
		return full
	}
	return bare
}

// WriteError answers an HTTP request with an error, in the JSON form and with
// the status that every part of the platform uses.
func WriteError(w http.ResponseWriter, err error) {
	d := detail(err)
	body, encodeErr := Encode(d)
	if encodeErr != nil {
		http.Error(w, encodeErr.Error(), http.StatusInternalServerError)
		return
	}
	_, code := codeOf(proto.Kind(d.GetCode()))
	writeJSON(w, code, slices.Concat([]byte(`{"error":`), body, []byte(`}`)))
}

// apiHeader marks the answers of proxies and agents, so that clients can tell
// them from the JSON of a stranger.
const (
	apiHeader  = "Ryo-Api"
	apiVersion = "v1"
)

// writeJSON answers with a line of JSON.
func writeJSON(w http.ResponseWriter, code int, body []byte) {
	w.Header().Set(apiHeader, apiVersion)
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(code)
	_, _ = w.Write(append(body, '\n')) // an error means that the caller left
}
