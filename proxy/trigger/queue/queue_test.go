package queue

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/proxy/store"
	"github.com/Ishan27g/ryo-faas/proxy/store/storetest"
)

func TestACallIsMadeLater(t *testing.T) {
	stores(t, func(t *testing.T, s store.Store) {
		r := newRig(t, s)
		h, all := told(http.StatusCreated)
		r.deploy("Hello", h)
		id := r.accept("/async/Hello/a//b%2f?q=1", "body", "Content-Type", "text/x-own", "X-Own", "kept", "X-Ryo-Attempt", "7")
		c := r.ends(id, done)
		saw := next(t, all)
		assert.Equal(t, seen{http.MethodPost, "/hello/a//b%2f?q=1", "body", saw.header}, saw)
		assert.Equal(t, []string{"text/x-own", "kept", id, "1"}, []string{
			saw.header.Get("Content-Type"), saw.header.Get("X-Own"), saw.header.Get("X-Ryo-Call-Id"), saw.header.Get("X-Ryo-Attempt"),
		})
		assert.EqualValues(t, http.StatusCreated, c.GetStatus())
		assert.Equal(t, "saw body", c.GetBody())
		assert.Equal(t, []any{"Hello", "/a//b%2f?q=1", http.MethodPost, uint32(1)}, []any{c.GetFunction(), c.GetPath(), c.GetMethod(), c.GetTried()})
		require.Len(t, c.GetAttempts(), 1)
		assert.NotEmpty(t, c.GetAttempts()[0].GetTook())

		res := r.send(http.MethodGet, r.base+c.GetResult(), http.NoBody)
		assert.Equal(t, http.StatusCreated, res.StatusCode)
		assert.Equal(t, "saw body", textOf(t, res))
	})
}

func TestACallerMayPreferThatItIsMadeLater(t *testing.T) {
	r := newRig(t, storetest.New())
	h, _ := told()
	r.deploy("Hello", h)
	res := r.send(http.MethodGet, r.base+"/functions/hello", http.NoBody, "Prefer", "wait=10, Respond-Async")
	assert.Equal(t, http.StatusAccepted, res.StatusCode, textOf(t, res))
	assert.Equal(t, "respond-async", res.Header.Get("Preference-Applied"))
	r.ends(strings.TrimPrefix(res.Header.Get("Location"), CallsPath), done)
	res = r.send(http.MethodGet, r.base+"/functions/hello", http.NoBody, "Prefer", "return=minimal")
	assert.Equal(t, http.StatusOK, res.StatusCode, textOf(t, res))
}

func TestWhatIsNotAccepted(t *testing.T) {
	fake := storetest.New()
	r := newRig(t, fake)
	h, _ := told()
	r.deploy("Hello", h, func(row *proto.FunctionJsonRsp) { row.Body = "10B" })
	for _, c := range []struct {
		name, target, body string
		header             []string
		status             int
		says               string
	}{
		{"an unknown function", "/async/other", "", nil, http.StatusNotFound, "not found"},
		{"no function", "/async/", "", nil, http.StatusBadRequest, "no function is named"},
		{"a delay that is none", "/async/hello", "", []string{delayHeader, "soon"}, http.StatusBadRequest, "is not a duration"},
		{"a delay that is too long", "/async/hello", "", []string{delayHeader, "25h"}, http.StatusBadRequest, "longer than 24h"},
		{"a delay back in time", "/async/hello", "", []string{delayHeader, "-1s"}, http.StatusBadRequest, "is not a duration"},
		{"a body that is too large", "/async/hello", "0123456789a", nil, http.StatusRequestEntityTooLarge, "larger than 10 bytes"},
		{"a callback that is no url", "/async/hello", "", []string{callbackHeader, "example.com"}, http.StatusBadRequest, "is not the url of a callback"},
		{"a callback with a password", "/async/hello", "", []string{callbackHeader, "https://a:b@example.com"}, http.StatusBadRequest, "is not the url"},
		{"a callback to this network", "/async/hello", "", []string{callbackHeader, "http://10.1.2.3/x"}, http.StatusForbidden, "-allow-callbacks"},
		{"a callback to the metadata of clouds", "/async/hello", "", []string{callbackHeader, "http://169.254.169.254/"}, http.StatusForbidden, "-allow-callbacks"},
		{"a circle of calls", "/async/hello", "", []string{"X-Ryo-Depth", "8"}, http.StatusConflict, "in a circle"},
		{"a long key", "/async/hello", "", []string{idempotencyKey, strings.Repeat("k", 256)}, http.StatusBadRequest, "255"},
		{"a websocket", "/async/hello", "", []string{"Connection", "Upgrade", "Upgrade", "websocket"}, http.StatusMethodNotAllowed, "not made later"},
	} {
		t.Run(c.name, func(t *testing.T) {
			res := r.send(http.MethodPost, r.base+c.target, strings.NewReader(c.body), c.header...)
			text := textOf(t, res)
			assert.Equal(t, c.status, res.StatusCode, text)
			assert.Contains(t, text, c.says)
		})
	}
	for _, c := range []struct {
		err    error
		status int
	}{
		{proto.Errorf(proto.ErrExhausted, "no room"), http.StatusTooManyRequests},
		{proto.Errorf(proto.ErrUnavailable, "no store"), http.StatusServiceUnavailable},
	} {
		fake.Fail(c.err)
		res := r.send(http.MethodPost, r.base+"/async/hello", http.NoBody)
		fake.Fail(nil)
		assert.Equal(t, c.status, res.StatusCode, textOf(t, res))
		assert.NotEmpty(t, res.Header.Get("Retry-After"))
	}
	list, err := r.queue.Calls(t.Context(), &proto.CallsRequest{})
	require.NoError(t, err)
	assert.Empty(t, list, "nothing was accepted")
}

