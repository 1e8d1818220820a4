package gateway

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/Ishan27g/ryo-faas/proto"
)

// compressing is a function whose answers may be compressed.
func compressing(t testing.TB, script func(net.Conn, *bufio.Reader)) (addr string) {
	return front(t, with(scripted(t, script), func(r *proto.FunctionJsonRsp) { r.Compress = true }))
}

// get asks for what a function says, with header lines.
func get(t testing.TB, addr, method, lines string) *http.Response {
	t.Helper()
	conn, in := dial(t, addr)
	fmt.Fprintf(conn, "%s /functions/hello HTTP/1.1\r\nHost: h\r\n%s\r\n", method, lines)
	res, err := http.ReadResponse(in, &http.Request{Method: method})
	require.NoError(t, err)
	return res
}

// expand undoes a coding.
func expand(t testing.TB, coding string, r io.Reader) io.Reader {
	t.Helper()
	switch coding {
	case "":
		return r
	case "gzip":
		g, err := gzip.NewReader(r)
		require.NoError(t, err)
		return g
	}
	require.Equal(t, "zstd", coding)
	z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1))
	require.NoError(t, err)
	t.Cleanup(z.Close)
	return z
}

var words = strings.Repeat("many words make light work; ", 100)

func TestAnswersAreCompressedForCallersWhoAskForThat(t *testing.T) {
	text := "Content-Type: text/plain; charset=utf-8\r\n"
	whole := fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(words), words)
	chunks := fmt.Sprintf("Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n%x\r\n%[2]s\r\n0\r\n\r\n", len(words), words, len(words))
	const gz = "Accept-Encoding: gzip\r\n"
	for name, tt := range map[string]struct {
		method, lines, answer string
		coding, etag          string
		varies                bool
	}{
		"a known length":        {"GET", gz, "HTTP/1.1 200 OK\r\n" + text + whole, "gzip", "", true},
		"chunks":                {"GET", gz, "HTTP/1.1 200 OK\r\n" + text + chunks, "gzip", "", true},
		"until the end":         {"GET", gz, "HTTP/1.1 200 OK\r\n" + text + "\r\n" + words, "gzip", "", true},
		"the better one":        {"GET", "Accept-Encoding: gzip, deflate, br, zstd\r\n", "HTTP/1.1 200 OK\r\n" + text + whole, "zstd", "", true},
		"zstd in chunks":        {"GET", "Accept-Encoding: zstd\r\n", "HTTP/1.1 200 OK\r\n" + text + chunks, "zstd", "", true},
		"nothing of zstd":       {"GET", "Accept-Encoding: zstd\r\n", "HTTP/1.1 200 OK\r\n" + text + "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "zstd", "", true},
		"nothing of gzip":       {"GET", gz, "HTTP/1.1 200 OK\r\n" + text + "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "gzip", "", true},
		"a post":                {"POST", gz + "Content-Length: 0\r\n", "HTTP/1.1 500 Oops\r\nContent-Type: application/problem+json\r\n" + whole, "gzip", "", true},
		"a strong tag":          {"GET", gz, "HTTP/1.1 200 OK\r\nETag: \"a\"\r\n" + text + whole, "gzip", `W/"a"`, true},
		"a weak tag":            {"GET", gz, "HTTP/1.1 200 OK\r\nETag: W/\"a\"\r\n" + text + whole, "gzip", `W/"a"`, true},
		"nobody asked":          {"GET", "", "HTTP/1.1 200 OK\r\nETag: \"a\"\r\n" + text + whole, "", `"a"`, true},
		"refused":               {"GET", "Accept-Encoding: gzip;q=0, br\r\n", "HTTP/1.1 200 OK\r\n" + text + whole, "", "", true},
		"as it is, please":      {"GET", gz + "Cache-Control: no-transform\r\n", "HTTP/1.1 200 OK\r\n" + text + whole, "", "", true},
		"head":                  {"HEAD", gz, "HTTP/1.1 200 OK\r\nETag: \"a\"\r\n" + text + whole, "gzip", `W/"a"`, true},
		"not modified":          {"GET", gz, "HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\n\r\n", "", `W/"a"`, true},
		"small":                 {"GET", gz, "HTTP/1.1 200 OK\r\n" + text + "Content-Length: 5\r\n\r\nhello", "", "", false},
		"an image":              {"GET", gz, "HTTP/1.1 200 OK\r\nETag: \"a\"\r\nContent-Type: image/png\r\n" + whole, "", `"a"`, false},
		"of no type":            {"GET", gz, "HTTP/1.1 200 OK\r\n" + whole, "", "", false},
		"encoded already":       {"GET", gz, "HTTP/1.1 200 OK\r\nContent-Encoding: br\r\n" + text + whole, "br", "", false},
		"a part":                {"GET", gz + "Range: bytes=0-9\r\n", "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-2799/5000\r\n" + text + whole, "", "", false},
		"a part of no range":    {"GET", gz, "HTTP/1.1 206 Partial Content\r\n" + text + whole, "", "", false},
		"not to be transformed": {"GET", gz, "HTTP/1.1 200 OK\r\nCache-Control: public, no-transform\r\n" + text + whole, "", "", false},
		"with a digest":         {"GET", gz, "HTTP/1.1 200 OK\r\nRepr-Digest: sha-256=:AA==:\r\n" + text + whole, "", "", false},
		"with a digest behind":  {"GET", gz, "HTTP/1.1 200 OK\r\nTrailer: Content-Digest\r\n" + text + chunks, "", "", false},
		"without content":       {"GET", gz, "HTTP/1.1 204 No Content\r\nContent-Type: text/plain\r\n\r\n", "", "", false},
	} {
		t.Run(name, func(t *testing.T) {
			res := get(t, compressing(t, answering(tt.answer)), tt.method, tt.lines)
			assert.Equal(t, tt.coding, res.Header.Get("Content-Encoding"))
			assert.Equal(t, tt.etag, res.Header.Get("Etag"))
			assert.Equal(t, tt.varies, res.Header.Get("Vary") == "Accept-Encoding", res.Header)
			if tt.coding != "" && tt.coding != "br" {
				assert.EqualValues(t, -1, res.ContentLength)
			}
			if tt.method == "HEAD" || tt.coding == "br" {
				return
			}
			sent, err := io.ReadAll(res.Body)
			require.NoError(t, err)
			got, err := io.ReadAll(expand(t, tt.coding, bytes.NewReader(sent)))
			require.NoError(t, err)
			_, want, _ := strings.Cut(tt.answer, "\r\n\r\n")
			if strings.Contains(tt.answer, "chunked") {
				want = strings.Repeat(words, strings.Count(want, words))
			}
			assert.Equal(t, want, string(got))
			if tt.coding != "" && want != "" {
				assert.Less(t, len(sent), len(want)/5)
			}
		})
	}
}

// What a function sends can be read before it sends more, and its trailers come behind.
func TestStreamsAreCompressedAsTheyCome(t *testing.T) {
	for _, coding := range codings {
		more, done := make(chan string), make(chan struct{})
		addr := compressing(t, func(conn net.Conn, in *bufio.Reader) {
			defer close(done)
			if _, err := readHead(in); err != nil {
				return
			}
			_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n")
			for text := range more {
				fmt.Fprintf(conn, "%x\r\n%s\r\n", len(text), text)
			}
			_, _ = io.WriteString(conn, "0\r\nX-Sum: 7\r\n\r\n")
		})
		conn, in := dial(t, addr)
		fmt.Fprintf(conn, "GET /functions/hello HTTP/1.1\r\nHost: h\r\nAccept-Encoding: %s\r\n\r\n", coding)
		more <- "data: 0\n\n"
		res, err := http.ReadResponse(in, nil)
		require.NoError(t, err)
		require.Equal(t, coding, res.Header.Get("Content-Encoding"))
		events := bufio.NewReader(expand(t, coding, res.Body))
		for i, text := range []string{"data: 0\n", "data: 1\n", "data: 2\n"} {
			line, err := events.ReadString('\n')
			require.NoError(t, err)
			assert.Equal(t, text, line)
			_, err = events.ReadString('\n')
			require.NoError(t, err)
			if i < 2 {
				more <- fmt.Sprintf("data: %d\n\n", i+1)
			}
		}
		close(more)
		_, err = io.ReadAll(events)
		require.NoError(t, err)
		_, err = io.ReadAll(res.Body)
		require.NoError(t, err)
		assert.Equal(t, "7", res.Trailer.Get("X-Sum"))
		<-done
	}
}

func TestAConnectionGoesOnAfterACompressedHead(t *testing.T) {
	addr := compressing(t, answering(fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n", len(words))))
	conn, in := dial(t, addr)
	for range 2 {
		fmt.Fprint(conn, "HEAD /functions/hello HTTP/1.1\r\nHost: h\r\nAccept-Encoding: gzip\r\n\r\n")
		res, err := http.ReadResponse(in, &http.Request{Method: "HEAD"})
		require.NoError(t, err)
		assert.Equal(t, "gzip", res.Header.Get("Content-Encoding"))
		assert.Zero(t, in.Buffered())
	}
}

// An answer that breaks off must not look whole.
func TestACompressedAnswerThatIsCutStaysCut(t *testing.T) {
	for _, answer := range []string{
		"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5000\r\n\r\n" + words,
		fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n", len(words), words),
	} {
		for _, coding := range codings {
			res := get(t, compressing(t, answering(answer)), "GET", "Accept-Encoding: "+coding+"\r\n")
			require.Equal(t, coding, res.Header.Get("Content-Encoding"))
			got, err := io.ReadAll(expand(t, coding, res.Body))
			require.Error(t, err)
			assert.True(t, strings.HasPrefix(words, string(got)))
		}
	}
}

func TestTheAnswersThatAreCompressedAreBounded(t *testing.T) {
	row := scripted(t, answering(fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n%s", len(words), words)))
	row.Compress = true
	addr, g := frontWith(t, Config{Table: table(row)})
	for range compressors {
		g.compressing <- struct{}{}
	}
	res := get(t, addr, "GET", "Accept-Encoding: gzip\r\n")
	assert.Empty(t, res.Header.Get("Content-Encoding"))
	assert.Equal(t, words, bodyOf(t, res))
	res = get(t, addr, "HEAD", "Accept-Encoding: gzip\r\n")
	assert.Equal(t, "gzip", res.Header.Get("Content-Encoding"), "nothing is compressed for it")
	for range compressors {
		<-g.compressing
	}
	res = get(t, addr, "GET", "Accept-Encoding: gzip\r\n")
	assert.Equal(t, "gzip", res.Header.Get("Content-Encoding"))
	_, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	require.Eventually(t, func() bool { return len(g.compressing) == 0 }, patience, patience/1000, "its place is free again")
}

func TestVaryNamesWhatIsThere(t *testing.T) {
	for was, want := range map[string]string{
		"": "Accept-Encoding", "Origin": "Origin, Accept-Encoding", "origin, accept-encoding": "origin, accept-encoding", "*": "*",
	} {
		h := http.Header{}
		if was != "" {
			h.Set("Vary", was)
		}
		vary(h)
		assert.Equal(t, want, strings.Join(h["Vary"], ", "))
	}
}

func TestCodings(t *testing.T) {
	for accept, want := range map[string]string{
		"":                         "",
		"gzip":                     "gzip",
		"GZIP ; Q=0.001":           "gzip",
		"zstd,gzip":                "zstd",
		"zstd;q=0.8, gzip;q=0.9":   "gzip",
		"gzip;q=0":                 "",
		"gzip;q=0.000":             "",
		"*":                        "zstd",
		"*;q=0":                    "",
		"zstd;q=0, *;q=0.5":        "gzip",
		"br, deflate":              "",
		"identity, gzip":           "gzip",
		"identity, gzip;q=0.5":     "",
		"identity;q=0, gzip;q=0.1": "gzip",
		"gzip;q=2":                 "",
		"gzip;q=1.001":             "",
		"gzip;q=0.1234":            "",
		"gzip;q=":                  "",
		"gzip;level=9":             "",
		"gzip;q=0.5;q=1":           "",
		"gzip, gzip;q=0":           "",
		"gzipped, xgzip":           "",
		", ,gzip,":                 "gzip",
		"\"gzip\"":                 "",
	} {
		assert.Equal(t, want, coding([]string{accept}), accept)
	}
	assert.Equal(t, "gzip", coding([]string{"br", "gzip"}), "lines are one list")
	assert.Empty(t, coding(nil))
}

// FuzzCoding: nobody gets a coding that it did not name, nor one that it refused.
func FuzzCoding(f *testing.F) {
	for _, accept := range []string{"gzip, zstd;q=0.5", "*;q=0.1", "identity;q=0", "gzip;q=1.0000", ";;,=", "gzip;q=0.\x00"} {
		f.Add(accept)
	}
	f.Fuzz(func(t *testing.T, accept string) {
		got := coding([]string{accept})
		lower := strings.ToLower(accept)
		if got != "" && !strings.Contains(lower, got) && !strings.Contains(lower, "*") {
			t.Fatalf("%q is given to %q", got, accept)
		}
		if coding([]string{accept, "gzip;q=0", "zstd;q=0"}) != "" {
			t.Fatalf("%q overrules what is refused later", accept)
		}
	})
}

// fetched is an answer as its caller has it.
type fetched struct {
	status int
	coding []string
	body   []byte
	whole  bool
}

// fetch asks for an answer of the function, compressed or not.
func (l *lanes) fetch(t testing.TB, answer string, compress bool) (f fetched) {
	l.mu.Lock()
	l.answer = answer
	l.mu.Unlock()
	l.row.Compress = compress
	l.row.Pid++
	l.table.Update(map[string][]Replica{"hello": {{Row: l.row}}})
	conn, err := net.Dial("tcp", l.addr)
	require.NoError(t, err)
	defer conn.Close()
	require.NoError(t, conn.SetDeadline(time.Now().Add(patience)))
	fmt.Fprint(conn, "GET /functions/hello HTTP/1.1\r\nHost: h\r\nAccept-Encoding: gzip\r\nX-Request-Id: 1\r\nConnection: close, X-None\r\n\r\n")
	in := bufio.NewReader(conn)
	for f.status < 200 {
		res, err := http.ReadResponse(in, nil)
		if err != nil {
			return fetched{}
		}
		f.status, f.coding = res.StatusCode, res.Header["Content-Encoding"]
		f.body, err = io.ReadAll(res.Body)
		f.whole = err == nil
	}
	return f
}

// FuzzCompressed: whatever a function says, its compressed answer holds what the plain one
// does, and is whole if that is.
func FuzzCompressed(f *testing.F) {
	for _, answer := range said {
		f.Add(strings.Replace(answer, "\r\n", "\r\nContent-Type: text/plain\r\n", 1))
	}
	f.Add(fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n%s", len(words), words))
	f.Add("HTTP/1.1 200 OK\r\nContent-Type: a/b+json\r\nEtag: \"\"\r\nVary: *\r\nContent-Encoding:\r\n\r\n" + words)
	l := newLanes(f)
	f.Fuzz(func(t *testing.T, answer string) {
		plain, small := l.fetch(t, answer, false), l.fetch(t, answer, true)
		if plain.status == 0 || small.status == 0 { // how much has passed of an answer that is cut varies
			require.False(t, plain.whole || small.whole)
			return
		}
		require.Equal(t, plain.status, small.status)
		if len(small.coding) > len(plain.coding) && plain.status != http.StatusNotModified {
			body, err := gzip.NewReader(bytes.NewReader(small.body))
			small.body = nil
			if err == nil {
				small.body, err = io.ReadAll(body)
			}
			require.Equal(t, small.whole, err == nil)
		}
		require.Equal(t, plain.whole, small.whole)
		if plain.whole {
			require.Equal(t, string(plain.body), string(small.body))
		}
	})
}

func BenchmarkCompress(b *testing.B) {
	text := bytes.Repeat([]byte(`{"id": 4711, "name": "many words make light work", "at": "2026-11-29T08:00:00Z"},`+"\n"), 12_000) // a MiB
	for _, coding := range codings {
		b.Run(coding, func(b *testing.B) {
			b.SetBytes(int64(len(text)))
			b.ReportAllocs()
			sent := int64(0)
			for b.Loop() {
				s := squeezers[coding].Get().(*squeezer)
				s.encoder.Reset(&s.out)
				body := &squeezedBody{ReadCloser: io.NopCloser(bytes.NewReader(text)), left: -1, squeezer: s, release: func() { squeezers[coding].Put(s) }}
				n, err := io.Copy(io.Discard, body)
				if err != nil {
					b.Fatal(err)
				}
				sent = n
				body.Close()
			}
			b.ReportMetric(float64(sent)/float64(len(text))*100, "%")
		})
	}
}
