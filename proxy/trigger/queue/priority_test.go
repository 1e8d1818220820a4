package queue

import (
	"context"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/proxy/store"
)

// wanted begins to wait for a place, and returns what tells that it came.
func wanted(t *testing.T, p *pool, priority string, came chan<- string) {
	t.Helper()
	of := map[string]int{high: 0, normal: 1, low: 2}[priority]
	p.mu.Lock()
	before := len(p.waiting[of])
	p.mu.Unlock()
	go func() {
		if p.take(t.Context(), priority) {
			came <- priority
		}
	}()
	require.Eventually(t, func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		return len(p.waiting[of]) > before
	}, patience, time.Millisecond)
}

func TestPrioritiesHaveTheirShares(t *testing.T) {
	p := new(pool)
	p.resize(1)
	require.True(t, p.take(t.Context(), normal))
	came := make(chan string, 100)
	for range 42 {
		for _, priority := range priorities {
			wanted(t, p, priority, came)
		}
	}
	got := map[string]int{normal: 1} // the first one
	for range 41 {
		p.give()
		got[<-came]++
	}
	assert.Equal(t, map[string]int{high: 32, normal: 8, low: 2}, got)
}

func TestAPriorityDoesNotMakeUpForTheTimeInWhichNothingOfItWaited(t *testing.T) {
	p := new(pool)
	p.resize(1)
	require.True(t, p.take(t.Context(), high))
	came := make(chan string, 100)
	for range 50 { // low alone
		wanted(t, p, low, came)
		p.give()
		assert.Equal(t, low, <-came)
	}
	for range 3 {
		wanted(t, p, low, came)
		wanted(t, p, high, came)
	}
	for range 3 {
		p.give()
		assert.Equal(t, high, <-came)
	}
}

func TestAPlaceThatNobodyTakesIsGivenToTheNext(t *testing.T) {
	p := new(pool)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	assert.False(t, p.take(ctx, low), "there is none")
	p.resize(2)
	assert.True(t, p.take(t.Context(), low))
	assert.True(t, p.take(t.Context(), high))
	p.give()
	p.give()
	p.mu.Lock()
	defer p.mu.Unlock()
	assert.Zero(t, p.taken)
}

func TestImportantCallsAreMadeFirst(t *testing.T) {
	stores(t, func(t *testing.T, s store.Store) {
		r := newRig(t, s)
		entered, release := make(chan string, 100), make(chan struct{})
		r.deploy("Hello", func(_ http.ResponseWriter, req *http.Request) {
			entered <- strings.TrimPrefix(req.RequestURI, "/hello/")
			<-release
		}, one)
		ids := []string{r.accept("/async/hello/first", "")}
		assert.Equal(t, "first", <-entered)
		for _, priority := range []string{low, normal, high} {
			for i := range 3 {
				ids = append(ids, r.accept("/async/hello/"+priority+strconv.Itoa(i), "", "X-Ryo-Priority", priority))
			}
		}
		// handed waits until one of each that is left has been handed out, and waits for the
		// place.
		left := []int{3, 3, 3}
		handed := func() {
			require.Eventually(t, func() bool {
				p := r.queue.placesFor("hello")
				p.mu.Lock()
				defer p.mu.Unlock()
				for i, n := range left {
					if n > 0 && len(p.waiting[i]) == 0 {
						return false
					}
				}
				return true
			}, patience, time.Millisecond)
		}
		handed()
		assert.Equal(t, queued, r.call(ids[1], "").GetState())
		assert.Equal(t, low, r.call(ids[1], "").GetPriority())
		assert.Equal(t, normal, r.call(ids[4], "").GetPriority())
		var order []string
		for range 9 {
			handed()
			release <- struct{}{}
			is := <-entered
			left[slices.Index(priorities[:], is[:len(is)-1])]--
			order = append(order, is)
		}
		close(release)
		at := func(name string) int {
			for i, is := range order {
				if is == name {
					return i
				}
			}
			require.Fail(t, "it was not called", name)
			return 0
		}
		assert.Less(t, at("high2"), at("normal2"), order)
		assert.Less(t, at("normal2"), at("low2"), order)
		for _, id := range ids {
			assert.NotEmpty(t, r.ends(id, done).GetPriority())
		}
		res := r.send(http.MethodPost, r.base+"/async/hello", http.NoBody, "X-Ryo-Priority", "urgent")
		text := textOf(t, res)
		assert.Equal(t, http.StatusBadRequest, res.StatusCode)
		assert.Contains(t, text, "high, normal, low")
		list, err := r.queue.Calls(t.Context(), &proto.CallsRequest{Function: "Hello"})
		require.NoError(t, err)
		assert.Len(t, list, 10)
	})
}
