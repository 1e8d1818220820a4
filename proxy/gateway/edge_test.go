package gateway

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/netip"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/transport/server"
	"github.com/Ishan27g/ryo-faas/transport/transporttest"
	"github.com/Ishan27g/ryo-faas/transport/wire"
)

// with is a row with settings.
func with(row *proto.FunctionJsonRsp, set func(*proto.FunctionJsonRsp)) *proto.FunctionJsonRsp {
	set(row)
	return row
}

// upload is what a function saw of a request.
type upload struct {
	length int64
	body   string
	err    error // why the body is not whole
}

// uploads is a function that takes bodies of at most 10 bytes by its setting, tells what it
// sees, and answers 204 once it has seen all.
func uploads(t testing.TB) (addr string, seen <-chan upload) {
	all := make(chan upload, 8)
	row := scripted(t, func(conn net.Conn, in *bufio.Reader) {
		for {
			r, err := http.ReadRequest(in)
			if err != nil {
				return
			}
			body, err := io.ReadAll(r.Body)
			all <- upload{r.ContentLength, string(body), err}
			if err != nil {
				return
			}
			_, _ = io.WriteString(conn, "HTTP/1.1 204 No Content\r\n\r\n")
		}
	})
	return front(t, with(row, func(r *proto.FunctionJsonRsp) { r.Body = "10B" })), all
}

const (
	ten    = "0123456789"
	eleven = ten + "x"
)

// sentBodies are bodies of a request, and whether the function takes them.
var sentBodies = []struct {
	name, lines, body string
	fits              bool
}{
	{"none", "", "", true},
	{"a length", "Content-Length: 10\r\n", ten, true},
	{"a length, plainly not", "Content-Length: 10\r\nConnection: X-None\r\n", ten, true},
	{"chunks", "Transfer-Encoding: chunked\r\n", "4\r\n0123\r\n6\r\n456789\r\n0\r\n\r\n", true},
	{"chunks and trailers", "Transfer-Encoding: chunked\r\nTrailer: A\r\n", "a\r\n" + ten + "\r\n0\r\nA: b\r\n\r\n", true},
	{"a length too many", "Content-Length: 11\r\n", eleven, false},
	{"a huge length", "Content-Length: 1099511627776\r\n", ten, false},
	{"a length that is asked for", "Content-Length: 11\r\nExpect: 100-continue\r\n", "", false},
	{"a chunk too many", "Transfer-Encoding: chunked\r\n", "a\r\n" + ten + "\r\n1\r\nx\r\n0\r\n\r\n", false},
	{"a chunk too large", "Transfer-Encoding: chunked\r\n", "b\r\n" + eleven + "\r\n0\r\n\r\n", false},
	{"chunks without end", "Transfer-Encoding: chunked\r\n", "b\r\n" + eleven + "\r\n", false},
}

func TestBodiesOverTheLimitAreRefused(t *testing.T) {
	for _, tt := range sentBodies {
		t.Run(tt.name, func(t *testing.T) {
			addr, seen := uploads(t)
			conn, in := dial(t, addr)
			fmt.Fprintf(conn, "POST /functions/hello HTTP/1.1\r\nHost: h\r\n%s\r\n%s", tt.lines, tt.body)
			if tt.fits {
				res, err := http.ReadResponse(in, nil)
				require.NoError(t, err)
				require.Equal(t, http.StatusNoContent, res.StatusCode)
				saw := <-seen
				require.NoError(t, saw.err)
				assert.Contains(t, []string{"", ten}, saw.body)
				fmt.Fprint(conn, "GET /functions/hello HTTP/1.1\r\nHost: h\r\n\r\n")
				res, err = http.ReadResponse(in, nil)
				require.NoError(t, err, "the connection goes on")
				assert.Equal(t, http.StatusNoContent, res.StatusCode)
				return
			}
			// What follows the body, or is part of one that was not read, is no request.
			fmt.Fprint(conn, "GET /functions/hello?smuggled HTTP/1.1\r\nHost: h\r\n\r\n")
			res, err := http.ReadResponse(in, nil)
			require.NoError(t, err)
			assert.Equal(t, http.StatusRequestEntityTooLarge, res.StatusCode, "no interim answer comes before it")
			assert.True(t, res.Close)
			e := errorOf(t, res)
			assert.Equal(t, "too_large", e["code"])
			assert.Equal(t, "caller", e["component"])
			assert.Contains(t, e["message"], "10 bytes")
			rest, _ := io.ReadAll(in)
			assert.Empty(t, rest)
			if strings.HasPrefix(tt.lines, "Content-Length") {
				assert.Empty(t, seen, "it is not called")
				return
			}
			saw := <-seen
			require.Error(t, saw.err, "a part is not taken for the whole")
			assert.LessOrEqual(t, len(saw.body), len(ten))
		})
	}
}

