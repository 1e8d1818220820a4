package gateway

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/Ishan27g/ryo-faas/internal/testkit"
	"github.com/Ishan27g/ryo-faas/proto"
)

func TestWeightsOfAgentsAreAdded(t *testing.T) {
	a, b := deployed("A", "127.0.0.1:1"), deployed("A", "127.0.0.1:2")
	a.Serving = []*proto.Serving{{Version: 1, Weight: 70, Proxy: "http://127.0.0.1:1"}, {Version: 2, Weight: 30, Proxy: "http://127.0.0.1:3"}, {Version: 3, Proxy: "http://127.0.0.1:4"}}
	b.Serving = []*proto.Serving{{Version: 1, Weight: 100, Proxy: "http://127.0.0.1:2"}}
	rt, _, err := table(a, b).find("a")
	require.NoError(t, err)
	seen := map[uint32]int{}
	var run, longest int
	for range 200 {
		v := rt.choose()
		seen[v.number]++
		if run++; v.number != 1 {
			run = 0
		}
		longest = max(longest, run)
	}
	assert.Equal(t, map[uint32]int{1: 170, 2: 30}, seen)
	assert.LessOrEqual(t, longest, 12, "they are spread")
	assert.Len(t, rt.version(1).targets, 2)
	assert.Len(t, rt.version(3).targets, 1)
}

// Callers at the same time, and changes of the route meanwhile, take nothing from a share.
func TestSharesHoldOverTenThousandCalls(t *testing.T) {
	const calls = 10_000
	for _, canaries := range [][]uint32{{1}, {5}, {10}, {33}, {50}, {99}, {10, 10, 10}, {1, 0, 50}, {7, 13, 29}} {
		var replicas []Replica
		var share float64
		for i, weight := range canaries {
			row := deployed("A", fmt.Sprintf("127.0.0.1:%d", i+1))
			row.Serving = []*proto.Serving{
				{Version: 1, Weight: 100 - weight, Proxy: row.GetProxy()}, {Version: 2, Weight: weight, Proxy: fmt.Sprintf("http://127.0.0.1:%d", i+101)},
			}
			replicas = append(replicas, Replica{Row: row})
			share += float64(weight) / 100 / float64(len(canaries))
		}
		r := NewTable()
		r.Update(map[string][]Replica{"a": replicas})
		var canary atomic.Int32
		var all sync.WaitGroup
		for caller := range 8 {
			all.Go(func() {
				for i := range calls / 8 {
					if caller == 0 && i%100 == 0 {
						r.Update(map[string][]Replica{"a": replicas})
					}
					if rt, _, _ := r.find("a"); rt.choose().number == 2 {
						canary.Add(1)
					}
				}
			})
		}
		all.Wait()
		assert.InDelta(t, share*calls, canary.Load(), calls/100, "%v", canaries)
		r.Clear()
	}
}

func TestASlowReplicaGetsFewCalls(t *testing.T) {
	const enough = 300
	var slow, quick atomic.Int32
	served := make(chan struct{})
	addr := front(t, function(t, "Hello", func(_ http.ResponseWriter, r *http.Request) {
		slow.Add(1)
		select {
		case <-served: // the other one has served enough
		case <-r.Context().Done():
		}
	}), function(t, "Hello", func(http.ResponseWriter, *http.Request) {
		if quick.Add(1) == enough {
			close(served)
		}
	}))
	c := client(t)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for quick.Load() < enough {
				if res, err := c.Get("http://" + addr + "/functions/hello"); assert.NoError(t, err) {
					res.Body.Close()
				}
			}
		})
	}
	all.Wait()
	assert.LessOrEqual(t, slow.Load(), int32(6), "half of the callers wait there, give or take what they do at once")
}

func TestAVersionThatCannotBeDialedLeavesTheOthers(t *testing.T) {
	live := function(t, "Hello", func(http.ResponseWriter, *http.Request) {})
	row := deployed("Hello", "127.0.0.1:1")
	row.Serving = []*proto.Serving{{Version: 1, Weight: 50, Proxy: live.GetProxy(), Instances: 1}, {Version: 2, Weight: 50, Proxy: "http://" + testkit.Address(t), Instances: 1}}
	addr := front(t, row)
	for range 4 {
		res, err := client(t).Get("http://" + addr + "/functions/hello")
		require.NoError(t, err)
		assert.Equal(t, 200, res.StatusCode)
		bodyOf(t, res)
	}
	res, err := client(t).Get("http://" + addr + "/functions/hello@2")
	require.NoError(t, err)
	assert.Equal(t, 502, res.StatusCode)
	assert.Equal(t, "dial", errorOf(t, res)["reason"])
}

