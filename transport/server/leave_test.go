package server_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/Ishan27g/ryo-faas/internal/testkit"
	"github.com/Ishan27g/ryo-faas/transport"
	"github.com/Ishan27g/ryo-faas/transport/server"
	"github.com/Ishan27g/ryo-faas/transport/transporttest"
	"github.com/Ishan27g/ryo-faas/transport/wire"
)

// pair are two servers one after the other on one socket, as two processes have it.
type pair struct {
	addr    string
	leave   chan struct{}
	changes *server.Changes
	left    chan error // what Serve of the first returned
}

func servePair(t *testing.T, limit time.Duration, early bool, mounts ...server.Mount) *pair {
	t.Helper()
	first, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	file, err := first.(*net.TCPListener).File()
	require.NoError(t, err)
	second, err := net.FileListener(file)
	require.NoError(t, err)
	require.NoError(t, file.Close())
	p := &pair{addr: first.Addr().String(), leave: make(chan struct{}), changes: new(server.Changes), left: make(chan error, 1)}
	fake := transporttest.NewFake(t)
	ctx, cancel := context.WithCancel(context.Background())
	cfg := server.Config{Listeners: []net.Listener{first}, Store: fake.Store(), Leave: p.leave, LeaveLimit: limit, Changes: p.changes, Mounts: mounts}
	if early {
		cfg.Early = func(e *server.Early) server.EarlyReader {
			return &quick{Early: e, begun: make(chan struct{}), goOn: make(chan struct{}), room: make([]byte, 4<<10)}
		}
	}
	var running sync.WaitGroup
	running.Go(func() { p.left <- server.Serve(ctx, fake, cfg) })
	running.Go(func() {
		select {
		case <-p.leave:
			assert.NoError(t, server.Serve(ctx, fake, server.Config{Listeners: []net.Listener{second}, Store: fake.Store(), Mounts: mounts}))
		case <-ctx.Done():
			_ = second.Close()
		}
	})
	t.Cleanup(func() { cancel(); running.Wait() })
	return p
}