// A caller that stops in the middle of a body keeps no connection when it was refused.
func TestARefusedBodyIsNotWaitedFor(t *testing.T) {
	addr, seen := uploads(t)
	for path, status := range map[string]int{"hello": http.StatusRequestEntityTooLarge, "missing": http.StatusNotFound} {
		conn, in := dial(t, addr)
		fmt.Fprintf(conn, "POST /functions/%s HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nb\r\n%s\r\n", path, eleven)
		res, err := http.ReadResponse(in, nil)
		require.NoError(t, err)
		assert.Equal(t, status, res.StatusCode)
		errorOf(t, res)
		_, err = in.ReadByte()
		require.ErrorIs(t, err, io.EOF)
	}
	require.Error(t, (<-seen).err)
}

// A function may answer before it has read the body. Its answer ends where the body turns
// out to be too large, so that the caller does not take it for the answer to all of it.
func TestAnAnswerThatHasBegunEndsWithABodyOverTheLimit(t *testing.T) {
	row := scripted(t, func(conn net.Conn, in *bufio.Reader) {
		if _, err := readHead(in); err != nil {
			return
		}
		_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nbegun\r\n")
		_, err := io.ReadAll(httputil.NewChunkedReader(in))
		assert.Error(t, err)
	})
	addr := front(t, with(row, func(r *proto.FunctionJsonRsp) { r.Body = "10B" }))
	conn, in := dial(t, addr)
	fmt.Fprint(conn, "POST /functions/hello HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
	res, err := http.ReadResponse(in, nil)
	require.NoError(t, err)
	begun := make([]byte, 5)
	_, err = io.ReadFull(res.Body, begun)
	require.NoError(t, err)
	fmt.Fprintf(conn, "b\r\n%s\r\n", eleven)
	_, err = io.ReadAll(res.Body)
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
}

func TestOtherProtocolsMeetTheLimitOfBodies(t *testing.T) {
	addr, seen := uploads(t)
	conn, in := dial(t, addr)
	fmt.Fprintf(conn, "POST /functions/hello HTTP/1.0\r\nContent-Length: 11\r\n\r\n%s", eleven)
	res, err := http.ReadResponse(in, nil)
	require.NoError(t, err)
	assert.Equal(t, http.StatusRequestEntityTooLarge, res.StatusCode)

	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	tr := &http.Transport{Protocols: protocols}
	defer tr.CloseIdleConnections()
	for _, length := range []int64{11, -1} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+addr+"/functions/hello", io.MultiReader(strings.NewReader(eleven)))
		require.NoError(t, err)
		req.ContentLength = length
		res, err := tr.RoundTrip(req)
		require.NoError(t, err)
		assert.Equal(t, 2, res.ProtoMajor)
		assert.Equal(t, http.StatusRequestEntityTooLarge, res.StatusCode)
		assert.Equal(t, "too_large", errorOf(t, res)["code"])
	}
	saw := <-seen
	require.Error(t, saw.err)
	assert.Empty(t, seen)
}

// published serves functions on a listener for everybody, where some peers are believed
// about their callers.
func published(t testing.TB, gateways string, rows ...*proto.FunctionJsonRsp) (addr string) {
	t.Helper()
	tab := table(rows...)
	g := New(Config{
		Table: tab, Logger: hclog.NewNullLogger(), Whose: server.Whose,
		Admit: func(*http.Request, string, bool) error { return nil }, Stranger: func(*http.Request) bool { return true },
		AgentErr: func(string) *proto.Error { return nil },
	})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	nothing := transporttest.NewFake(t)
	go func() {
		ended <- server.Serve(ctx, nothing, server.Config{
			Public: []net.Listener{l}, Gateways: []netip.Prefix{netip.MustParsePrefix(gateways)},
			Mounts: []server.Mount{{Path: Prefix, Scope: wire.ScopeInvoke, Handler: g}},
			Early:  func(e *server.Early) server.EarlyReader { return g.Fast(e) },
		})
	}()
	t.Cleanup(func() {
		stop()
		assert.NoError(t, <-ended)
		tab.Clear()
		g.Close()
	})
	return l.Addr().String()
}

