package e2e

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/Ishan27g/ryo-faas/transport"
	"github.com/Ishan27g/ryo-faas/transport/transporttest"
)

// The suite that every implementer is held to, through the whole of the platform, over both
// transports. The second finds most programs built.
func TestConformance(t *testing.T) {
	t.Parallel()
	p := startProxy(t, "", "-agents", startAgent(t, "", "").addr)
	for _, c := range []struct {
		kind transport.Kind
		addr string
	}{{transport.RPC, p.rpc}, {transport.HTTP, p.http}} {
		t.Run(string(c.kind), func(t *testing.T) {
			client := transport.NewAgent(c.kind, c.addr)
			t.Cleanup(func() { assert.NoError(t, client.Close()) })
			transporttest.Run(t, func(*testing.T) transport.Interface { return client })
		})
	}
}
