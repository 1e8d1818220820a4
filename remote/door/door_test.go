package door_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/Ishan27g/ryo-faas/internal/state"
	"github.com/Ishan27g/ryo-faas/internal/testkit"
	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/remote/door"
	"github.com/Ishan27g/ryo-faas/transport"
	"github.com/Ishan27g/ryo-faas/transport/pki"
	"github.com/Ishan27g/ryo-faas/transport/server"
	"github.com/Ishan27g/ryo-faas/transport/transporttest"
	"github.com/Ishan27g/ryo-faas/transport/wire"
)

const (
	functionPort = 5003
	closedPort   = 5004
	patience     = testkit.Patience
)

// agent is an agent that has joined, with a door to one function.
type agent struct {
	addr  string
	tls   *tls.Config // of its proxy
	other *tls.Config // of another agent
	stop  func()      // as the agent stops; it returns when the door has closed
}

// open returns an agent whose function is handler, on a unix socket.
func open(t testing.TB, handler http.Handler) *agent {
	socket := filepath.Join(t.TempDir(), "f.sock")
	l, err := net.Listen("unix", socket)
	require.NoError(t, err)
	function := &httptest.Server{Listener: l, Config: &http.Server{Handler: handler, Protocols: new(http.Protocols)}}
	function.Config.Protocols.SetHTTP1(true)
	function.Config.Protocols.SetUnencryptedHTTP2(true)
	function.Start()
	t.Cleanup(function.Close)

	proxyDir, err := state.Open(t.TempDir())
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, proxyDir.Close()) })
	authority, err := pki.OpenAuthority(proxyDir)
	require.NoError(t, err)
	join := func(id string) *pki.Identity {
		dir, err := state.Open(t.TempDir())
		require.NoError(t, err)
		t.Cleanup(func() { assert.NoError(t, dir.Close()) })
		identity, err := pki.OpenIdentity(dir, id)
		require.NoError(t, err)
		token, _, err := authority.Token()
		require.NoError(t, err)
		csr, err := identity.Request()
		require.NoError(t, err)
		chain, err := authority.Admit(token.Secret, id, "localhost:9000", csr)
		require.NoError(t, err)
		require.NoError(t, identity.Keep(chain, token.Pin))
		return identity
	}
	identity := join("a1")
	other := join("a2").Dial()
	other.VerifyConnection = nil // it does not even shake hands with an agent
	way := door.New(func(port int) (network, address string, ok bool) {
		switch port {
		case functionPort:
			return "unix", socket, true
		case closedPort:
			return "unix", socket + ".closed", true
		}
		return "", "", false
	})
	fake := transporttest.NewFake(t)
	outside, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { way.Run(ctx) })
	running.Go(func() {
		assert.NoError(t, server.Serve(ctx, fake, server.Config{
			Listeners: []net.Listener{outside}, Store: fake.Store(), Certificates: identity,
			Mounts: []server.Mount{{Path: wire.DoorPrefix, Methods: []string{http.MethodGet}, Scope: wire.ScopeDeploy, Handler: way}},
		}))
	})
	a := &agent{addr: outside.Addr().String(), tls: authority.Dial("a1"), other: other}
	a.stop = sync.OnceFunc(func() { cancel(); running.Wait() })
	t.Cleanup(a.stop)
	return a
}

// dial connects to the function through the door.
func (a *agent) dial(t testing.TB) net.Conn {
	conn, err := transport.NewDoor(a.addr, a.tls).Dial(t.Context(), functionPort)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	require.NoError(t, conn.SetDeadline(time.Now().Add(patience)))
	return conn
}

