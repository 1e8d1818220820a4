package e2e

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/Ishan27g/ryo-faas/transport"
	"github.com/Ishan27g/ryo-faas/transport/transporttest"
)

// The suite that every implementer is held to, through the whole of the platform.
func TestConformance(t *testing.T) {
	for name, dial := range map[string]func(gateway) *transport.Client{
		"rpc":  func(p gateway) *transport.Client { return transport.NewAgent(transport.RPC, p.rpc) },
		"http": func(p gateway) *transport.Client { return transport.NewAgent(transport.HTTP, p.http) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := startAgent(t, "", "")
			client := dial(startProxy(t, "", "-agents", a.addr))
			t.Cleanup(func() { assert.NoError(t, client.Close()) })
			transporttest.Run(t, func(*testing.T) transport.Interface { return client })
		})
	}
}
