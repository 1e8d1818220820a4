package serve

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/GoogleCloudPlatform/functions-framework-go/funcframework"
	"github.com/GoogleCloudPlatform/functions-framework-go/functions"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/Ishan27g/ryo-faas/internal/testkit"
)

var named *http.Request // that ryo-named was given

func TestMain(m *testing.M) {
	functions.HTTP("ryo-named", func(w http.ResponseWriter, r *http.Request) {
		named = r
		fmt.Fprint(w, "named")
	})
	goleak.VerifyTestMain(m)
}

// framework registers a function and returns the framework's handler of it.
func framework(t *testing.T, fn http.HandlerFunc) http.Handler {
	t.Helper()
	h, err := HTTP(fn)
	require.NoError(t, err)
	return h
}

// This is the proof that the linked function still has the signature it is
// called with: the linker does not compare it.
func TestFrameworkHandlerIsTheLastRegistered(t *testing.T) {
	framework(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "first") })
	h := framework(t, func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, r.URL.Path, funcframework.ExecutionIDFromContext(r.Context()))
	})
	r := httptest.NewRequest(http.MethodPut, "//a/../b", http.NoBody)
	r.URL.Path = "//a/../b"
	r.Header.Set("Function-Execution-Id", " id")
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	assert.Equal(t, http.StatusOK, w.Code, "not redirected to a clean path")
	assert.Equal(t, "//a/../b id", w.Body.String())
}

func TestFrameworkHandlerLeavesTheEnvironment(t *testing.T) {
	t.Setenv(envTarget, "mine")
	framework(t, func(http.ResponseWriter, *http.Request) {})
	assert.Equal(t, "mine", os.Getenv(envTarget))
	require.NoError(t, os.Unsetenv(envTarget))
	framework(t, func(http.ResponseWriter, *http.Request) {})
	_, set := os.LookupEnv(envTarget)
	assert.False(t, set)
}

func TestNilFunction(t *testing.T) {
	_, err := HTTP(nil)
	assert.ErrorContains(t, err, "the function may be a variable that is nil")
	assert.ErrorContains(t, err, "missing function entry")
}

func TestPanics(t *testing.T) {
	src := httptest.NewServer(newTraffic(framework(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/early":
			panic("early")
		case "/hints":
			w.WriteHeader(http.StatusEarlyHints)
			panic("after hints")
		case "/header":
			w.WriteHeader(http.StatusNoContent)
		case "/write":
			_, _ = w.Write([]byte("a part"))
		case "/string":
			_, _ = io.WriteString(w, "a part")
		case "/copy":
			_, _ = io.Copy(w, strings.NewReader("a part"))
		case "/flush":
			w.(http.Flusher).Flush()
		case "/controller":
			_ = http.NewResponseController(w).Flush()
		case "/abort":
			panic(http.ErrAbortHandler)
		case "/wrapped":
			panic(fmt.Errorf("wrapped: %w", http.ErrAbortHandler))
		}
		panic("late")
	})))
	defer src.Close()
	client := src.Client()
	client.Transport.(*http.Transport).DisableKeepAlives = true
	for _, path := range []string{"/early", "/hints"} {
		resp, err := client.Get(src.URL + path)
		require.NoError(t, err)
		body, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		assert.Equal(t, http.StatusInternalServerError, resp.StatusCode)
		assert.NotContains(t, string(body), "early", "the panic's text is for the log alone")
	}
	for _, path := range []string{"/header", "/write", "/string", "/copy", "/flush", "/controller", "/abort", "/wrapped"} {
		resp, err := client.Get(src.URL + path)
		if err == nil {
			_, err = io.ReadAll(resp.Body)
			require.NoError(t, resp.Body.Close())
		}
		assert.ErrorContains(t, err, "EOF", path)
	}
}

func TestTakeSettingsOfRequests(t *testing.T) {
	for _, c := range []struct {
		body, strict, concurrency string
		want                      settings
		err                       string
	}{
		{"1000", "1", "8", settings{body: 1000, strict: true, concurrency: 8}, ""},
		{"0", "", "0", settings{}, ""},
		{"-1", "", "0", settings{}, "RYO_BODY is not a number of bytes"},
		{"x", "", "0", settings{}, "RYO_BODY is not a number of bytes"},
		{"0", "", "-1", settings{}, "RYO_CONCURRENCY is not a number of requests"},
		{"0", "", "", settings{}, "RYO_CONCURRENCY is not a number of requests"},
	} {
		t.Setenv(envFunction, "F")
		t.Setenv(envMount, "/f")
		t.Setenv(envNonce, "n")
		t.Setenv(envListen, "1")
		t.Setenv(envDrain, "1s")
		t.Setenv(envBody, c.body)
		t.Setenv(envStrict, c.strict)
		t.Setenv(envConcurrency, c.concurrency)
		s, err := takeSettings()
		if c.err != "" {
			assert.EqualError(t, err, c.err)
			continue
		}
		require.NoError(t, err)
		c.want.function, c.want.mount, c.want.nonce, c.want.listeners, c.want.drain = "F", "/f", "n", 1, time.Second
		assert.Equal(t, c.want, s)
	}
}

