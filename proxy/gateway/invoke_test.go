package gateway

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/textproto"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/Ishan27g/ryo-faas/internal/testkit"
	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/transport/server"
	"github.com/Ishan27g/ryo-faas/transport/transporttest"
	"github.com/Ishan27g/ryo-faas/transport/wire"
)

// patience bounds every wait of a test.
const patience = testkit.Patience

// front serves a gateway with routes to the rows, and returns its address.
func front(t testing.TB, rows ...*proto.FunctionJsonRsp) string {
	t.Helper()
	return frontTo(t, table(rows...))
}

func frontTo(t testing.TB, table *Table) string { return frontOf(t, table, 0) }

func frontOf(t testing.TB, table *Table, silence time.Duration) string {
	t.Helper()
	return frontFor(t, table, silence, nil)
}

func frontFor(t testing.TB, table *Table, silence time.Duration, admit func(r *http.Request, name string, public bool) error) string {
	t.Helper()
	addr, _ := frontWith(t, Config{Table: table, Silence: silence, Admit: admit})
	return addr
}

// frontWith serves a gateway with what a configuration says; calls are plain unless it
// says who is admitted.
func frontWith(t testing.TB, gateway Config, more ...func(*server.Config)) (string, *Gateway) {
	t.Helper()
	var early func(*Gateway) func(*server.Early) server.EarlyReader
	if gateway.Admit == nil {
		gateway.Admit = func(*http.Request, string, bool) error { return nil }
		early = func(g *Gateway) func(*server.Early) server.EarlyReader {
			return func(e *server.Early) server.EarlyReader { return g.Fast(e) }
		}
	}
	if gateway.Logger == nil {
		gateway.Logger = hclog.NewNullLogger()
	}
	gateway.Unknown = func(segment string) error {
		return proto.Errorf(proto.ErrNotFound, "function %q not found", segment).From("gateway", "not_found")
	}
	gateway.AgentErr = func(string) *proto.Error { return nil }
	gateway.Whose = server.Whose
	gateway.Stranger = func(r *http.Request) bool { return r.Header.Get("Stranger") != "" }
	g := New(gateway)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	cfg := server.Config{
		Listeners: []net.Listener{l}, Insecure: true, Hosts: []string{"me.example"},
		Mounts: []server.Mount{{Path: Prefix, Scope: wire.ScopeInvoke, Handler: g}},
	}
	if early != nil {
		cfg.Early = early(g)
	}
	for _, m := range more {
		m(&cfg)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	nothing := transporttest.NewFake(t)
	go func() { ended <- server.Serve(ctx, nothing, cfg) }()
	t.Cleanup(func() {
		stop()
		assert.NoError(t, <-ended)
		gateway.Table.Clear()
		g.Close()
	})
	return l.Addr().String(), g
}

// function serves a handler as a function's service, and returns its row.
func function(t testing.TB, name string, h http.HandlerFunc) *proto.FunctionJsonRsp {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(func() {
		srv.CloseClientConnections()
		srv.Close()
	})
	return deployed(name, srv.Listener.Addr().String())
}

// scripted serves each connection with a script, and returns the row of a function
// Hello that lives there.
func scripted(t testing.TB, script func(conn net.Conn, in *bufio.Reader)) *proto.FunctionJsonRsp {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var scripts sync.WaitGroup
	scripts.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_ = conn.SetDeadline(time.Now().Add(patience))
			scripts.Go(func() {
				defer conn.Close()
				script(conn, bufio.NewReader(conn))
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		scripts.Wait()
	})
	return deployed("Hello", l.Addr().String())
}

// answering is a script that reads one head and says something.
func answering(answer string) func(net.Conn, *bufio.Reader) {
	return func(conn net.Conn, in *bufio.Reader) {
		if _, err := readHead(in); err == nil {
			_, _ = io.WriteString(conn, answer)
		}
	}
}

// readHead reads a head as it is, up to and without the empty line.
func readHead(in *bufio.Reader) (string, error) {
	var head strings.Builder
	for {
		line, err := in.ReadString('\n')
		if err != nil || line == "\r\n" {
			return head.String(), err
		}
		head.WriteString(line)
	}
}

// dial connects to the gateway.
func dial(t testing.TB, addr string) (net.Conn, *bufio.Reader) {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	require.NoError(t, conn.SetDeadline(time.Now().Add(patience)))
	return conn, bufio.NewReader(conn)
}

// say sends bytes to the gateway and reads one answer, without its body.
func say(t testing.TB, addr, request string) (*http.Response, net.Conn) {
	t.Helper()
	conn, in := dial(t, addr)
	_, err := io.WriteString(conn, request)
	require.NoError(t, err)
	method, _, _ := strings.Cut(request, " ")
	res, err := http.ReadResponse(in, &http.Request{Method: method})
	require.NoError(t, err)
	return res, conn
}

func bodyOf(t testing.TB, res *http.Response) string {
	t.Helper()
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	return string(b)
}

// client returns a client whose connections end with the test.
func client(t testing.TB) *http.Client {
	tr := &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 64}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: patience}
}