func TestFailedCallsAreTriedAgain(t *testing.T) {
	stores(t, func(t *testing.T, s store.Store) {
		r := newRig(t, s)
		for _, c := range []struct {
			name     string
			statuses []int
			state    string
			tried    uint32
		}{
			{"Crashes", []int{500, 502}, done, 3},
			{"Crowded", []int{429, 408, 425}, done, 4},
			{"Refuses", []int{404}, dead, 1},
			{"Forwards", []int{302}, done, 1},
			{"Stubborn", []int{500, 500, 500, 500, 500}, dead, 4},
		} {
			t.Run(c.name, func(t *testing.T) {
				h, all := told(c.statuses...)
				r.deploy(c.name, h)
				got := r.ends(r.accept("/async/"+c.name, "x"), c.state)
				assert.Equal(t, c.tried, got.GetTried())
				assert.Len(t, all, int(c.tried))
				for n := range c.tried {
					assert.Equal(t, fmt.Sprint(n+1), next(t, all).header.Get("X-Ryo-Attempt"))
				}
				if c.state == dead {
					assert.Contains(t, got.GetError(), fmt.Sprint(c.statuses[0]))
				}
			})
		}
	})
}

func TestAFunctionSaysWhenItIsTriedAgain(t *testing.T) {
	r := newRig(t, storetest.New(), func(c *Config) { c.Backoff = time.Hour })
	var n atomic.Int32
	r.deploy("Hello", func(w http.ResponseWriter, _ *http.Request) {
		if n.Add(1) == 1 {
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	begin := time.Now()
	c := r.ends(r.accept("/async/hello", ""), done)
	assert.GreaterOrEqual(t, time.Since(begin), time.Second)
	assert.EqualValues(t, 2, c.GetTried())
}

func TestRetryAfterIsASecondsOrATime(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for text, want := range map[string]time.Duration{
		"": 0, "7": 7 * time.Second, "-7": 0, "soon": 0, "1.5": 0, "99999999999999999999": 0,
		"Fri, 02 Jan 2026 03:04:35 GMT": 30 * time.Second, "Fri, 02 Jan 2025 03:04:35 GMT": 0,
	} {
		assert.Equal(t, want, retryAfter(http.Header{"Retry-After": {text}}, now), text)
	}
}

func TestBackoffDoublesUpToALimit(t *testing.T) {
	q := &Queue{Config: Config{Backoff: time.Second}}
	for failures, want := range map[int]time.Duration{1: time.Second, 2: 2 * time.Second, 4: 8 * time.Second, 30: lastBackoff, 1000: lastBackoff} {
		for range 100 {
			assert.InDelta(t, want.Seconds(), q.backoff(failures).Seconds(), want.Seconds()/5+1e-6)
		}
	}
}

func TestAFunctionThatCannotBeReachedIsNotTried(t *testing.T) {
	stores(t, func(t *testing.T, s store.Store) {
		r := newRig(t, s)
		l := httptest.NewServer(http.NotFoundHandler())
		gone := l.Listener.Addr().String()
		l.Close()
		r.route("Hello", gone, retries(0))
		id := r.accept("/async/hello", "x")
		require.Eventually(t, func() bool { return r.call(id, "").GetError() != "" }, patience, 5*time.Millisecond)
		assert.Equal(t, queued, r.call(id, "").GetState())
		r.remove("Hello")
		h, _ := told()
		r.deploy("Hello", h, retries(0))
		c := r.ends(id, done)
		assert.EqualValues(t, 1, c.GetTried())
		assert.Empty(t, c.GetError())
	})
}

func TestCallsWaitWhileTheirFunctionIsAway(t *testing.T) {
	r := newRig(t, storetest.New())
	h, all := told()
	r.deploy("Hello", h)
	r.ends(r.accept("/async/hello", "warm"), done)
	next(t, all)
	r.remove("Hello")
	i := id{path: "hello", nonce: newNonce()}
	req := &request{Path: "hello", Segment: "hello", Method: http.MethodGet, Nonce: i.nonce[:], Accepted: time.Now(), Age: time.Hour}
	i, _, err := r.queue.publish(t.Context(), req, nil, "")
	require.NoError(t, err)
	assert.Equal(t, queued, r.call(i.String(), "?wait=200ms").GetState())
	r.deploy("Hello", h)
	r.ends(i.String(), done)
}

func TestOldCallsAreDead(t *testing.T) {
	r := newRig(t, storetest.New())
	r.deploy("Hello", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) }, retries(20), func(row *proto.FunctionJsonRsp) { row.MaxAge = "1s" })
	c := r.ends(r.accept("/async/hello", ""), dead)
	assert.Contains(t, c.GetError(), "older than 1s")
	assert.Contains(t, c.GetError(), "answered 500")
}

func TestAnAnswerThatIsCutOffIsAFailure(t *testing.T) {
	r := newRig(t, storetest.New())
	var n atomic.Int32
	r.deploy("Hello", func(w http.ResponseWriter, _ *http.Request) {
		if n.Add(1) > 1 {
			return
		}
		_, _ = io.WriteString(w, strings.Repeat("x", 100<<10))
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	})
	c := r.ends(r.accept("/async/hello", ""), done)
	assert.EqualValues(t, 2, c.GetTried())
	assert.NotEmpty(t, c.GetAttempts()[0].GetError())
	assert.EqualValues(t, 0, c.GetSize())
}

func TestATimeLimitHolds(t *testing.T) {
	r := newRig(t, storetest.New())
	r.deploy("Hello", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, retries(0), func(row *proto.FunctionJsonRsp) { row.Timeout = "100ms" })
	c := r.ends(r.accept("/async/hello", ""), dead)
	assert.Contains(t, c.GetError(), "did not answer within its limit of 100ms")
}

// blocked is a function whose calls last until they are canceled or released.
func blocked() (h http.HandlerFunc, entered chan string, release chan struct{}, canceled chan string) {
	entered, release, canceled = make(chan string, 100), make(chan struct{}), make(chan string, 100)
	return func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // before that, a server does not notice that the caller is gone
		entered <- r.Header.Get("X-Ryo-Call-Id")
		select {
		case <-release:
		case <-r.Context().Done():
			canceled <- r.Header.Get("X-Ryo-Call-Id")
		}
	}, entered, release, canceled
}

