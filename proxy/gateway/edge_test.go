package gateway

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/Ishan27g/ryo-faas/proto"
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
