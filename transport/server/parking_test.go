package server

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/Ishan27g/ryo-faas/internal/testkit"
)

// direct answers all requests but those of net/http, which have "healthz" in their head.
type direct struct {
	*Early
	room   []byte
	closed *atomic.Int32
}

func (*direct) Abort() {}

func (d *direct) Close() { d.closed.Add(1) }

func (d *direct) Serve() error {
	for {
		n, err := d.Wait(func() []byte {
			if d.room == nil {
				d.room = make([]byte, 4<<10)
			}
			return d.room
		}, func() { d.room = nil })
		if err != nil {
			return err
		}
		in := d.room[:n]
		for !bytes.Contains(in, []byte("\r\n\r\n")) {
			more, err := d.Read(d.room[len(in):], time.Now().Add(testkit.Patience))
			if err != nil {
				return err
			}
			in = d.room[:len(in)+more]
		}
		if bytes.Contains(in, []byte("healthz")) {
			d.Unread(in)
			return nil
		}
		if !d.Begin() {
			return io.EOF
		}
		_, err = io.WriteString(d, strings.Repeat("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\ndirect", bytes.Count(in, []byte("\r\n\r\n"))))
		d.End()
		if err != nil || d.Closing() {
			return io.EOF
		}
	}
}

// lot is a server whose connections are parked soon.
type lot struct {
	addr   string
	server atomic.Pointer[server]
	all    sync.Map // of *direct
	closed atomic.Int32
	stop   func()
}

func newLot(t *testing.T, cfg Config) *lot {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	lot := &lot{addr: l.Addr().String()}
	cfg.Listeners, cfg.ParkAfter = []net.Listener{l}, max(cfg.ParkAfter, time.Millisecond)
	cfg.Early = func(e *Early) EarlyReader {
		lot.server.Store(e.server)
		d := &direct{Early: e, closed: &lot.closed}
		lot.all.Store(d, nil)
		return d
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- Serve(ctx, nil, cfg) }()
	lot.stop = sync.OnceFunc(func() {
		cancel()
		assert.NoError(t, <-done)
	})
	t.Cleanup(lot.stop)
	return lot
}

// parked are the connections that have no goroutine.
func (l *lot) parked() (n int) {
	l.all.Range(func(d, _ any) bool {
		e := d.(*direct).Early
		e.mu.Lock()
		defer e.mu.Unlock()
		if e.parking.watch != 0 {
			n++
		}
		return true
	})
	return n
}

// caller is a connection of a caller.
type caller struct {
	net.Conn
	in *bufio.Reader
}

func (l *lot) dial(t *testing.T) *caller {
	conn, err := net.Dial("tcp", l.addr)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	require.NoError(t, conn.SetDeadline(time.Now().Add(testkit.Patience)))
	return &caller{conn, bufio.NewReader(conn)}
}

// asks makes a request and returns the answer's body.
func (c *caller) asks(path string) (string, error) {
	if _, err := fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n", path); err != nil {
		return "", err
	}
	return c.hears()
}

func (c *caller) hears() (string, error) {
	res, err := http.ReadResponse(c.in, nil)
	if err != nil {
		return "", err
	}
	body, err := io.ReadAll(res.Body)
	return string(body), err
}

// ends requires that the server closes the connection.
func (c *caller) ends(t *testing.T) {
	t.Helper()
	_, err := c.in.ReadByte()
	assert.ErrorIs(t, err, io.EOF)
}

func (l *lot) waits(t *testing.T, parked int) {
	t.Helper()
	require.Eventually(t, func() bool { return l.parked() == parked }, testkit.Patience, time.Millisecond, "connections are parked")
}

