package gateway

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/Ishan27g/ryo-faas/internal/testkit"
	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/transport/server"
)

// busy is a function with places for some calls at once. Each call enters, and answers
// when it is told to.
type busy struct {
	row     *proto.FunctionJsonRsp
	entered chan string // the query of each call
	release chan struct{}

	mu        sync.Mutex // guards the fields below:
	now, most int        // calls that it serves
}

func newBusy(t testing.TB, concurrency uint32) *busy {
	b := &busy{entered: make(chan string, 1000), release: make(chan struct{})}
	b.row = function(t, "Hello", func(w http.ResponseWriter, r *http.Request) {
		b.count(1)
		defer b.count(-1)
		b.entered <- r.URL.RawQuery
		select {
		case <-b.release:
			_, _ = io.WriteString(w, r.URL.RawQuery)
		case <-r.Context().Done():
		}
	})
	b.row.Serving = []*proto.Serving{{Version: 1, Weight: 100, Proxy: b.row.GetProxy(), Instances: 1, Concurrency: concurrency}}
	return b
}

func (b *busy) count(n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.now += n
	b.most = max(b.most, b.now)
}

// answer is what a caller got.
type answer struct {
	status int
	text   string
	err    error
}

// calling calls the function, in the lane that a header line leads to.
func calling(ctx context.Context, t testing.TB, addr, query, line string) <-chan answer {
	got := make(chan answer, 1)
	conn, in := dial(t, addr)
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	_, err := fmt.Fprintf(conn, "GET /functions/hello?%s HTTP/1.1\r\nHost: h\r\n%s\r\n", query, line)
	require.NoError(t, err)
	go func() {
		defer stop()
		res, err := http.ReadResponse(in, nil)
		if err != nil {
			got <- answer{err: err}
			return
		}
		text, err := io.ReadAll(res.Body)
		got <- answer{res.StatusCode, string(text), err}
	}()
	return got
}

// until waits for a state.
func until(t testing.TB, is func() bool) {
	t.Helper()
	require.Eventually(t, is, patience, time.Millisecond)
}

func waiting(rt *route) int {
	n, _ := rt.gate.crowd()
	return n
}

func routeOf(t testing.TB, table *Table) *route {
	rt, _, err := table.find("hello")
	require.NoError(t, err)
	return rt
}

// idle waits until no call holds a place.
func idle(t testing.TB, table *Table) {
	t.Helper()
	g := routeOf(t, table).gate
	until(t, func() bool {
		g.mu.Lock()
		defer g.mu.Unlock()
		for _, to := range g.route.targets() {
			if to.busy != 0 {
				return false
			}
		}
		return g.waiting == 0
	})
}

func TestCallsWaitInTheirOrder(t *testing.T) {
	inBothLanes(t, func(t *testing.T, line string) {
		b := newBusy(t, 2)
		table := table(b.row)
		addr := frontTo(t, table)
		var calls []<-chan answer
		for i := range 8 {
			calls = append(calls, calling(t.Context(), t, addr, strconv.Itoa(i), line))
			if i < 2 {
				assert.Equal(t, strconv.Itoa(i), <-b.entered)
			} else {
				until(t, func() bool { return waiting(routeOf(t, table)) == i-1 })
			}
		}
		for i := 2; i < 8; i++ {
			b.release <- struct{}{}
			assert.Equal(t, strconv.Itoa(i), <-b.entered)
		}
		close(b.release)
		for i, c := range calls {
			assert.Equal(t, answer{200, strconv.Itoa(i), nil}, <-c)
		}
		assert.Equal(t, 2, b.most)
		idle(t, table)
	})
}

func TestCallsBeyondTheQueueAreRefusedAtOnce(t *testing.T) {
	inBothLanes(t, func(t *testing.T, line string) {
		b := newBusy(t, 1)
		b.row.Queue = 2
		table := table(b.row)
		addr := frontTo(t, table)
		calls := []<-chan answer{calling(t.Context(), t, addr, "", line)}
		<-b.entered
		for i := range 2 {
			calls = append(calls, calling(t.Context(), t, addr, "", line))
			until(t, func() bool { return waiting(routeOf(t, table)) == i+1 })
		}
		res, _ := say(t, addr, "GET /functions/hello HTTP/1.1\r\nHost: h\r\n"+line+"\r\n")
		assert.Equal(t, 503, res.StatusCode)
		assert.Equal(t, "1", res.Header.Get("Retry-After"))
		e := errorOf(t, res)
		assert.Equal(t, []any{"unavailable", "gateway", "full"}, []any{e["code"], e["component"], e["reason"]})
		close(b.release)
		for _, c := range calls {
			assert.Equal(t, 200, (<-c).status)
		}
		idle(t, table)
	})
}

