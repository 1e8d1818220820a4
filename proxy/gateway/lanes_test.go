package gateway

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/proxy/gateway/http1"
)

// Header lines that make a call plain, or not. The function sees neither.
const (
	plainLine   = "Connection: close\r\n"
	unplainLine = "Connection: close, X-None\r\n"
)

// lanes is a function that keeps the head and the body that reach it and answers as a
// test says.
type lanes struct {
	addr  string
	row   *proto.FunctionJsonRsp
	table *Table

	mu     sync.Mutex // guards the fields below
	answer string
	seen   string
}

func newLanes(t testing.TB) *lanes {
	l := new(lanes)
	l.row = scripted(t, func(conn net.Conn, in *bufio.Reader) {
		r, err := http.ReadRequest(in)
		if err != nil {
			return
		}
		body, _ := io.ReadAll(r.Body)
		var header strings.Builder
		if r.Header.Get("X-Ryo-Remote-Addr") != "" {
			r.Header.Set("X-Ryo-Remote-Addr", "the caller's") // each call has a connection of its own
		}
		if left, err := time.ParseDuration(r.Header.Get("X-Ryo-Timeout")); err == nil && left > proto.DefaultTimeout/2 && left <= proto.DefaultTimeout {
			r.Header.Set("X-Ryo-Timeout", "nearly all") // it passes meanwhile
		}
		_ = r.Header.Write(&header) // sorted
		l.mu.Lock()
		defer l.mu.Unlock()
		l.seen = fmt.Sprintf("%s %s %s %d\n%s%s and %d bytes", r.Method, r.RequestURI, r.Host, r.ContentLength, header.String(), body, in.Buffered())
		_, _ = io.WriteString(conn, l.answer)
	})
	l.table = table(l.row)
	l.addr = frontTo(t, l.table)
	return l
}

