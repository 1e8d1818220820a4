package server

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/Ishan27g/ryo-faas/transport/wire"
)

func TestWhatIsNoRequestIsAnsweredAsAllErrorsAre(t *testing.T) {
	addr := serveFramed(t, time.Minute, func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "400 Bad Request", http.StatusBadRequest) // a handler's own
	})
	ask := func(t *testing.T, sent string) (*http.Response, string) {
		t.Helper()
		conn, err := net.Dial("tcp", addr)
		require.NoError(t, err)
		defer conn.Close()
		require.NoError(t, conn.SetDeadline(time.Now().Add(time.Minute)))
		go func() { _, _ = io.WriteString(conn, sent) }() // the server may read a part alone
		rsp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		require.NoError(t, err)
		defer rsp.Body.Close()
		body, err := io.ReadAll(rsp.Body)
		require.NoError(t, err)
		return rsp, string(body)
	}
	for name, c := range map[string]struct {
		sent          string
		status        int
		code, message string
	}{
		"a target that is no URI": {"GET /functions/x/%zz HTTP/1.1\r\nHost: h\r\n\r\n", 400, "invalid", "its target is no URI"},
		"no host":                 {"GET / HTTP/1.1\r\n\r\n", 400, "invalid", "missing required Host header"},
		"no HTTP":                 {"hello\r\n\r\n", 400, "invalid", "it is not as HTTP says"},
		"a foreign coding":        {post + "Transfer-Encoding: gzip\r\n\r\n", 501, "invalid", "unsupported transfer encoding"},
		"a long head":             {"GET / HTTP/1.1\r\nHost: h\r\nA: " + strings.Repeat("a", 2<<20) + "\r\n\r\n", 431, "too_large", "the head of the request"},
	} {
		t.Run(name, func(t *testing.T) {
			rsp, body := ask(t, c.sent)
			assert.Equal(t, c.status, rsp.StatusCode)
			assert.True(t, rsp.Close)
			assert.Equal(t, "application/json", rsp.Header.Get("Content-Type"))
			assert.Equal(t, wire.APIVersion, rsp.Header.Get(wire.APIHeader))
			var e struct {
				Error struct{ Code, Message, RequestId string }
			}
			require.NoError(t, json.Unmarshal([]byte(body), &e), body)
			assert.Equal(t, c.code, e.Error.Code)
			assert.Contains(t, e.Error.Message, c.message)
			assert.Equal(t, rsp.Header.Get("X-Request-Id"), e.Error.RequestId)
		})
	}
	_, body := ask(t, "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
	assert.Equal(t, "400 Bad Request\n", body, "what a handler says stays")
}

func TestATunnelPassesRefusalsOfOthersUnchanged(t *testing.T) {
	const says = "HTTP/1.1 400 Bad Request" + plainHead + "400 Bad Request"
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	tunnel := Mount{Path: "/tunnel", Scope: wire.ScopeInvoke, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if assert.NoError(t, err) {
			_, _ = io.WriteString(conn, says)
			_ = conn.Close()
		}
	})}
	go func() { done <- Serve(ctx, nil, Config{Listeners: []net.Listener{l}, Mounts: []Mount{tunnel}}) }()
	defer func() {
		stop()
		assert.NoError(t, <-done)
	}()
	conn, err := net.Dial("tcp", l.Addr().String())
	require.NoError(t, err)
	defer conn.Close()
	_, err = io.WriteString(conn, "GET /tunnel HTTP/1.1\r\nHost: localhost\r\n\r\n")
	require.NoError(t, err)
	heard, err := io.ReadAll(conn)
	require.NoError(t, err)
	assert.Equal(t, says, string(heard))
}

func FuzzRefusal(f *testing.F) {
	f.Add("HTTP/1.1 400 Bad Request" + plainHead + "400 Bad Request")
	f.Add("HTTP/1.1 ")
	f.Add("HTTP/1.1 200 OK\r\nDate: x" + plainHead)
	f.Fuzz(func(t *testing.T, answer string) {
		instead := refusal([]byte(answer))
		if instead == nil {
			return
		}
		rsp, err := http.ReadResponse(bufio.NewReader(strings.NewReader(string(instead))), nil)
		if err != nil {
			t.Skip("the status is none") // net/http's own has one
		}
		var e map[string]any
		require.NoError(t, json.NewDecoder(rsp.Body).Decode(&e))
	})
}
