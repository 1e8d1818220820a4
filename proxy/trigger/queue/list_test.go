package queue

import (
	"net/http"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/proxy/store"
	"github.com/Ishan27g/ryo-faas/proxy/store/storetest"
)

// pages returns the ids of all calls, so many at a time.
func (r *rig) pages(req *proto.CallsRequest) (ids []string) {
	r.t.Helper()
	for {
		list, err := r.queue.Calls(r.t.Context(), req)
		require.NoError(r.t, err)
		assert.LessOrEqual(r.t, len(list), int(req.GetLimit()))
		for _, c := range list {
			ids = append(ids, c.GetId())
		}
		if len(list) < int(req.GetLimit()) {
			return ids
		}
		req.After = ids[len(ids)-1]
	}
}

func TestListsHaveTheNewestFirst(t *testing.T) {
	stores(t, func(t *testing.T, s store.Store) {
		r := newRig(t, s)
		entered, release := make(chan struct{}), make(chan struct{})
		enter := sync.OnceFunc(func() { close(entered) })
		r.deploy("Hello", func(http.ResponseWriter, *http.Request) {
			enter()
			<-release
		}, one)
		var want []string
		for i := range stretch + 60 {
			// What is important is not in the order in which it came.
			want = append(want, r.accept("/async/hello", "", "X-Ryo-Priority", priorities[i%3]))
			if i == 0 {
				<-entered
			}
			if i%10 == 0 { // the messages of one function are rarely beside each other
				r.accept("/async/hello", "", "X-Ryo-Delay", "1h")
				want = append(want, r.pages(&proto.CallsRequest{State: delayed, Limit: 1000})[0])
			}
		}
		slices.Reverse(want)
		assert.Equal(t, want, r.pages(&proto.CallsRequest{Limit: 1000}), "at once")
		assert.Equal(t, want, r.pages(&proto.CallsRequest{Limit: 37}), "by pages")
		assert.Equal(t, want, r.pages(&proto.CallsRequest{Function: "Hello", Limit: 100}), "of the function")
		assert.Empty(t, r.pages(&proto.CallsRequest{Function: "Other", Limit: 10}))
		list, err := r.queue.Calls(t.Context(), &proto.CallsRequest{State: queued, Limit: 5})
		require.NoError(t, err)
		require.Len(t, list, 5)
		assert.Contains(t, want[:8], list[0].GetId())
		_, err = r.queue.Calls(t.Context(), &proto.CallsRequest{After: "c_x"})
		require.ErrorIs(t, err, proto.ErrNotFound)
		for _, topic := range topicsOf("hello") {
			_, err := s.Queue().Purge(t.Context(), topic)
			require.NoError(t, err)
		}
		close(release)
	})
}

func TestAHistoryOutlivesARedrive(t *testing.T) {
	r := newRig(t, storetest.New())
	h, all := told(http.StatusBadRequest, http.StatusInternalServerError)
	r.deploy("Hello", h)
	id := r.accept("/async/hello", "", "X-Request-Id", "abc", "X-Ryo-Priority", low)
	first := r.ends(id, dead)
	assert.Equal(t, "abc", next(t, all).header.Get("X-Request-Id"))
	_, err := r.queue.RedriveCalls(t.Context(), &proto.DeadCalls{Id: id})
	require.NoError(t, err)
	c := r.ends(id, done)
	assert.Equal(t, []string{"abc", low, first.GetAccepted(), first.GetStarted()}, []string{c.GetRequestId(), c.GetPriority(), c.GetAccepted(), c.GetStarted()})
	assert.EqualValues(t, 1, c.GetRedriven())
	require.Len(t, c.GetAttempts(), 3)
	for i, status := range []uint32{400, 500, 200} {
		assert.Equal(t, status, c.GetAttempts()[i].GetStatus())
		assert.NotEmpty(t, c.GetAttempts()[i].GetTime())
	}
}

// However a call ends, its body is not kept.
func TestNoBodyOfACallIsLeftBehind(t *testing.T) {
	stores(t, func(t *testing.T, s store.Store) {
		r := newRig(t, s)
		h, _ := told(http.StatusBadRequest)
		r.deploy("Bad", h)
		h, _ = told()
		r.deploy("Good", h)
		h, entered, release, _ := blocked()
		r.deploy("Slow", h, one)
		large := string(bytesOf(2 * inline))
		r.ends(r.accept("/async/good", large), done)
		dies := r.accept("/async/bad", large)
		r.ends(dies, dead)
		waits := r.accept("/async/good", large, "X-Ryo-Delay", "1h")
		runs := r.accept("/async/slow", large)
		<-entered
		stands := r.accept("/async/slow", large)
		assert.Len(t, r.bodies(), 4)
		for _, id := range []string{waits, runs, stands} {
			_, err := r.queue.CancelCall(t.Context(), id)
			require.NoError(t, err)
		}
		n, err := r.queue.PurgeCalls(t.Context(), &proto.DeadCalls{})
		require.NoError(t, err)
		assert.Equal(t, 1, n)
		require.Eventually(t, func() bool { return len(r.bodies()) == 0 }, patience, time.Millisecond)
		_, err = r.queue.Call(t.Context(), dies, 0)
		require.ErrorIs(t, err, proto.ErrNotFound, "it was purged")
		assert.Empty(t, r.pages(&proto.CallsRequest{State: dead, Limit: 10}))
		close(release)
	})
}

// bodies are those that are stored by themselves.
func (r *rig) bodies() (names []string) {
	list, err := r.store.Blobs().List(r.t.Context(), payloads)
	require.NoError(r.t, err)
	for i, b := range list {
		names = append(names, strconv.Itoa(i)+" "+b.Name)
	}
	return names
}
