package gateway

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/Ishan27g/ryo-faas/proto"
)

// overload is a function that takes some calls at once, each for a time, and another one,
// behind one gateway.
type overload struct {
	places   int
	service  time.Duration
	addr     string
	table    *Table
	now      atomic.Int64 // calls that the function serves
	most     atomic.Int64
	ok       atomic.Int64 // calls that it has answered
	refused  atomic.Int64
	excluded atomic.Int64 // arrivals for which the test had no caller left
}

func newOverload(t *testing.T, places int, service time.Duration) *overload {
	o := &overload{places: places, service: service}
	row := function(t, "Hello", func(w http.ResponseWriter, r *http.Request) {
		n := o.now.Add(1)
		defer o.now.Add(-1)
		for most := o.most.Load(); n > most && !o.most.CompareAndSwap(most, n); most = o.most.Load() {
		}
		<-time.After(service)
		_, _ = io.WriteString(w, "done")
	})
	row.Serving = []*proto.Serving{{Version: 1, Weight: 100, Proxy: row.GetProxy(), Instances: 1, Concurrency: uint32(places)}}
	o.table = table(row, function(t, "Other", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "other") }))
	o.addr = frontTo(t, o.table)
	return o
}

// one is a caller with a connection of its own.
type one struct {
	conn net.Conn
	in   *bufio.Reader
}

func (o *overload) caller(t *testing.T) *one {
	conn, err := net.Dial("tcp", o.addr)
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	return &one{conn, bufio.NewReader(conn)}
}

// call calls a function and returns the status and the header Retry-After.
func (c *one) call(name string) (int, string, error) {
	if _, err := fmt.Fprintf(c.conn, "GET /functions/%s HTTP/1.1\r\nHost: h\r\n\r\n", name); err != nil {
		return 0, "", err
	}
	res, err := http.ReadResponse(c.in, nil)
	if err != nil {
		return 0, "", err
	}
	_, err = io.Copy(io.Discard, res.Body)
	return res.StatusCode, res.Header.Get("Retry-After"), err
}

// take makes calls for a while, each as an arrival comes, with as many callers as may
// wait and some for those that are refused; without arrivals, one call after the other
// with twice as many callers as there are places. It returns the calls that were answered
// in a second.
func (o *overload) take(t *testing.T, lasts time.Duration, arrivals <-chan struct{}) float64 {
	callers := 2 * o.places
	if arrivals != nil {
		callers = routeOf(t, o.table).room + o.places + 32
	}
	ctx, cancel := context.WithTimeout(t.Context(), lasts)
	defer cancel()
	before, begun := o.ok.Load(), time.Now()
	var all sync.WaitGroup
	for range callers {
		c := o.caller(t)
		all.Go(func() {
			for ctx.Err() == nil {
				if arrivals != nil {
					select {
					case <-arrivals:
					case <-ctx.Done():
						return
					}
				}
				status, again, err := c.call("hello")
				switch {
				case err != nil:
					assert.NoError(t, err)
					return
				case status == http.StatusOK:
					if ctx.Err() == nil {
						o.ok.Add(1)
					}
				case status == http.StatusServiceUnavailable && again != "":
					o.refused.Add(1)
				default:
					assert.Fail(t, "neither answered nor refused", "%d %q", status, again)
				}
			}
		})
	}
	<-ctx.Done()
	rate := float64(o.ok.Load()-before) / time.Since(begun).Seconds()
	all.Wait()
	return rate
}

// arrive makes calls arrive at a rate, whatever becomes of them, until stop.
func (o *overload) arrive(perSecond int) (arrivals <-chan struct{}, stop func()) {
	const every = 5 * time.Millisecond
	to, done := make(chan struct{}), make(chan struct{})
	var running sync.WaitGroup
	running.Go(func() {
		tick := time.NewTicker(every)
		defer tick.Stop()
		for due := 0.0; ; {
			select {
			case <-tick.C:
			case <-done:
				return
			}
			for due += float64(perSecond) * every.Seconds(); due >= 1; due-- {
				select {
				case to <- struct{}{}:
				default:
					o.excluded.Add(1)
				}
			}
		}
	})
	return to, func() { close(done); running.Wait() }
}

// other calls the other function now and then, until stop, which returns the duration
// that 99 of 100 calls do not exceed.
func (o *overload) other(t *testing.T) (stop func() time.Duration) {
	c, done := o.caller(t), make(chan struct{})
	var took []time.Duration
	var running sync.WaitGroup
	running.Go(func() {
		tick := time.NewTicker(2 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
			case <-done:
				return
			}
			begun := time.Now()
			status, _, err := c.call("other")
			assert.NoError(t, err)
			assert.Equal(t, http.StatusOK, status, "the other function is not overloaded")
			took = append(took, time.Since(begun))
		}
	})
	return func() time.Duration {
		close(done)
		running.Wait()
		slices.Sort(took)
		return took[len(took)*99/100]
	}
}

func heap() float64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc)
}

// At ten times the load that a function can serve, it serves as much as at its best, the
// others are refused at once, memory stays as it is, and another function notices nothing.
// What is measured holds on a machine that has nothing else to do, so it is a soak's, and
// may be missed in some rounds; what is counted, in none.
func TestAnOverloadedFunctionServesAsMuchAsItCan(t *testing.T) {
	places, service, lasts := 4, 50*time.Millisecond, time.Second
	soak := os.Getenv("E2E_SOAK") != ""
	if soak {
		places, service, lasts = 16, 50*time.Millisecond, 30*time.Second
	}
	o := newOverload(t, places, service)
	perSecond := 10 * int(float64(places)/service.Seconds())
	const rounds = 5
	for round := 1; ; round++ {
		alone := o.other(t)
		peak := o.take(t, lasts, nil)
		quiet := alone()

		arrivals, stop := o.arrive(perSecond)
		beside := o.other(t)
		first := o.take(t, lasts, arrivals)
		before := heap()
		second := o.take(t, lasts, arrivals)
		after := heap()
		loud := beside()
		stop()
		idle(t, o.table)

		goodput := (first + second) / 2
		t.Logf("round %d: %.0f calls/s of %.0f at best (%.0f %%), %d refused, %d too many for the test; p99 of the other function %v, %v before; heap %.1f MiB, %.1f before",
			round, goodput, peak, 100*goodput/peak, o.refused.Load(), o.excluded.Load(), loud, quiet, after/(1<<20), before/(1<<20))
		require.LessOrEqual(t, o.most.Load(), int64(places), "more than it takes at once")
		require.Greater(t, o.refused.Load(), o.ok.Load(), "it was no overload")
		require.Less(t, after, 1.5*before+(1<<20), "memory grows")
		if !soak || goodput >= 0.9*peak && loud <= 3*quiet+20*time.Millisecond {
			return
		}
		require.Less(t, round, rounds, "not in any round")
	}
}