// one is the setting concurrency 1.
func one(row *proto.FunctionJsonRsp) {
	row.Serving = []*proto.Serving{{Version: 1, Weight: 100, Proxy: row.GetProxy(), Instances: 1, Concurrency: 1}}
}

func TestCallsAreCanceled(t *testing.T) {
	stores(t, func(t *testing.T, s store.Store) {
		r := newRig(t, s)
		h, entered, release, ended := blocked()
		r.deploy("Hello", h, one)
		first, second := r.accept("/async/hello", "1"), r.accept("/async/hello", "2")
		delayed := r.accept("/async/hello", "3", delayHeader, "1h")
		assert.Equal(t, first, <-entered)
		r.until(first, running)
		assert.Equal(t, queued, r.call(second, "").GetState())
		assert.Equal(t, "delayed", r.call(delayed, "").GetState())
		for _, id := range []string{second, delayed, first} {
			res := r.send(http.MethodDelete, r.base+CallsPath+id, http.NoBody)
			assert.Equal(t, http.StatusOK, res.StatusCode, textOf(t, res))
			assert.Equal(t, canceled, r.call(id, "").GetState())
		}
		assert.Equal(t, first, <-ended)
		last := r.accept("/async/hello", "4")
		assert.Equal(t, last, <-entered, "the second was never made")
		close(release)
		r.ends(last, done)
		res := r.send(http.MethodDelete, r.base+CallsPath+last, http.NoBody)
		assert.Equal(t, http.StatusConflict, res.StatusCode, textOf(t, res))
		assert.Equal(t, canceled, r.call(first, "").GetState(), "what came afterwards changes nothing")
		require.Eventually(t, func() bool { n, err := s.Queue().Pending(t.Context(), "calls/hello"); return err == nil && n == 0 }, patience, 5*time.Millisecond)
	})
}

func TestACallCanceledByAnotherProxyEnds(t *testing.T) {
	s := storetest.New()
	r, other := newRig(t, s), newRig(t, s)
	h, entered, _, ended := blocked()
	r.deploy("Hello", h)
	id := r.accept("/async/hello", "")
	<-entered
	_, err := other.queue.CancelCall(t.Context(), id)
	require.NoError(t, err)
	assert.Equal(t, id, <-ended)
}

func TestACallIsDelayed(t *testing.T) {
	r := newRig(t, storetest.New())
	h, _ := told()
	r.deploy("Hello", h)
	begin := time.Now()
	id := r.accept("/async/hello", "", delayHeader, "1s")
	c := r.call(id, "")
	assert.Equal(t, delayed, c.GetState())
	assert.NotEmpty(t, c.GetNotBefore())
	r.ends(id, done)
	assert.GreaterOrEqual(t, time.Since(begin), time.Second)
}