// call makes a call and returns what the function saw and what the caller did.
func (l *lanes) call(t testing.TB, request, body, answer string) (seen, got string) {
	l.mu.Lock()
	l.seen, l.answer = "", answer
	l.mu.Unlock()
	l.row.Pid++ // a new process: nothing reads the rest of the last answer on its connection
	l.table.Update(map[string][]Replica{"hello": {{Row: l.row}}})
	conn, err := net.Dial("tcp", l.addr)
	require.NoError(t, err)
	defer conn.Close()
	require.NoError(t, conn.SetDeadline(time.Now().Add(patience)))
	_, err = io.WriteString(conn, request+"X-Request-Id: 1\r\n\r\n"+body)
	require.NoError(t, err)
	method, _, _ := strings.Cut(request, " ")
	in := bufio.NewReader(conn)
	for {
		res, err := http.ReadResponse(in, &http.Request{Method: method})
		var b []byte
		if err == nil {
			b, err = io.ReadAll(res.Body)
		}
		if err != nil {
			got += "cut" // how much of it has passed varies
			break
		}
		res.Header.Del("Date")
		if res.StatusCode < 200 {
			res.Header = http.Header{"Link": res.Header["Link"]} // ReverseProxy passes Connection and what it nominates
		}
		switch res.StatusCode {
		case http.StatusBadGateway:
			b = nil // its text differs from lane to lane
		case http.StatusBadRequest:
			b = nil // it was refused before its id was read
			res.Header.Del("X-Request-Id")
		}
		if len(b) == 0 && (res.ContentLength < 1 || res.StatusCode >= http.StatusBadRequest) {
			res.ContentLength, res.TransferEncoding = 0, nil // these vary as well
			res.Header.Del("Content-Length")
		}
		got += fmt.Sprintln(res.Status, res.Header, res.ContentLength, res.TransferEncoding, string(b), res.Trailer)
		if res.StatusCode > 199 {
			break
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.seen, got
}

// same makes a call both ways and requires that nobody sees a difference.
func (l *lanes) same(t testing.TB, first, body, answer string) {
	t.Helper()
	seen, got := l.call(t, first+plainLine, body, answer)
	seenToo, gotToo := l.call(t, first+unplainLine, body, answer)
	require.Equal(t, seenToo, seen, "what reaches the function")
	require.Equal(t, gotToo, got, "what reaches the caller")
}

// said are answers of a function.
var said = []string{
	"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
	"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Type: a/b\r\n\r\nhell",
	"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
	"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello, and more",
	"HTTP/1.1 200 OK\r\n\r\nuntil the end",
	"HTTP/1.0 200 OK\r\n\r\nuntil the end",
	"HTTP/1.1   200   OK\r\nContent-Length: 5\r\n\r\nhello",
	"HTTP/1.1 200\r\nContent-Length: 5\r\n\r\nhello",
	"HTTP/1.1  \r\nContent-Length: 5\r\n\r\nhello",
	"HTTP/1.1 +20 OK\r\nContent-Length: 5\r\n\r\nhello",
	"HTTP/1.1\t200 OK\r\nContent-Length: 5\r\n\r\nhello",
	"HTTP/1.2 200 OK\r\nContent-Length: 5\r\n\r\nhello",
	"HTTP/0.9 200 OK\r\nContent-Length: 5\r\n\r\nhello",
	"HTTP/1.2 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
	"HTTP/1.0 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
	"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
	"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
	"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: 1\r\nX-Late: 2\r\n\r\n",
	"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX-Late: 2\r\n\r\n",
	"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
	"HTTP/1.1 103 Early Hints\r\nLink: a\r\nConnection: X-Mine\r\nX-Mine: 1\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
	"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n",
	"HTTP/1.1 103 Early Hints\r\n\r\n",
	"HTTP/1.1 304 Not Modified\r\nETag: x\r\nContent-Length: 5\r\n\r\n",
	"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
	"HTTP/1.1 200 OK\r\nConnection: X-Mine\r\nX-Mine: 1\r\nKeep-Alive: 1\r\nSet-Cookie: a\r\nSet-Cookie: b\r\nX-Request-Id: 2\r\nContent-Length: 5\r\n\r\nhello",
	"HTTP/1.1 200 OK\r\nservice-worker-Allowed: /\r\nService-Worker-Allowed: /a\r\nContent-Length: 5\r\n\r\nhello",
	"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
	"HTTP/1.1 200 OK\r\nX-A : 1\r\n\r\n",
	"HTTP/1.1 200 OK\nX-A: 1\n y\n\nhello",
	"HTTP/1.1 099 Low\r\n\r\n",
	"HTTP/1.1 999 High\r\nContent-Length: 0\r\n\r\n",
	"HTTP/2.0 200 OK\r\nContent-Length: 5\r\n\r\nhello",
	"HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", answerHead) + "\r\n\r\n",
	"garbage\r\n\r\n",
	"",
}

func TestPlainCallsAreLikeAllOthers(t *testing.T) {
	l := newLanes(t)
	get := "GET /functions/hello HTTP/1.1\r\nHost: h\r\n"
	for _, answer := range said {
		l.same(t, get, "", answer)
		l.same(t, "HEAD"+get[len("GET"):], "", answer)
	}
	for _, tt := range []struct{ first, body string }{
		{"GET /functions/Hello/a%2Fb//c?q=%zz HTTP/1.1\r\nHost: me:1\r\n", ""},
		{"POST /functions/hello HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n", "body"},
		{"POST /functions/hello HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n", ""},
		{"PATCH /functions/hello HTTP/1.1\r\nHost: h\r\n", ""},
		{"DELETE /functions/hello HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n", "body"},
		{"GET /functions/hello HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n", ""},
		{"BREW /functions/hello HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n", "body"},
		{get + "User-Agent: u\r\nAccept: a\r\naccept: b\r\nCookie: a=1\r\nX_Y: é\t1\r\nEmpty:\r\nPragma: no-cache\r\n", ""},
		{get + "X-Forwarded-For: 6.6.6.6\r\nforwarded: a\r\nX_Ryo_Auth: b\r\nFunction-Execution-Id: 3\r\nX-Folded: a\r\n b\r\n", ""},
		{get + "Keep-Alive: 1\r\nProxy-Connection: x\r\nProxy-Authorization: x\r\nTrailer: X-Sum\r\nHTTP2-Settings: a\r\n", ""},
	} {
		l.same(t, tt.first, tt.body, said[0])
	}
}

// FuzzAnswers: whatever a function says, a plain call of it gets what the same
// call gets through net/http's client and ReverseProxy.
func FuzzAnswers(f *testing.F) {
	for _, answer := range said {
		f.Add(answer)
	}
	l := newLanes(f)
	f.Fuzz(func(t *testing.T, answer string) {
		for _, method := range []string{"GET", "HEAD"} {
			l.same(t, method+" /functions/hello HTTP/1.1\r\nHost: h\r\n", "", answer)
		}
	})
}

// FuzzRequests: whatever a caller says, a plain call reaches the function as the
// same call does through ReverseProxy and net/http's client.
func FuzzRequests(f *testing.F) {
	for _, seed := range []struct{ rest, lines string }{
		{"", "Accept: a\r\naccept: b\r\n"},
		{"/a%2F//b;c?q=%zz", "X_Forwarded_For: a\r\nForwarded: b\r\nX-Ryo-A: c\r\n"},
		{"?", "Keep-Alive: 1\r\nTrailer: a\r\nProxy-Connection: b\r\nUser-Agent: c\r\n"},
		{"?", "User-Agent: \r\n"},
		{"/\x7f", "Te: trailers\r\nUpgrade: h2c\r\nConnection: upgrade\r\n"},
		{"/a b", "Folded: a\r\n b\r\nSpaced : c\r\nHost: d\r\n"},
		{"/é", "A: \x00\r\nB: é\t\r\nExpect: 100-continue\r\nC:d\n"},
	} {
		f.Add(seed.rest, seed.lines)
	}
	l := newLanes(f)
	f.Fuzz(func(t *testing.T, rest, lines string) {
		head := "GET /functions/hello" + rest + " HTTP/1.1\r\nHost: h\r\n" + lines
		switch lower := strings.ToLower(head); {
		case strings.Contains(strings.ReplaceAll(head, "\r", ""), "\n\n"), !strings.HasSuffix(head, "\n"):
			t.Skip("not one head")
		case strings.Contains(lower, "content-length"), strings.Contains(lower, "transfer-encoding"):
			t.Skip("the gateway would wait for a body")
		case strings.Contains(lower, "x-request-id"):
			t.Skip("each call would have an id of its own")
		}
		l.same(t, head, "", said[0])
	})
}

// anybody is a caller of whom nothing is known.
type anybody struct {
	Caller
	public bool
}

func (a anybody) Public() bool { return a.public }
func (anybody) Believed() bool { return false }

func TestWhichCallsArePlain(t *testing.T) {
	for lines, plain := range map[string]bool{
		"":                                true,
		"Connection: Keep-Alive\r\n":      true,
		"Connection: Close\r\n":           true,
		"Content-Length: 3\r\n":           true,
		"Authorization: Basic YTpi\r\n":   true,
		"Authorization: bearer ryo_a\r\n": true,
		"Authorization: Basic ryo_a\r\n":  false,
		"Connection: X-A\r\n":             false,
		"Upgrade: websocket\r\n":          false,
		"TE: trailers\r\n":                false,
		"Trailer: X-A\r\n":                false,
		"Expect: 100-continue\r\n":        false,
		"Origin: http://a\r\n":            false,
		"Sec-Fetch-Site: none\r\n":        false,
		"Via: a\r\n":                      false,
		"X_Forwarded_For: a\r\n":          false,
	} {
		f := &Fast{caller: anybody{}, scratch: new(scratch)}
		require.Equal(t, http1.Good, f.request.Read([]byte("GET / HTTP/1.1\r\nHost: h\r\n"+lines+"\r\n")), lines)
		assert.Equal(t, plain, f.plain(), lines)
		switch {
		case strings.HasPrefix(lines, "Origin"), strings.HasPrefix(lines, "Sec-"), strings.HasPrefix(lines, "Via"), strings.HasPrefix(lines, "X_"):
			f.caller = anybody{public: true}
			assert.True(t, f.plain(), "anybody may send %s to everybody's listener", lines)
		}
	}
}

// counted is a function that counts its connections and serves them with a script
// that is told which one it has.
func counted(t *testing.T, script func(n int32, conn net.Conn, in *bufio.Reader)) (addr string, opened *atomic.Int32) {
	opened = new(atomic.Int32)
	return front(t, scripted(t, func(conn net.Conn, in *bufio.Reader) { script(opened.Add(1), conn, in) })), opened
}

// answerOnce reads a head and answers it with 204.
func answerOnce(conn net.Conn, in *bufio.Reader) {
	if _, err := readHead(in); err == nil {
		_, _ = io.WriteString(conn, "HTTP/1.1 204 No Content\r\n\r\n")
	}
}

func statusOf(t *testing.T, addr, method, more string) int {
	res, _ := say(t, addr, method+" /functions/hello HTTP/1.1\r\nHost: h\r\n"+more+"\r\n")
	return res.StatusCode
}

func TestLinksServeManyCalls(t *testing.T) {
	addr, opened := counted(t, func(_ int32, conn net.Conn, in *bufio.Reader) {
		for range 4 {
			answerOnce(conn, in)
		}
	})
	for range 4 {
		assert.Equal(t, 204, statusOf(t, addr, "GET", ""))
	}
	assert.EqualValues(t, 1, opened.Load())
}

// A function that reads a second call from a connection and exits without an answer may
// have executed some of it.
func TestCallsAreRepeatedOnlyIfTheyMayBe(t *testing.T) {
	for _, tt := range []struct {
		method, more, word string
		status             int
	}{
		{"GET", "", "", 204},
		{"HEAD", "", "", 204},
		{"POST", "Content-Length: 0\r\n", "", 502},
		{"DELETE", "", "", 502},
		{"POST", "Content-Length: 0\r\nIdempotency-Key: 1\r\n", "", 204},
		{"GET", "", "HTTP/1.1 ", 502},
		{"GET", "", "HTTP/1.1 103 Early Hints\r\n\r\n", 502},
	} {
		t.Run(tt.method+tt.more+tt.word, func(t *testing.T) {
			addr, opened := counted(t, func(n int32, conn net.Conn, in *bufio.Reader) {
				answerOnce(conn, in)
				answerOnce(conn, in) // one that carried two calls is trusted with all
				_, _ = readHead(in)
				_, _ = io.WriteString(conn, tt.word)
			})
			require.Equal(t, 204, statusOf(t, addr, "GET", ""))
			require.Equal(t, 204, statusOf(t, addr, "GET", ""))
			conn, in := dial(t, addr)
			fmt.Fprintf(conn, "%s /functions/hello HTTP/1.1\r\nHost: h\r\n%s\r\n", tt.method, tt.more)
			res, err := http.ReadResponse(in, nil)
			require.NoError(t, err)
			if res.StatusCode == http.StatusEarlyHints {
				res, err = http.ReadResponse(in, nil)
				require.NoError(t, err)
			}
			assert.Equal(t, tt.status, res.StatusCode)
			assert.EqualValues(t, map[int]int{204: 2, 502: 1}[tt.status], opened.Load())
		})
	}
}

// A function that closes connections right after its answers costs one call that may
// not be repeated, not every other one.
func TestLinksThatAreClosedEarlyAreNotTrusted(t *testing.T) {
	addr, _ := counted(t, func(_ int32, conn net.Conn, in *bufio.Reader) {
		answerOnce(conn, in)
		_, _ = readHead(in) // it comes while the function closes
	})
	failed := 0
	for range 10 {
		if statusOf(t, addr, "POST", "Content-Length: 0\r\n") != 204 {
			failed++
		}
	}
	assert.LessOrEqual(t, failed, 1)
}

func TestSmallBodyIsReadBeforeTheFunctionIsCalled(t *testing.T) {
	addr, opened := counted(t, func(_ int32, conn net.Conn, in *bufio.Reader) { answerOnce(conn, in) })
	conn, in := dial(t, addr)
	fmt.Fprint(conn, "POST /functions/hello HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nbo")
	assert.Equal(t, 204, statusOf(t, addr, "GET", "Connection: close\r\n"))
	assert.EqualValues(t, 1, opened.Load())
	fmt.Fprint(conn, "dy")
	res, err := http.ReadResponse(in, nil)
	require.NoError(t, err)
	assert.Equal(t, 204, res.StatusCode)
}

// newLinks returns the links of a listener that answers nothing, and the
// connections as it accepts them.
func newLinks(t *testing.T, idle time.Duration) (*links, <-chan net.Conn) {
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	accepted := make(chan net.Conn, 8)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := lis.Accept()
			if err != nil {
				return
			}
			accepted <- conn
		}
	}()
	s := &links{idle: idle, dial: func(ctx context.Context) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", lis.Addr().String())
	}}
	t.Cleanup(func() {
		s.close()
		lis.Close()
		<-done
		close(accepted)
		for conn := range accepted {
			conn.Close()
		}
	})
	return s, accepted
}

