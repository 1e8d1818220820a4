package transporttest_test

import (
	"context"
	"net"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/Ishan27g/ryo-faas/transport"
	"github.com/Ishan27g/ryo-faas/transport/transporttest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestFake(t *testing.T) {
	transporttest.Run(t, func(t *testing.T) transport.Interface {
		return transporttest.NewFake(t)
	})
}

func TestClients(t *testing.T) {
	for _, kind := range []transport.Kind{transport.RPC, transport.HTTP} {
		t.Run(string(kind), func(t *testing.T) {
			transporttest.Run(t, func(t *testing.T) transport.Interface {
				fake := transporttest.NewFake(t)
				l, err := net.Listen("tcp", "127.0.0.1:0")
				require.NoError(t, err)
				ctx, cancel := context.WithCancel(t.Context())
				served := make(chan error, 1)
				go func() {
					served <- transport.Serve(ctx, fake, fake.Store(), transport.ServerConfig{Listeners: []net.Listener{l}})
				}()
				client := transport.NewAgent(kind, l.Addr().String())
				t.Cleanup(func() {
					assert.NoError(t, client.Close())
					cancel()
					assert.NoError(t, <-served)
				})
				return client
			})
		})
	}
}
