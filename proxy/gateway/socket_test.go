package gateway

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/Ishan27g/ryo-faas/proto"
)

// h2 is a connection of HTTP/2, frame by frame.
type h2 struct {
	t    *testing.T
	conn net.Conn
	in   *bufio.Reader
	open bool // extended CONNECT is offered
}

func dialH2(t *testing.T, addr string) *h2 {
	t.Helper()
	c := &h2{t: t}
	c.conn, c.in = dial(t, addr)
	_, err := io.WriteString(c.conn, preface)
	require.NoError(t, err)
	require.NoError(t, frame{settingsFrame, 0, 0, nil}.write(c.conn))
	settings, err := next(c.in, settingsFrame)
	require.NoError(t, err)
	for at := 0; at < len(settings.payload); at += 6 {
		const enableConnect = 8 // RFC 8441 section 3
		c.open = c.open || binary.BigEndian.Uint16(settings.payload[at:]) == enableConnect && settings.payload[at+5] == 1
	}
	return c
}

const (
	endStream  = 1
	endHeaders = 4
)

// connect asks for a protocol, "" for none, as stream 1.
func (c *h2) connect(protocol, path string, headers ...string) {
	c.t.Helper()
	block := append(literal(2, "", "CONNECT"), literal(1, "", "localhost")...)
	if protocol != "" {
		block = append(block, literal(0, ":protocol", protocol)...)
		block = append(block, literal(4, "", path)...)
		block = append(block, literal(6, "", "http")...)
	}
	block = append(block, literal(0, "sec-websocket-version", "13")...)
	for i := 0; i < len(headers); i += 2 {
		block = append(block, literal(0, headers[i], headers[i+1])...)
	}
	require.NoError(c.t, frame{headersFrame, endHeaders, 1, block}.write(c.conn))
}

// next returns the next frame of stream 1 that is not about windows.
func (c *h2) next() frame {
	c.t.Helper()
	for {
		f, err := readFrame(c.in)
		require.NoError(c.t, err)
		if f.stream == 1 && f.kind <= resetFrame {
			return f
		}
	}
}

// status is that of the answer, which comes as one of HPACK's table or as it is.
func (c *h2) status() string {
	c.t.Helper()
	f := c.next()
	require.Equal(c.t, byte(headersFrame), f.kind)
	if known := map[byte]string{0x80 | 8: "200", 0x80 | 12: "400", 0x80 | 13: "404"}[f.payload[0]]; known != "" {
		return known
	}
	require.Equal(c.t, byte(0x40|14), f.payload[0], "a literal :status")
	const compressed, status502 = 0x80, "\x6c\x02"
	value := string(f.payload[2:][:f.payload[1]&^compressed])
	if f.payload[1]&compressed != 0 {
		require.Equal(c.t, status502, value)
		return "502"
	}
	return value
}

// body reads to the end of the answer.
func (c *h2) body() (all string) {
	c.t.Helper()
	for {
		f := c.next()
		if f.kind == dataFrame {
			all += string(f.payload)
		}
		if f.kind == resetFrame || f.flags&endStream != 0 {
			return all
		}
	}
}

// masked is a message of a websocket as a caller sends it, with a mask of zeros.
func masked(opcode byte, text string) []byte {
	head := []byte{0x80 | opcode, 0x80 | byte(len(text))}
	if len(text) > 125 {
		head = binary.BigEndian.AppendUint16([]byte{0x80 | opcode, 0x80 | 126}, uint16(len(text)))
	}
	return append(append(head, 0, 0, 0, 0), text...)
}

func (c *h2) send(opcode byte, text string) {
	c.t.Helper()
	require.NoError(c.t, frame{dataFrame, 0, 1, masked(opcode, text)}.write(c.conn))
}

// receive reads n bytes of the stream.
func (c *h2) receive(n int) []byte {
	c.t.Helper()
	var got []byte
	for len(got) < n {
		f := c.next()
		require.Equal(c.t, byte(dataFrame), f.kind)
		got = append(got, f.payload...)
	}
	return got
}