// none is the network of no gateway.
const none = "192.0.2.255/32"

func TestCallersFromElsewhereAreRefused(t *testing.T) {
	for _, tt := range []struct {
		gateways, said string
		allow          []string
		status         int
	}{
		{none, "", []string{"127.0.0.0/8"}, 204},
		{none, "", []string{"192.0.2.1", "127.0.0.1"}, 204},
		{none, "", []string{"192.0.2.0/24", "::1"}, 403},
		{none, "192.0.2.1", []string{"192.0.2.0/24"}, 403},  // who says so is not believed
		{"127.0.0.1/32", "", []string{"192.0.2.0/24"}, 403}, // the gateway itself
		{"127.0.0.1/32", "192.0.2.1", []string{"192.0.2.0/24"}, 204},
		{"127.0.0.1/32", "192.0.2.1, 198.51.100.1", []string{"192.0.2.0/24"}, 403}, // the caller says the first itself
		{"127.0.0.1/32", "2001:db8::7", []string{"2001:db8::/32"}, 204},
		{"127.0.0.1/32", "::ffff:192.0.2.1", []string{"192.0.2.0/24"}, 204},
		{"127.0.0.1/32", "unknown", []string{"0.0.0.0/0", "::/0"}, 204}, // what remains is the gateway
		{none, "", []string{"nonsense"}, 403},
	} {
		row, opened := scriptedOnce(t)
		row.AllowIps = tt.allow
		addr := published(t, tt.gateways, row)
		lines := ""
		if tt.said != "" {
			lines = "X-Forwarded-For: " + tt.said + "\r\n"
		}
		res, _ := say(t, addr, "GET /functions/hello HTTP/1.1\r\nHost: h\r\n"+lines+"\r\n")
		assert.Equal(t, tt.status, res.StatusCode, tt)
		if tt.status == http.StatusForbidden {
			e := errorOf(t, res)
			assert.Equal(t, []any{"forbidden", "caller", "address"}, []any{e["code"], e["component"], e["reason"]})
			assert.Zero(t, opened.Load(), "it is not called")
		}
	}
}

// scriptedOnce is a function that answers 204, and counts its connections.
func scriptedOnce(t testing.TB) (*proto.FunctionJsonRsp, *atomic.Int32) {
	opened := new(atomic.Int32)
	return scripted(t, func(conn net.Conn, in *bufio.Reader) {
		opened.Add(1)
		answerOnce(conn, in)
	}), opened
}

