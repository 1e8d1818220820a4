package server

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/Ishan27g/ryo-faas/internal/peercred"
	"github.com/Ishan27g/ryo-faas/internal/testkit"
)

// conn is a connection of a peer that can be closed.
type conn struct {
	net.Conn
	from   string
	closed atomic.Bool
}

func (c *conn) RemoteAddr() net.Addr {
	return &net.TCPAddr{IP: net.ParseIP(c.from), Port: 1}
}
func (c *conn) Close() error { c.closed.Store(true); return nil }

// The other ends of connections: from another machine, of our own user, and of a function
// that runs as the same.
var guest, owner, confined = &end{local: elsewhere}, surely(own), surely(function)

// surely is the other end of a connection of our own user, once it is known whose it is.
func surely(whose local) *end {
	e := &end{local: own}
	e.once.Do(func() { e.confined = whose })
	return e
}

// newShare is that of the main listener of a crowd, which has as many places.
func newShare(most int) *share {
	c := newCrowd(false, 1, hclog.NewNullLogger())
	c.divide(most, 1)
	return c.share(false)
}

// from is a connection of a peer.
func from(peer string) *conn { return &conn{from: peer} }

func TestGuestsAreFewAndLeave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShare(4 * maxGuests)
		var seats []*seat
		for range maxPerPeer {
			place := s.enter(from("192.0.2.1"), guest, false)
			require.NotNil(t, place)
			seats = append(seats, place)
		}
		assert.Nil(t, s.enter(from("192.0.2.1"), guest, false), "one peer has no more")
		last := from("192.0.2.2")
		require.NotNil(t, s.enter(last, guest, false))
		seats[0].stay()
		seats[0].stay()
		assert.NotNil(t, s.enter(from("192.0.2.1"), guest, false), "one that was let in does not count")
		assert.Nil(t, s.enter(from("192.0.2.1"), guest, false))
		seats[1].leave()
		assert.NotNil(t, s.enter(from("192.0.2.1"), guest, false))

		time.Sleep(guestLimit + time.Second) //nolint:forbidigo // of a clock that the test moves
		assert.True(t, last.closed.Load(), "a guest has a minute")
	})
}

func TestTooManyGuestsMakeRoomForOneMore(t *testing.T) {
	s := newShare(4 * maxGuests)
	first, few := from("192.0.2.0"), from("198.51.100.1")
	require.NotNil(t, s.enter(first, guest, false))
	require.NotNil(t, s.enter(few, guest, false))
	for i := range maxGuests - 2 {
		require.NotNil(t, s.enter(from(fmt.Sprintf("192.0.2.%d", i%5)), guest, false))
	}
	assert.False(t, first.closed.Load())
	require.NotNil(t, s.enter(from("203.0.113.1"), guest, false))
	assert.True(t, first.closed.Load(), "the one that has waited longest, of the peer that has most")
	assert.False(t, few.closed.Load())
	assert.Len(t, s.crowd.guests, maxGuests)
}

func TestANetworkIsOnePeerAndEachUserIsOne(t *testing.T) {
	s := newShare(8 * maxGuests)
	fill := func(peer string, e *end) {
		t.Helper()
		for range maxPerPeer {
			require.NotNil(t, s.enter(from(peer), e, false))
		}
		require.Nil(t, s.enter(from(peer), e, false))
	}
	user := func(uid int) *end { return &end{peer: peercred.Peer{UID: uid}, local: stranger} }
	fill("2001:db8::1", guest)
	assert.Nil(t, s.enter(from("2001:db8::2"), guest, false), "who has one address of a network has all of them")
	fill("127.0.0.1", user(1))
	fill("127.0.0.1", user(2))
}

// fill takes places until there are none, each for another peer, and returns how many.
func fill(s *share, e *end) (n int) {
	for s.enter(from(fmt.Sprintf("192.0.%d.%d", n>>8, n&255)), e, false) != nil {
		n++
	}
	return n
}

func TestEachListenerHasPlacesOfItsOwn(t *testing.T) {
	c := newCrowd(false, 3, hclog.NewNullLogger())
	c.divide(600, 3)
	main, public, other := c.share(false), c.share(true), c.share(true)
	assert.Equal(t, 400, fill(public, nil), "its own, and all common ones")
	assert.Equal(t, 100, fill(other, nil))
	assert.Equal(t, 100, fill(main, owner))
}

func TestPlacesAreKeptForThoseWithARight(t *testing.T) {
	s := newShare(400)
	let := 0
	for ; ; let++ { // each is let in, as callers of public functions are
		place := s.enter(from(fmt.Sprintf("192.0.%d.%d", let>>8, let&255)), guest, false)
		if place == nil {
			break
		}
		place.stay()
	}
	assert.Equal(t, 350, let)
	assert.Nil(t, s.enter(from("127.0.0.1"), confined, false), "a function of the own user has none")
	assert.Equal(t, 50, fill(s, owner))
}

