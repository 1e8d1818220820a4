package proxy

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/proxy/store"
	"github.com/Ishan27g/ryo-faas/proxy/store/storetest"
	"github.com/Ishan27g/ryo-faas/transport"
)

// manyFunctions returns the folder of a package that declares F0, F1, and so on.
func manyFunctions(t *testing.T, n int) string {
	t.Helper()
	var text strings.Builder
	text.WriteString("package fn\n\nimport \"net/http\"\n\n")
	for i := range n {
		fmt.Fprintf(&text, "func F%d(w http.ResponseWriter, r *http.Request) {}\n", i)
	}
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "fn.go"), []byte(text.String()), 0o600))
	return dir
}

// A deploy does not pay for the other functions of its agents.
func TestADeployAmongMany(t *testing.T) {
	for name, s := range map[string]store.Store{"without a store": nil, "with one": storetest.New()} {
		t.Run(name, func(t *testing.T) { aDeployAmongMany(t, s) })
	}
}

func aDeployAmongMany(t *testing.T, s store.Store) {
	const many = 500
	nodes := newNodes(t, 3)
	p := start(t, Config{Agents: addrs(nodes...), Store: s})
	c := p.dial(t, transport.RPC)
	fn := source(t, "Another", nodes[0].addr)
	// deploys returns the bytes that one takes, with what the agents do: the least of some,
	// since what the proxy does from time to time may fall into any.
	deploys := func() float64 {
		var all []uint64
		for range 9 {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, err := c.Deploy(t.Context(), fn)
			require.NoError(t, err)
			runtime.ReadMemStats(&after)
			all = append(all, after.TotalAlloc-before.TotalAlloc)
		}
		return float64(slices.Min(all))
	}
	deploys()
	alone := deploys()
	dir := manyFunctions(t, many)
	for i := range many {
		_, err := nodes[i%3].Fake.Deploy(t.Context(), &proto.FunctionJson{Name: fmt.Sprint("F", i), Dir: dir})
		require.NoError(t, err)
	}
	require.Eventually(t, func() bool {
		rows, err := p.Details(t.Context())
		return err == nil && len(rows) == many+1
	}, time.Minute, 10*time.Millisecond)
	if s != nil {
		p.mends.hint()
		require.Eventually(t, func() bool { return len(p.wishes.All()) == many+1 }, time.Minute, 10*time.Millisecond)
	}
	deploys()
	among := deploys()
	t.Logf("alone %.0f KiB, among %d others %.0f KiB", alone/1024, many, among/1024)
	assert.Less(t, among/alone, 2.0, "to ask for all rows took seven times as much")
}