// errorOf reads an answer of the gateway's own.
func errorOf(t testing.TB, res *http.Response) map[string]any {
	t.Helper()
	var answer struct{ Error map[string]any }
	require.NoError(t, json.Unmarshal([]byte(bodyOf(t, res)), &answer))
	require.NotEmpty(t, answer.Error["message"])
	assert.NotEmpty(t, answer.Error["component"])
	assert.NotEmpty(t, answer.Error["reason"])
	assert.Equal(t, res.Header.Get("X-Request-Id"), answer.Error["requestId"])
	assert.NotEmpty(t, answer.Error["requestId"])
	return answer.Error
}

// headSeen sends a request through the gateway and returns the head that reached
// the function, its first line apart.
func headSeen(t *testing.T, request string) (first string, header http.Header) {
	t.Helper()
	heads := make(chan string, 1)
	addr := front(t, scripted(t, func(conn net.Conn, in *bufio.Reader) {
		head, _ := readHead(in)
		heads <- head
		_, _ = io.WriteString(conn, "HTTP/1.1 204 No Content\r\n\r\n")
	}))
	res, _ := say(t, addr, request)
	require.Equal(t, 204, res.StatusCode)
	first, rest, _ := strings.Cut(<-heads, "\r\n")
	mime, err := textproto.NewReader(bufio.NewReader(strings.NewReader(rest + "\r\n"))).ReadMIMEHeader()
	require.NoError(t, err)
	return first, http.Header(mime)
}

// Forwarding.

func TestForwardingHeadersAreSetFreshly(t *testing.T) {
	_, h := headSeen(t, "GET /functions/hello HTTP/1.1\r\nHost: me.example:9002\r\n"+
		"X-Forwarded-For: 6.6.6.6\r\nx_forwarded_for: 6.6.6.6\r\nX-Forwarded-Host: evil\r\nX-Forwarded-Proto: https\r\n"+
		"X-Forwarded-Prefix: /evil\r\nX-Forwarded-Port: 1\r\nForwarded: for=6.6.6.6\r\nX-Ryo-Auth: a\r\nX_Ryo_Auth: b\r\nX-Ryo-Remote-Addr: 6.6.6.6:6\r\n\r\n")
	caller, err := netip.ParseAddrPort(h.Get("X-Ryo-Remote-Addr"))
	require.NoError(t, err)
	assert.Equal(t, "127.0.0.1", caller.Addr().String())
	assert.Equal(t, http.Header{
		"Via": {"1.1 ryo"}, "X-Ryo-Remote-Addr": {caller.String()}, "X-Forwarded-Prefix": {"/functions/hello"},
		"X-Forwarded-For": {"127.0.0.1"}, "X-Forwarded-Host": {"me.example:9002"}, "X-Forwarded-Proto": {"http"},
		"Host": {"me.example:9002"}, "X-Request-Id": h["X-Request-Id"], "Function-Execution-Id": h["X-Request-Id"],
		"X-Ryo-Timeout": h["X-Ryo-Timeout"],
	}, h)
	assert.NotEmpty(t, h["X-Ryo-Timeout"])
}

