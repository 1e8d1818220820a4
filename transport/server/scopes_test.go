package server

import (
	"net"
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/transport/wire"
)

func TestWhatHasNoScopeIsNotServed(t *testing.T) {
	require.NoError(t, checkScopes(wire.Routes, nil))
	require.Error(t, checkScopes([]wire.Route{{Method: http.MethodGet, Path: "/forgotten"}}, nil))

	main, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	public, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	err = Serve(t.Context(), nil, Config{
		Listeners: []net.Listener{main}, Public: []net.Listener{public}, Mounts: []Mount{{Path: "/forgotten", Handler: http.NotFoundHandler()}},
	})
	require.ErrorIs(t, err, proto.ErrInternal)
	assert.Contains(t, err.Error(), "/forgotten")
	for _, l := range []net.Listener{main, public} {
		assert.ErrorIs(t, l.Close(), net.ErrClosed)
	}
}

// A route of the service that HTTP does not know would be served over gRPC with the
// scope of changes, and so never to those who may only read.
func TestEveryMethodHasARoute(t *testing.T) {
	names := []string{}
	for _, m := range proto.Functions_ServiceDesc.Methods {
		names = append(names, m.MethodName)
	}
	for _, m := range proto.Functions_ServiceDesc.Streams {
		names = append(names, m.StreamName)
	}
	for _, name := range names {
		rt, ok := wire.RouteOf("/" + proto.Functions_ServiceDesc.ServiceName + "/" + name)
		assert.True(t, ok && rt.Scope.Known(), name)
	}
}