func TestAKeyNamesOneCall(t *testing.T) {
	stores(t, func(t *testing.T, s store.Store) {
		r := newRig(t, s)
		h, all := told()
		r.deploy("Hello", h)
		id := r.accept("/async/hello?a", "x", idempotencyKey, "k")
		r.ends(id, done)
		for range 3 {
			res := r.send(http.MethodPost, r.base+"/async/hello?a", strings.NewReader("x"), idempotencyKey, "k")
			assert.Contains(t, textOf(t, res), `"id":"`+id+`"`)
			assert.Equal(t, "true", res.Header.Get("Idempotent-Replayed"))
		}
		res := r.send(http.MethodPost, r.base+"/async/hello?a", strings.NewReader("y"), idempotencyKey, "k")
		assert.Equal(t, http.StatusConflict, res.StatusCode, textOf(t, res))
		assert.NotEqual(t, id, r.accept("/async/hello?a", "x", idempotencyKey, "other"))
		next(t, all)
		next(t, all)
		assert.Empty(t, all)
	})
}

func TestAKeySentManyTimesAtOnceNamesOneCall(t *testing.T) {
	r := newRig(t, storetest.New())
	h, all := told()
	r.deploy("Hello", h)
	ids := make([]string, 20)
	var sending sync.WaitGroup
	for i := range ids {
		sending.Go(func() { ids[i] = r.accept("/async/hello", string(bytesOf(300<<10)), idempotencyKey, "k") })
	}
	sending.Wait()
	for _, id := range ids {
		assert.Equal(t, ids[0], id)
	}
	r.ends(ids[0], done)
	next(t, all)
	assert.Empty(t, all)
	require.Eventually(t, func() bool {
		list, err := r.store.Blobs().List(t.Context(), payloads)
		return err == nil && len(list) == 0
	}, patience, 5*time.Millisecond)
}

func TestLargeBodiesAreStoredByThemselves(t *testing.T) {
	stores(t, func(t *testing.T, s store.Store) {
		r := newRig(t, s)
		large := bytesOf(1 << 20)
		r.deploy("Echo", func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			w.Header().Set("Content-Type", "application/x-own")
			_, _ = w.Write(body)
		})
		id := r.accept("/async/echo", string(large))
		c := r.ends(id, done)
		assert.Empty(t, c.GetBody())
		assert.EqualValues(t, len(large), c.GetSize())
		res := r.send(http.MethodGet, r.base+c.GetResult(), http.NoBody)
		assert.Equal(t, "application/x-own", res.Header.Get("Content-Type"))
		assert.Equal(t, string(large), textOf(t, res))
		require.Eventually(t, func() bool { list, err := s.Blobs().List(t.Context(), payloads); return err == nil && len(list) == 0 }, patience, 5*time.Millisecond)

		r.queue.sweepOnce(t.Context(), time.Now().Add(26*time.Hour))
		res = r.send(http.MethodGet, r.base+c.GetResult(), http.NoBody)
		assert.Equal(t, http.StatusNotFound, res.StatusCode, textOf(t, res))
	})
}

func TestBytesThatAreNoTextAreTold(t *testing.T) {
	r := newRig(t, storetest.New())
	r.deploy("Hello", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte{0xff, 0}) })
	c := r.ends(r.accept("/async/hello", ""), done)
	assert.Empty(t, c.GetBody())
	assert.Equal(t, []byte{0xff, 0}, c.GetBodyBase64())
}

func TestDeadCallsAreListedRedrivenAndPurged(t *testing.T) {
	stores(t, func(t *testing.T, s store.Store) {
		r := newRig(t, s)
		h, _ := told(400, 400, 400)
		r.deploy("Hello", h)
		var ids []string
		for n := range 3 {
			ids = append(ids, r.accept("/async/hello", fmt.Sprint("body ", n)))
			assert.Equal(t, fmt.Sprint("body ", n), r.ends(ids[n], dead).GetRequest())
		}
		deadOnes := func() (all []string) {
			list, err := r.queue.Calls(t.Context(), &proto.CallsRequest{Function: "Hello", State: dead})
			require.NoError(t, err)
			for _, c := range list {
				all = append([]string{c.GetId()}, all...)
			}
			return all
		}
		require.Eventually(t, func() bool { return len(deadOnes()) == 3 }, patience, 5*time.Millisecond)
		assert.Equal(t, ids, deadOnes())
		n, err := r.queue.RedriveCalls(t.Context(), &proto.DeadCalls{Id: ids[1]})
		require.NoError(t, err)
		assert.Equal(t, 1, n)
		c := r.ends(ids[1], done)
		assert.Equal(t, "saw body 1", c.GetBody())
		assert.EqualValues(t, 2, c.GetTried(), "the attempt before counts")
		_, err = r.queue.RedriveCalls(t.Context(), &proto.DeadCalls{Id: ids[1]})
		require.ErrorIs(t, err, proto.ErrNotFound)
		n, err = r.queue.PurgeCalls(t.Context(), &proto.DeadCalls{Function: "other"})
		require.NoError(t, err)
		assert.Zero(t, n)
		n, err = r.queue.PurgeCalls(t.Context(), &proto.DeadCalls{Id: ids[0]})
		require.NoError(t, err)
		assert.Equal(t, 1, n)
		n, err = r.queue.RedriveCalls(t.Context(), &proto.DeadCalls{})
		require.NoError(t, err)
		assert.Equal(t, 1, n)
		r.ends(ids[2], done)
		letters, err := s.Registry(store.Dead).List(t.Context(), "")
		require.NoError(t, err)
		assert.Empty(t, letters)
	})
}