func TestNominatedHeadersCannotRemoveOurs(t *testing.T) {
	_, h := headSeen(t, "GET /functions/hello HTTP/1.1\r\nHost: h\r\nConnection: X-Forwarded-For, X-Request-Id, Function-Execution-Id\r\n\r\n")
	assert.Equal(t, "127.0.0.1", h.Get("X-Forwarded-For"))
	assert.NotEmpty(t, h.Get("X-Request-Id"))
	assert.NotEmpty(t, h.Get("Function-Execution-Id"))
}

func TestEachReplyHasOneRequestID(t *testing.T) {
	addr := front(t, function(t, "Hello", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Request-Id", "of-the-function")
		fmt.Fprint(w, r.Header.Get("X-Request-Id"), " ", r.Header.Get("Function-Execution-Id"))
	}))
	res, _ := say(t, addr, "GET /functions/hello HTTP/1.1\r\nHost: h\r\nX-Request-Id: mine\r\n\r\n")
	assert.Equal(t, []string{"mine"}, res.Header.Values("X-Request-Id"))
	assert.Equal(t, "mine mine", bodyOf(t, res))

	for _, bad := range []string{"", "a b", "é", strings.Repeat("x", 129)} {
		res, _ := say(t, addr, "GET /functions/hello HTTP/1.1\r\nHost: h\r\nX-Request-Id: "+bad+"\r\n\r\n")
		id := res.Header.Get("X-Request-Id")
		assert.Regexp(t, "^[A-Z0-9]{26}$", id)
		assert.Equal(t, id+" "+id, bodyOf(t, res))
	}
	res, _ = say(t, addr, "GET /functions/other HTTP/1.1\r\nHost: h\r\nX-Request-Id: mine\r\n\r\n")
	assert.Equal(t, []string{"mine"}, res.Header.Values("X-Request-Id"))
}

// Framing.

func TestHTTP2CallersReachTheFunction(t *testing.T) {
	addr := front(t, function(t, "Hello", func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%s %s %s", r.Proto, r.RequestURI, b)
	}))
	tr := &http.Transport{Protocols: new(http.Protocols)}
	tr.Protocols.SetUnencryptedHTTP2(true)
	defer tr.CloseIdleConnections()
	res, err := (&http.Client{Transport: tr, Timeout: patience}).Post("http://"+addr+"/functions/Hello/a%2Fb?q", "text/plain", strings.NewReader("body"))
	require.NoError(t, err)
	assert.Equal(t, 2, res.ProtoMajor)
	assert.Equal(t, "HTTP/1.1 /hello/a%2Fb?q body", bodyOf(t, res))
}

func TestAnHTTP2CallerThatReadsNothingIsCanceled(t *testing.T) {
	ended := make(chan struct{})
	row := function(t, "Hello", func(w http.ResponseWriter, r *http.Request) {
		defer close(ended)
		part := make([]byte, 1<<20)
		for r.Context().Err() == nil {
			if _, err := w.Write(part); err != nil {
				return
			}
		}
	})
	tr := &http.Transport{Protocols: new(http.Protocols)}
	tr.Protocols.SetUnencryptedHTTP2(true)
	defer tr.CloseIdleConnections()
	res, err := (&http.Client{Transport: tr}).Get("http://" + frontOf(t, table(row), 50*time.Millisecond) + "/functions/hello")
	require.NoError(t, err)
	defer res.Body.Close()
	select {
	case <-ended:
	case <-time.After(patience):
		t.Fatal("the call is held")
	}
}

func TestAnHTTP2CallerWaitsForAFunctionThatIsSilent(t *testing.T) {
	const silence = 50 * time.Millisecond
	row := function(t, "Hello", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, "one ")
		assert.NoError(t, http.NewResponseController(w).Flush())
		select {
		case <-time.After(3 * silence):
		case <-r.Context().Done():
		}
		fmt.Fprint(w, "two")
	})
	tr := &http.Transport{Protocols: new(http.Protocols)}
	tr.Protocols.SetUnencryptedHTTP2(true)
	defer tr.CloseIdleConnections()
	res, err := (&http.Client{Transport: tr, Timeout: patience}).Get("http://" + frontOf(t, table(row), silence) + "/functions/hello")
	require.NoError(t, err)
	assert.Equal(t, "one two", bodyOf(t, res))
}

