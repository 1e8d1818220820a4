package gateway

import (
	"crypto/tls"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// ends returns both ends of a connection over loopback, and of one over TLS on it.
func ends(t *testing.T, secure bool) (near, far net.Conn) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	near, err = net.Dial("tcp", l.Addr().String())
	require.NoError(t, err)
	far, err = l.Accept()
	require.NoError(t, err)
	t.Cleanup(func() { near.Close(); far.Close() })
	if !secure {
		return near, far
	}
	known := httptest.NewTLSServer(nil) // for its certificate
	defer known.Close()
	server := tls.Server(far, &tls.Config{Certificates: known.TLS.Certificates, SessionTicketsDisabled: true, MinVersion: tls.VersionTLS13})
	client := tls.Client(near, &tls.Config{
		RootCAs: known.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs, ServerName: "example.com", MinVersion: tls.VersionTLS13,
	})
	shaken := make(chan error, 1)
	go func() { shaken <- server.Handshake() }()
	require.NoError(t, client.Handshake())
	require.NoError(t, <-shaken)
	return client, server
}

// An idle link is taken for another call only if nothing has come on it: what a function
// sends unasked must not be the answer to the next call.
func TestIdleLinksOnWhichSomethingCameAreNotUsed(t *testing.T) {
	for _, secure := range []bool{false, true} {
		for name, does := range map[string]func(far net.Conn) error{
			"closed":                 func(far net.Conn) error { return far.Close() },
			"sent more":              func(far net.Conn) error { _, err := io.WriteString(far, "more"); return err },
			"did so with the answer": nil,
		} {
			near, far := ends(t, secure)
			l, err := newLink(near)
			require.NoError(t, err)
			l.room = math.MaxInt64
			answer := make([]byte, 2)
			for range 2 {
				_, err = io.WriteString(far, "ok")
				require.NoError(t, err)
				_, err = io.ReadFull(l, answer)
				require.NoError(t, err)
				require.True(t, l.usable(), "%s, TLS %t", name, secure)
			}
			if does != nil {
				require.NoError(t, does(far))
			} else {
				// Both are read from the network at once, where there is TLS.
				_, err = io.WriteString(far, "ok")
				require.NoError(t, err)
				_, err = io.WriteString(far, "more")
				require.NoError(t, err)
				_, err = io.ReadFull(l, answer)
				require.NoError(t, err)
			}
			assert.Eventually(t, func() bool { return !l.usable() }, patience, time.Millisecond, "%s, TLS %t", name, secure)
		}
	}
}

func TestErrorsForCallersNameNoAddress(t *testing.T) {
	socket := &net.OpError{Op: "read", Net: "tcp", Addr: &net.TCPAddr{IP: net.IPv4(10, 0, 0, 7), Port: 9000}, Err: io.ErrUnexpectedEOF}
	for want, err := range map[string]error{
		"read: unexpected EOF":       socket,
		"dial: read: unexpected EOF": &net.OpError{Op: "dial", Net: "door", Err: fmt.Errorf("shake hands: %w", socket)},
		"EOF":                        io.EOF,
	} {
		assert.EqualError(t, withoutAddress(err), want)
	}
}

// The runtime tells once that a connection was closed. If that is before the wait for an
// answer begins, nobody would be told again: the other side, which is half closed, reads
// the request and has nothing to send.
func TestALinkThatIsClosedJustBeforeARequestDoesNotWaitForAnAnswer(t *testing.T) {
	for _, secure := range []bool{false, true} {
		near, far := ends(t, secure)
		l, err := newLink(near)
		require.NoError(t, err)
		if secure {
			require.NoError(t, far.(*tls.Conn).CloseWrite())
		} else {
			require.NoError(t, far.(*net.TCPConn).CloseWrite())
		}
		require.Eventually(t, func() bool { return !quiet(near) }, patience, time.Millisecond)
		const limit = 2 * time.Second
		l.send([]byte("GET / HTTP/1.1\r\n\r\n"))
		_, err = l.readBy(make([]byte, 10), time.Now().Add(limit), limit)
		require.Error(t, err)
		require.NotErrorIs(t, err, errLimit, "TLS %t", secure)
		if !secure {
			require.ErrorIs(t, err, errStale)
			assert.False(t, l.sent, "the call can go over another")
		}
	}
}
