package queue

import (
	"net/http"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/proxy/store"
	"github.com/Ishan27g/ryo-faas/proxy/store/storetest"
)

func TestAnOrderOfAKeyIsOneCall(t *testing.T) {
	stores(t, func(t *testing.T, s store.Store) {
		r := newRig(t, s)
		h, all := told()
		r.deploy("Hello", h)
		o := Order{Key: "k", Function: "Hello", Header: http.Header{"X-Own": {"kept"}}, Body: []byte("body")}
		id, err := r.queue.Enqueue(t.Context(), o)
		require.NoError(t, err)
		r.ends(id, done)
		saw := next(t, all)
		assert.Equal(t, seen{http.MethodPost, "/hello", "body", saw.header}, saw)
		assert.Equal(t, []string{"kept", id}, []string{saw.header.Get("X-Own"), saw.header.Get("X-Ryo-Call-Id")})
		again, err := r.queue.Enqueue(t.Context(), o)
		require.NoError(t, err)
		assert.Equal(t, id, again, "though it has ended")

		large := Order{Key: "large", Function: "Hello", Body: bytesOf(2 * inline)}
		var ids [8]string
		var all8 sync.WaitGroup
		for i := range ids {
			all8.Go(func() {
				var err error
				ids[i], err = r.queue.Enqueue(t.Context(), large)
				assert.NoError(t, err)
			})
		}
		all8.Wait()
		for _, other := range ids {
			assert.Equal(t, ids[0], other)
		}
		r.ends(ids[0], done)
		assert.Equal(t, string(large.Body), next(t, all).body)

		// A caller's key is another one, and so is the key of another function.
		r.deploy("Other", h)
		other, err := r.queue.Enqueue(t.Context(), Order{Key: "k", Function: "Other"})
		require.NoError(t, err)
		assert.NotEqual(t, id, other)
		r.ends(other, done)
		next(t, all)
		theirs := r.accept("/async/Hello", "body", "Idempotency-Key", "k")
		assert.NotEqual(t, id, theirs)
		r.ends(theirs, done)
		next(t, all)
		assert.Empty(t, all)
	})
}

func TestAnOrderWaitsForItsFunction(t *testing.T) {
	r := newRig(t, storetest.New())
	id, err := r.queue.Enqueue(t.Context(), Order{Key: "k", Function: "Hello"})
	require.NoError(t, err)
	h, _ := told()
	r.deploy("Hello", h)
	r.ends(id, done)
	_, err = r.queue.Enqueue(t.Context(), Order{Key: "k", Function: "a/b"})
	require.ErrorIs(t, err, proto.ErrInvalid)
}