// HTTP/2 lets a method be whatever a header may be.
func TestMethodsAreTokens(t *testing.T) {
	gateway := New(Config{Table: table(scripted(t, func(net.Conn, *bufio.Reader) { t.Error("the function was called") })), Logger: hclog.NewNullLogger()})
	r := httptest.NewRequest(http.MethodGet, "/functions/hello", http.NoBody)
	r.ProtoMajor, r.ProtoMinor = 2, 0
	for _, method := range []string{"GET /functions/hello/x HTTP/1.1", "GET\t", "", "G(T"} {
		r.Method = method
		w := httptest.NewRecorder()
		gateway.ServeHTTP(w, r)
		assert.Equal(t, 400, w.Code, method)
	}
}

// Trailers.

func TestTrailersOfRequestsPassWithoutPrivateOnes(t *testing.T) {
	got := make(chan http.Header, 1)
	addr := front(t, function(t, "Hello", func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		got <- r.Trailer
	}))
	res, _ := say(t, addr, "POST /functions/hello HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum, X-Ryo-Auth, X-Forwarded-For\r\n\r\n"+
		"4\r\nbody\r\n0\r\nX-Sum: 1\r\nX-Ryo-Auth: 2\r\nX-Forwarded-For: 3\r\nX_Ryo_Auth: 4\r\n\r\n")
	assert.Equal(t, 200, res.StatusCode)
	assert.Equal(t, http.Header{"X-Sum": {"1"}}, <-got)
}

// Tunnels.

func echoSocket(w http.ResponseWriter, r *http.Request) {
	c, err := websocket.Accept(w, r, nil)
	if err != nil {
		return
	}
	defer func() { _ = c.CloseNow() }()
	for {
		kind, msg, err := c.Read(r.Context())
		if err != nil || c.Write(r.Context(), kind, msg) != nil {
			return
		}
	}
}

func TestWebsocketsEcho(t *testing.T) {
	addr := front(t, function(t, "Hello", echoSocket))
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	c, res, err := websocket.Dial(ctx, "ws://"+addr+"/functions/hello/x", nil)
	require.NoError(t, err)
	assert.NotEmpty(t, res.Header.Get("X-Request-Id"))
	for _, msg := range []string{"one", strings.Repeat("two", 10_000)} {
		require.NoError(t, c.Write(ctx, websocket.MessageText, []byte(msg)))
		_, got, err := c.Read(ctx)
		require.NoError(t, err)
		assert.Equal(t, msg, string(got))
	}
	require.NoError(t, c.Close(websocket.StatusNormalClosure, ""))
}

// Broken answers.

func TestBrokenAnswersAreTheFunctionsFault(t *testing.T) {
	for name, answer := range map[string]string{
		"none":                  "",
		"unknown coding":        "HTTP/1.1 200 OK\r\nTransfer-Encoding: rot13\r\n\r\nok",
		"a head without an end": "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", answerHead) + "\r\n\r\n",
	} {
		addr := front(t, scripted(t, answering(answer)))
		res, _ := say(t, addr, "GET /functions/hello HTTP/1.1\r\nHost: h\r\n\r\n")
		assert.Equal(t, 502, res.StatusCode, name)
		e := errorOf(t, res)
		assert.Equal(t, "bad_gateway", e["code"])
		assert.Equal(t, "function", e["component"])
	}
}

// Refusals.

func TestReasonsWhyAFunctionIsNotCalled(t *testing.T) {
	deploying := &proto.FunctionJsonRsp{Name: "New", Status: string(proto.Deploying)}
	failed := &proto.FunctionJsonRsp{Name: "Bad", Status: string(proto.Failed), Reason: proto.ReasonBuild}
	addr := front(t, deploying, failed, deployed("Down", testkit.Address(t)))
	for _, tt := range []struct {
		target                  string
		status                  int
		code, component, reason string
		retry                   bool
	}{
		{"/functions/other", 404, "not_found", "gateway", "not_found", false},
		{"/functions/", 400, "invalid", "gateway", "invalid", false},
		{"/functions/new", 503, "unavailable", "function", "deploying", true},
		{"/functions/bad/x", 502, "bad_gateway", "function", "build", false},
		{"/functions/down", 502, "bad_gateway", "function", "dial", false},
	} {
		res, _ := say(t, addr, "GET "+tt.target+" HTTP/1.1\r\nHost: h\r\n\r\n")
		assert.Equal(t, tt.status, res.StatusCode, tt.target)
		assert.Equal(t, tt.retry, res.Header.Get("Retry-After") != "", tt.target)
		e := errorOf(t, res)
		assert.Equal(t, []any{tt.code, tt.component, tt.reason}, []any{e["code"], e["component"], e["reason"]}, tt.target)
		assert.NotContains(t, e["message"], "127.0.0.1", "callers are not told where functions lie")
	}
}