// use gets a link that is in use.
func use(t *testing.T, s *links) (l *link, reused bool) {
	l, reused, err := s.get(t.Context(), true)
	require.NoError(t, err)
	l.detach = func() bool { return true }
	return l, reused
}

// closed waits until the other end has closed a connection.
func closed(t *testing.T, conn net.Conn) {
	t.Helper()
	defer conn.Close()
	require.NoError(t, conn.SetReadDeadline(time.Now().Add(patience)))
	_, err := conn.Read(make([]byte, 1))
	require.ErrorIs(t, err, io.EOF)
}

func TestLastUsedLinkIsTakenFirst(t *testing.T) {
	s, _ := newLinks(t, time.Hour)
	a, _ := use(t, s)
	b, _ := use(t, s)
	s.put(a)
	s.put(b)
	for _, want := range []*link{b, a} {
		l, reused := use(t, s)
		assert.True(t, reused)
		assert.Same(t, want, l)
		defer l.Close()
	}
}

// A function that closes its connections after each answer has closed them by then.
func TestCallsThatCannotBeRepeatedTakeLinksThatAreRipe(t *testing.T) {
	s, accepted := newLinks(t, time.Minute)
	l, _ := use(t, s)
	<-accepted
	s.put(l)
	l.since = time.Now().Add(time.Minute) // it became idle just now
	assert.Nil(t, s.take(false), "it has carried one call")
	l.since = time.Now().Add(-ripe)
	assert.Same(t, l, s.take(false), "it was idle for a while")
	require.True(t, s.add(l))
	l.since = time.Now().Add(time.Minute)
	assert.Same(t, l, s.take(false), "it has carried two calls")
	require.True(t, s.add(l))
}

func TestLinksAreClosedWhenIdleForLong(t *testing.T) {
	s, accepted := newLinks(t, 20*time.Millisecond)
	for range 2 { // the second time the first timer has fired
		a, _ := use(t, s)
		b, _ := use(t, s)
		s.put(a)
		s.put(b)
		closed(t, <-accepted)
		closed(t, <-accepted)
	}
}

func TestLinksOfARetiredTargetAreClosed(t *testing.T) {
	s, accepted := newLinks(t, time.Hour)
	a, _ := use(t, s)
	b, _ := use(t, s)
	s.put(a)
	first, second := <-accepted, <-accepted
	s.close()
	s.put(b)
	closed(t, first)
	closed(t, second)
}

func TestIdleLinksAreBounded(t *testing.T) {
	s, accepted := newLinks(t, time.Hour)
	l, _ := use(t, s)
	s.free = make([]*link, idlePerTarget)
	s.put(l)
	closed(t, <-accepted)
	s.free = nil
}
