package gateway

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/proxy/gateway/accesslog"
)

// logTo runs an access log of all calls until the test has ended.
func logTo(t testing.TB, to io.Writer, sample float64) *accesslog.Log {
	l, err := accesslog.Open(accesslog.Config{To: to, Sample: sample, Logger: hclog.NewNullLogger(), Period: time.Millisecond})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	var done sync.WaitGroup
	done.Go(func() { l.Run(ctx) })
	t.Cleanup(func() { cancel(); done.Wait() })
	return l
}

func TestBothLanesWriteTheSameLine(t *testing.T) {
	var mu sync.Mutex
	answer := ""
	hello := scripted(t, func(conn net.Conn, in *bufio.Reader) {
		r, err := http.ReadRequest(in)
		if err != nil {
			return
		}
		_, _ = io.Copy(io.Discard, r.Body)
		mu.Lock()
		defer mu.Unlock()
		_, _ = io.WriteString(conn, answer)
	})
	hello.Version = 3
	log := make(lines, 100)
	addr, _ := frontWith(t, Config{Table: table(hello, deployed("Down", "127.0.0.1:1")), AccessLog: logTo(t, log, 1)})
	for _, tt := range []struct {
		request, body, answer string
		want                  map[string]any
	}{
		{"POST /functions/hello/a\"?q=\xc3\xa9 HTTP/1.1\r\nHost: me.example\r\nTraceparent: " + someParent + "\r\nContent-Length: 4\r\n", "body", said[0], map[string]any{
			"method": "POST", "host": "me.example", "path": "/functions/hello/a\"?q=é", "function": "Hello", "version": 3.0, "agent": hello.GetAtAgent(),
			"status": 200.0, "bytesIn": 4.0, "bytesOut": 5.0, "trace": someTrace,
		}},
		{"GET /functions/down HTTP/1.1\r\nHost: h\r\n", "", "", map[string]any{
			"method": "GET", "host": "h", "path": "/functions/down", "function": "Down", "agent": deployed("Down", "").GetAtAgent(),
			"status": 502.0, "component": "function", "reason": "dial", "bytesIn": 0.0,
		}},
		{"GET /functions/other HTTP/1.1\r\nHost: h\r\nTraceparent: what\r\n", "", "", map[string]any{
			"method": "GET", "host": "h", "path": "/functions/other", "status": 404.0, "component": "gateway", "reason": "not_found", "bytesIn": 0.0,
		}},
	} {
		for lane, line := range map[string]string{"fast": plainLine, "slow": unplainLine} {
			mu.Lock()
			answer = tt.answer
			mu.Unlock()
			got := exchange(t, addr, tt.request+"X-Request-Id: 7\r\n"+line+"\r\n"+tt.body)
			about := lane + " " + tt.request + got
			seen := log.next(t)
			begun, err := time.Parse(time.RFC3339Nano, seen["time"].(string))
			require.NoError(t, err, about)
			assert.WithinDuration(t, time.Now(), begun, patience, about)
			assert.Equal(t, "7", seen["id"], about)
			assert.Contains(t, seen["caller"], "127.0.0.1:", about)
			assert.Greater(t, seen["took"], 0.0, about)
			if tt.answer != "" {
				assert.Greater(t, seen["head"], 0.0, about)
				assert.LessOrEqual(t, seen["head"], seen["took"], about)
			} else {
				assert.NotEmpty(t, seen["error"], about)
				tt.want["bytesOut"] = seen["bytesOut"] // of a text
			}
			for _, varies := range []string{"time", "id", "caller", "head", "took", "error"} {
				delete(seen, varies)
			}
			assert.Equal(t, tt.want, seen, about)
		}
	}
}