// A call that was given a replica just before its function was stopped.
func TestAFunctionThatWasStoppedMeanwhileIsNotDown(t *testing.T) {
	r := table(deployed("Gone", testkit.Address(t)))
	srv := httptest.NewServer(New(Config{
		Table: r, Logger: hclog.NewNullLogger(), Admit: func(*http.Request, string, bool) error { return nil },
		Stranger: func(*http.Request) bool { return false },
		AgentErr: func(string) *proto.Error { // it is asked after the dial has failed
			r.Update(map[string][]Replica{"gone": nil})
			return nil
		},
		Unknown: func(name string) error { return proto.Errorf(proto.ErrNotFound, "function %q is stopped", name) },
	}))
	t.Cleanup(srv.Close)
	t.Cleanup(r.Clear)
	res, _ := say(t, srv.Listener.Addr().String(), "GET /functions/gone HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
	assert.Equal(t, http.StatusNotFound, res.StatusCode)
	assert.Contains(t, errorOf(t, res)["message"], "stopped")
}

// Right after the start it is not known yet what there is.
func TestACallWaitsUntilItsFunctionIsKnown(t *testing.T) {
	row := function(t, "Late", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "here") })
	row.Routes = []string{"late.example"}
	r := NewTable()
	g := New(Config{
		Table: r, Logger: hclog.NewNullLogger(), Admit: func(*http.Request, string, bool) error { return nil },
		Stranger: func(*http.Request) bool { return false }, AgentErr: func(string) *proto.Error { return nil },
		Unknown: func(name string) error { return proto.Errorf(proto.ErrNotFound, "there is no %q", name) },
		Heard: func(_ context.Context, is func() bool) {
			assert.False(t, is())
			r.Update(map[string][]Replica{"late": {{Row: row}}})
			_ = is()
		},
	})
	t.Cleanup(r.Clear)
	for request, handler := range map[string]http.Handler{"GET /functions/late HTTP/1.1\r\nHost: h\r\n": g, "GET / HTTP/1.1\r\nHost: late.example\r\n": g.Sites()} {
		r.Update(map[string][]Replica{"late": nil})
		srv := httptest.NewServer(handler)
		t.Cleanup(srv.Close)
		res, _ := say(t, srv.Listener.Addr().String(), request+"Connection: close\r\n\r\n")
		assert.Equal(t, http.StatusOK, res.StatusCode, request)
		assert.Equal(t, "here", bodyOf(t, res))
	}
	srv := httptest.NewServer(g)
	t.Cleanup(srv.Close)
	r.Update(map[string][]Replica{"late": nil})
	res, _ := say(t, srv.Listener.Addr().String(), "GET /functions/other HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
	assert.Equal(t, http.StatusNotFound, res.StatusCode)
}

// Time limits.

func TestAnswerMustBeginWithinTheFunctionsLimit(t *testing.T) {
	told := make(chan struct{})
	row := function(t, "Hello", func(w http.ResponseWriter, r *http.Request) {
		<-r.Context().Done()
		close(told)
	})
	row.Timeout = "50ms"
	res, _ := say(t, front(t, row), "GET /functions/hello HTTP/1.1\r\nHost: h\r\n\r\n")
	assert.Equal(t, 504, res.StatusCode)
	e := errorOf(t, res)
	assert.Equal(t, []any{"timeout", "function", "timeout"}, []any{e["code"], e["component"], e["reason"]})
	<-told
}