func TestTheQueueIsTenTimesThePlacesUnlessItIsSet(t *testing.T) {
	row := deployed("Hello", "127.0.0.1:1")
	row.Serving = []*proto.Serving{
		{Version: 1, Weight: 50, Proxy: row.GetProxy(), Instances: 3, Concurrency: 4}, {Version: 2, Weight: 50, Proxy: "http://127.0.0.1:2", Concurrency: 5},
	}
	rt := routeOf(t, table(row))
	assert.Equal(t, 10*(3*4+5), rt.room)
	assert.Equal(t, 10*time.Second, rt.patience)
	row.Queue, row.QueueTimeout = 7, "1s"
	rt = routeOf(t, table(row))
	assert.Equal(t, 7, rt.room)
	assert.Equal(t, time.Second, rt.patience)
	row.Serving[0].Concurrency, row.Serving[1].Concurrency = 0, 0
	assert.Nil(t, routeOf(t, table(row)).gate)
}

func TestCallsWaitForATime(t *testing.T) {
	inBothLanes(t, func(t *testing.T, line string) {
		for _, tt := range []struct {
			limit, asked string
			status       int
			says         string
		}{
			{"50ms", "", 503, "has waited for its place for"},
			{"0", "", 503, "as many calls wait for it as may"},
			{"1m", "X-Ryo-Timeout: 50ms\r\n", 504, "had no place for the call within the 50ms that its caller gives it, after"},
		} {
			b := newBusy(t, 1)
			b.row.QueueTimeout = tt.limit
			table := table(b.row)
			addr := frontTo(t, table)
			first := calling(t.Context(), t, addr, "", line)
			<-b.entered
			res, _ := say(t, addr, "GET /functions/hello HTTP/1.1\r\nHost: h\r\n"+tt.asked+line+"\r\n")
			assert.Equal(t, tt.status, res.StatusCode)
			e := errorOf(t, res)
			assert.Equal(t, "gateway", e["component"])
			assert.Contains(t, e["message"], tt.says)
			if tt.limit != "0" {
				assert.Equal(t, "50ms", e["limit"])
				assert.Contains(t, e["message"], e["elapsed"])
			}
			close(b.release)
			assert.Equal(t, 200, (<-first).status)
			idle(t, table)
			assert.Empty(t, b.entered, "the function was called")
		}
	})
}

func TestCallersWhoLeaveGiveUpTheirPlace(t *testing.T) {
	for name, request := range map[string]string{
		"plain":   "GET /functions/hello HTTP/1.1\r\nHost: h\r\n\r\n",
		"reverse": "GET /functions/hello HTTP/1.1\r\nHost: h\r\nTE: trailers\r\n\r\n",
		"upload":  "POST /functions/hello HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n\r\nabc",
	} {
		t.Run(name, func(t *testing.T) {
			b := newBusy(t, 1)
			table := table(b.row)
			addr, _ := frontWith(t, Config{Table: table, Descriptor: server.Descriptor})
			first := calling(t.Context(), t, addr, "first", "")
			<-b.entered
			leaving, _ := dial(t, addr)
			_, err := io.WriteString(leaving, request)
			require.NoError(t, err)
			until(t, func() bool { return waiting(routeOf(t, table)) == 1 })
			last := calling(t.Context(), t, addr, "last", "")
			until(t, func() bool { return waiting(routeOf(t, table)) == 2 })
			require.NoError(t, leaving.Close())
			until(t, func() bool { return waiting(routeOf(t, table)) == 1 })
			b.release <- struct{}{}
			assert.Equal(t, "last", <-b.entered)
			close(b.release)
			assert.Equal(t, 200, (<-first).status)
			assert.Equal(t, 200, (<-last).status)
			idle(t, table)
		})
	}
}