func TestAddressesOfCallers(t *testing.T) {
	for remote, want := range map[string]string{
		"192.0.2.1:80": "192.0.2.1", "[::ffff:192.0.2.1]:80": "192.0.2.1", "[fe80::1%eth0]:80": "fe80::1", "@": "invalid IP", "": "invalid IP",
	} {
		assert.Equal(t, want, addressOf(&http.Request{RemoteAddr: remote}).String())
	}
	all := &edge{allow: [][]netip.Prefix{{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")}}}
	assert.False(t, all.allows(addressOf(&http.Request{RemoteAddr: "@"})), "one that has none is in no network")
}

func TestACallerThatCallsTooOftenWaits(t *testing.T) {
	row, opened := scriptedOnce(t)
	row.Rate = "2/h burst 3"
	addr := published(t, "127.0.0.1/32", row)
	call := func(from, more string) *http.Response {
		res, _ := say(t, addr, "GET /functions/hello HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: "+from+"\r\n"+more+"\r\n")
		return res
	}
	for _, from := range []string{"192.0.2.1", "192.0.2.2", "2001:db8::1"} {
		for range 3 {
			require.Equal(t, http.StatusNoContent, call(from, "").StatusCode)
		}
		for _, more := range []string{"", "Connection: X-None\r\n", "Content-Length: 1\r\n", "Upgrade: websocket\r\nConnection: Upgrade\r\n"} {
			res := call(from, more)
			require.Equal(t, http.StatusTooManyRequests, res.StatusCode)
			seconds, err := strconv.Atoi(res.Header.Get("Retry-After"))
			require.NoError(t, err)
			assert.InDelta(t, 1800, seconds, 60)
			e := errorOf(t, res)
			assert.Equal(t, []any{"too_many", "caller", "rate"}, []any{e["code"], e["component"], e["reason"]})
		}
	}
	assert.Equal(t, http.StatusTooManyRequests, call("2001:db8::ffff:1", "").StatusCode, "all addresses of a /64 are one caller")
	assert.Equal(t, http.StatusNoContent, call("2001:db8:0:1::1", "").StatusCode, "the next /64 is another")
	assert.EqualValues(t, 10, opened.Load(), "what is refused does not reach it")
}

func TestARateOutlivesOtherChanges(t *testing.T) {
	row, _ := scriptedOnce(t)
	row.Rate = "1/h"
	tab := table(row)
	addr := frontTo(t, tab)
	update := func(change func()) {
		change()
		tab.Update(map[string][]Replica{"hello": {{Row: row}}})
	}
	require.Equal(t, 204, statusOf(t, addr, "GET", ""))
	update(func() { row.Body = "5B" })
	assert.Equal(t, 429, statusOf(t, addr, "GET", ""))
	update(func() { row.Rate = "" })
	assert.Equal(t, 204, statusOf(t, addr, "GET", ""))
	update(func() { row.Rate = "2/h" })
	assert.Equal(t, 204, statusOf(t, addr, "GET", ""), "another rate begins anew")
}

// While a setting changes, the agents of a function differ in what they say of it.
func TestCallersMustSuitAllReplicas(t *testing.T) {
	a, _ := scriptedOnce(t)
	b, _ := scriptedOnce(t)
	a.AllowIps, b.AllowIps = []string{"127.0.0.1"}, []string{"127.0.0.0/8", "::1"}
	assert.Equal(t, 204, statusOf(t, front(t, a, b), "GET", ""))
	b.AllowIps = []string{"::1"}
	assert.Equal(t, 403, statusOf(t, front(t, a, b), "GET", ""))
	assert.Equal(t, 403, statusOf(t, front(t, b, a), "GET", ""))
	b.AllowIps = nil
	assert.Equal(t, 204, statusOf(t, front(t, b, a), "GET", ""))
}

// A version that is called by its number would be opened for that.
func TestARefusedCallOpensNoVersion(t *testing.T) {
	row, _ := scriptedOnce(t)
	row.AllowIps = []string{"::1"}
	addr, _ := frontWith(t, Config{Table: table(row), Wake: func(context.Context, string, uint32) error {
		t.Error("it was opened")
		return nil
	}})
	res, _ := say(t, addr, "GET /functions/hello@7 HTTP/1.1\r\nHost: h\r\n\r\n")
	assert.Equal(t, 403, res.StatusCode)
}

func TestTheLimitOfBodiesFollowsTheSetting(t *testing.T) {
	tab := NewTable()
	update := func(rows ...*proto.FunctionJsonRsp) *edge {
		var list []Replica
		for _, row := range rows {
			list = append(list, Replica{Row: row})
		}
		tab.Update(map[string][]Replica{"hello": list})
		return (*tab.routes.Load())["hello"].edge
	}
	row := func(body string) *proto.FunctionJsonRsp {
		return with(deployed("Hello", "localhost:1"), func(r *proto.FunctionJsonRsp) { r.Body = body })
	}
	assert.Nil(t, update(row("")), "a function without settings has nothing to check")
	assert.EqualValues(t, 1<<20, update(row("1MiB")).body)
	assert.EqualValues(t, 2<<20, update(row("1MiB"), row("2MiB")).body)
	assert.True(t, update(row("of a later time")).plain(1<<40), "the function itself sees to it")
	assert.True(t, update(row("5B")).plain(5))
	assert.False(t, update(row("5B")).plain(6))
}
