package http1

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/textproto"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const plain = "GET /functions/hello?q=%zz HTTP/1.1\r\nHost: h\r\n"

func TestPlainRequests(t *testing.T) {
	var r Request
	head := plain + "Content-Length: 3\r\nEmpty:\r\nX_Y: \t\xc3\xa9 1 \t\r\n\r\n"
	require.Equal(t, Good, r.Read([]byte(head+"abc")))
	assert.Equal(t, "GET /functions/hello?q=%zz h 3", fmt.Sprintf("%s %s %s %d", r.Method, r.Target, r.Host, r.Length))
	assert.Equal(t, len(head), r.Size)
	assert.Equal(t, [][2]string{{"Host", "h"}, {"Content-Length", "3"}, {"Empty", ""}, {"X_Y", "é 1"}}, headers(r.Headers))
	for n := range head {
		assert.Equal(t, More, r.Read([]byte(head[:n])), "%d bytes", n)
	}
}

func headers(list []Header) (all [][2]string) {
	for _, h := range list {
		all = append(all, [2]string{string(h.Name), string(h.Value)})
	}
	return all
}

func TestUnusualRequests(t *testing.T) {
	for _, head := range []string{
		"\r\n", "\x16\x03\x01", "PRI * HTTP/2.0\r\n\r\n", "{",
		"GET /a HTTP/1.0\r\nHost: h\r\n\r\n", "GET /a HTTP/1.1 \r\nHost: h\r\n\r\n", "GET  /a HTTP/1.1\r\nHost: h\r\n\r\n",
		"GET a HTTP/1.1\r\nHost: h\r\n\r\n", "GET http://h/a HTTP/1.1\r\nHost: h\r\n\r\n", "OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n",
		"CONNECT /a HTTP/1.1\r\nHost: h\r\n\r\n", "G(T /a HTTP/1.1\r\nHost: h\r\n\r\n", "GET /a%2 HTTP/1.1\r\nHost: h\r\n\r\n",
		"GET /a%zz HTTP/1.1\r\nHost: h\r\n\r\n", "GET /a#b HTTP/1.1\r\nHost: h\r\n\r\n", "GET /\x7f HTTP/1.1\r\nHost: h\r\n\r\n", "GET /é HTTP/1.1\r\nHost: h\r\n\r\n",
		"GET /a HTTP/1.1\nHost: h\r\n\r\n", "GET /a HTTP/1.1\r\nHost: h\n\r\n", "GET /a HTTP/1.1\r\nHost: h\r\n\n",
		"GET /a HTTP/1.1\r\n\r\n", "GET /a HTTP/1.1\r\nHost:\r\n\r\n", "GET /a HTTP/1.1\r\nHost: a b\r\n\r\n", "GET /a HTTP/1.1\r\nHost: h\r\nhost: h\r\n\r\n",
		plain + "Content-Length: 3\r\nContent-Length: 3\r\n\r\n", plain + "Content-Length: +3\r\n\r\n", plain + "Content-Length: \r\n\r\n",
		plain + "Content-Length: 1234567890123456\r\n\r\n", plain + "Content-Length: 3, 3\r\n\r\n",
		plain + "Transfer-Encoding: chunked\r\n\r\n", plain + "transfer-encoding: x\r\n\r\n",
		plain + "X: a\r\n b\r\n\r\n", plain + "X : a\r\n\r\n", plain + ": a\r\n\r\n", plain + "X\r\n\r\n", plain + "X: a\x00b\r\n\r\n", plain + "X: a\rb\r\n\r\n", plain + "X\xc3: a\r\n\r\n",
	} {
		var r Request
		assert.Equal(t, Unusual, r.Read([]byte(head)), "%q", head)
	}
}

// FuzzRequest: what is read here means the same to net/http, and takes as many bytes.
func FuzzRequest(f *testing.F) {
	for _, seed := range []string{
		plain + "\r\n", plain + "Content-Length: 3\r\n\r\nabc", "POST /a%20b HTTP/1.1\r\nHost: [::1]:80\r\nConnection: close\r\nA: \tb c\r\n\r\n",
		plain + "X: a\r\n b\r\n\r\n", "GET /a HTTP/1.1\r\nHost: h\r\nHost: h\r\n\r\n", "A /?\x00 HTTP/1.1\r\nHost: h\r\n\r\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var r Request
		if r.Read(data) != Good {
			return
		}
		in := bufio.NewReader(bytes.NewReader(data[:r.Size]))
		theirs, err := http.ReadRequest(in)
		require.NoError(t, err, "%q", data)
		require.Zero(t, in.Buffered())
		require.Equal(t, theirs.Method, string(r.Method))
		require.Equal(t, theirs.RequestURI, string(r.Target))
		require.Equal(t, theirs.Host, string(r.Host))
		require.Equal(t, theirs.ContentLength, r.Length)
		require.Empty(t, theirs.TransferEncoding)
		ours := http.Header{}
		for _, h := range r.Headers {
			if !Equal(h.Name, "host") {
				ours.Add(string(h.Name), string(h.Value))
			}
		}
		require.Equal(t, theirs.Header, ours)
	})
}

