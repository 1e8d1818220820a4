package server

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/Ishan27g/ryo-faas/internal/testkit"
)

// streams are what callers may send, by what it is, and the statuses of the answers.
// All of them say /smuggled in a place where no request may begin, so it must never
// be called.
var streams = map[string]struct {
	sent string
	want string
}{
	"a length":                       {post + "Content-Length: 39\r\n\r\n" + smuggled + next, "200 200"},
	"chunks":                         {post + "Transfer-Encoding: chunked\r\n\r\n" + chunked + next, "200 200"},
	"chunks in capitals":             {post + "transfer-encoding: Chunked\t\r\n\r\n" + chunked + next, "200 200"},
	"chunks with extensions":         {post + "Transfer-Encoding: chunked\r\n\r\n27;a=b\r\n" + smuggled + "\r\n0;c\r\nX: 1\r\n\r\n" + next, "200 200"},
	"an empty line between requests": {post + "Content-Length: 39\r\n\r\n" + smuggled + "\r\n" + next, "200 200"},
	"two empty lines":                {post + "Content-Length: 39\r\n\r\n" + smuggled + "\r\n\r\n" + next, "200 400"},
	"an old request, kept alive":     {"POST /a HTTP/1.0\r\nConnection: keep-alive\r\nContent-Length: 39\r\n\r\n" + smuggled + next, "200 200"},

	"a length, then chunks":             {post + "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + smuggled, "400"},
	"chunks, then a length":             {post + "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n" + smuggled, "400"},
	"a length of nothing and chunks":    {post + "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked, "400"},
	"two lengths":                       {post + "Content-Length: 39\r\nContent-Length: 0\r\n\r\n" + smuggled, "400"},
	"a length twice":                    {post + "Content-Length: 39\r\nContent-Length: 39\r\n\r\n" + smuggled, "400"},
	"lengths in a list":                 {post + "Content-Length: 39, 39\r\n\r\n" + smuggled, "400"},
	"a signed length":                   {post + "Content-Length: +39\r\n\r\n" + smuggled, "400"},
	"a hexadecimal length":              {post + "Content-Length: 0x27\r\n\r\n" + smuggled, "400"},
	"an empty length":                   {post + "Content-Length: \r\n\r\n" + smuggled, "400"},
	"a length beyond all numbers":       {post + "Content-Length: 18446744073709551655\r\n\r\n" + smuggled, "400"},
	"chunked twice":                     {post + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked, "400"},
	"chunked in a list":                 {post + "Transfer-Encoding: identity, chunked\r\n\r\n0\r\n\r\n" + smuggled, "501"},
	"nearly chunked":                    {post + "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" + smuggled, "501"},
	"a vertical tab before chunked":     {post + "Transfer-Encoding: \vchunked\r\n\r\n0\r\n\r\n" + smuggled, "400"},
	"an old request with chunks":        {"POST /a HTTP/1.0\r\nHost: h\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked, "400"},
	"an old one with both":              {"POST /a HTTP/1.0\r\nHost: h\r\nConnection: keep-alive\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + smuggled, "400"},
	"a folded coding":                   {post + "Transfer-Encoding:\r\n chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n" + smuggled, "400"},
	"a folded line":                     {post + "X-A: b\r\n\tc: d\r\n\r\n" + smuggled, "400"},
	"a space before the colon":          {post + "Content-Length : 39\r\n\r\n" + smuggled, "400"},
	"a head of bare LF":                 {"POST /a HTTP/1.1\nHost: h\nContent-Length: 39\n\n" + smuggled, "400"},
	"a header line that ends in LF":     {post + "X-A: b\nContent-Length: 39\r\n\r\n" + smuggled, "400"},
	"a head that ends in LF":            {post + "X-A: b\r\n\n" + smuggled, "400"},
	"a version of its own":              {"POST /a HTTP/1.2\r\nHost: h\r\nContent-Length: 39\r\n\r\n" + smuggled, "400"},
	"a size with 0x":                    {post + "Transfer-Encoding: chunked\r\n\r\n0x27\r\n" + smuggled, "500"},
	"a size with a space":               {post + "Transfer-Encoding: chunked\r\n\r\n27 ;a\r\n" + smuggled, "500"},
	"a signed size":                     {post + "Transfer-Encoding: chunked\r\n\r\n+27\r\n" + smuggled, "500"},
	"an empty size":                     {post + "Transfer-Encoding: chunked\r\n\r\n\r\n" + smuggled, "500"},
	"a size beyond all numbers":         {post + "Transfer-Encoding: chunked\r\n\r\n10000000000000000\r\n" + smuggled, "500"},
	"a size line that ends in LF":       {post + "Transfer-Encoding: chunked\r\n\r\n0\n\r\n" + smuggled, "500"},
	"LF in an extension":                {post + "Transfer-Encoding: chunked\r\n\r\n0;a\nb\r\n\r\n" + smuggled, "500"},
	"CR in an extension":                {post + "Transfer-Encoding: chunked\r\n\r\n0;a\rb\r\n\r\n" + smuggled, "500"},
	"more than the chunk":               {post + "Transfer-Encoding: chunked\r\n\r\n1\r\n" + smuggled, "500"},
	"a chunk that ends in LF":           {post + "Transfer-Encoding: chunked\r\n\r\n1\r\na\n0\r\n\r\n" + smuggled, "500"},
	"a trailer that ends in LF":         {post + "Transfer-Encoding: chunked\r\n\r\n0\r\nX-A: b\n\r\n" + smuggled, "500"},
	"trailers that end in LF":           {post + "Transfer-Encoding: chunked\r\n\r\n0\r\nX-A: b\r\n\n" + smuggled, "500"},
	"a folded trailer":                  {post + "Transfer-Encoding: chunked\r\n\r\n0\r\nX-A: b\r\n c: d\r\n\r\n" + smuggled, "500"},
	"a space in a trailer's name":       {post + "Transfer-Encoding: chunked\r\n\r\n0\r\nX-A : b\r\n\r\n" + smuggled, "500"},
	"a websocket with a body":           {get + "Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 39\r\n\r\n" + smuggled, "400"},
	"a websocket with chunks":           {get + "Connection: Upgrade\r\nUpgrade: websocket\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked, "400"},
	"a websocket that is refused":       {get + "Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n" + smuggled, "200"},
	"an early answer to a length":       {early + "Content-Length: 3000039\r\n\r\n" + strings.Repeat("x", 3_000_000) + smuggled, "413"},
	"an early answer to chunks":         {early + "Transfer-Encoding: chunked\r\n\r\n2DC6E7\r\n" + strings.Repeat("x", 3_000_000) + smuggled + "\r\n0\r\n\r\n", "413"},
	"an early answer to an expectation": {early + "Expect: 100-continue\r\nContent-Length: 39\r\n\r\n" + smuggled, "413"},
	"no method":                         {"\x16\x03\x01\x02\x00\x01", "400"},
	"an answer":                         {"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n" + smuggled, "400"},
}

const (
	post     = "POST /a HTTP/1.1\r\nHost: h\r\n"
	get      = "GET /a HTTP/1.1\r\nHost: h\r\n"
	early    = "POST /early HTTP/1.1\r\nHost: h\r\n"
	smuggled = "GET /smuggled HTTP/1.1\r\nHost: villa\r\n\r\n"
	chunked  = "27\r\n" + smuggled + "\r\n0\r\n\r\n"
	next     = "GET /next HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
)

// serveFramed serves a handler on framed connections and returns its address.
func serveFramed(t testing.TB, silence time.Duration, h http.HandlerFunc) string {
	t.Helper()
	srv := httptest.NewUnstartedServer(h)
	srv.Listener = framed{Listener: srv.Listener, silence: silence}
	srv.Config.Protocols = new(http.Protocols)
	srv.Config.Protocols.SetHTTP1(true)
	srv.Config.Protocols.SetUnencryptedHTTP2(true)
	srv.Start()
	t.Cleanup(func() {
		srv.CloseClientConnections()
		srv.Close()
	})
	return srv.Listener.Addr().String()
}

func TestBytesOfABodyAreNoRequest(t *testing.T) {
	require.Len(t, smuggled, 39)
	var calls atomic.Int32
	addr := serveFramed(t, time.Minute, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/smuggled" {
			calls.Add(1)
		}
		if r.Header.Get("Upgrade") != "" {
			w.Header().Set("Connection", "close")
		}
		if r.URL.Path == "/early" {
			w.WriteHeader(http.StatusRequestEntityTooLarge)
			return
		}
		if _, err := io.ReadAll(r.Body); err != nil {
			w.WriteHeader(http.StatusInternalServerError)
		}
	})
	for name, tt := range streams {
		for _, pieces := range []int{len(tt.sent), 1} {
			if len(tt.sent) > 10_000 && pieces == 1 {
				continue
			}
			conn, err := net.Dial("tcp", addr)
			require.NoError(t, err)
			require.NoError(t, conn.SetDeadline(time.Now().Add(testkit.Patience)))
			go func() {
				defer func() { _ = conn.(*net.TCPConn).CloseWrite() }()
				for i := 0; i < len(tt.sent); i += pieces {
					if _, err := io.WriteString(conn, tt.sent[i:min(i+pieces, len(tt.sent))]); err != nil {
						return // it has been closed: fine
					}
				}
			}()
			var got []string
			in := bufio.NewReader(conn)
			for {
				res, err := http.ReadResponse(in, nil)
				if err != nil {
					break
				}
				if _, err = io.Copy(io.Discard, res.Body); res.StatusCode == http.StatusOK {
					assert.NoError(t, err, name)
				}
				got = append(got, fmt.Sprint(res.StatusCode))
			}
			assert.Equal(t, tt.want, strings.Join(got, " "), name)
			conn.Close()
		}
	}
	assert.Zero(t, calls.Load())
}

func TestHTTP2IsNotFramed(t *testing.T) {
	addr := serveFramed(t, time.Minute, func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.Proto) })
	tr := &http.Transport{Protocols: new(http.Protocols)}
	tr.Protocols.SetUnencryptedHTTP2(true)
	defer tr.CloseIdleConnections()
	res, err := (&http.Client{Transport: tr}).Post("http://"+addr, "", strings.NewReader(smuggled))
	require.NoError(t, err)
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	assert.Equal(t, "HTTP/2.0", string(body))
}

func TestACallerThatReadsNothingIsClosed(t *testing.T) {
	failed := make(chan error, 1)
	addr := serveFramed(t, 50*time.Millisecond, func(w http.ResponseWriter, _ *http.Request) {
		part := make([]byte, 1<<20)
		for {
			if _, err := w.Write(part); err != nil {
				failed <- err
				return
			}
		}
	})
	conn, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	defer conn.Close()
	fmt.Fprint(conn, get+"\r\n")
	select {
	case err := <-failed:
		assert.ErrorContains(t, err, "timeout")
	case <-time.After(testkit.Patience):
		t.Fatal("it is sent to for ever")
	}
}

// slowConn takes a few bytes of each write within its limit.
type slowConn struct {
	net.Conn
	taken bytes.Buffer
}

func (c *slowConn) SetWriteDeadline(time.Time) error { return nil }

func (c *slowConn) Write(p []byte) (int, error) {
	n := min(3, len(p))
	c.taken.Write(p[:n])
	if n < len(p) {
		return n, fmt.Errorf("%w", os.ErrDeadlineExceeded)
	}
	return n, nil
}

func TestACallerThatReadsSlowlyIsNotClosed(t *testing.T) {
	slow := &slowConn{}
	n, err := (&patientConn{Conn: slow, silence: time.Second}).Write([]byte("0123456789"))
	require.NoError(t, err)
	assert.Equal(t, 10, n)
	assert.Equal(t, "0123456789", slow.taken.String())
}

// pass returns what is passed on of a stream that comes in pieces.
func pass(stream []byte, pieces int) []byte {
	var f framing
	var out []byte
	for len(stream) > 0 {
		p := bytes.Clone(stream[:min(pieces, len(stream))])
		stream = stream[len(p):]
		good, instead := f.take(p)
		out = append(out, p[:good]...)
		if instead != "" {
			return append(out, instead...)
		}
	}
	return out
}

// FuzzFraming: whatever comes, in whatever pieces, the same is passed on; and where
// net/http sees the end of a request in it, the framing has seen it too.
func FuzzFraming(f *testing.F) {
	for _, s := range streams {
		if len(s.sent) < 10_000 {
			f.Add([]byte(s.sent))
		}
	}
	f.Fuzz(func(t *testing.T, stream []byte) {
		passed := pass(stream, len(stream)+1)
		require.Equal(t, passed, pass(stream, 1))
		require.Equal(t, passed, pass(stream, 7))

		var fr framing
		in := bufio.NewReader(bytes.NewReader(passed))
		rest := passed
		for {
			r, err := http.ReadRequest(in)
			if err == nil {
				_, err = io.Copy(io.Discard, r.Body)
			}
			if err != nil {
				return
			}
			if r.Header.Get("Upgrade") != "" || r.Method == "PRI" {
				return
			}
			left, _ := io.ReadAll(in)
			request := rest[:len(rest)-len(left)]
			good, instead := fr.take(bytes.Clone(request))
			require.Equal(t, len(request), good)
			require.Empty(t, instead)
			require.Equal(t, atRequest, fr.place, "%q", request)
			rest = left
			in = bufio.NewReader(bytes.NewReader(left))
		}
	})
}

func BenchmarkFramingOfABrowsersRequest(b *testing.B) {
	head := []byte("GET /functions/hello HTTP/1.1\r\nHost: localhost:9002\r\nConnection: keep-alive\r\nsec-ch-ua-platform: \"Linux\"\r\n" +
		"User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36\r\n" +
		"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\nSec-Fetch-Site: same-origin\r\nSec-Fetch-Mode: cors\r\n" +
		"Referer: http://localhost:9002/\r\nAccept-Encoding: gzip, deflate, br\r\nAccept-Language: en\r\nCookie: session=0123456789abcdef\r\n\r\n")
	var f framing
	b.ReportAllocs()
	for b.Loop() {
		if good, _ := f.take(head); good != len(head) {
			b.Fatal(good)
		}
	}
}

func TestSlowCallersAreCutByDefault(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	s := newServer(nil, nil, Config{Listeners: []net.Listener{l}, Public: []net.Listener{l}})
	assert.Equal(t, 10*time.Second, s.httpServer().ReadHeaderTimeout)
	listeners := s.listeners()
	require.Len(t, listeners, 2)
	for _, l := range listeners {
		assert.Equal(t, time.Minute, l.(framed).silence)
	}
}
