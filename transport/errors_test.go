package transport

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/Ishan27g/ryo-faas/proto"
)

func TestEveryKindTravelsBothWays(t *testing.T) {
	for _, k := range kinds {
		sent := proto.Errorf(k.kind, "what is wrong").From("agent", "word").WithHint("what to do")

		st := toStatus(fmt.Errorf("outer: %w", sent))
		assert.Equal(t, k.code, st.Code())
		got := proto.AsError(fromPeer("a:1", st.Err()))
		assert.Equal(t, sent.WithHint("what to do").Detail().GetHint(), got.Hint)
		assert.Equal(t, "outer: what is wrong", got.Message)
		require.ErrorIs(t, got, k.kind)

		w := httptest.NewRecorder()
		WriteError(w, sent)
		assert.Equal(t, k.status, w.Code)
		assert.JSONEq(t, fmt.Sprintf(`{"error":{"code":%q,"message":"what is wrong","hint":"what to do","component":"agent","reason":"word","requestId":""}}`, k.kind), w.Body.String())
		d, ok := decodeError(w.Body.Bytes())
		require.True(t, ok)
		assert.Equal(t, sent, d.Err())
	}
}

func TestErrorsOfTheLibraryHaveAKind(t *testing.T) {
	for err, kind := range map[error]proto.Kind{
		context.Canceled:                   proto.ErrCanceled,
		context.DeadlineExceeded:           proto.ErrTimeout,
		&http.MaxBytesError{Limit: 1}:      proto.ErrTooLarge,
		errors.New("anything"):             proto.ErrInternal,
		proto.ErrConflict:                  proto.ErrConflict,
		fmt.Errorf("%w", proto.ErrTimeout): proto.ErrTimeout,
	} {
		assert.Equal(t, kind, asError(err).Kind, err)
	}
}

func TestErrorTextIsBoundedAndValid(t *testing.T) {
	d := detail(proto.Errorf(proto.ErrInvalid, "\xff%s", strings.Repeat("é", maxErrorText)))
	assert.LessOrEqual(t, len(d.GetMessage()), maxErrorText+10)
	assert.NotPanics(t, func() { WriteError(httptest.NewRecorder(), d.Err()) })
	assert.Equal(t, codes.InvalidArgument, toStatus(d.Err()).Code())
}

func TestErrorsOfGRPCItselfHaveAKind(t *testing.T) {
	for err, kind := range map[error]proto.Kind{
		status.Error(codes.ResourceExhausted, "larger than max"): proto.ErrTooLarge,
		status.Error(codes.Unknown, "x"):                         proto.ErrInternal,
		status.Error(codes.Unimplemented, "unknown method"):      proto.ErrUnsupported,
		status.Error(codes.Unavailable, "EOF"):                   proto.ErrUnavailable,
		io.EOF:                                                   proto.ErrUnavailable,
	} {
		got := fromPeer("a:1", err)
		require.ErrorIs(t, got, kind)
		assert.Contains(t, got.Error(), "a:1")
	}
}

func FuzzDecodeError(f *testing.F) {
	for _, seed := range []string{`{"error":{"code":"invalid","message":"m"}}`, `{"error":null}`, `{"error":"text"}`, `<html>`, `{"error":{"code":"x","new":1}}`, ``} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		if d, ok := decodeError(body); ok {
			require.NotEmpty(t, d.GetCode())
			WriteError(httptest.NewRecorder(), d.Err())
		}
	})
}