func TestADeadCallThatDiesAgainIsDeadAgain(t *testing.T) {
	r := newRig(t, storetest.New())
	h, _ := told(400, 400)
	r.deploy("Hello", h)
	id := r.accept("/async/hello", "x")
	for round := range 2 {
		r.ends(id, dead)
		require.Eventually(t, func() bool {
			n, err := r.queue.RedriveCalls(t.Context(), &proto.DeadCalls{Id: id})
			return err == nil && n == 1
		}, patience, 5*time.Millisecond, round)
	}
	assert.EqualValues(t, 3, r.ends(id, done).GetTried())
}

func TestAFunctionIsCalledAfterAnother(t *testing.T) {
	r := newRig(t, storetest.New())
	last, lastSaw := told()
	failed, failedSaw := told()
	r.deploy("Last", last)
	r.deploy("Failed", failed)
	chain := func(row *proto.FunctionJsonRsp) { row.OnSuccess, row.OnFailure = "Last", "Failed" }
	r.deploy("Good", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/x-own")
		_, _ = io.WriteString(w, "result")
	}, chain)
	r.deploy("Large", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(bytesOf(300 << 10)) }, chain)
	bad, _ := told(400)
	r.deploy("Bad", bad, chain)

	r.accept("/async/good", "")
	saw := next(t, lastSaw)
	assert.Equal(t, []string{"POST", "/last", "result", "text/x-own", "1"}, []string{saw.method, saw.target, saw.body, saw.header.Get("Content-Type"), saw.header.Get("X-Ryo-Depth")})
	r.accept("/async/large", "")
	assert.Equal(t, string(bytesOf(300<<10)), next(t, lastSaw).body)
	id := r.accept("/async/bad", "input")
	saw = next(t, failedSaw)
	var about map[string]any
	require.NoError(t, json.Unmarshal([]byte(saw.body), &about))
	assert.Equal(t, []any{id, "dead", "Bad", "input"}, []any{about["id"], about["state"], about["function"], about["request"]})
	assert.Empty(t, lastSaw)
}

func TestACircleOfFunctionsEnds(t *testing.T) {
	r := newRig(t, storetest.New())
	var n atomic.Int32
	count := func(http.ResponseWriter, *http.Request) { n.Add(1) }
	r.deploy("Ping", count, func(row *proto.FunctionJsonRsp) { row.OnSuccess = "Pong" })
	r.deploy("Pong", count, func(row *proto.FunctionJsonRsp) { row.OnSuccess = "Ping" })
	r.accept("/async/ping", "")
	require.Eventually(t, func() bool { return n.Load() == maxDepth+1 }, patience, 5*time.Millisecond)
	require.Eventually(t, func() bool {
		list, err := r.queue.Calls(t.Context(), &proto.CallsRequest{State: done})
		return err == nil && len(list) == maxDepth+1
	}, patience, 5*time.Millisecond)
	for _, path := range []string{"calls/ping", "calls/pong"} {
		require.Eventually(t, func() bool { n, err := r.store.Queue().Pending(t.Context(), path); return err == nil && n == 0 }, patience, 5*time.Millisecond)
	}
	assert.EqualValues(t, maxDepth+1, n.Load())
}

func TestACallbackIsToldTheEnd(t *testing.T) {
	stores(t, func(t *testing.T, s store.Store) {
		r := newRig(t, s)
		h, _ := told()
		r.deploy("Hello", h)
		receiver, saw := told(500, 302)
		to := httptest.NewServer(receiver)
		defer to.Close()
		id := r.accept("/async/hello", "x", callbackHeader, to.URL+"/done?x=1")
		r.ends(id, done)
		for range 2 {
			next(t, saw)
		}
		got := next(t, saw)
		assert.Equal(t, []string{"POST", "/done?x=1", "application/json", id}, []string{got.method, got.target, got.header.Get("Content-Type"), got.header.Get("Webhook-Id")})
		secret, err := r.queue.CallbackSecret(t.Context())
		require.NoError(t, err)
		key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret, "whsec_"))
		require.NoError(t, err)
		var stamp int64
		_, err = fmt.Sscan(got.header.Get("Webhook-Timestamp"), &stamp)
		require.NoError(t, err)
		assert.WithinDuration(t, time.Now(), time.Unix(stamp, 0), time.Minute)
		want := http.Header{}
		sign(want, key, id, time.Unix(stamp, 0), []byte(got.body))
		assert.Equal(t, want.Get("Webhook-Signature"), got.header.Get("Webhook-Signature"))
		assert.Contains(t, got.body, `"body":"saw x"`)
		require.Eventually(t, func() bool { return r.call(id, "").GetCallback().GetState() == "done" }, patience, 5*time.Millisecond)
		assert.EqualValues(t, 3, r.call(id, "").GetCallback().GetTried())
	})
}

