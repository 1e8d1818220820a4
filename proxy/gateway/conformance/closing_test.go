package conformance_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/Ishan27g/ryo-faas/proxy/gateway/conformance"
)

// hasty is a function that closes each connection some time after an answer, and does not
// say so. It returns its address, and how many calls it has read whole.
func hasty(t *testing.T, after time.Duration) (addr string, calls *atomic.Int32) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	calls = new(atomic.Int32)
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				defer conn.Close()
				in := bufio.NewReader(conn)
				for {
					r, err := http.ReadRequest(in)
					if err != nil {
						return
					}
					if _, err := io.Copy(io.Discard, r.Body); err != nil {
						return
					}
					calls.Add(1)
					_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")
					if after == 0 {
						return
					}
					_ = conn.SetReadDeadline(time.Now().Add(after))
				}
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		serving.Wait()
	})
	return l.Addr().String(), calls
}

const posts = 60

// post sends POSTs over one connection, with pauses between them, and returns how many got
// no good answer.
func post(t *testing.T, addr, body string, pause time.Duration) (failed int) {
	var conn net.Conn
	var in *bufio.Reader
	defer func() { conn.Close() }()
	for range posts {
		if conn == nil {
			var err error
			conn, err = net.Dial("tcp", addr)
			require.NoError(t, err)
			in = bufio.NewReader(conn)
		}
		_, err := io.WriteString(conn, "POST /functions/hello HTTP/1.1\r\nHost: localhost\r\n"+body)
		require.NoError(t, err)
		res, err := http.ReadResponse(in, nil)
		require.NoError(t, err)
		_, err = io.Copy(io.Discard, res.Body)
		require.NoError(t, err)
		if res.StatusCode != http.StatusOK {
			failed++
		}
		if res.Close {
			conn.Close()
			conn = nil
		}
		if pause > 0 {
			<-time.After(pause)
		}
	}
	return failed
}

// POSTs are not sent twice, so that one which meets a connection as the function closes it
// fails. That happens once, and not again for a minute.
func TestPOSTsToFunctionsThatCloseTheirConnections(t *testing.T) {
	bodies := map[string]string{
		"small":   "Content-Length: 5\r\n\r\nhello",
		"chunked": "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
	}
	gateways := map[string]func(*testing.T, []conformance.Route) string{"ours": serve}
	if *compare {
		gateways["nginx"] = nginx.serve
	}
	for name, body := range bodies {
		for gateway, serve := range gateways {
			times := []time.Duration{0, time.Millisecond, 3 * time.Millisecond, 10 * time.Millisecond}
			if !*compare {
				times = times[:2]
			}
			for _, after := range times {
				for _, pause := range times {
					t.Run(fmt.Sprintf("%s/%s/closed after %v/every %v", gateway, name, after, pause), func(t *testing.T) {
						function, calls := hasty(t, after)
						addr := serve(t, []conformance.Route{{Name: "hello", Address: function}})
						failed := post(t, addr, body, pause)
						assert.LessOrEqual(t, int(calls.Load()), posts, "some were made twice")
						assert.GreaterOrEqual(t, int(calls.Load()), posts-failed)
						t.Log(failed, "of", posts, "failed")
						if gateway == "ours" {
							assert.LessOrEqual(t, failed, 1)
						}
					})
				}
			}
		}
	}
}