func TestTakeSettings(t *testing.T) {
	for _, c := range []struct{ mount, listen, drain, err string }{
		{"/f", "2", "10s", ""},
		{"", "2", "10s", `RYO_MOUNT="" is not a path of one segment`},
		{"/", "2", "10s", `RYO_MOUNT="/" is not a path of one segment`},
		{"/a/b", "2", "10s", `RYO_MOUNT="/a/b" is not a path of one segment`},
		{"/f", "0", "10s", "RYO_LISTEN is not a number from 1 to 9"},
		{"/f", "10", "10s", "RYO_LISTEN is not a number from 1 to 9"},
		{"/f", "1", "10", "RYO_DRAIN is not a duration"},
		{"/f", "1", "-1s", "RYO_DRAIN is not a duration"},
	} {
		t.Setenv(envMount, c.mount)
		t.Setenv(envListen, c.listen)
		t.Setenv(envDrain, c.drain)
		t.Setenv("RYO_LATER", "x")
		t.Setenv("OTHER_RYO_", "x")
		s, err := takeSettings()
		if c.err != "" {
			assert.EqualError(t, err, c.err)
		} else {
			require.NoError(t, err)
			assert.Equal(t, settings{mount: "/f", listeners: 2, drain: 10 * time.Second}, s)
		}
		env := "\n" + strings.Join(os.Environ(), "\n")
		assert.NotContains(t, env, "\nRYO_")
		assert.Contains(t, env, "\nOTHER_RYO_=")
	}
}

func TestDeclared(t *testing.T) {
	h, err := Declared("ryo-named")
	require.NoError(t, err)
	r := httptest.NewRequest(http.MethodGet, "/", http.NoBody)
	h.ServeHTTP(&http1{exchange{ResponseWriter: httptest.NewRecorder(), request: r, traffic: newTraffic(nil)}}, r)
	assert.Same(t, r, named, "it is given the server's own request")

	_, err = Declared("ryo-unknown")
	assert.ErrorContains(t, err, `the init functions have declared no function "ryo-unknown"`)
}

// server runs serve on a listener and a control connection.
type server struct {
	addr    string
	control net.Conn
	stop    chan os.Signal
	done    chan error
}

func running(t *testing.T, h http.Handler, drain time.Duration) *server {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ours, theirs := net.Pipe()
	s := &server{addr: l.Addr().String(), control: ours, stop: make(chan os.Signal, 1), done: make(chan error, 1)}
	go func() { s.done <- serve(s.stop, h, settings{drain: drain, nonce: "n"}, []net.Listener{l}, theirs) }()
	t.Cleanup(func() { _ = ours.Close() })
	return s
}

func TestControlConnection(t *testing.T) {
	s := running(t, http.NotFoundHandler(), time.Second)
	in := bufio.NewReader(s.control)
	for _, c := range []struct {
		path string
		want int
	}{{healthPath, 200}, {"/f", 404}, {healthPath, 200}} {
		_, err := fmt.Fprintf(s.control, "GET %s HTTP/1.1\r\nHost: f\r\n\r\n", c.path)
		require.NoError(t, err)
		resp, err := http.ReadResponse(in, nil)
		require.NoError(t, err)
		_, err = io.Copy(io.Discard, resp.Body)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		assert.Equal(t, c.want, resp.StatusCode)
	}
	require.NoError(t, s.control.Close())
	select {
	case err := <-s.done:
		require.Fail(t, "ended with the control connection", "%v", err)
	default:
	}
	s.stop <- syscall.SIGTERM
	assert.NoError(t, <-s.done)
}

// refusesCallers waits until the listener at addr is closed.
func refusesCallers(t *testing.T, addr string) {
	t.Helper()
	require.Eventually(t, func() bool {
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			_ = conn.Close()
		}
		return err != nil
	}, testkit.Patience, time.Millisecond)
}