func TestAnswers(t *testing.T) {
	for head, want := range map[string]string{
		"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX: 1\r\n\r\n":                       `200 length 5 [["X" "1"]]`,
		"HTTP/1.1 200\r\nContent-Length: 5\r\ncontent-length: 5\r\n\r\n":             `200 length 5 []`,
		"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n":                      `200 close -1 []`,
		"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n": `200 chunks -1 []`,
		"HTTP/1.1 200 OK\nX: 1\n y  \r\n\tz\nY: 2\n\n":                               `200 close -1 [["X" "1 y z"] ["Y" "2"]]`,
		"HTTP/1.1 200 OK\r\nX : 1\r\n\r\n":                                           `200 close -1 []`,
	} {
		var a Answer
		verdict, err := a.Read([]byte(head))
		require.NoError(t, err, head)
		require.Equal(t, Good, verdict, head)
		assert.Equal(t, want, fmt.Sprintf("%d %s %d %q", a.Status, [...]string{"length", "chunks", "close"}[a.Until], a.Length, headers(a.Headers)), head)
		assert.Equal(t, len(head), a.Size, head)
	}
	for _, head := range []string{
		"garbage\r\n", "HTTP/2.0 200 OK\r\n", "HTTP/1.1 20 OK\r\n", "HTTP/1.1 2000 OK\r\n", "HTTP/1.1 -20\r\n", "HTTP/1.2 200 OK\r\n",
		"HTTP/1.1 200 OK\r\nX\r\n\r\n", "HTTP/1.1 200 OK\r\n: 1\r\n\r\n", "HTTP/1.1 200 OK\r\n X: 1\r\n\r\n", "HTTP/1.1 200 OK\r\nX: \x00\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
	} {
		var a Answer
		_, err := a.Read([]byte(head))
		assert.Error(t, err, head)
	}
}

// FuzzChunked: what is read as chunks here is read so by net/http, with the same data
// and trailers, in however many pieces it comes.
func FuzzChunked(f *testing.F) {
	for _, seed := range []string{
		"5\r\nhello\r\n0\r\n\r\n", "5;a=b\r\nhello\r\n1\r\n \r\n0\r\nX: 1\r\nY: 2\r\n\r\nmore", "0\r\nX: 1\r\n y\r\n\r\n",
		"fffffffffffffffff\r\n", "5\nhello\r\n0\r\n\r\n", "-1\r\n", "5 \r\nhello\r\n0\r\n\r\n", "0\r\n\r", "1\r\naa\r\n", "0\r\n0:00\r\n \r\n\r\n",
	} {
		f.Add([]byte(seed), byte(3))
	}
	f.Fuzz(func(t *testing.T, data []byte, piece byte) {
		var c Chunked
		var body []byte
		rest := bytes.Clone(data)
		for len(rest) > 0 && !c.Done() {
			part, n, err := c.Next(rest[:min(len(rest), int(piece)+1)])
			if err != nil {
				return
			}
			body = append(body, part...)
			rest = rest[n:]
		}
		if !c.Done() {
			return
		}
		trailer, err := c.Trailer(nil)
		if err != nil {
			return
		}
		in := bufio.NewReaderSize(io.MultiReader(strings.NewReader("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"), bytes.NewReader(data)), maxTrailer)
		res, err := http.ReadResponse(in, nil)
		require.NoError(t, err)
		theirs, err := io.ReadAll(res.Body)
		require.NoError(t, err, "%q", data)
		require.Equal(t, string(theirs), string(body))
		ours := http.Header{}
		for _, h := range trailer {
			ours.Add(string(h.Name), string(h.Value))
		}
		for _, values := range res.Trailer {
			for i, v := range values {
				values[i] = textproto.TrimString(v) // of a folded line that is blank, as it is when it is sent
			}
		}
		if len(ours) > 0 || len(res.Trailer) > 0 {
			require.Equal(t, res.Trailer, ours)
		}
	})
}
