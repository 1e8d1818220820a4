package transporttest

import (
	"context"
	"net"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/Ishan27g/ryo-faas/transport"
	"github.com/Ishan27g/ryo-faas/transport/server"
)

// Serve offers impl at a free port of 127.0.0.1, and wherever else cfg says,
// until the test ends, and returns the address.
func Serve(t testing.TB, impl transport.Interface, cfg server.Config) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	addr := l.Addr().String()
	cfg.Listeners = append(cfg.Listeners, l)
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- server.Serve(ctx, impl, cfg) }()
	t.Cleanup(func() {
		cancel()
		assert.NoError(t, <-served)
	})
	return addr
}