func TestWhatIsSentPassesUnchanged(t *testing.T) {
	a := open(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") != "" {
			w.Header().Set("Upgrade", "raw")
			w.Header().Set("Connection", "Upgrade")
			w.WriteHeader(http.StatusSwitchingProtocols)
			conn, in, err := http.NewResponseController(w).Hijack()
			if err != nil {
				return
			}
			defer conn.Close()
			sent, _ := io.ReadAll(in)
			_, _ = conn.Write(sent)
			return
		}
		stream := http.NewResponseController(w)
		_ = stream.EnableFullDuplex()
		w.Header().Set("Trailer", "X-End")
		fmt.Fprintf(w, "%s %s\n", r.Method, r.RequestURI)
		_, _ = io.CopyN(w, r.Body, 3)
		_ = stream.Flush()
		_, _ = io.Copy(w, r.Body)
		w.Header().Set("X-End", r.Trailer.Get("X-Sum"))
	}))
	conn := a.dial(t)
	in := bufio.NewReader(conn)
	for range 2 { // one call after the other
		_, err := io.WriteString(conn, "POST /hello//a%2Fb/?q=1 HTTP/1.1\r\nHost: f\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n")
		require.NoError(t, err)
		_, err = io.WriteString(conn, "3\r\none\r\n")
		require.NoError(t, err)
		res, err := http.ReadResponse(in, nil)
		require.NoError(t, err)
		first := make([]byte, len("POST /hello//a%2Fb/?q=1\none"))
		_, err = io.ReadFull(res.Body, first) // before the body is whole
		require.NoError(t, err)
		assert.Equal(t, "POST /hello//a%2Fb/?q=1\none", string(first))
		_, err = io.WriteString(conn, "0\r\nX-Sum: 7\r\n\r\n")
		require.NoError(t, err)
		rest, err := io.ReadAll(res.Body)
		require.NoError(t, err)
		assert.Empty(t, rest)
		assert.Equal(t, "7", res.Trailer.Get("X-End"))
	}
	// What follows an upgrade need not be HTTP, and each side ends by itself.
	_, err := io.WriteString(conn, "GET /raw HTTP/1.1\r\nHost: f\r\nConnection: Upgrade\r\nUpgrade: raw\r\n\r\n\x00\xffPOST / HTTP/1.0\n\n")
	require.NoError(t, err)
	require.NoError(t, conn.(*tls.Conn).CloseWrite())
	res, err := http.ReadResponse(in, nil)
	require.NoError(t, err)
	assert.Equal(t, http.StatusSwitchingProtocols, res.StatusCode)
	sent, err := io.ReadAll(in)
	require.NoError(t, err)
	assert.Equal(t, "\x00\xffPOST / HTTP/1.0\n\n", string(sent))
}

func TestOnlyTheProxyReachesFunctionsAlone(t *testing.T) {
	a := open(t, http.NotFoundHandler())
	for _, tt := range []struct {
		port int
		tls  *tls.Config
		kind proto.Kind
	}{
		{22, a.tls, proto.ErrNotFound},
		{closedPort, a.tls, proto.ErrUnavailable},
		{functionPort, a.other, proto.ErrForbidden},
	} {
		_, err := transport.NewDoor(a.addr, tt.tls).Dial(t.Context(), tt.port)
		require.ErrorIs(t, err, tt.kind)
		var op *net.OpError
		require.ErrorAs(t, err, &op)
		assert.Equal(t, "dial", op.Op, "nothing of a call was sent")
	}
	// A proxy of the agent's own user, or any with -insecure, needs no certificate.
	plain, err := transport.NewDoor(a.addr, nil).Dial(t.Context(), functionPort)
	require.NoError(t, err)
	_, err = io.WriteString(plain, "GET / HTTP/1.1\r\nHost: f\r\nConnection: close\r\n\r\n")
	require.NoError(t, err)
	answer, err := io.ReadAll(plain)
	require.NoError(t, err)
	assert.Contains(t, string(answer), "HTTP/1.1 404")
	require.NoError(t, plain.Close())

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = transport.NewDoor(a.addr, a.tls).Dial(ctx, functionPort)
	require.ErrorIs(t, err, context.Canceled)

	// Without the header it is no door; what follows a refusal is no request.
	for _, header := range []string{"", "Connection: Upgrade\r\nUpgrade: ryo-door\r\n"} {
		conn, err := net.Dial("tcp", a.addr)
		require.NoError(t, err)
		defer conn.Close()
		require.NoError(t, conn.SetDeadline(time.Now().Add(patience)))
		_, err = io.WriteString(conn, "GET /door/22 HTTP/1.1\r\nHost: localhost\r\n"+header+"\r\n")
		require.NoError(t, err)
		res, err := http.ReadResponse(bufio.NewReader(conn), nil)
		require.NoError(t, err)
		assert.GreaterOrEqual(t, res.StatusCode, 400)
		assert.Equal(t, header != "", res.Close)
		res.Body.Close()
	}
}