// The example of the specification of Standard Webhooks.
func TestCallbacksAreSignedAsTheStandardSays(t *testing.T) {
	key, err := base64.StdEncoding.DecodeString("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
	require.NoError(t, err)
	h := http.Header{}
	sign(h, key, "msg_p5jXN8AQM9LWM0D4loKWxJek", time.Unix(1614265330, 0), []byte(`{"test": 2432232314}`))
	assert.Equal(t, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=", h.Get("Webhook-Signature"))
}

func TestCallbacksGoToTheInternetAlone(t *testing.T) {
	q := New(Config{Store: storetest.New(), Callbacks: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16")}})
	for text, want := range map[string]bool{
		"8.8.8.8": true, "2606:4700::1111": true, "10.1.2.3": true, "::ffff:10.1.2.3": true,
		"10.2.2.3": false, "127.0.0.1": false, "127.1.2.3": false, "::1": false, "::ffff:127.0.0.1": false, "192.168.1.1": false, "172.16.0.1": false,
		"169.254.169.254": false, "fe80::1": false, "fe80::1%eth0": false, "fd00::1": false, "0.0.0.0": false, "::": false, "100.64.1.1": false, "224.0.0.1": false,
		"255.255.255.255": false, "64:ff9b::7f00:1": false, "2002:7f00:1::": false, "::7f00:1": false, "198.18.0.1": false, "0.1.2.3": false,
	} {
		assert.Equal(t, want, q.reachable(netip.MustParseAddr(text)), text)
	}
}

func TestACallbackIsJudgedWhenItIsDialed(t *testing.T) {
	r := newRig(t, storetest.New(), func(c *Config) { c.Callbacks = nil })
	h, _ := told()
	r.deploy("Hello", h)
	receiver, saw := told()
	to := httptest.NewServer(receiver)
	defer to.Close()
	_, port, _ := strings.Cut(strings.TrimPrefix(to.URL, "http://"), ":")
	id := r.accept("/async/hello", "x", callbackHeader, "http://localhost:"+port)
	require.Eventually(t, func() bool { return r.call(id, "").GetCallback().GetState() == failed }, patience, 5*time.Millisecond)
	assert.Equal(t, "callbacks to the address of the receiver are not allowed", r.call(id, "").GetCallback().GetError(), "and not which it is")
	assert.Empty(t, saw)
}

func TestACallIsMadeAgainByTheNextProxy(t *testing.T) {
	s := storetest.New()
	r := newRig(t, s)
	h, entered, _, _ := blocked()
	r.deploy("Hello", h, retries(0))
	id := r.accept("/async/hello", "x")
	<-entered
	go r.stop()
	other := newRig(t, s)
	h, entered, release, _ := blocked()
	other.deploy("Hello", h, retries(0))
	assert.Equal(t, id, <-entered)
	close(release)
	c := other.ends(id, done)
	assert.EqualValues(t, 2, c.GetTried())
	assert.Contains(t, c.GetAttempts()[0].GetError(), "stopped")
}

// A proxy that was killed has left a record that says running.
func TestAnAttemptThatEndedWithItsProxyIsNoFailureOfTheFunction(t *testing.T) {
	s := storetest.New()
	r := newRig(t, s)
	i := id{path: "hello", nonce: newNonce()}
	req := &request{ID: i.String(), Path: "hello", Segment: "hello", Method: http.MethodGet, Nonce: i.nonce[:], Accepted: time.Now(), Age: time.Hour}
	rec := newRecord(i, req)
	rec.began(7, time.Now())
	require.NoError(t, r.queue.save(t.Context(), rec))
	_, _, err := r.queue.publish(t.Context(), req, nil, "")
	require.NoError(t, err)
	h, saw := told()
	r.deploy("Hello", h, retries(0))
	c := r.ends(i.String(), done)
	assert.Equal(t, "2", next(t, saw).header.Get("X-Ryo-Attempt"))
	assert.Contains(t, c.GetAttempts()[0].GetError(), "the proxy that made it ended")

	rec = newRecord(id{path: "hello", nonce: newNonce()}, req)
	for range maxLost {
		rec.began(7, time.Now())
	}
	rec.Lost = maxLost
	require.NoError(t, r.queue.save(t.Context(), rec))
	req.ID = rec.ID
	i, err = parseID(rec.ID)
	require.NoError(t, err)
	req.Nonce = i.nonce[:]
	_, _, err = r.queue.publish(t.Context(), req, nil, "")
	require.NoError(t, err)
	assert.Contains(t, r.ends(rec.ID, dead).GetError(), "have ended 10 times")
	assert.Empty(t, saw)
}

func TestAFunctionGetsAsManyCallsAtOnceAsItServes(t *testing.T) {
	r := newRig(t, storetest.New())
	var now, most atomic.Int32
	r.deploy("Hello", func(http.ResponseWriter, *http.Request) {
		n := now.Add(1)
		for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
		}
		<-time.After(2 * time.Millisecond)
		now.Add(-1)
	}, func(row *proto.FunctionJsonRsp) {
		one(row)
		row.Serving[0].Concurrency = 2
		row.QueueTimeout = "0"
	})
	var ids []string
	for range 50 {
		ids = append(ids, r.accept("/async/hello", ""))
	}
	for _, id := range ids {
		assert.EqualValues(t, 1, r.ends(id, done).GetTried())
	}
	assert.LessOrEqual(t, most.Load(), int32(2))
}

func TestABurstOfOneFunctionLeavesOthersAlone(t *testing.T) {
	r := newRig(t, storetest.New())
	h, _, release, _ := blocked()
	r.deploy("Busy", h, one)
	calm, _ := told()
	r.deploy("Calm", calm)
	for range 90 {
		r.accept("/async/busy", "")
	}
	for range 20 {
		r.ends(r.accept("/async/calm", ""), done) // while those of the other wait
	}
	close(release)
}

func TestWhoMaySeeACall(t *testing.T) {
	r := newRig(t, storetest.New())
	h, _ := told()
	r.deploy("Open", h, func(row *proto.FunctionJsonRsp) { row.Auth = proto.AuthPublic })
	r.deploy("Private", h)
	res := r.send(http.MethodPost, r.public+"/async/open", http.NoBody)
	require.Equal(t, http.StatusAccepted, res.StatusCode, textOf(t, res))
	at := res.Header.Get("Location")
	res = r.send(http.MethodGet, r.public+at+"?wait=10s", http.NoBody)
	assert.Contains(t, textOf(t, res), `"state":"done"`)
	res = r.send(http.MethodGet, r.public+ResultsPath+strings.TrimPrefix(at, CallsPath), http.NoBody)
	assert.Equal(t, "saw ", textOf(t, res))
	private := r.accept("/async/private", "")
	r.ends(private, done)
	for _, c := range []struct{ method, path string }{
		{http.MethodPost, "/async/private"}, {http.MethodGet, CallsPath + private}, {http.MethodGet, ResultsPath + private}, {http.MethodDelete, CallsPath + private},
		{http.MethodGet, "/calls"}, {http.MethodPost, "/dead/purge"},
	} {
		res := r.send(c.method, r.public+c.path, http.NoBody)
		assert.Equal(t, http.StatusNotFound, res.StatusCode, "%s %s: %s", c.method, c.path, textOf(t, res))
	}
	for _, path := range []string{CallsPath + "c_x", CallsPath, CallsPath + id{path: "open", sequence: 1, nonce: newNonce()}.String()} {
		res := r.send(http.MethodGet, r.base+path, http.NoBody)
		assert.Equal(t, http.StatusNotFound, res.StatusCode, "%s: %s", path, textOf(t, res))
	}
}

// Who may call no function is not even told that there is no such call.
func TestNobodyIsToldOfCallsWhoMayCallNothing(t *testing.T) {
	r := newRig(t, storetest.New(), func(cfg *Config) {
		cfg.Admit = func(_ *http.Request, _ string, public bool) error {
			if public {
				return nil
			}
			return proto.Errorf(proto.ErrUnauthenticated, "send a token")
		}
	})
	for _, path := range []string{"", "x", "c_x", id{path: "gone", sequence: 1, nonce: newNonce()}.String()} {
		for _, prefix := range []string{CallsPath, ResultsPath} {
			res := r.send(http.MethodGet, r.base+prefix+path, http.NoBody)
			assert.Equal(t, http.StatusUnauthorized, res.StatusCode, "%s%s: %s", prefix, path, textOf(t, res))
		}
	}
}

func TestMetricsTellOfCallsThatWait(t *testing.T) {
	r := newRig(t, storetest.New())
	h, entered, release, _ := blocked()
	r.deploy("Hello", h, one)
	bad, _ := told(500, 404)
	r.deploy("Bad", bad)
	first, second := r.accept("/async/hello", ""), r.accept("/async/hello", "")
	r.ends(r.accept("/async/bad", ""), dead)
	<-entered
	text := textOf(t, r.send(http.MethodGet, r.base+"/metrics", http.NoBody))
	for _, line := range []string{
		`ryo_async_waiting{function="Hello"} 2`, `ryo_async_running{function="Hello"} 1`, `ryo_async_attempts_total{function="Bad",result="failed"} 2`,
		`ryo_async_dead_total{function="Bad"} 1`,
	} {
		assert.Contains(t, text, line+"\n")
	}
	close(release)
	r.ends(first, done)
	r.ends(second, done)
}

func TestListsAreBounded(t *testing.T) {
	r := newRig(t, storetest.New())
	h, _, release, _ := blocked()
	r.deploy("Hello", h, one)
	var ids []string
	for range 5 {
		ids = append(ids, r.accept("/async/hello", ""))
	}
	r.until(ids[0], running)
	list, err := r.queue.Calls(t.Context(), &proto.CallsRequest{Function: "Hello", Limit: 3})
	require.NoError(t, err)
	assert.Len(t, list, 3)
	list, err = r.queue.Calls(t.Context(), &proto.CallsRequest{State: queued})
	require.NoError(t, err)
	assert.Len(t, list, 4)
	for _, bad := range []*proto.CallsRequest{{Limit: 1001}, {State: "lost"}, {Function: "a b"}} {
		_, err := r.queue.Calls(t.Context(), bad)
		require.ErrorIs(t, err, proto.ErrInvalid)
	}
	close(release)
}

func TestAnAnswerIsKeptUpToALimit(t *testing.T) {
	s := storetest.New()
	a := &answer{ctx: t.Context(), blobs: s.Blobs(), name: "res/a/b", header: http.Header{"X": {strings.Repeat("x", maxHeader+1)}, "Y": {"y"}, "Connection": {"close"}}}
	a.WriteHeader(100)
	for range MaxBody/(1<<20) + 1 {
		n, err := a.Write(bytesOf(1 << 20))
		require.NoError(t, err)
		assert.Equal(t, 1<<20, n)
	}
	require.ErrorIs(t, a.close(nil), errAnswerSize)
	assert.Equal(t, http.StatusOK, a.status)
	assert.Empty(t, a.kept["X"])
	list, err := s.Blobs().List(t.Context(), "")
	require.NoError(t, err)
	assert.Empty(t, list)
}

func TestHeadersOfTheConnectionAreNotKept(t *testing.T) {
	got := kept(http.Header{
		"Connection": {"X-Mine, close"}, "X-Mine": {"1"}, "Te": {"trailers"}, "Accept-Encoding": {"gzip"}, "Prefer": {"respond-async"}, "X-Forwarded-For": {"1.2.3.4"},
		"X-Ryo-Call-Id": {"c_1"}, "X-Ryo-Delay": {"1s"}, "Content-Length": {"5"}, "Upgrade": {"websocket"}, "Content-Type": {"a/b"}, "Authorization": {"Basic x"},
	})
	assert.Equal(t, http.Header{"Content-Type": {"a/b"}, "Authorization": {"Basic x"}}, got)
}

func FuzzID(f *testing.F) {
	f.Add(id{path: "hello", sequence: 7, nonce: newNonce()}.String())
	f.Add(id{path: "ß_é", nonce: newNonce()}.String())
	f.Add("c_")
	f.Add("c_AAAAAAAAAAAAAAAA")
	f.Fuzz(func(t *testing.T, text string) {
		i, err := parseID(text)
		if err != nil {
			require.ErrorIs(t, err, proto.ErrNotFound)
			return
		}
		assert.Equal(t, text, i.String())
		require.NoError(t, store.CheckKey(i.key()))
	})
}

func FuzzDecode(f *testing.F) {
	nonce := newNonce()
	good, err := (&request{Path: "hello", Segment: "hello", Method: "GET", Nonce: nonce[:]}).encode([]byte("body"))
	require.NoError(f, err)
	f.Add(good)
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1})
	f.Add([]byte("\x02{}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, body, err := decode(data)
		if err != nil {
			require.ErrorIs(t, err, proto.ErrInvalid)
			return
		}
		assert.True(t, bytes.HasSuffix(data, body))
		_, err = parseID(r.id(1).String())
		require.NoError(t, err)
	})
}

func FuzzOrder(f *testing.F) {
	f.Add("1s", "https://example.com", "key", "1", "respond-async")
	f.Add("-1h", "", "", "65536", "wait=1;x, respond-async;y=2")
	f.Fuzz(func(t *testing.T, delay, callback, key, depth, prefer string) {
		h := http.Header{delayHeader: {delay}, callbackHeader: {callback}, idempotencyKey: {key}, "X-Ryo-Depth": {depth}, "Prefer": {prefer}}
		_ = Prefers(h)
		o, err := orderOf(h)
		if err != nil {
			return
		}
		assert.True(t, o.delay >= 0 && o.delay <= maxDelay && o.depth <= maxDepth && len(o.key) <= maxKey)
		q := &Queue{}
		_ = q.checkURL(callbackHeader, callback)
	})
}

func BenchmarkAccept(b *testing.B) {
	r := newRig(b, engine(b))
	h, _, release, _ := blocked()
	r.deploy("Hello", h, one)
	b.SetParallelism(16) // callers of each processor
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			r.accept("/async/hello", "x")
		}
	})
	b.StopTimer()
	close(release)
	for {
		list, err := r.store.Queue().Topics(context.Background(), "")
		require.NoError(b, err)
		if len(list) == 0 {
			return
		}
		for _, topic := range list {
			_, _ = r.store.Queue().Purge(context.Background(), topic)
		}
	}
}