func TestCallersWhoLeaveTheQueueAreNoticedAtOnce(t *testing.T) {
	for name, request := range map[string]string{
		"plain":   "GET /functions/hello HTTP/1.1\r\nHost: h\r\n\r\n",
		"reverse": "GET /functions/hello HTTP/1.1\r\nHost: h\r\nTE: trailers\r\n\r\n",
		"upload":  "POST /functions/hello HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n\r\nabc",
		"stream":  "POST /functions/hello HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			b := newBusy(t, 1)
			table := table(b.row, function(t, "Other", func(http.ResponseWriter, *http.Request) {}))
			addr, _ := frontWith(t, Config{Table: table, Descriptor: server.Descriptor})
			first := calling(t.Context(), t, addr, "", "")
			<-b.entered
			took := make([]time.Duration, 50)
			for i := range took {
				conn, in := dial(t, addr)
				if i%2 == 1 { // the connection has had a call in the fast lane
					_, err := io.WriteString(conn, "GET /functions/other HTTP/1.1\r\nHost: h\r\n\r\n")
					require.NoError(t, err)
					_, err = http.ReadResponse(in, nil)
					require.NoError(t, err)
				}
				_, err := io.WriteString(conn, request)
				require.NoError(t, err)
				until(t, func() bool { return waiting(routeOf(t, table)) == 1 })
				at := time.Now()
				require.NoError(t, conn.Close())
				tick := time.NewTicker(100 * time.Microsecond)
				for waiting(routeOf(t, table)) == 1 {
					require.Less(t, time.Since(at), patience, "nobody hears of it")
					<-tick.C
				}
				tick.Stop()
				took[i] = time.Since(at)
			}
			slices.Sort(took)
			t.Log("median", took[25], "most", took[49])
			assert.Less(t, took[25], time.Second, "it is 1 ms; on a busy machine, some")
			close(b.release)
			assert.Equal(t, 200, (<-first).status)
			idle(t, table)
		})
	}
}

// Each way in which a call ends gives its place back: after all of them one place is free.
func TestEveryEndOfACallGivesItsPlaceBack(t *testing.T) {
	row := function(t, "Hello", func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // else net/http does not notice that the gateway closes
		switch r.URL.RawQuery {
		case "panic", "cut":
			if r.URL.RawQuery == "cut" {
				w.Header().Set("Content-Length", "10")
				_, _ = io.WriteString(w, "1")
				w.(http.Flusher).Flush()
			}
			panic(http.ErrAbortHandler)
		case "never":
			<-r.Context().Done()
		case "nothing":
			w.WriteHeader(http.StatusNoContent)
		case "chunks":
			w.(http.Flusher).Flush()
			_, _ = io.WriteString(w, "chunk")
		case "large":
			_, _ = w.Write(make([]byte, 1<<20))
		}
	})
	row.Serving = []*proto.Serving{{Version: 1, Weight: 100, Proxy: row.GetProxy(), Instances: 1, Concurrency: 1}}
	row.Timeout, row.QueueTimeout = "100ms", "0"
	table := table(row)
	addr := frontTo(t, table)
	inBothLanes(t, func(t *testing.T, line string) {
		for _, method := range []string{"GET", "HEAD", "POST"} {
			for _, query := range []string{"", "panic", "cut", "never", "nothing", "chunks", "large", "leave"} {
				t.Run(method+" "+query, func(t *testing.T) {
					conn, in := dial(t, addr)
					body := ""
					if method == "POST" {
						body = "Content-Length: 3\r\n"
					}
					fmt.Fprintf(conn, "%s /functions/hello?%s HTTP/1.1\r\nHost: h\r\n%s%s\r\n", method, query, body, line)
					if body != "" {
						fmt.Fprint(conn, "abc")
					}
					if query != "leave" {
						if res, err := http.ReadResponse(in, &http.Request{Method: method}); err == nil {
							_, _ = io.Copy(io.Discard, res.Body)
						}
					}
					conn.Close()
					idle(t, table)
				})
			}
		}
	})
	status := 0
	for try := 0; status != 200 && try < 1000; try++ { // the gateway may still find out who has left
		res, _ := say(t, addr, "GET /functions/hello HTTP/1.1\r\nHost: h\r\n\r\n")
		status = res.StatusCode
	}
	assert.Equal(t, 200, status)
}

func TestAPlaceIsFreeWhenTheAnswerHasBeenRead(t *testing.T) {
	row := function(t, "Hello", func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, "hello") })
	row.Serving = []*proto.Serving{{Version: 1, Weight: 100, Proxy: row.GetProxy(), Instances: 1, Concurrency: 1}}
	row.QueueTimeout = "0"
	addr := front(t, row)
	inBothLanes(t, func(t *testing.T, line string) {
		for range 300 { // one after the other, each on a connection of its own
			got := <-calling(t.Context(), t, addr, "", "Connection: close\r\n"+line)
			require.Equal(t, 200, got.status)
		}
	})
}