func TestCallsAreFinishedWhenTheAgentStops(t *testing.T) {
	asked, answer := make(chan struct{}), make(chan struct{})
	a := open(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/slow") {
			close(asked)
			<-answer
		}
		fmt.Fprint(w, "done")
	}))
	busy, idle := a.dial(t), a.dial(t)
	_, err := io.WriteString(busy, "GET /slow HTTP/1.1\r\nHost: f\r\n\r\n")
	require.NoError(t, err)
	<-asked
	stopped := make(chan struct{})
	go func() { a.stop(); close(stopped) }()
	_, err = idle.Read(make([]byte, 1))
	require.ErrorIs(t, err, io.EOF, "nothing is asked on it")
	select {
	case <-stopped:
		t.Fatal("a call was under way")
	default:
	}
	close(answer)
	res, err := http.ReadResponse(bufio.NewReader(busy), nil)
	require.NoError(t, err)
	body, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	assert.Equal(t, "done", string(body))
	<-stopped
}

// Over HTTP/2 the function says that it has read what is sent, long before it answers.
func TestCallsOverHTTP2AreFinishedWhenTheAgentStops(t *testing.T) {
	asked, answer := make(chan struct{}), make(chan struct{})
	a := open(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		if strings.HasSuffix(r.URL.Path, "/slow") {
			close(asked)
			<-answer
		}
		fmt.Fprint(w, "done")
	}))
	tr := &http.Transport{Protocols: new(http.Protocols), DialContext: func(context.Context, string, string) (net.Conn, error) { return a.dial(t), nil }}
	tr.Protocols.SetUnencryptedHTTP2(true)
	call := func(conn *http.ClientConn, path string) string {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://f"+path, strings.NewReader(strings.Repeat("x", 50<<10)))
		require.NoError(t, err)
		res, err := conn.RoundTrip(req)
		require.NoError(t, err)
		defer res.Body.Close()
		body, err := io.ReadAll(res.Body)
		require.NoError(t, err)
		return string(body)
	}
	busy, err := tr.NewClientConn(t.Context(), "http", "f:80")
	require.NoError(t, err)
	defer busy.Close()
	idle, err := tr.NewClientConn(t.Context(), "http", "f:80")
	require.NoError(t, err)
	defer idle.Close()
	assert.Equal(t, "done", call(busy, "/"))
	assert.Equal(t, "done", call(idle, "/"))
	said := make(chan string, 1)
	go func() { said <- call(busy, "/slow") }()
	<-asked
	stopped := make(chan struct{})
	go func() { a.stop(); close(stopped) }()
	require.Eventually(t, func() bool { return idle.Err() != nil }, patience, time.Millisecond, "nothing is asked on it")
	select {
	case <-stopped:
		t.Fatal("a call was under way")
	default:
	}
	close(answer)
	assert.Equal(t, "done", <-said)
	<-stopped
}

// A call over a kept connection, on the direct way and through the door.
func BenchmarkCall(b *testing.B) {
	handler := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "Hello, World!\n") })
	call := func(b *testing.B, conn net.Conn) {
		in := bufio.NewReader(conn)
		b.ReportAllocs()
		for b.Loop() {
			if _, err := io.WriteString(conn, "GET /hello HTTP/1.1\r\nHost: f\r\n\r\n"); err != nil {
				b.Fatal(err)
			}
			res, err := http.ReadResponse(in, nil)
			if err != nil {
				b.Fatal(err)
			}
			_, _ = io.Copy(io.Discard, res.Body)
		}
	}
	b.Run("direct", func(b *testing.B) {
		s := httptest.NewServer(handler)
		defer s.Close()
		conn, err := net.Dial("tcp", s.Listener.Addr().String())
		require.NoError(b, err)
		defer conn.Close()
		call(b, conn)
	})
	b.Run("door", func(b *testing.B) {
		a := open(b, handler)
		conn, err := transport.NewDoor(a.addr, a.tls).Dial(b.Context(), functionPort)
		require.NoError(b, err)
		defer conn.Close()
		call(b, conn)
	})
}
