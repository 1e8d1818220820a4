package proxy

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// speak sends bytes to a proxy and returns the statuses of all that it answers until
// it closes the connection.
func speak(t *testing.T, addr, sent string) (statuses []int) {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	defer conn.Close()
	require.NoError(t, conn.SetDeadline(time.Now().Add(patience)))
	go func() { _, _ = io.WriteString(conn, sent) }() // the proxy may close before all is sent
	in := bufio.NewReader(conn)
	for {
		res, err := http.ReadResponse(in, nil)
		if err != nil {
			return statuses
		}
		_, _ = io.Copy(io.Discard, res.Body)
		statuses = append(statuses, res.StatusCode)
	}
}

func TestBytesOfABodyAreNoCallInEitherLane(t *testing.T) {
	const smuggled = "GET /functions/hello/smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n"
	var calls atomic.Int32
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.HasSuffix(r.URL.Path, "/smuggled"):
			calls.Add(1)
		case strings.HasSuffix(r.URL.Path, "/early"):
			w.Header().Set("Connection", "close")
			w.WriteHeader(http.StatusRequestEntityTooLarge)
		default:
			_, _ = io.Copy(io.Discard, r.Body)
		}
	}))
	defer srv.Close()
	n := newNode(t)
	n.service = srv.URL
	p := start(t, Config{Agents: []string{n.addr}})
	deploys(t, p, source(t, "Hello", n.addr))

	chunk := fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(smuggled), smuggled)
	length := fmt.Sprintf("Content-Length: %d\r\n", len(smuggled))
	const chunked, after = "Transfer-Encoding: chunked\r\n", "GET /functions/hello HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
	for name, tt := range map[string]struct {
		version, path, head, body string
		want                      []int
	}{
		"a length":                  {"1.1", "", length, smuggled + after, []int{200, 200}},
		"chunks":                    {"1.1", "", chunked, chunk + after, []int{200, 200}},
		"a large upload":            {"1.1", "", "Content-Length: 20000\r\n", strings.Repeat("x", 20_000) + after, []int{200, 200}},
		"a length, then chunks":     {"1.1", "", "Content-Length: 5\r\n" + chunked, "0\r\n\r\n" + smuggled, []int{400}},
		"chunks, then a length":     {"1.1", "", chunked + "Content-Length: 5\r\n", "0\r\n\r\n" + smuggled, []int{400}},
		"two lengths":               {"1.1", "", length + "Content-Length: 0\r\n", smuggled, []int{400}},
		"a signed length":           {"1.1", "", "Content-Length: +5\r\n", "hello" + smuggled, []int{400}},
		"a hexadecimal length":      {"1.1", "", "Content-Length: 0x5\r\n", "hello" + smuggled, []int{400}},
		"chunked twice":             {"1.1", "", chunked + chunked, chunk, []int{400}},
		"chunked in a list":         {"1.1", "", "Transfer-Encoding: identity, chunked\r\n", chunk, []int{501}},
		"nearly chunked":            {"1.1", "", "Transfer-Encoding: xchunked\r\n", chunk, []int{501}},
		"chunks of an old caller":   {"1.0", "", "Connection: keep-alive\r\n" + chunked, chunk, []int{400}},
		"a folded coding":           {"1.1", "", "Transfer-Encoding:\r\n chunked\r\n", chunk, []int{400}},
		"LF alone":                  {"1.1", "", "X-A: b\n" + length, smuggled, []int{400}},
		"LF in an extension":        {"1.1", "", chunked, "0;a\nb\r\n\r\n" + smuggled, []int{400}},
		"a size that is none":       {"1.1", "", chunked, "+0\r\n\r\n" + smuggled, []int{400}},
		"more than the chunk":       {"1.1", "", chunked, "1\r\n" + smuggled, []int{400}},
		"a trailer that ends in LF": {"1.1", "", chunked, "0\r\nX-A: b\n\r\n" + smuggled, []int{400}},
		"chunks answered early":     {"1.1", "/early", chunked, "100000\r\n" + strings.Repeat("x", 9000) + smuggled, []int{413}},
		"a length answered early":   {"1.1", "/early", "Content-Length: 1000000\r\n", strings.Repeat("x", 9000) + smuggled, []int{413}},
		"an expectation refused":    {"1.1", "/early", "Expect: 100-continue\r\n" + length, smuggled, []int{413}},
		"a websocket with a body":   {"1.1", "", "Connection: Upgrade\r\nUpgrade: websocket\r\n" + length, smuggled, []int{400}},
		"a websocket refused":       {"1.1", "", "Connection: Upgrade\r\nUpgrade: websocket\r\n", smuggled, []int{200}},
		"a call that is none":       {"1.1", "x", chunked, "0;a\nb\r\n\r\n" + smuggled, []int{404}},
	} {
		for lane, line := range map[string]string{"plain": "", "reverse": "TE: trailers\r\n"} {
			sent := "POST /functions/hello" + tt.path + " HTTP/" + tt.version + "\r\nHost: localhost\r\n" + line + tt.head + "\r\n" + tt.body
			assert.Equal(t, tt.want, speak(t, p.http, sent), "%s, %s lane", name, lane)
		}
	}
	assert.Zero(t, calls.Load())
}

func TestWebsocketsPassTheWholeProxy(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		defer func() { _ = c.CloseNow() }()
		if kind, msg, err := c.Read(r.Context()); err == nil {
			_ = c.Write(r.Context(), kind, msg)
		}
		_, _, _ = c.Read(r.Context()) // until it is closed
	}))
	defer srv.Close()
	n := newNode(t)
	n.service = srv.URL
	p := start(t, Config{Agents: []string{n.addr}})
	deploys(t, p, source(t, "Hello", n.addr))
	c, _, err := websocket.Dial(t.Context(), "ws://"+p.http+"/functions/hello", nil)
	require.NoError(t, err)
	require.NoError(t, c.Write(t.Context(), websocket.MessageText, []byte("hello")))
	_, got, err := c.Read(t.Context())
	require.NoError(t, err)
	assert.Equal(t, "hello", string(got))
	require.NoError(t, c.Close(websocket.StatusNormalClosure, ""))
}