func TestFailuresAreAlwaysLogged(t *testing.T) {
	var out bytes.Buffer
	log, err := accesslog.Open(accesslog.Config{To: &out, Logger: hclog.NewNullLogger()})
	require.NoError(t, err)
	g := New(Config{Table: NewTable(), Logger: hclog.NewNullLogger(), AccessLog: log})
	for _, e := range []ending{
		{status: 200, id: "good"}, {status: 404, id: "the function's"}, {status: 500, id: "broken"},
		{status: 404, id: "none", failure: proto.Errorf(proto.ErrNotFound, "no")},
		{id: "left", failure: errLeft},
	} {
		g.ended(&e, new(picker))
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	log.Run(ctx)
	var ids []any
	for line := range bytes.Lines(out.Bytes()) {
		var seen map[string]any
		require.NoError(t, json.Unmarshal(line, &seen))
		ids = append(ids, seen["id"])
	}
	assert.Equal(t, []any{"broken", "none", "left"}, ids)
}

func TestDroppedLinesAreCountedInAMetric(t *testing.T) {
	log, err := accesslog.Open(accesslog.Config{To: io.Discard, Sample: 1, Logger: hclog.NewNullLogger()})
	require.NoError(t, err)
	g := New(Config{Table: NewTable(), Logger: hclog.NewNullLogger(), AccessLog: log})
	assert.Contains(t, scrape(t, g, textForm), "ryo_access_log_dropped_total 0\n")
	for range 100000 { // nobody writes them
		g.ended(&ending{status: 200}, new(picker))
	}
	assert.Positive(t, log.Dropped())
	assert.NotContains(t, scrape(t, g, textForm), "ryo_access_log_dropped_total 0\n")
	assert.NotContains(t, scrape(t, New(Config{Table: NewTable(), Logger: hclog.NewNullLogger()}), textForm), "access_log")
}

// Whatever callers and agents say, a line is one JSON object in ASCII, of bounded length.
func FuzzLine(f *testing.F) {
	f.Add("GET", "/functions/hello\"\\\x00\x1b[31m\u202e\U0001f600\xff", "h", "00-"+someTrace+"-b7ad6b7169203331-01", "function", "why\n", int64(1), 200)
	f.Add("", strings.Repeat("é", 2000), "\xe2\x80", "", "", "", int64(-1), -1)
	f.Add("M", "\xed\xa0\x80\xf4\x90\x80\x80", "[::1]", "x", strings.Repeat("x", 300), "\xc3", int64(time.Hour), 0)
	f.Fuzz(func(t *testing.T, method, uri, host, trace, component, reason string, took int64, status int) {
		e := ending{
			route: &route{name: reason}, version: &version{number: 1}, method: []byte(method), uri: []byte(uri), host: host, id: host, peer: method,
			trace: []byte(trace), head: time.Duration(took), took: time.Duration(took), status: status, bytes: took, bytesIn: took, retries: status,
			failure: errors.New(component),
		}
		line := e.append(nil, component, reason)
		require.LessOrEqual(t, len(line), 6*(maxTarget+8*maxText)+usualLine)
		require.Equal(t, 1, bytes.Count(line, []byte("\n")))
		require.Equal(t, byte('\n'), line[len(line)-1])
		for _, b := range line[:len(line)-1] {
			require.True(t, ' ' <= b && b <= '~', "%q", line)
		}
		in := json.NewDecoder(bytes.NewReader(line))
		var got map[string]any
		require.NoError(t, in.Decode(&got), "%q", line)
		require.NoError(t, skip(in), "%q", line)
		for name, text := range map[string]string{"method": method, "path": uri, "host": host, "component": component, "function": reason, "error": component} {
			limit := maxText
			if name == "path" {
				limit = maxTarget
			}
			want := text
			if len(text) > limit {
				want = text[:limit] + "..."
			}
			if text == "" {
				require.NotContains(t, got, name)
				continue
			}
			require.Equal(t, each(want), got[name])
		}
	})
}

// skip reads to the end, where there must be nothing.
func skip(in *json.Decoder) error {
	if _, err := in.Token(); !errors.Is(err, io.EOF) {
		return errors.New("more than an object")
	}
	return nil
}

// each replaces each byte that is not UTF-8.
func each(text string) string {
	var b strings.Builder
	for _, r := range text {
		b.WriteRune(r)
	}
	return b.String()
}