func TestAWaitingCallTakesTheFirstFreePlaceOfAnyReplica(t *testing.T) {
	a, b := newBusy(t, 1), newBusy(t, 1)
	table := table(a.row, b.row)
	addr := frontTo(t, table)
	first := calling(t.Context(), t, addr, "1", "")
	second := calling(t.Context(), t, addr, "2", "")
	<-a.entered
	<-b.entered // each of them has one
	third := calling(t.Context(), t, addr, "3", "")
	until(t, func() bool { return waiting(routeOf(t, table)) == 1 })
	b.release <- struct{}{}
	assert.Equal(t, "3", <-b.entered)
	fourth := calling(t.Context(), t, addr, "4", "")
	until(t, func() bool { return waiting(routeOf(t, table)) == 1 })
	a.release <- struct{}{}
	assert.Equal(t, "4", <-a.entered)
	close(a.release)
	close(b.release)
	for _, c := range []<-chan answer{first, second, third, fourth} {
		assert.Equal(t, 200, (<-c).status)
	}
	idle(t, table)
}

func TestWhoWaitsGoesOnWithTheNextVersion(t *testing.T) {
	inBothLanes(t, func(t *testing.T, line string) {
		before, after := newBusy(t, 1), newBusy(t, 2)
		table := table(before.row)
		addr := frontTo(t, table)
		first := calling(t.Context(), t, addr, "first", line)
		<-before.entered
		var calls []<-chan answer
		for i := range 4 {
			calls = append(calls, calling(t.Context(), t, addr, strconv.Itoa(i), line))
			until(t, func() bool { return waiting(routeOf(t, table)) == i+1 })
		}
		after.row.Serving[0].Version = 2
		table.Update(map[string][]Replica{"hello": {{Row: after.row}}})
		got := map[string]bool{<-after.entered: true, <-after.entered: true}
		assert.Equal(t, map[string]bool{"0": true, "1": true}, got)
		close(after.release)
		for _, c := range calls {
			assert.Equal(t, 200, (<-c).status)
		}
		close(before.release)
		assert.Equal(t, 200, (<-first).status, "it finishes where it was")
		idle(t, table)

		// A version without a limit, too.
		table.Update(map[string][]Replica{"hello": {{Row: before.row}}})
		before.release = make(chan struct{})
		first = calling(t.Context(), t, addr, "first", line)
		<-before.entered
		second := calling(t.Context(), t, addr, "second", line)
		until(t, func() bool { return waiting(routeOf(t, table)) == 1 })
		after.row.Serving[0].Concurrency = 0
		table.Update(map[string][]Replica{"hello": {{Row: after.row}}})
		assert.Equal(t, 200, (<-second).status)
		assert.Nil(t, routeOf(t, table).gate)
		close(before.release)
		assert.Equal(t, 200, (<-first).status)
	})
}

func TestWhoWaitsForAFunctionThatIsStoppedIsTold(t *testing.T) {
	inBothLanes(t, func(t *testing.T, line string) {
		b := newBusy(t, 1)
		table := table(b.row)
		addr := frontTo(t, table)
		first := calling(t.Context(), t, addr, "", line)
		<-b.entered
		second := calling(t.Context(), t, addr, "", line)
		until(t, func() bool { return waiting(routeOf(t, table)) == 1 })
		table.Update(map[string][]Replica{"hello": nil})
		assert.Equal(t, 404, (<-second).status)
		close(b.release)
		assert.Equal(t, 200, (<-first).status)
	})
}

func TestWhoWaitsForAReplicaThatFailsGoesToAnother(t *testing.T) {
	inBothLanes(t, func(t *testing.T, line string) {
		b := newBusy(t, 1)
		down := deployed("Hello", testkit.Address(t))
		down.Serving = []*proto.Serving{{Version: 1, Weight: 100, Proxy: down.GetProxy(), Instances: 1, Concurrency: 1}}
		table := table(b.row, down)
		addr := frontTo(t, table)
		var calls []<-chan answer
		for range 6 {
			calls = append(calls, calling(t.Context(), t, addr, "", line))
		}
		close(b.release)
		for _, c := range calls {
			assert.Equal(t, 200, (<-c).status)
		}
		idle(t, table)
	})
}

func TestAReplicaThatComesBackTakesThoseWhoWait(t *testing.T) {
	a, b := newBusy(t, 1), newBusy(t, 1)
	table := table(a.row, b.row)
	addr := frontTo(t, table)
	back := targetsOf(t, table)[1]
	back.fail(errClosed) // calls go to a alone
	first := calling(t.Context(), t, addr, "1", "")
	<-a.entered
	second := calling(t.Context(), t, addr, "2", "")
	assert.Equal(t, "2", <-b.entered, "it was found by a probe, and a does not answer")
	close(a.release)
	close(b.release)
	assert.Equal(t, 200, (<-first).status)
	assert.Equal(t, 200, (<-second).status)
	idle(t, table)
}

