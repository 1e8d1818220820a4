package gateway

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/proxy/gateway/http1"
)

// lines keeps what is written, a line each.
type lines chan []byte

func (l lines) Write(p []byte) (int, error) {
	for line := range bytes.Lines(p) {
		l <- bytes.Clone(line)
	}
	return len(p), nil
}

// next returns the next line that is JSON.
func (l lines) next(t *testing.T) map[string]any {
	t.Helper()
	var line map[string]any
	select {
	case b := <-l:
		require.NoError(t, json.Unmarshal(b, &line))
	case <-time.After(patience):
		require.Fail(t, "no line")
	}
	return line
}

// exchange sends a request over a connection of its own, and reads until the end.
func exchange(t *testing.T, addr, request string) string {
	t.Helper()
	conn, _ := dial(t, addr)
	_, err := io.WriteString(conn, request)
	require.NoError(t, err)
	got, _ := io.ReadAll(conn)
	return string(got)
}

func TestBothLanesTellTheEndOfACall(t *testing.T) {
	log := make(lines, 100)
	var mu sync.Mutex
	answer := ""
	hello := scripted(t, func(conn net.Conn, in *bufio.Reader) {
		if _, err := readHead(in); err != nil {
			return
		}
		mu.Lock()
		defer mu.Unlock()
		_, _ = io.WriteString(conn, answer)
	})
	addr, _ := frontWith(t, Config{
		Table:  table(hello, deployed("Down", "127.0.0.1:1")),
		Logger: hclog.New(&hclog.LoggerOptions{Level: hclog.Debug, Output: log, JSONFormat: true}),
	})
	for _, tt := range []struct {
		path, answer      string
		status, bytes     int
		component, reason any
	}{
		{"hello/a?q=1", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", 200, 5, nil, nil},
		{"hello", "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", 404, 0, nil, nil},
		{"hello", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel", 200, 3, "function", "cut"},
		{"hello", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n", 200, 3, "function", "cut"},
		{"hello", "nonsense\r\n\r\n", 502, -1, "function", "answer"},
		{"down", "", 502, -1, "function", "dial"},
		{"other", "", 404, -1, "gateway", "not_found"},
	} {
		mu.Lock()
		answer = tt.answer
		mu.Unlock()
		for lane, line := range map[string]string{"fast": plainLine, "slow": unplainLine} {
			exchange(t, addr, "GET /functions/"+tt.path+" HTTP/1.1\r\nHost: h\r\nX-Request-Id: 7\r\n"+line+"\r\n")
			end := log.next(t)
			for end["@message"] != "call closed" {
				end = log.next(t)
			}
			about := lane + " " + tt.path + " " + tt.answer
			assert.Equal(t, "/functions/"+tt.path, end["target"], about)
			assert.Equal(t, "GET", end["method"], about)
			assert.Equal(t, "7", end["id"], about)
			assert.EqualValues(t, tt.status, end["status"], about)
			if tt.bytes >= 0 {
				assert.EqualValues(t, tt.bytes, end["bytes"], about)
			}
			assert.Equal(t, tt.component, end["component"], about)
			assert.Equal(t, tt.reason, end["reason"], about)
		}
	}
}

func TestTheEndOfACallBlamesWhoFailed(t *testing.T) {
	for _, tt := range []struct {
		failure           error
		head              bool
		component, reason string
	}{
		{nil, true, "", ""},
		{proto.Errorf(proto.ErrTimeout, "late").From("function", "timeout"), false, "function", "timeout"},
		{proto.Errorf(proto.ErrForbidden, "no"), false, "gateway", "forbidden"},
		{proto.Errorf(proto.ErrInternal, "panic"), true, "gateway", "internal"},
		{errLeft, false, "caller", "canceled"},
		{errBusy, false, "gateway", "stopped"},
		{io.ErrUnexpectedEOF, true, "function", "cut"},
		{io.ErrUnexpectedEOF, false, "gateway", "internal"},
	} {
		e := ending{failure: tt.failure}
		if tt.head {
			e.head = 1
		}
		component, reason := e.blame()
		assert.Equal(t, tt.component+" "+tt.reason, component+" "+reason, "%v", tt.failure)
	}
}

// What the end of a call costs, with its line of the access log, is to stay below 3 % of a
// call, which takes some 20 µs.
func BenchmarkTheEndOfACall(b *testing.B) {
	routes := table(deployed("Hello", "127.0.0.1:1"))
	rt := (*routes.routes.Load())["hello"]
	for _, log := range []bool{false, true} {
		g := New(Config{Table: routes, Logger: hclog.NewNullLogger()})
		name := "unlogged"
		if log {
			g.AccessLog, name = accessLogs(b)["logged"], "logged"
		}
		for _, trace := range []string{"", someParent} {
			b.Run(name+map[bool]string{true: "/traced", false: "/plain"}[trace != ""], func(b *testing.B) {
				c := fastCall{
					Fast: &Fast{Gateway: g, scratch: &scratch{}}, picker: picker{route: rt, chosen: rt.versions[0], target: rt.versions[0].targets[0]},
					status: 200, bytes: 13, id: "0123456789abcdefghijklmnop",
				}
				c.about.Remote, c.about.Host = "127.0.0.1:12345", "localhost:9002"
				for _, h := range [][2]string{{"Host", "localhost:9002"}, {"User-Agent", "curl/8"}, {"Accept", "*/*"}, {"traceparent", trace}} {
					c.request.Headers = append(c.request.Headers, http1.Header{Name: []byte(h[0]), Value: []byte(h[1])})
				}
				c.request.Method, c.request.Target = []byte("GET"), []byte("/functions/hello?q=1")
				b.ReportAllocs()
				for b.Loop() {
					c.begun = time.Now()
					c.headAfter = time.Since(c.begun)
					e := c.ending(nil)
					g.ended(&e, &c.picker)
				}
				if log {
					b.ReportMetric(float64(g.AccessLog.Dropped())/float64(b.N), "dropped/op")
				}
			})
		}
	}
}