func TestDrain(t *testing.T) {
	for _, c := range []struct {
		name  string
		drain time.Duration
		ends  bool
		http2 bool
	}{
		{"a request that ends is answered", 10 * time.Second, true, false},
		{"one that does not is cut off", 50 * time.Millisecond, false, false},
		{"HTTP/2: a request that ends is answered", 10 * time.Second, true, true},
		{"HTTP/2: one that does not is cut off", 50 * time.Millisecond, false, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			started, release := make(chan struct{}), make(chan struct{})
			s := running(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				close(started)
				select {
				case <-release:
					fmt.Fprint(w, "done")
				case <-r.Context().Done():
				}
			}), c.drain)
			protocols := new(http.Protocols)
			protocols.SetHTTP1(!c.http2)
			protocols.SetUnencryptedHTTP2(c.http2)
			client := &http.Client{Transport: &http.Transport{Protocols: protocols}}
			defer client.CloseIdleConnections()
			answer := make(chan error, 1)
			go func() {
				req, _ := http.NewRequestWithContext(context.Background(), http.MethodGet, "http://"+s.addr, http.NoBody)
				resp, err := client.Do(req)
				if err == nil {
					_, err = io.ReadAll(resp.Body)
					_ = resp.Body.Close()
				}
				answer <- err
			}()
			<-started
			s.stop <- syscall.SIGTERM
			refusesCallers(t, s.addr)
			if c.ends {
				close(release)
				assert.NoError(t, <-answer)
			} else {
				assert.Error(t, <-answer)
			}
			assert.NoError(t, <-s.done, "status 0 in both cases")
		})
	}
}

// http.Server.Shutdown would read these requests and not answer them.
func TestDrainAnswersConnectionsThatAreOpen(t *testing.T) {
	s := running(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "done") }), 10*time.Second)
	call := func(conn net.Conn) *http.Response {
		_, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		require.NoError(t, err)
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		require.NoError(t, err)
		_, err = io.Copy(io.Discard, resp.Body)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		return resp
	}
	// Connections are accepted in their order, so the fresh one is when the idle
	// one has been answered.
	fresh, err := net.Dial("tcp", s.addr)
	require.NoError(t, err)
	defer fresh.Close()
	idle, err := net.Dial("tcp", s.addr)
	require.NoError(t, err)
	defer idle.Close()
	assert.False(t, call(idle).Close)

	s.stop <- syscall.SIGTERM
	refusesCallers(t, s.addr)
	assert.True(t, call(fresh).Close)
	assert.True(t, call(idle).Close)
	assert.NoError(t, <-s.done)
}

// told is a listener that says that it is to end.
type told struct {
	net.Listener
	draining func()
}

func (l told) SetDeadline(time.Time) error { l.draining(); return nil }
func (l told) Close() error                { l.draining(); return nil }

// A socket that is closed resets who waits in it.
func TestDrainAnswersWhoWaitsToBeAccepted(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	var waiting []net.Conn
	for range mostLate + 1 {
		conn, err := net.Dial("tcp", l.Addr().String())
		require.NoError(t, err)
		defer conn.Close()
		_, err = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		require.NoError(t, err)
		waiting = append(waiting, conn)
	}
	traffic := newTraffic(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "done") }))
	srv := &http.Server{Handler: traffic, ConnState: traffic.note}
	var accepting sync.WaitGroup
	draining := make(chan struct{})
	accepting.Go(func() {
		<-draining // no earlier is any accepted
		assert.ErrorIs(t, srv.Serve(listener{l, traffic}), net.ErrClosed)
	})
	drained := make(chan error)
	go func() {
		drained <- traffic.drain(t.Context(), srv, []net.Listener{l, told{draining: sync.OnceFunc(func() { close(draining) })}}, &accepting, func() {})
	}()
	for _, conn := range waiting[:mostLate] {
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		assert.True(t, resp.Close)
	}
	_, err = http.ReadResponse(bufio.NewReader(waiting[mostLate]), nil)
	assert.ErrorIs(t, err, syscall.ECONNRESET, "as many as it likes: a replaced process would never end")
	assert.NoError(t, <-drained)
	refusesCallers(t, l.Addr().String())
}

// stats asks on the control connection.
func (s *server) stats(t *testing.T) stats {
	t.Helper()
	_, err := io.WriteString(s.control, "GET "+statsPath+"?q=a%26b HTTP/1.1\r\nHost: f\r\n\r\n")
	require.NoError(t, err)
	resp, err := http.ReadResponse(bufio.NewReader(s.control), nil)
	require.NoError(t, err)
	defer func() { require.NoError(t, resp.Body.Close()) }()
	require.Equal(t, http.StatusOK, resp.StatusCode)
	dec := json.NewDecoder(resp.Body)
	dec.DisallowUnknownFields()
	var got stats
	require.NoError(t, dec.Decode(&got))
	require.Equal(t, "a&b", got.Q)
	require.Equal(t, "n", got.Nonce)
	got.Q, got.Nonce = "", ""
	return got
}

