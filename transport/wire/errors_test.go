package wire

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"

	"github.com/Ishan27g/ryo-faas/proto"
)

func TestEveryKindTravelsBothWays(t *testing.T) {
	for _, k := range kinds {
		sent := proto.Errorf(k.kind, "what is wrong").From("agent", "word").WithHint("what to do")

		st := ToStatus(fmt.Errorf("outer: %w", sent))
		assert.Equal(t, k.code, st.Code())
		require.Len(t, st.Details(), 1)
		got := st.Details()[0].(*proto.ErrorDetail).Err()
		assert.Equal(t, "what to do", got.Hint)
		assert.Equal(t, "outer: what is wrong", got.Message)
		require.ErrorIs(t, got, k.kind)

		w := httptest.NewRecorder()
		WriteError(w, sent)
		assert.Equal(t, k.status, w.Code)
		assert.JSONEq(t, fmt.Sprintf(`{"error":{"code":%q,"message":"what is wrong","hint":"what to do","component":"agent","reason":"word","requestId":""}}`, k.kind), w.Body.String())
		d, ok := DecodeError(w.Body.Bytes())
		require.True(t, ok)
		assert.Equal(t, sent, d.Err())
	}
}

func TestATimeLimitTravelsBothWays(t *testing.T) {
	sent := proto.Errorf(proto.ErrTimeout, "too late").From("function", "timeout").Late(500*time.Millisecond, 501*time.Millisecond)
	got := ToStatus(sent).Details()[0].(*proto.ErrorDetail).Err()
	assert.Equal(t, []time.Duration{500 * time.Millisecond, 501 * time.Millisecond}, []time.Duration{got.Limit, got.Elapsed})

	w := httptest.NewRecorder()
	WriteError(w, fmt.Errorf("%w", sent))
	assert.Contains(t, w.Body.String(), `"limit":"500ms","elapsed":"501ms"`)
	d, ok := DecodeError(w.Body.Bytes())
	require.True(t, ok)
	assert.Equal(t, sent, d.Err())
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
		assert.Equal(t, kind, AsError(err).Kind, err)
	}
}

func TestErrorTextIsBoundedAndValid(t *testing.T) {
	d := Detail(proto.Errorf(proto.ErrInvalid, "\xff%s", strings.Repeat("é", MaxErrorText)))
	assert.LessOrEqual(t, len(d.GetMessage()), MaxErrorText+10)
	assert.NotPanics(t, func() { WriteError(httptest.NewRecorder(), d.Err()) })
	assert.Equal(t, codes.InvalidArgument, ToStatus(d.Err()).Code())
}

func FuzzDecodeError(f *testing.F) {
	for _, seed := range []string{`{"error":{"code":"invalid","message":"m"}}`, `{"error":null}`, `{"error":"text"}`, `<html>`, `{"error":{"code":"x","new":1}}`, ``} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		if d, ok := DecodeError(body); ok {
			require.NotEmpty(t, d.GetCode())
			WriteError(httptest.NewRecorder(), d.Err())
		}
	})
}