// Connections from before get one more answer, which says that it is the last, however long
// they have waited; nothing asked over them is lost, and a server that leaves is ready still.
func TestAServerThatLeavesLosesNoRequest(t *testing.T) {
	t.Parallel()
	for early, stranger := range map[bool]int{false: http.StatusNotFound, true: 299} {
		t.Run(fmt.Sprint("early ", early), func(t *testing.T) {
			t.Parallel()
			p := servePair(t, time.Minute, early)
			var conns []net.Conn
			var in []*bufio.Reader
			for range 3 {
				conn, err := net.Dial("tcp", p.addr)
				require.NoError(t, err)
				defer conn.Close()
				fmt.Fprint(conn, "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
				r := bufio.NewReader(conn)
				require.Equal(t, http.StatusOK, statusFrom(t, r))
				conns, in = append(conns, conn), append(in, r)
			}
			rpc := connect(t, transport.RPC, p.addr)
			if !early {
				_, err := rpc.Details(t.Context())
				require.NoError(t, err)
			}
			fmt.Fprint(conns[0], "GET /readyz HTTP/1.1\r\nHo")
			close(p.leave)
			for range 20 { // whichever of the two answers
				if !early {
					_, err := rpc.Details(t.Context())
					assert.NoError(t, err)
				}
				rsp, err := client(t).Get("http://" + p.addr + "/healthz")
				require.NoError(t, err)
				assert.Equal(t, http.StatusOK, rsp.StatusCode)
				require.NoError(t, rsp.Body.Close())
			}
			fmt.Fprint(conns[0], "st: localhost\r\n\r\n")
			fmt.Fprint(conns[1], "GET /nothing HTTP/1.1\r\nHost: localhost\r\n\r\n")
			assert.Equal(t, http.StatusOK, statusFrom(t, in[0]), "a server that leaves is ready")
			assert.Equal(t, stranger, statusFrom(t, in[1]))
			for _, r := range in {
				_, err := r.ReadByte()
				require.ErrorIs(t, err, io.EOF)
			}
			select {
			case err := <-p.left:
				require.NoError(t, err)
			case <-time.After(wire.LeaveIdle + testkit.Patience):
				assert.Fail(t, "it does not end")
			}
		})
	}
}

// What handlers have taken over may go on within the limit, and is then ended.
func TestTunnelsOfAServerThatLeaves(t *testing.T) {
	t.Parallel()
	tunnel := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, in, err := http.NewResponseController(w).Hijack()
		if !assert.NoError(t, err) {
			return
		}
		defer conn.Close()
		stop := context.AfterFunc(r.Context(), func() { _ = conn.Close() })
		defer stop()
		fmt.Fprint(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
		_, _ = io.Copy(conn, in)
	})
	for _, limit := range []time.Duration{time.Minute, wire.LeaveIdle + time.Second} {
		t.Run(limit.String(), func(t *testing.T) {
			t.Parallel()
			p := servePair(t, limit, false, server.Mount{Path: "/tunnel", Scope: wire.ScopeInvoke, Handler: tunnel})
			conn, err := net.Dial("tcp", p.addr)
			require.NoError(t, err)
			defer conn.Close()
			fmt.Fprint(conn, "GET /tunnel HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
			in := bufio.NewReader(conn)
			rsp, err := http.ReadResponse(in, nil)
			require.NoError(t, err)
			require.Equal(t, http.StatusSwitchingProtocols, rsp.StatusCode)
			close(p.leave)
			fmt.Fprintln(conn, "hello")
			line, err := in.ReadString('\n')
			require.NoError(t, err)
			assert.Equal(t, "hello\n", line)
			if limit == time.Minute {
				require.NoError(t, conn.Close()) // then nobody waits for the limit
			} else {
				_, err = in.ReadString('\n')
				require.Error(t, err)
			}
			select {
			case err := <-p.left:
				require.NoError(t, err)
			case <-time.After(wire.LeaveIdle + testkit.Patience):
				assert.Fail(t, "it does not end")
			}
		})
	}
}

// A change that is held back goes on, or is refused for another process to make, which a
// client asks by itself.
func TestChangesAreHeldBack(t *testing.T) {
	p := servePair(t, time.Minute, false)
	rpc := connect(t, transport.RPC, p.addr)
	_, err := rpc.Details(t.Context())
	require.NoError(t, err)
	require.NoError(t, p.changes.Hold(t.Context()))
	asked := make(chan error, 1)
	go func() {
		_, err := rpc.Stop(t.Context(), "Hello")
		asked <- err
	}()
	_, err = rpc.Details(t.Context())
	require.NoError(t, err, "what changes nothing is answered")
	select {
	case err := <-asked:
		assert.Fail(t, "a change was made", err)
	case <-time.After(20 * time.Millisecond):
	}
	close(p.leave)
	p.changes.Move()
	assert.ErrorContains(t, <-asked, "not found", "the other server says that there is no such function")
}

func TestHoldWaitsForChangesUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := new(server.Changes)
		require.NoError(t, c.Begin(t.Context()))
		limited, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.ErrorIs(t, c.Hold(limited), context.DeadlineExceeded)
		require.NoError(t, c.Begin(t.Context()), "they go on then")
		c.End()
		held := make(chan error)
		go func() { held <- c.Hold(t.Context()) }()
		synctest.Wait()
		another := make(chan error)
		go func() { another <- c.Begin(t.Context()) }()
		ended, end := context.WithCancel(t.Context())
		end()
		require.ErrorIs(t, c.Begin(ended), context.Canceled)
		synctest.Wait()
		c.End()
		require.NoError(t, <-held)
		c.Resume()
		require.NoError(t, <-another)
		c.End()
		require.NoError(t, c.Hold(t.Context()))
		c.Move()
		err := c.Begin(t.Context())
		require.Error(t, err)
		var none *server.Changes
		require.NoError(t, errors.Join(none.Begin(t.Context())))
		none.End()
	})
}