// counts waits until the stats are as wanted; idle times and bytes are not compared.
func (s *server) counts(t *testing.T, want stats) {
	t.Helper()
	var got stats
	require.Eventually(t, func() bool {
		got = s.stats(t)
		got.IdleMs, got.Received, got.Sent = 0, 0, 0
		return got == want
	}, testkit.Patience, time.Millisecond, "%+v", &got)
}

func TestStats(t *testing.T) {
	release := make(chan struct{})
	s := running(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		_, _ = w.Write(body)
		_ = http.NewResponseController(w).Flush()
		<-release
		_, _ = io.WriteString(w, "end")
		_, _ = io.Copy(w, strings.NewReader("!"))
	}), 10*time.Second)
	s.counts(t, stats{})
	require.Eventually(t, func() bool { return s.stats(t).IdleMs > 0 }, testkit.Patience, time.Millisecond, "it is idle from the beginning")

	for _, http2 := range []bool{false, true} {
		before := s.stats(t)
		protocols := new(http.Protocols)
		protocols.SetHTTP1(!http2)
		protocols.SetUnencryptedHTTP2(http2)
		client := &http.Client{Transport: &http.Transport{Protocols: protocols}}
		resp, err := client.Post("http://"+s.addr, "text/plain", strings.NewReader("hello"))
		require.NoError(t, err)
		now := stats{Requests: before.Requests + 1, InFlight: 1, Connections: 1}
		s.counts(t, now)
		// The server counts bytes after the kernel has taken them.
		var during stats
		require.Eventually(t, func() bool {
			during = s.stats(t)
			return during.Received > before.Received+5 && during.Sent > before.Sent+5
		}, testkit.Patience, time.Millisecond, "%+v", &during)
		assert.Zero(t, during.IdleMs)

		release <- struct{}{}
		body, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		assert.Equal(t, "helloend!", string(body))
		now.InFlight = 0
		s.counts(t, now)
		var after stats
		require.Eventually(t, func() bool {
			after = s.stats(t)
			return after.Sent >= during.Sent+4
		}, testkit.Patience, time.Millisecond, "%+v", &after)
		assert.Zero(t, after.IdleMs, "the connection is open")

		client.CloseIdleConnections()
		now.Connections = 0
		s.counts(t, now)
		require.Eventually(t, func() bool { return s.stats(t).IdleMs > 0 }, testkit.Patience, time.Millisecond)
	}
	s.stop <- syscall.SIGTERM
	assert.NoError(t, <-s.done)
}

func TestStatsAreTheAgentsAlone(t *testing.T) {
	w := httptest.NewRecorder()
	mount{path: "/f", next: http.NotFoundHandler()}.ServeHTTP(w, httptest.NewRequest(http.MethodGet, statsPath, http.NoBody))
	assert.Equal(t, http.StatusNotFound, w.Code)
}

// A WebSocket library may keep the connection and let the handler return.
func TestConnectionsThatWereTakenOverCountUntilTheyAreClosed(t *testing.T) {
	taken := make(chan net.Conn, 1)
	s := running(t, atMost(1, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if assert.NoError(t, err) {
			taken <- conn
		}
	})), 10*time.Second)
	connect := func() net.Conn {
		conn, err := net.Dial("tcp", s.addr)
		require.NoError(t, err)
		t.Cleanup(func() { _ = conn.Close() })
		_, err = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		require.NoError(t, err)
		return conn
	}
	theirs := connect()
	ours := <-taken
	s.counts(t, stats{Requests: 1, InFlight: 1, Connections: 1})
	assert.Implements(t, (*io.ReaderFrom)(nil), ours)
	assert.Implements(t, (*syscall.Conn)(nil), ours)
	require.NoError(t, theirs.Close())
	connect()
	s.counts(t, stats{Requests: 2, InFlight: 2, Connections: 2}) // the second waits for the place
	select {
	case <-taken:
		require.Fail(t, "two at a time")
	default:
	}
	require.NoError(t, ours.Close())
	second := <-taken
	assert.Error(t, ours.Close(), "again")
	s.counts(t, stats{Requests: 2, InFlight: 1, Connections: 1})

	s.stop <- syscall.SIGTERM
	refusesCallers(t, s.addr)
	select {
	case err := <-s.done:
		require.Fail(t, "it did not wait", "%v", err)
	default:
	}
	require.NoError(t, second.Close())
	assert.NoError(t, <-s.done)
}

