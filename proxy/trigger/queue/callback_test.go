package queue

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/proxy/store"
	"github.com/Ishan27g/ryo-faas/proxy/store/storetest"
)

// fixed is a store whose records cannot be changed.
type fixed struct{ store.Store }

func (f fixed) Registry(kind store.Kind) store.Registry { return unchanging{f.Store.Registry(kind)} }

type unchanging struct{ store.Registry }

func (unchanging) Update(context.Context, string, []byte, uint64) (uint64, error) {
	return 0, proto.Errorf(proto.ErrUnavailable, "the store takes no changes")
}

// A receiver that fails is not asked for ever, though its attempts cannot be counted.
func TestACallbackThatCannotBeCountedEnds(t *testing.T) {
	s := storetest.New()
	q := New(Config{Store: fixed{s}, Backoff: time.Millisecond, Callbacks: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}})
	asked := 0
	to := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked++
		w.WriteHeader(http.StatusInternalServerError)
	}))
	defer to.Close()
	i := id{path: "hello", sequence: 1, nonce: newNonce()}
	rec := newRecord(i, &request{Path: "hello", Method: http.MethodGet, Accepted: time.Now(), Callback: to.URL})
	rec.State = done
	require.NoError(t, q.save(t.Context(), rec))
	data, err := json.Marshal(job{Call: rec.ID, URL: to.URL, Body: []byte("{}"), Since: time.Now()})
	require.NoError(t, err)
	m := store.Message{Topic: callbackTopics + "/hello", Data: data}
	for round := 1; round <= callbackRounds; round++ {
		v := q.callBack(t.Context(), m, round)
		assert.Equal(t, round < callbackRounds, v.Again, round)
		if v.Again {
			assert.GreaterOrEqual(t, v.After, storePause)
		}
	}
	assert.Equal(t, callbackRounds, asked)
}

// Callers learn nothing of the network that the proxy is in.
func TestCallersAreNotToldOfTheProxysNetwork(t *testing.T) {
	lookup := &net.OpError{Op: "dial", Net: "tcp", Err: &net.DNSError{Err: "no such host", Name: "db.internal", Server: "10.255.255.53:53", IsNotFound: true}}
	dialed := &net.OpError{Op: "dial", Net: "tcp", Addr: &net.TCPAddr{IP: net.IPv4(10, 1, 2, 3), Port: 80}, Err: refusedAddress(netip.MustParseAddr("10.1.2.3"))}
	for _, err := range []error{lookup, dialed} {
		assert.NotContains(t, said(err).Error(), "10.")
	}
	require.ErrorIs(t, said(dialed), proto.ErrForbidden)
	plain := errors.New("connection reset by peer")
	assert.Equal(t, plain, said(plain))
}

func TestThePortOfACallbackIsOne(t *testing.T) {
	q := New(Config{Store: storetest.New()})
	for port, good := range map[string]bool{"": true, ":": true, ":1": true, ":65535": true, ":0": false, ":65536": false, ":99999": false} {
		assert.Equal(t, good, q.checkURL("", "https://example.com"+port+"/") == nil, port)
	}
}
