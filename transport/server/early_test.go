package server_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/Ishan27g/ryo-faas/internal/testkit"
	"github.com/Ishan27g/ryo-faas/transport/server"
	"github.com/Ishan27g/ryo-faas/transport/transporttest"
)

// quick answers "GET /quick" and "GET /slow", which waits, and leaves all else. "GET /bad"
// is an error of its own, and "GET /fault" a panic.
type quick struct {
	*server.Early
	begun, goOn chan struct{}
	abort       sync.Once
	room        []byte
}

func (q *quick) Close() {}

func (q *quick) Abort() { q.abort.Do(func() { close(q.goOn) }) }

func (q *quick) Serve() error {
	for {
		n, err := q.Wait(func() []byte { return q.room }, func() {})
		if err != nil {
			return err
		}
		for in := q.room[:n]; len(in) > 0; {
			head, rest, whole := strings.Cut(string(in), "\r\n\r\n")
			if !whole || strings.Contains(head, "/healthz") {
				q.Unread(in)
				return nil
			}
			if !q.Begin() {
				return io.EOF
			}
			if strings.Contains(head, "/fault") {
				defer q.End()
				panic("of a reader")
			}
			if strings.Contains(head, "/slow") {
				close(q.begun)
				<-q.goOn
			}
			_, _ = fmt.Fprintf(q, "HTTP/1.1 299 quick\r\nContent-Length: 0\r\n\r\n")
			q.End()
			if strings.Contains(head, "/bad") || q.Closing() {
				return errors.New("enough")
			}
			in = []byte(rest)
		}
	}
}

// serveQuick serves with quick until stop. It returns the last reader, once there is one.
func serveQuick(t *testing.T) (addr string, last func() *quick, stop func()) {
	fake := transporttest.NewFake(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	readers := make(chan *quick, 16)
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() {
		served <- server.Serve(ctx, fake, server.Config{Listeners: []net.Listener{l}, Store: fake.Store(), Early: func(e *server.Early) server.EarlyReader {
			q := &quick{Early: e, begun: make(chan struct{}), goOn: make(chan struct{}), room: make([]byte, 4<<10)}
			readers <- q
			return q
		}})
	}()
	stop = sync.OnceFunc(func() {
		cancel()
		require.NoError(t, <-served)
	})
	t.Cleanup(stop)
	return l.Addr().String(), func() *quick { return <-readers }, stop
}

func TestEarlyReadersAndNetHTTPTakeTurns(t *testing.T) {
	addr, _, _ := serveQuick(t)
	conn, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	defer conn.Close()
	require.NoError(t, conn.SetDeadline(time.Now().Add(testkit.Patience)))
	in := bufio.NewReader(conn)
	for range 3 {
		for _, path := range []string{"/quick", "/healthz", "/quick", "/quick", "/healthz", "/healthz"} {
			want := map[string]int{"/quick": 299, "/healthz": 200}[path]
			fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n", path)
			assert.Equal(t, want, statusFrom(t, in), path)
		}
	}
	// Those that come together: net/http answers what it has read.
	fmt.Fprint(conn, strings.Repeat("GET /quick HTTP/1.1\r\nHost: localhost\r\n\r\n", 2)+strings.Repeat("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n", 2))
	for _, want := range []int{299, 299, 200, 200} {
		assert.Equal(t, want, statusFrom(t, in))
	}
	// A request that comes in pieces.
	for _, piece := range []string{"G", "ET /healthz HTTP/1.1\r\nHo", "st: localhost\r\n", "\r\n"} {
		fmt.Fprint(conn, piece)
	}
	assert.Equal(t, 200, statusFrom(t, in))
	fmt.Fprint(conn, "GET /bad HTTP/1.1\r\nHost: localhost\r\n\r\n")
	assert.Equal(t, 299, statusFrom(t, in))
	_, err = in.ReadByte()
	assert.ErrorIs(t, err, io.EOF, "an error ends the connection without another answer")
}

func statusFrom(t *testing.T, in *bufio.Reader) int {
	t.Helper()
	res, err := http.ReadResponse(in, nil)
	require.NoError(t, err)
	_, err = io.Copy(io.Discard, res.Body)
	require.NoError(t, err)
	require.NoError(t, res.Body.Close())
	return res.StatusCode
}

func TestEarlyRequestsAreAnsweredWhenTheServerStops(t *testing.T) {
	addr, last, stop := serveQuick(t)
	idle, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	defer idle.Close()
	fmt.Fprint(idle, "GET /quick HTTP/1.1\r\nHost: localhost\r\n\r\n")
	rest := bufio.NewReader(idle)
	require.Equal(t, 299, statusFrom(t, rest))
	last()

	conn, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	defer conn.Close()
	fmt.Fprint(conn, "GET /slow HTTP/1.1\r\nHost: localhost\r\n\r\n")
	q := last()
	<-q.begun
	stopped := make(chan struct{})
	go func() { stop(); close(stopped) }()
	_, err = rest.ReadByte()
	assert.ErrorIs(t, err, io.EOF, "what waits for a request is closed")
	select {
	case <-stopped:
		assert.Fail(t, "it did not wait for the request")
	default:
	}
	q.Abort()
	assert.Equal(t, 299, statusFrom(t, bufio.NewReader(conn)))
	<-stopped
}

func TestAFaultOfAnEarlyReaderEndsItsConnectionAlone(t *testing.T) {
	addr, _, _ := serveQuick(t)
	for _, c := range []struct {
		path   string
		status int
	}{{"/fault", 0}, {"/quick", 299}} {
		conn, err := net.Dial("tcp", addr)
		require.NoError(t, err)
		defer conn.Close()
		require.NoError(t, conn.SetDeadline(time.Now().Add(testkit.Patience)))
		fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n", c.path)
		if c.status == 0 {
			_, err := conn.Read(make([]byte, 1))
			assert.ErrorIs(t, err, io.EOF)
			continue
		}
		assert.Equal(t, c.status, statusFrom(t, bufio.NewReader(conn)))
	}
}

// Requests that are left to net/http while the server stops are answered.
func TestWhatEarlyLeavesIsAnsweredWhenTheServerStops(t *testing.T) {
	for range 50 {
		addr, last, stop := serveQuick(t)
		conn, err := net.Dial("tcp", addr)
		require.NoError(t, err)
		require.NoError(t, conn.SetDeadline(time.Now().Add(testkit.Patience)))
		fmt.Fprint(conn, "GET /healthz")
		last() // it was accepted
		stopped := make(chan struct{})
		go func() { stop(); close(stopped) }()
		fmt.Fprint(conn, " HTTP/1.1\r\nHost: localhost\r\n\r\n")
		in := bufio.NewReader(conn)
		assert.Equal(t, 200, statusFrom(t, in))
		_, err = in.ReadByte()
		assert.ErrorIs(t, err, io.EOF)
		require.NoError(t, conn.Close())
		<-stopped
	}
}