func TestACrashLoopSaysWhenItIsTriedAgain(t *testing.T) {
	row := deployed("Hello", testkit.Address(t))
	row.Status, row.Instances, row.Reason = string(proto.Failed), 0, proto.ReasonCrash
	row.Serving = []*proto.Serving{{Version: 1, Weight: 100, Proxy: row.GetProxy()}}
	for in, least := range map[time.Duration]int{20 * time.Second: 18, -time.Second: 1} {
		row.Retry = time.Now().Add(in).UTC().Format(time.RFC3339)
		res, err := client(t).Get("http://" + front(t, row) + "/functions/hello")
		require.NoError(t, err)
		assert.Equal(t, 503, res.StatusCode)
		after, err := strconv.Atoi(res.Header.Get("Retry-After"))
		require.NoError(t, err)
		assert.InDelta(t, least+1, after, 1)
		assert.Equal(t, proto.ReasonCrash, errorOf(t, res)["reason"])
	}
}

func TestIdleFunctionsAreCalledAndLeftAlone(t *testing.T) {
	row := deployed("A", "127.0.0.1:1")
	row.Instances, row.Pid = 0, 0
	for idle, limit := range map[string]time.Duration{"": idleLimit, "0": idleLimit, "15m": idleLimit, "1m": 30 * time.Second, "1ns": 1, "nonsense": idleLimit} {
		row.Idle = idle
		rt, _, err := table(row).find("a")
		require.NoError(t, err)
		assert.Nil(t, rt.unready)
		assert.Equal(t, limit, rt.targets()[0].transport.IdleConnTimeout, idle)
	}
}

func BenchmarkPick(b *testing.B) {
	for _, replicas := range []int{1, 3} {
		b.Run(fmt.Sprint(replicas, " replicas"), func(b *testing.B) {
			var rows []*proto.FunctionJsonRsp
			for i := range replicas {
				rows = append(rows, deployed("A", fmt.Sprintf("127.0.0.1:%d", i+1)))
			}
			rt, _, err := table(rows...).find("a")
			require.NoError(b, err)
			b.ReportAllocs()
			for b.Loop() {
				p := picker{route: rt, chosen: rt.versions[0]}
				p.next().ok()
				p.release()
			}
		})
	}
}

// movingDoor is the way to a function that leaves as somebody comes for it.
type movingDoor struct{ leaves func() }

func (l *movingDoor) Dial(context.Context, int) (net.Conn, error) {
	l.leaves()
	return nil, &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
}

// A call that was on its way to a function when it moved goes to where it is now.
func TestACallFollowsAFunctionThatMoves(t *testing.T) {
	inBothLanes(t, func(t *testing.T, line string) {
		for path, number := range map[string]uint32{"hello": 0, "hello@7": 7} {
			here := deployed("Hello", "127.0.0.1:1")
			there := function(t, "Hello", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "there") })
			here.AtAgent = "here:9000"
			for _, row := range []*proto.FunctionJsonRsp{here, there} {
				row.Version, row.Serving = number, []*proto.Serving{{Version: number, Weight: 100, Proxy: row.GetProxy()}}
			}
			call := "GET /functions/" + path + " HTTP/1.1\r\nHost: h\r\n" + line + "\r\n"
			routes := NewTable()
			addr := frontTo(t, routes)
			moves := func() { routes.Update(map[string][]Replica{"hello": {{Row: there}}}) }
			routes.Update(map[string][]Replica{"hello": {{Row: here, Door: &movingDoor{moves}}}})
			res, _ := say(t, addr, call)
			body, err := io.ReadAll(res.Body)
			require.NoError(t, err)
			assert.Equal(t, "there", string(body))

			routes = NewTable()
			addr = frontTo(t, routes)
			routes.Update(map[string][]Replica{"hello": {{Row: here, Door: &movingDoor{routes.Clear}}}})
			res, _ = say(t, addr, call)
			assert.Equal(t, 404, res.StatusCode, "it is nowhere")
		}
	})
}