func TestConnectionsThatWaitHaveNoGoroutine(t *testing.T) {
	l := newLot(t, Config{})
	const n = 100
	callers := make([]*caller, n)
	for i := range callers {
		callers[i] = l.dial(t)
	}
	each := func(path, want string) {
		for _, c := range callers {
			said, err := c.asks(path)
			require.NoError(t, err)
			require.Contains(t, said, want)
		}
	}
	each("/", "direct")
	l.waits(t, n)
	require.Eventually(t, func() bool { return runtime.NumGoroutine() < n/2 }, testkit.Patience, time.Millisecond)
	each("/", "direct")
	l.waits(t, n)
	assert.EqualValues(t, n, l.server.Load().conns.resting.Load())
	assert.Zero(t, l.server.Load().conns.serving.Load())

	for _, c := range callers[:n/2] { // which leave
		require.NoError(t, c.Close())
	}
	require.Eventually(t, func() bool { return l.closed.Load() == n/2 }, testkit.Patience, time.Millisecond)
	callers = callers[n/2:]
	l.waits(t, n/2)
	each("/healthz", "ok") // of net/http, which goes on to have them
	each("/", "direct")
	assert.Zero(t, l.parked())
	each("/healthz", "ok")
	go l.stop()
	for _, c := range callers {
		c.ends(t)
	}
}

func TestParkedConnectionsEnd(t *testing.T) {
	for name, end := range map[string]func(l *lot, e *Early, c *caller){
		"when the server stops": func(l *lot, _ *Early, _ *caller) { go l.stop() },
		"at their limit":        func(*lot, *Early, *caller) {},
		"for other connections": func(_ *lot, e *Early, _ *caller) { e.conn.seat.close() },
		"when the caller has no more": func(_ *lot, _ *Early, c *caller) {
			_ = c.Conn.(*net.TCPConn).CloseWrite()
		},
	} {
		t.Run(name, func(t *testing.T) {
			limit := time.Hour
			if name == "at their limit" {
				limit = 200 * time.Millisecond
			}
			l := newLot(t, Config{IdleLimit: limit, HeadLimit: limit})
			c := l.dial(t)
			said, err := c.asks("/")
			require.NoError(t, err)
			require.Equal(t, "direct", said)
			require.Eventually(t, func() bool { return l.parked() == 1 || l.closed.Load() == 1 }, testkit.Patience, time.Millisecond)
			l.all.Range(func(d, _ any) bool { end(l, d.(*direct).Early, c); return false })
			c.ends(t)
			require.Eventually(t, func() bool { return l.closed.Load() == 1 }, testkit.Patience, time.Millisecond)
			s := l.server.Load()
			require.Eventually(t, func() bool { return s.conns.resting.Load() == 0 && s.conns.serving.Load() == 0 }, testkit.Patience, time.Millisecond)
			s.conns.mu.Lock()
			defer s.conns.mu.Unlock()
			assert.Empty(t, s.conns.all)
		})
	}
}

// of returns what the server knows of a connection.
func (l *lot) of(c *caller) (found *Early) {
	l.all.Range(func(d, _ any) bool {
		if e := d.(*direct).Early; e.conn.RemoteAddr().String() == c.LocalAddr().String() {
			found = e
		}
		return found == nil
	})
	return found
}

// Requests that come as their connection has just been answered, is about to be parked, or is
// parked, are answered: whole, in pieces, and two at once.
func TestNoRequestIsLostToParking(t *testing.T) {
	const whole = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
	stages := []func(p *parkable) bool{
		func(*parkable) bool { return true },
		func(p *parkable) bool { return p.looked || p.watch != 0 },
		func(p *parkable) bool { return p.watch != 0 },
	}
	l := newLot(t, Config{})
	var all sync.WaitGroup
	for range 16 {
		c := l.dial(t)
		_, err := c.asks("/")
		require.NoError(t, err)
		e := l.of(c)
		all.Go(func() {
			for i := range 90 {
				at := stages[i/3%len(stages)]
				if !assert.Eventually(t, func() bool {
					e.mu.Lock()
					defer e.mu.Unlock()
					return at(&e.parking)
				}, testkit.Patience, 100*time.Microsecond) {
					return
				}
				pieces := [][]string{{whole}, {whole[:8], whole[8:]}, {whole + whole}}[i%3]
				for _, p := range pieces {
					_, err := io.WriteString(c, p)
					assert.NoError(t, err)
				}
				for range strings.Count(strings.Join(pieces, ""), "GET") {
					said, err := c.hears()
					if !assert.NoError(t, err) || !assert.Equal(t, "direct", said) {
						return
					}
				}
			}
		})
	}
	all.Wait()
	s := l.server.Load()
	l.waits(t, 16)
	assert.EqualValues(t, 16, s.conns.resting.Load())
	l.stop()
	assert.Zero(t, s.conns.resting.Load())
	assert.EqualValues(t, 16, l.closed.Load())
}