func TestPinnedCallsWaitForTheirVersion(t *testing.T) {
	one, two := newBusy(t, 1), newBusy(t, 1)
	row := one.row
	row.Serving = []*proto.Serving{one.row.GetServing()[0], {Version: 2, Proxy: two.row.GetProxy(), Instances: 1, Concurrency: 1}}
	table := table(row)
	addr := frontTo(t, table)
	pinned := func(query string) <-chan answer {
		got := make(chan answer, 1)
		go func() {
			res, err := client(t).Get("http://" + addr + "/functions/hello@2?" + query)
			if !assert.NoError(t, err) {
				got <- answer{}
				return
			}
			defer res.Body.Close()
			text, err := io.ReadAll(res.Body)
			got <- answer{res.StatusCode, string(text), err}
		}()
		return got
	}
	first := pinned("1")
	assert.Equal(t, "1", <-two.entered)
	second := pinned("2")
	until(t, func() bool { return waiting(routeOf(t, table)) == 1 })
	other := calling(t.Context(), t, addr, "3", "")
	assert.Equal(t, "3", <-one.entered, "the other version has a place")
	close(one.release)
	assert.Equal(t, 200, (<-other).status)
	assert.Equal(t, 1, waiting(routeOf(t, table)))
	close(two.release)
	assert.Equal(t, 200, (<-first).status)
	assert.Equal(t, answer{200, "2", nil}, <-second)
	idle(t, table)
}

// A call that waits keeps what it has read, and none of the buffers that calls have.
func TestAWaitingCallHoldsNoBuffers(t *testing.T) {
	const callers = 300
	b := newBusy(t, 1)
	b.row.Queue = callers
	table := table(b.row)
	addr := frontTo(t, table)
	calls := []<-chan answer{calling(t.Context(), t, addr, "", "")}
	<-b.entered
	used := func() int {
		var m runtime.MemStats
		runtime.GC()
		runtime.GC() // pools keep what they have for one cycle
		runtime.ReadMemStats(&m)
		return int(m.HeapAlloc)
	}
	before := used()
	for range callers {
		calls = append(calls, calling(t.Context(), t, addr, "", ""))
	}
	until(t, func() bool { return waiting(routeOf(t, table)) == callers })
	each := (used() - before) / callers
	t.Logf("%d bytes each, those of the test's own callers included", each)
	assert.Less(t, each, int(unsafe.Sizeof(scratch{})))
	close(b.release)
	for _, c := range calls {
		assert.Equal(t, 200, (<-c).status)
	}
}

// What has come of the next request waits with the call.
func TestPipelinedCallsWaitOneAfterTheOther(t *testing.T) {
	b := newBusy(t, 1)
	table := table(b.row)
	addr := frontTo(t, table)
	first := calling(t.Context(), t, addr, "", "")
	<-b.entered
	conn, in := dial(t, addr)
	_, err := io.WriteString(conn, "GET /functions/Hello/a?1 HTTP/1.1\r\nHost: h\r\n\r\nPOST /functions/hello?2 HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nbodyGET /functions/hello?3 HTTP/1.1\r\nHo")
	require.NoError(t, err)
	until(t, func() bool { return waiting(routeOf(t, table)) == 1 })
	_, err = io.WriteString(conn, "st: h\r\n\r\n")
	require.NoError(t, err)
	close(b.release)
	for _, query := range []string{"1", "2", "3"} {
		res, err := http.ReadResponse(in, nil)
		require.NoError(t, err)
		assert.Equal(t, query, bodyOf(t, res))
	}
	assert.Equal(t, 200, (<-first).status)
	idle(t, table)
}

func TestMetricsTellOfTheQueue(t *testing.T) {
	b := newBusy(t, 1)
	b.row.Queue = 1
	table := table(b.row)
	addr, g := frontWith(t, Config{Table: table})
	first := calling(t.Context(), t, addr, "", "")
	<-b.entered
	second := calling(t.Context(), t, addr, "", "")
	until(t, func() bool { return waiting(routeOf(t, table)) == 1 })
	assert.Equal(t, 503, (<-calling(t.Context(), t, addr, "", "")).status)
	m := routeOf(t, table).versions[0].meter
	until(t, func() bool { // the answer is sent before it is counted
		m.mu.Lock()
		defer m.mu.Unlock()
		return m.failed[outcome{classOf(503), "gateway", "full"}] == 1
	})
	assert.Contains(t, scrape(t, g, textForm), `ryo_calls_waiting{function="Hello"} 1`)
	close(b.release)
	assert.Equal(t, 200, (<-first).status)
	assert.Equal(t, 200, (<-second).status)
}
