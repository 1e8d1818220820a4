package transporttest_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"go.uber.org/goleak"

	"github.com/Ishan27g/ryo-faas/transport"
	"github.com/Ishan27g/ryo-faas/transport/server"
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
				addr := transporttest.Serve(t, fake, server.Config{Store: fake.Store()})
				client := transport.NewAgent(kind, addr)
				t.Cleanup(func() { assert.NoError(t, client.Close()) })
				return client
			})
		})
	}
}