func TestOnePeerDoesNotTakeAPublicListener(t *testing.T) {
	c := newCrowd(false, 1, hclog.NewNullLogger())
	c.divide(80, 1)
	s := c.share(true)
	var seats []*seat
	for range 20 {
		place := s.enter(from("192.0.2.1"), nil, false)
		require.NotNil(t, place)
		seats = append(seats, place)
	}
	assert.Nil(t, s.enter(from("192.0.2.1"), nil, false), "a quarter")
	seats[0].leave()
	assert.NotNil(t, s.enter(from("192.0.2.1"), nil, false))
	for range 60 {
		require.NotNil(t, s.enter(from("10.0.0.1"), nil, true), "a gateway that is trusted")
	}
	assert.Nil(t, s.enter(from("10.0.0.1"), nil, true))
}

// A crowd of connections that are open and not used keeps nobody out.
func TestUnusedConnectionsMakeRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCrowd(false, 1, hclog.NewNullLogger())
		c.divide(80, 1)
		s := c.share(true)
		var seats []*seat
		for i := range 80 {
			place := s.enter(from(fmt.Sprintf("192.0.2.%d", i%4)), nil, false)
			require.NotNil(t, place)
			seats = append(seats, place)
		}
		closed := func() (all []int) {
			for i, place := range seats {
				if place.conn.(*conn).closed.Load() {
					all = append(all, i)
				}
			}
			return all
		}
		comes := func(peer string) bool {
			time.Sleep(lookAgain) //nolint:forbidigo // of a clock that the test moves
			return s.enter(from(peer), nil, false) != nil
		}
		assert.False(t, comes("198.51.100.1"), "each of them may be about to send a request")
		for _, place := range seats {
			place.begin()
		}
		time.Sleep(2 * greetLimit) //nolint:forbidigo // as above
		assert.False(t, comes("198.51.100.1"), "all have requests")
		for _, place := range seats[40:] {
			place.end()
		}
		assert.False(t, comes("198.51.100.1"), "the next request may be on its way")
		time.Sleep(2 * greetLimit) //nolint:forbidigo // as above
		assert.True(t, comes("198.51.100.1"))
		require.Len(t, closed(), 1)
		seats[closed()[0]].leave() // as its connection does when it is closed
		assert.False(t, comes("192.0.2.0"), "the others have hardly more")
		assert.True(t, comes("198.51.100.1"))
		assert.True(t, comes("198.51.100.2"))
		require.Len(t, closed(), 3)
		assert.GreaterOrEqual(t, closed()[0], 40, "the first half has requests")
		assert.Equal(t, 80, s.used+c.used)
		assert.Len(t, s.callers["198.51.100.1"], 2)
	})
}

func TestConnectionsThatSendNoRequestMakeRoomForAnybody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCrowd(false, 1, hclog.NewNullLogger())
		c.divide(80, 1)
		s := c.share(true)
		assert.Equal(t, 80, fill(s, nil), "each is another peer's")
		assert.Nil(t, s.enter(from("198.51.100.1"), nil, false))
		time.Sleep(2 * greetLimit) //nolint:forbidigo // of a clock that the test moves
		assert.NotNil(t, s.enter(from("198.51.100.1"), nil, false))
		assert.Equal(t, 80, s.used+c.used)
	})
}

func TestWhereAllAreLetInNobodyIsAGuest(t *testing.T) {
	s := newCrowd(true, 1, hclog.NewNullLogger()).share(false)
	for range 2 * maxPerPeer {
		require.NotNil(t, s.enter(from("192.0.2.1"), guest, false))
	}
	assert.Empty(t, s.crowd.guests)
}

// far is a listener whose callers seem to be on another machine.
type far struct{ net.Listener }

func (l far) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return farConn{c}, nil
}

type farConn struct{ net.Conn }

func (farConn) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 7), Port: 4711} }

func TestSilentStrangersDoNotKeepOutOthers(t *testing.T) {
	near, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	abroad, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- Serve(ctx, nil, Config{Listeners: []net.Listener{near, far{abroad}}}) }()
	defer func() {
		stop()
		assert.NoError(t, <-done)
	}()
	for i := range 3 * maxPerPeer {
		c, err := net.Dial("tcp", abroad.Addr().String())
		require.NoError(t, err)
		defer c.Close()
		if i < maxPerPeer {
			continue
		}
		require.NoError(t, c.SetReadDeadline(time.Now().Add(testkit.Patience)))
		_, err = c.Read(make([]byte, 1))
		require.NotErrorIs(t, err, os.ErrDeadlineExceeded, "it is closed at once")
	}
	web := &http.Transport{DisableKeepAlives: true}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+near.Addr().String()+"/healthz", nil)
	require.NoError(t, err)
	rsp, err := web.RoundTrip(req)
	require.NoError(t, err)
	_, err = io.Copy(io.Discard, rsp.Body)
	require.NoError(t, err)
	require.NoError(t, rsp.Body.Close())
	assert.Equal(t, http.StatusOK, rsp.StatusCode)
}