// silent is a row of a function that never answers within its limit: a call of it
// is a clock.
func silent(t *testing.T, limit string) *proto.FunctionJsonRsp {
	row := function(t, "Silent", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	row.Timeout = limit
	return row
}

func tick(t *testing.T, addr string) {
	res, _ := say(t, addr, "GET /functions/silent HTTP/1.1\r\nHost: h\r\n\r\n")
	require.Equal(t, 504, res.StatusCode)
}

func TestLimitEndsWithTheAnswersHead(t *testing.T) {
	more := make(chan struct{})
	row := scripted(t, func(conn net.Conn, in *bufio.Reader) {
		_, _ = readHead(in)
		_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n")
		<-more
		_, _ = io.WriteString(conn, "slow")
	})
	row.Timeout = "200ms"
	addr := front(t, row, silent(t, "400ms"))
	res, _ := say(t, addr, "GET /functions/hello HTTP/1.1\r\nHost: h\r\n\r\n")
	tick(t, addr)
	close(more)
	assert.Equal(t, "slow", bodyOf(t, res))
}

func TestSlowUploadIsNoFaultOfTheFunction(t *testing.T) {
	row := function(t, "Hello", func(w http.ResponseWriter, r *http.Request) {
		n, _ := io.Copy(io.Discard, r.Body)
		fmt.Fprint(w, n)
	})
	row.Timeout = "500ms"
	addr := front(t, row, silent(t, "150ms"))
	conn, in := dial(t, addr)
	fmt.Fprint(conn, "POST /functions/hello HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\n")
	for range 5 {
		tick(t, addr)
		fmt.Fprint(conn, "x")
	}
	res, err := http.ReadResponse(in, nil)
	require.NoError(t, err)
	assert.Equal(t, "5", bodyOf(t, res))
}

// The party that was slow is named.
func TestStalledUploadIsTheCallersFault(t *testing.T) {
	row := function(t, "Hello", func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) })
	row.Timeout = "50ms"
	addr := front(t, row)
	for _, framing := range []string{"Content-Length: 5\r\n\r\nx", "Content-Length: 50000\r\n\r\nx", "Transfer-Encoding: chunked\r\n\r\n5\r\nx"} {
		res, _ := say(t, addr, "POST /functions/hello HTTP/1.1\r\nHost: h\r\n"+framing)
		assert.Equal(t, 408, res.StatusCode)
		assert.True(t, res.Close)
		assert.Equal(t, "caller", errorOf(t, res)["component"])
	}
}

// When an upload does not go on because the function reads nothing, the function is to
// blame, not the caller.
func TestAnUploadThatIsNotReadIsTheFunctionsFault(t *testing.T) {
	release := make(chan struct{})
	row := scripted(t, func(_ net.Conn, in *bufio.Reader) {
		_, _ = readHead(in)
		<-release
	})
	defer close(release)
	row.Timeout = "200ms"
	conn, in := dial(t, front(t, row))
	go func() {
		fmt.Fprint(conn, "POST /functions/hello HTTP/1.1\r\nHost: h\r\nContent-Length: 100000000\r\n\r\n")
		_, _ = io.Copy(conn, io.LimitReader(zeros{}, 100_000_000))
	}()
	res, err := http.ReadResponse(in, nil)
	require.NoError(t, err)
	assert.Equal(t, 504, res.StatusCode)
	assert.Equal(t, "function", errorOf(t, res)["component"])
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

// Replicas and sockets.

func TestNextReplicaIsTakenWhenOneCannotBeDialed(t *testing.T) {
	live := function(t, "Hello", func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "got %s", b)
	})
	addr := front(t, deployed("Hello", testkit.Address(t)), live, deployed("Hello", testkit.Address(t)))
	for range 6 {
		res, _ := say(t, addr, "POST /functions/hello HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nbody")
		assert.Equal(t, "got body", bodyOf(t, res))
	}
}

func TestReplicasShareTheLoad(t *testing.T) {
	release := make(chan struct{})
	var busy [2]atomic.Int32
	handler := func(i int) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			busy[i].Add(1)
			<-release
		}
	}
	r := table(function(t, "Hello", handler(0)), function(t, "Hello", handler(1)))
	addr := frontTo(t, r)
	c := client(t)
	var calls sync.WaitGroup
	for i := range 6 {
		calls.Go(func() {
			if res, err := c.Get("http://" + addr + "/functions/hello"); assert.NoError(t, err) {
				res.Body.Close()
			}
		})
		require.Eventually(t, func() bool { return busy[0].Load()+busy[1].Load() == int32(i+1) }, patience, time.Millisecond)
	}
	assert.EqualValues(t, 3, busy[0].Load())
	assert.EqualValues(t, 3, busy[1].Load())
	close(release)
	calls.Wait()
	rt, _, _ := r.find("hello")
	for _, target := range rt.targets() {
		require.Eventually(t, func() bool { return target.inFlight.Load() == 0 }, patience, time.Millisecond)
	}
}

