package gateway

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/Ishan27g/ryo-faas/proto"
)

// inBothLanes runs a test with a header line that leads calls to each lane.
func inBothLanes(t *testing.T, test func(t *testing.T, line string)) {
	for name, line := range map[string]string{"plain": "", "reverse": "TE: trailers\r\n"} {
		t.Run(name, func(t *testing.T) { test(t, line) })
	}
}

// A process that a call kills closes all its connections: each idle one is a chance to
// make the call again.
func TestACallThatKillsTheProcessIsMadeTwiceAtMost(t *testing.T) {
	const idle = 40
	for _, more := range []string{"", "Idempotency-Key: 1\r\n"} {
		inBothLanes(t, func(t *testing.T, line string) {
			var runs atomic.Int32
			var together sync.WaitGroup
			together.Add(idle)
			addr := front(t, scripted(t, func(conn net.Conn, in *bufio.Reader) {
				for {
					head, err := readHead(in)
					switch {
					case err != nil:
						return
					case strings.Contains(head, "/die"):
						runs.Add(1)
						return
					}
					together.Done()
					together.Wait()
					_, _ = io.WriteString(conn, "HTTP/1.1 204 No Content\r\n\r\n")
				}
			}))
			var calls sync.WaitGroup
			for range idle {
				calls.Go(func() {
					conn, in := dial(t, addr)
					fmt.Fprintf(conn, "GET /functions/hello HTTP/1.1\r\nHost: h\r\n%s\r\n", line)
					res, err := http.ReadResponse(in, nil)
					if assert.NoError(t, err) {
						assert.Equal(t, 204, res.StatusCode)
					}
				})
			}
			calls.Wait()
			method := "GET"
			if more != "" {
				method = "POST"
			}
			res, _ := say(t, addr, method+" /functions/hello/die HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n"+line+more+"\r\n")
			assert.Equal(t, 502, res.StatusCode)
			assert.LessOrEqual(t, runs.Load(), int32(2))
		})
	}
}

const uploaded = "POST /functions/hello HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"

// A function that closes a connection just as an upload comes may have seen it, so that
// it is not made twice. Those after it do not meet the same.
func TestUploadsTakeNoIdleConnectionOfAFunctionThatClosesThem(t *testing.T) {
	var seen atomic.Int32
	addr := front(t, scripted(t, func(conn net.Conn, in *bufio.Reader) {
		for i := range 2 {
			if r, err := http.ReadRequest(in); err != nil || i > 0 {
				return
			} else if b, _ := io.ReadAll(r.Body); string(b) == "hello" {
				seen.Add(1)
			}
			_, _ = io.WriteString(conn, "HTTP/1.1 204 No Content\r\n\r\n")
		}
	}))
	var statuses []int
	for range 10 {
		res, _ := say(t, addr, uploaded)
		statuses = append(statuses, res.StatusCode)
	}
	assert.Equal(t, []int{204, 502, 204, 204, 204, 204, 204, 204, 204, 204}, statuses)
	assert.EqualValues(t, 9, seen.Load())
}

// An upload of which nothing could be written goes over another connection.
func TestUploadsThatWereNotSentAreSentOverANewConnection(t *testing.T) {
	var seen atomic.Int32
	routes := table(function(t, "Hello", func(_ http.ResponseWriter, r *http.Request) {
		if b, err := io.ReadAll(r.Body); err == nil && string(b) == "hello" {
			seen.Add(1)
		}
	}))
	route, _, err := routes.find("hello")
	require.NoError(t, err)
	links := &route.versions[0].targets[0].links
	dial := links.dial
	var last *closedConn
	links.dial = func(ctx context.Context) (net.Conn, error) {
		conn, err := dial(ctx)
		last = &closedConn{Conn: conn}
		return last, err
	}
	addr := frontTo(t, routes)
	for i := range 3 {
		res, _ := say(t, addr, uploaded)
		require.Equal(t, 200, res.StatusCode)
		assert.EqualValues(t, i+1, seen.Load())
		last.closed.Store(true)
	}
}

// closedConn is a connection that the other side may have closed, unnoticed by reads.
type closedConn struct {
	net.Conn
	closed atomic.Bool
}

func (c *closedConn) Write(p []byte) (int, error) {
	if c.closed.Load() {
		return 0, syscall.EPIPE
	}
	return c.Conn.Write(p)
}

// Nor do further replicas get it: the call has been made twice already.
func TestACallThatKillsProcessesIsNotSentToAllReplicas(t *testing.T) {
	inBothLanes(t, func(t *testing.T, line string) {
		var runs atomic.Int32
		var rows []*proto.FunctionJsonRsp
		for range 3 {
			var srv *httptest.Server
			srv = httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				if strings.HasSuffix(r.URL.Path, "/die") {
					runs.Add(1)
					srv.Listener.Close() // it cannot be dialed either
					panic(http.ErrAbortHandler)
				}
			}))
			t.Cleanup(func() {
				srv.CloseClientConnections()
				srv.Close()
			})
			rows = append(rows, deployed("Hello", srv.Listener.Addr().String()))
		}
		addr := front(t, rows...)
		for range 30 { // each has an idle connection
			res, _ := say(t, addr, "GET /functions/hello HTTP/1.1\r\nHost: h\r\n"+line+"\r\n")
			require.Equal(t, 200, res.StatusCode)
		}
		res, _ := say(t, addr, "GET /functions/hello/die HTTP/1.1\r\nHost: h\r\n"+line+"\r\n")
		assert.Equal(t, 502, res.StatusCode)
		assert.LessOrEqual(t, runs.Load(), int32(2))
	})
}