// Websockets over HTTP/2, RFC 8441: callers ask by CONNECT, functions are asked by an upgrade.
func TestWebsocketsOverHTTP2(t *testing.T) {
	asked := make(chan *http.Request, 1)
	echoes := func(w http.ResponseWriter, r *http.Request) {
		asked <- r.Clone(t.Context())
		echoSocket(w, r)
	}
	c := dialH2(t, front(t, function(t, "Hello", echoes)))
	require.True(t, c.open, "it is offered")
	c.connect("websocket", "/functions/hello/a%2Fb?q=1", "x-own", "mine", "origin", "http://localhost")
	require.Equal(t, "200", c.status())
	r := <-asked
	assert.Equal(t, "GET HTTP/1.1", r.Method+" "+r.Proto)
	assert.True(t, strings.HasSuffix(r.RequestURI, "/a%2Fb?q=1"), r.RequestURI)
	assert.Equal(t, "mine", r.Header.Get("X-Own"))
	assert.Equal(t, "2 ryo", r.Header.Get("Via"))
	assert.Equal(t, "localhost", r.Header.Get("X-Forwarded-Host"))
	assert.NotContains(t, r.Header, ":protocol")
	for _, text := range []string{"one", strings.Repeat("x", 9000)} {
		c.send(websocketText, text)
		answer := masked(websocketText, text)
		head := len(answer) - len(text) - 4
		answer = append(answer[:head:head], text...) // a server's has no mask
		answer[1] &^= 0x80
		assert.Equal(t, answer, c.receive(len(answer)))
	}
	c.send(websocketClose, "\x03\xe8")
	assert.Equal(t, "\x88\x02\x03\xe8", c.body())
}

const (
	websocketText  = 1
	websocketClose = 8
)

// Each end is the other's as well.
func TestAWebsocketOverHTTP2EndsForBothSides(t *testing.T) {
	ended := make(chan error, 1)
	waits := func(w http.ResponseWriter, r *http.Request) {
		s, err := websocket.Accept(w, r, nil)
		if !assert.NoError(t, err) {
			return
		}
		defer func() { _ = s.CloseNow() }()
		_, text, err := s.Read(t.Context())
		if string(text) != "end" {
			ended <- err
		}
	}
	addr := front(t, function(t, "Hello", waits))
	opened := func() *h2 {
		c := dialH2(t, addr)
		c.connect("websocket", "/functions/hello")
		require.Equal(t, "200", c.status())
		return c
	}
	c := opened()
	require.NoError(t, frame{resetFrame, 0, 1, []byte{0, 0, 0, 8}}.write(c.conn))
	require.Error(t, <-ended, "the caller resets the stream")
	c = opened()
	require.NoError(t, c.conn.Close())
	require.Error(t, <-ended, "the caller closes the connection")
	c = opened()
	require.NoError(t, frame{dataFrame, endStream, 1, nil}.write(c.conn))
	require.Error(t, <-ended, "the caller ends its side")
	c = opened()
	c.send(websocketText, "end")
	assert.Empty(t, c.body(), "the function ends")
}

// What the function answers in place of a websocket is the answer, but no success, which
// would be one.
func TestRefusedWebsocketsOverHTTP2(t *testing.T) {
	for name, tt := range map[string]struct {
		answer http.HandlerFunc
		status string
		says   string
	}{
		"it is refused":      {func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "not you", http.StatusForbidden) }, "403", "not you"},
		"it is no websocket": {func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "hello") }, "405", `function \"Hello\" serves no websockets`},
		"it is another one": {func(w http.ResponseWriter, _ *http.Request) {
			conn, _, err := http.NewResponseController(w).Hijack()
			if assert.NoError(t, err) {
				_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: bm8=\r\n\r\n")
				_ = conn.Close()
			}
		}, "502", "accepted another websocket"},
	} {
		c := dialH2(t, front(t, function(t, "Hello", tt.answer)))
		c.connect("websocket", "/functions/hello")
		assert.Equal(t, tt.status, c.status(), name)
		assert.Contains(t, c.body(), tt.says, name)
	}
	c := dialH2(t, front(t))
	c.connect("websocket", "/functions/none")
	assert.Equal(t, "404", c.status())
}

// Nothing but websockets is served by CONNECT.
func TestNothingElseIsServedByConnectInHTTP2(t *testing.T) {
	none := func(http.ResponseWriter, *http.Request) { t.Error("the function was called") }
	for _, protocol := range []string{"connect-tcp", "WebSocket", ""} {
		c := dialH2(t, front(t, function(t, "Hello", none)))
		c.connect(protocol, "/functions/hello")
		assert.Equal(t, "400", c.status(), protocol)
		assert.Contains(t, c.body(), string(proto.ErrInvalid), protocol)
	}
}
