package transport

import (
	"io"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/transport/wire"
)

func TestErrorsOfTheServerComeBack(t *testing.T) {
	sent := proto.Errorf(proto.ErrConflict, "what is wrong").From("agent", "word").WithHint("what to do")
	assert.Equal(t, sent, fromPeer("a:1", wire.ToStatus(sent).Err()))
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