func TestRequestsWaitForAPlace(t *testing.T) {
	entered, release := make(chan struct{}), make(chan struct{})
	s := running(t, mount{path: "/f", next: atMost(2, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.(http.Flusher).Flush() // a stream keeps its place
		entered <- struct{}{}
		<-release
	}))}, 10*time.Second)
	var calls sync.WaitGroup
	call := func(ctx context.Context) (err error) {
		client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.addr+"/f", http.NoBody)
		if err != nil {
			return err
		}
		resp, err := client.Do(req)
		if err == nil {
			_, err = io.Copy(io.Discard, resp.Body)
			_ = resp.Body.Close()
		}
		return err
	}
	for range 3 {
		calls.Go(func() { assert.NoError(t, call(context.Background())) })
	}
	<-entered
	<-entered
	leaving, leave := context.WithCancel(t.Context())
	calls.Go(func() { assert.ErrorIs(t, call(leaving), context.Canceled) })
	s.counts(t, stats{Requests: 4, InFlight: 4, Connections: 4})
	leave()
	s.counts(t, stats{Requests: 4, InFlight: 3, Connections: 3})

	resp, err := http.Get("http://" + s.addr + healthPath)
	require.NoError(t, err, "health needs no place")
	require.NoError(t, resp.Body.Close())
	assert.Equal(t, http.StatusOK, resp.StatusCode)
	http.DefaultTransport.(*http.Transport).CloseIdleConnections()

	select {
	case <-entered:
		require.Fail(t, "three at a time")
	case release <- struct{}{}:
	}
	<-entered
	close(release)
	calls.Wait()
	s.stop <- syscall.SIGTERM
	assert.NoError(t, <-s.done)
}

func TestDrainWaitsForHijackedConnections(t *testing.T) {
	started := make(chan struct{})
	s := running(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, rw, err := http.NewResponseController(w).Hijack()
		if !assert.NoError(t, err) {
			return
		}
		defer conn.Close()
		close(started)
		line, _ := rw.ReadString('\n')
		_, _ = io.WriteString(conn, line)
	}), 10*time.Second)
	conn, err := net.Dial("tcp", s.addr)
	require.NoError(t, err)
	defer conn.Close()
	_, err = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	require.NoError(t, err)
	<-started
	s.stop <- syscall.SIGTERM
	refusesCallers(t, s.addr)
	_, err = io.WriteString(conn, "still there?\n")
	require.NoError(t, err)
	line, err := bufio.NewReader(conn).ReadString('\n')
	require.NoError(t, err)
	assert.Equal(t, "still there?\n", line)
	assert.NoError(t, <-s.done)
}

func TestListenerFails(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, l.Close())
	ours, theirs := net.Pipe()
	defer ours.Close()
	err = serve(make(chan os.Signal), http.NotFoundHandler(), settings{drain: time.Second}, []net.Listener{l}, theirs)
	assert.ErrorIs(t, err, net.ErrClosed)
}

func TestFunctionsThatListenAreTold(t *testing.T) {
	listen := func(network, addr string) net.Listener {
		l, err := net.Listen(network, addr)
		require.NoError(t, err)
		t.Cleanup(func() { _ = l.Close() })
		return l
	}
	ours := []net.Listener{listen("tcp", "127.0.0.1:0"), listen("unix", t.TempDir()+"/s")}
	var said strings.Builder
	tellListens(&said, ours)
	assert.Empty(t, said.String())

	theirs := listen("tcp", "127.0.0.1:0").Addr().String()
	anywhere := listen("tcp", ":0").Addr().String()
	tellListens(&said, ours)
	assert.Equal(t, 2, strings.Count(said.String(), "\n"))
	assert.Contains(t, said.String(), "the function listens on "+theirs+" by itself")
	assert.Contains(t, said.String(), "the function listens on "+anywhere+" by itself")
}

// What counting, limits and the mount cost a request.
func BenchmarkHandler(b *testing.B) {
	fn, err := HTTP(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "ok")
	})
	if err != nil {
		b.Fatal(err)
	}
	r := httptest.NewRequest(http.MethodGet, "/f/a/b", http.NoBody)
	for name, h := range map[string]http.Handler{
		"the framework alone":      fn,
		"as it is served":          newTraffic(mount{path: "/f", next: fn}),
		"with limited concurrency": newTraffic(mount{path: "/f", next: atMost(1, fn)}),
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				fresh := *r // it is changed in place
				h.ServeHTTP(httptest.NewRecorder(), &fresh)
			}
		})
	}
}