func TestUnixSocketThatIsNotThereLeavesTCP(t *testing.T) {
	row := function(t, "Hello", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "tcp ", r.Host) })
	row.Socket = filepath.Join(t.TempDir(), "s") // on the agent's machine, behind a tunnel
	r := NewTable()
	r.Update(map[string][]Replica{"hello": {{Row: row, Local: true, User: os.Getuid()}}})
	res, _ := say(t, frontTo(t, r), "GET /functions/hello HTTP/1.1\r\nHost: me\r\n\r\n")
	assert.Equal(t, "tcp me", bodyOf(t, res))
}

// Who answers at an agent's port while the agent does not run could name any socket.
func TestAUnixSocketOfAnotherUserIsNotCalled(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	require.NoError(t, err)
	t.Cleanup(func() { l.Close() })
	row := function(t, "Hello", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "tcp ", r.Host) })
	row.Socket = socket
	r := NewTable()
	r.Update(map[string][]Replica{"hello": {{Row: row, Local: true, User: os.Getuid() + 1}}})
	res, _ := say(t, frontTo(t, r), "GET /functions/hello HTTP/1.1\r\nHost: me\r\n\r\n")
	assert.Equal(t, "tcp me", bodyOf(t, res))
}

// Without its socket the function does not run either, and its port may be a stranger's.
func TestUnixSocketThatWasRemovedDoesNotLeadToTCP(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	require.NoError(t, err)
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "unix ", r.Host) })}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(l) }()
	t.Cleanup(func() {
		_ = srv.Close()
		assert.ErrorIs(t, <-served, http.ErrServerClosed)
	})

	row := function(t, "Hello", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "tcp ", r.Host) })
	row.Socket = socket
	r := NewTable()
	r.Update(map[string][]Replica{"hello": {{Row: row, Local: true, User: os.Getuid()}}})
	addr := frontTo(t, r)
	res, _ := say(t, addr, "GET /functions/hello HTTP/1.1\r\nHost: me\r\n\r\n")
	assert.Equal(t, "unix me", bodyOf(t, res))

	require.NoError(t, srv.Close())
	require.Eventually(t, func() bool {
		res, _ := say(t, addr, "GET /functions/hello HTTP/1.1\r\nHost: me\r\n\r\n")
		require.NotEqual(t, "tcp me", bodyOf(t, res))
		return res.StatusCode == http.StatusBadGateway
	}, patience, time.Millisecond)
}

func TestCallsInFlightOutliveTheirRoute(t *testing.T) {
	started, release := make(chan struct{}), make(chan struct{})
	r := table(function(t, "Hello", func(w http.ResponseWriter, _ *http.Request) {
		close(started)
		<-release
		fmt.Fprint(w, "done")
	}))
	addr := frontTo(t, r)
	answers := make(chan string, 1)
	go func() {
		res, err := http.Get("http://" + addr + "/functions/hello")
		if err != nil {
			answers <- err.Error()
			return
		}
		defer res.Body.Close()
		b, _ := io.ReadAll(res.Body)
		answers <- string(b)
	}()
	<-started
	r.Update(map[string][]Replica{"hello": nil})
	res, _ := say(t, addr, "GET /functions/hello HTTP/1.1\r\nHost: h\r\n\r\n")
	assert.Equal(t, 404, res.StatusCode)
	close(release)
	assert.Equal(t, "done", <-answers)
	http.DefaultClient.CloseIdleConnections()
}

func TestLargeBodiesPassBothWays(t *testing.T) {
	addr := front(t, function(t, "Hello", func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).EnableFullDuplex()
		_, _ = io.Copy(w, r.Body)
	}))
	sent := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	res, err := client(t).Post("http://"+addr+"/functions/hello", "application/octet-stream", bytes.NewReader(sent))
	require.NoError(t, err)
	assert.True(t, bytes.Equal(sent, []byte(bodyOf(t, res))))
}

