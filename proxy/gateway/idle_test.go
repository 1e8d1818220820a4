package gateway

import (
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/Ishan27g/ryo-faas/transport/server"
)

// memory is what heap and stacks take, once garbage is collected.
func memory() (heap, stacks uint64) {
	var m runtime.MemStats
	for range 3 { // pools forget with the second
		runtime.GC()
	}
	runtime.ReadMemStats(&m)
	return m.HeapAlloc, m.StackInuse
}

// A connection that waits for its next request has no buffers, and after a while no goroutine.
func TestIdleConnectionsTakeLittle(t *testing.T) {
	skipUnderRace(t)
	addr, _ := frontWith(t, Config{Table: table(frugal(t))}, func(cfg *server.Config) { cfg.ParkAfter = 100 * time.Millisecond })
	const n = 1000
	calls := make([]func(), n)
	caller(t, addr)()
	heap, stacks := memory()
	for i := range calls {
		calls[i] = caller(t, addr)
		calls[i]()
	}
	require.Eventually(t, func() bool { return runtime.NumGoroutine() < n/10 }, patience, 10*time.Millisecond)
	heapNow, stacksNow := memory()
	each := func(now, before uint64) float64 { return (float64(now) - float64(before)) / n / 1024 }
	t.Logf("heap %.1f KiB, of which 0.8 are the caller's, stacks %.1f KiB", each(heapNow, heap), each(stacksNow, stacks))
	assert.Less(t, each(heapNow, heap)+each(stacksNow, stacks), 4.0, "KiB; with a goroutine each it was 7, with the buffers of net/http 20")
}
