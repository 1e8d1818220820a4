package server

import (
	"context"
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

// The other ends of connections: from another machine, and of our own user.
var guest, owner = &end{local: elsewhere}, &end{local: own}

func TestGuestsAreFewAndLeave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCrowd(false, hclog.NewNullLogger())
		c.most = maxGuests + 10
		var seats []*seat
		for range maxPerPeer {
			s := c.enter(&conn{from: "192.0.2.1"}, guest)
			require.NotNil(t, s)
			seats = append(seats, s)
		}
		assert.Nil(t, c.enter(&conn{from: "192.0.2.1"}, guest), "one peer has no more")
		last := &conn{from: "192.0.2.2"}
		require.NotNil(t, c.enter(last, guest))
		seats[0].stay()
		seats[0].stay()
		assert.NotNil(t, c.enter(&conn{from: "192.0.2.1"}, guest), "one that was let in does not count")
		assert.Nil(t, c.enter(&conn{from: "192.0.2.1"}, guest))

		time.Sleep(guestLimit + time.Second) //nolint:forbidigo // of a clock that the test moves
		assert.True(t, last.closed.Load(), "a guest has a minute")
		for range 9 + maxGuests - maxPerPeer - 1 {
			require.NotNil(t, c.enter(&conn{}, owner))
		}
		assert.Nil(t, c.enter(&conn{}, owner), "nor are all more than a limit")
		seats[1].leave()
		assert.NotNil(t, c.enter(&conn{}, owner))
	})
}

func TestANetworkIsOnePeerAndEachUserIsOne(t *testing.T) {
	c := newCrowd(false, hclog.NewNullLogger())
	c.most = 2 * maxGuests
	fill := func(from string, e *end) {
		t.Helper()
		for range maxPerPeer {
			require.NotNil(t, c.enter(&conn{from: from}, e))
		}
		require.Nil(t, c.enter(&conn{from: from}, e))
	}
	user := func(uid int) *end { return &end{peer: peercred.Peer{UID: uid}, local: stranger} }
	fill("2001:db8::1", guest)
	assert.Nil(t, c.enter(&conn{from: "2001:db8::2"}, guest), "who has one address of a network has all of them")
	fill("127.0.0.1", user(1))
	fill("127.0.0.1", user(2))
}

func TestPublicCallersLeavePlacesToOthers(t *testing.T) {
	c := newCrowd(false, hclog.NewNullLogger())
	c.most = 80
	fill := func(e *end) (n int) {
		for c.enter(&conn{from: "192.0.2.1"}, e) != nil {
			n++
		}
		return n
	}
	assert.Equal(t, 70, fill(nil))
	assert.Equal(t, 10, fill(owner))
}

func TestWhereAllAreLetInNobodyIsAGuest(t *testing.T) {
	c := newCrowd(true, hclog.NewNullLogger())
	for range 2 * maxPerPeer {
		require.NotNil(t, c.enter(&conn{from: "192.0.2.1"}, guest))
	}
	assert.Zero(t, c.guests)
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