func TestManyCallersAtOnce(t *testing.T) {
	addr := front(t, function(t, "Hello", func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		_, _ = w.Write(b)
	}))
	c := client(t)
	var calls sync.WaitGroup
	for i := range 32 {
		calls.Go(func() {
			for j := range 20 {
				want := fmt.Sprint(i, "/", j)
				res, err := c.Post("http://"+addr+"/functions/hello", "text/plain", strings.NewReader(want))
				if !assert.NoError(t, err) {
					return
				}
				assert.Equal(t, want, bodyOf(t, res))
			}
		})
	}
	calls.Wait()
}

func BenchmarkProxiedGET(b *testing.B) {
	addr := front(b, function(b, "Hello", func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, "Hello, World!\n") }))
	conn, in := dial(b, addr)
	require.NoError(b, conn.SetDeadline(time.Time{}))
	request := []byte("GET /functions/hello HTTP/1.1\r\nHost: h\r\n\r\n")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := conn.Write(request); err != nil {
			b.Fatal(err)
		}
		res, err := http.ReadResponse(in, nil)
		if err != nil {
			b.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, res.Body)
	}
}

func TestOnlyThoseWhoAreAdmittedReachAFunction(t *testing.T) {
	var called atomic.Int64
	row := function(t, "Hello", func(http.ResponseWriter, *http.Request) { called.Add(1) })
	for _, public := range []bool{false, true} {
		row.Auth = map[bool]string{true: proto.AuthPublic}[public]
		table := NewTable()
		table.Update(map[string][]Replica{"hello": {{Row: row}}})
		refused := proto.Errorf(proto.ErrNotFound, "nothing here")
		addr := frontFor(t, table, 0, func(r *http.Request, name string, public bool) error {
			if public || r.Header.Get("Authorization") == "may call "+name {
				return nil
			}
			return refused
		})
		for path, want := range map[string]int{"Hello": 200, "hello/a": 200, "hello@1": 404, "other": 404, "hello@7": 404} {
			if !public {
				want = 404
			}
			rsp, body := fetch(t, "http://"+addr+Prefix+path, "")
			assert.Equal(t, want, rsp, path)
			if want == 404 {
				assert.Contains(t, body, "nothing here", path)
			}
		}
		before := called.Load()
		status, _ := fetch(t, "http://"+addr+Prefix+"hello", "may call Hello")
		assert.Equal(t, 200, status)
		status, _ = fetch(t, "http://"+addr+Prefix+"other", "may call other")
		assert.Equal(t, 404, status)
		assert.Equal(t, before+1, called.Load())
	}
}

// fetch makes a call with an authorization.
func fetch(t *testing.T, url, authorization string) (status int, body string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	require.NoError(t, err)
	req.Header.Set("Authorization", authorization)
	rsp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
	require.NoError(t, err)
	defer rsp.Body.Close()
	data, err := io.ReadAll(rsp.Body)
	require.NoError(t, err)
	return rsp.StatusCode, string(data)
}

func TestStrangersAreToldOnlyThatAFunctionDoesNotAnswer(t *testing.T) {
	down := deployed("Down", "127.0.0.1:1")
	failed := deployed("Failed", "127.0.0.1:1")
	failed.Status, failed.Instances, failed.Reason = string(proto.Failed), 0, "crash"
	silent := scripted(t, answering("nonsense\r\n\r\n"))
	addr := front(t, down, failed, silent)
	for name, status := range map[string]int{"down": 502, "failed": 502, "hello": 502, "missing": 404} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+addr+Prefix+name, http.NoBody)
		require.NoError(t, err)
		req.Header.Set("Stranger", "yes")
		rsp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
		require.NoError(t, err)
		body, err := io.ReadAll(rsp.Body)
		require.NoError(t, err)
		require.NoError(t, rsp.Body.Close())
		assert.Equal(t, status, rsp.StatusCode, name)
		for _, secret := range []string{"proxyCli", "dial", "crash", "refused", "HTTP"} {
			assert.NotContains(t, string(body), secret, name)
		}
		if status == 502 {
			assert.Contains(t, string(body), "the function gave no answer")
		}
	}
}
