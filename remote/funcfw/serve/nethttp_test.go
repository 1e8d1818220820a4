package serve

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// behave is a function that does, by its path, what functions do with net/http.
func behave(w http.ResponseWriter, r *http.Request) {
	say := func(args ...any) { fmt.Fprintln(w, args...) }
	switch r.URL.Path {
	case "/formfile":
		f, h, err := r.FormFile("f")
		if err != nil {
			say(err)
			return
		}
		n, err := io.Copy(io.Discard, f)
		say(h.Filename, h.Size, n, err)
	case "/formvalue":
		say(r.FormValue("a"), r.PostFormValue("a"))
	case "/parse":
		say(r.ParseMultipartForm(1))
	case "/parse-copy": // as middleware does that adds to the context, for what comes after
		err := r.ParseMultipartForm(1)
		r = r.WithContext(context.WithValue(r.Context(), strictKey{}, 1))
		say(err, len(r.MultipartForm.File))
	case "/parse-panic":
		_ = r.ParseMultipartForm(1)
		panic("early")
	case "/parse-late":
		_ = r.ParseMultipartForm(1)
		w.(http.Flusher).Flush()
		panic("late")
	case "/removed":
		err := r.ParseMultipartForm(1)
		say(err, r.MultipartForm.RemoveAll())
	case "/reader":
		m, err := r.MultipartReader()
		if err != nil {
			say(err)
			return
		}
		p, err := m.NextPart()
		say(p.FileName(), err)
	case "/max":
		r.Body = http.MaxBytesReader(w, r.Body, 10)
		_, err := io.ReadAll(r.Body)
		if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
			http.Error(w, "too much", http.StatusRequestEntityTooLarge)
			return
		}
		say("fits", err)
	case "/max-handler":
		http.MaxBytesHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			n, err := io.Copy(io.Discard, r.Body)
			say(n, err)
		}), 10).ServeHTTP(w, r)
	case "/refuse":
		w.WriteHeader(http.StatusRequestEntityTooLarge)
	case "/flush-refuse":
		w.WriteHeader(http.StatusForbidden)
		w.(http.Flusher).Flush()
	case "/read":
		n, err := io.Copy(io.Discard, r.Body)
		say(n, err, r.ContentLength, r.TransferEncoding)
	case "/some":
		n, err := io.ReadFull(r.Body, make([]byte, 4))
		say(n, err)
	case "/close":
		say(r.Body.Close())
		_, err := r.Body.Read(make([]byte, 1))
		say(err)
	case "/late-read":
		w.(http.Flusher).Flush()
		n, err := io.Copy(io.Discard, r.Body)
		say(n, err)
	case "/duplex":
		err := http.NewResponseController(w).EnableFullDuplex()
		w.(http.Flusher).Flush()
		n, readErr := io.Copy(w, r.Body)
		say(err, n, readErr)
	case "/trailers-in":
		before := len(r.Trailer)
		_, _ = io.Copy(io.Discard, r.Body)
		say(before, r.Trailer)
	case "/types":
		_, flusher := w.(http.Flusher)
		_, hijacker := w.(http.Hijacker)
		_, readerFrom := w.(io.ReaderFrom)
		_, stringWriter := w.(io.StringWriter)
		_, closeNotifier := w.(http.CloseNotifier) //nolint:staticcheck // gin asks
		_, pusher := w.(http.Pusher)
		_, flushErrorer := w.(interface{ FlushError() error })
		say(flusher, hijacker, readerFrom, stringWriter, closeNotifier, pusher, flushErrorer)
	case "/hijack":
		conn, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			say(errors.Is(err, http.ErrNotSupported))
			return
		}
		defer conn.Close()
		_, again := w.Write([]byte("x"))
		line, _ := rw.ReadString('\n')
		fmt.Fprintf(rw, "taken %v %q", again, line)
		_ = rw.Flush()
	case "/read-deadline":
		err := http.NewResponseController(w).SetReadDeadline(time.Now().Add(-time.Second))
		_, readErr := io.Copy(io.Discard, r.Body)
		say(err, errors.Is(readErr, os.ErrDeadlineExceeded))
	case "/write-deadline":
		say("never seen")
		_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(-time.Second))
	case "/hints":
		w.Header().Set("Link", "</a>")
		w.WriteHeader(http.StatusEarlyHints)
		w.WriteHeader(http.StatusProcessing)
		w.Header().Del("Link")
		say("done")
	case "/trailers":
		w.Header().Set("Trailer", "X-Declared")
		say("body")
		w.Header().Set("X-Declared", "1")
		w.Header().Set("X-Undeclared", "2")
		w.Header().Set(http.TrailerPrefix+"X-Prefixed", "3")
	case "/trailers-flushed":
		w.Header().Set("Trailer", "X-Declared")
		w.(http.Flusher).Flush()
		w.Header().Set("X-Declared", "1")
		w.Header().Set(http.TrailerPrefix+"X-Prefixed", "3")
	case "/status":
		code, _ := strconv.Atoi(r.URL.RawQuery)
		w.WriteHeader(code)
		_, err := w.Write([]byte("body\n"))
		w.Header().Set("X-Late", fmt.Sprint(err))
	case "/twice":
		w.WriteHeader(http.StatusCreated)
		w.WriteHeader(http.StatusAccepted)
	case "/sniff":
		_, _ = w.Write([]byte("<html>"))
	case "/no-type":
		w.Header()["Content-Type"] = nil
		_, _ = w.Write([]byte("<html>"))
	case "/short":
		w.Header().Set("Content-Length", "10")
		n, err := w.Write([]byte("short"))
		_, _ = n, err
	case "/long":
		w.Header().Set("Content-Length", "3")
		n, err := w.Write([]byte("long"))
		w.Header().Set("X-Seen", fmt.Sprint(n, err))
	case "/bad-length":
		w.Header().Set("Content-Length", "x")
		say("body")
	case "/big":
		for range 100 {
			_, _ = w.Write(make([]byte, 1000))
		}
	case "/headers":
		w.Header().Set("X-Ugly", "a\r\nb")
		w.Header().Set("Bad Name", "x")
		w.Header().Set("Date", "never")
		w.Header().Set("Connection", "close")
		say("body")
	case "/panic":
		w.Header().Set("X-Before", "1")
		panic("early")
	case "/panic-late":
		say("a part")
		panic("late")
	case "/abort":
		panic(http.ErrAbortHandler)
	case "/content":
		http.ServeContent(w, r, "a.txt", time.Unix(1e9, 0), strings.NewReader("0123456789"))
	case "/file":
		http.ServeFile(w, r, filepath.Join(os.Getenv("FILES"), "file"))
	case "/copy":
		f, err := os.Open(filepath.Join(os.Getenv("FILES"), "file"))
		if err == nil {
			_, err = io.Copy(w, f)
			_ = f.Close()
		}
		if err != nil {
			panic(err)
		}
	case "/redirect":
		http.Redirect(w, r, "there?a=1", http.StatusFound)
	case "/notify":
		say(w.(http.CloseNotifier).CloseNotify() != nil) //nolint:staticcheck // gin does
	case "/stay":
		w.(http.Flusher).Flush()
		<-r.Context().Done()
		left <- context.Cause(r.Context())
	case "/mux/7/x":
		mux := http.NewServeMux()
		mux.HandleFunc("GET /mux/{id}/{rest...}", func(_ http.ResponseWriter, r *http.Request) {
			say(r.Pattern, r.PathValue("id"), r.PathValue("rest"))
		})
		mux.ServeHTTP(w, r)
	default:
		_, srv := r.Context().Value(http.ServerContextKey).(*http.Server)
		addr, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
		_, _, err := net.SplitHostPort(r.RemoteAddr)
		say(r.Method, r.RequestURI, r.URL.String(), r.URL.RawPath, r.Host, r.Proto, r.Pattern, r.TLS == nil, srv, addr.Network(),
			err, r.Close, r.Body == http.NoBody, r.Form, r.GetBody == nil, r.Response, r.Header["X-Many"])
	}
}

// left receives why a caller's context is done.
var left = make(chan error, 1)

// both are servers of behave, of net/http alone and as functions are served.
type both struct{ plain, ours string }

func serveBoth(t *testing.T) both {
	t.Helper()
	t.Setenv("TMPDIR", t.TempDir())
	t.Setenv("FILES", t.TempDir())
	require.NoError(t, os.WriteFile(filepath.Join(os.Getenv("FILES"), "file"), []byte(strings.Repeat("line\n", 2000)), 0o600))
	silence(t)
	plain := httptest.NewUnstartedServer(http.HandlerFunc(behave))
	plain.Config.ReadHeaderTimeout, plain.Config.IdleTimeout = readHeaderTimeout, idleTimeout
	plain.Config.Protocols = new(http.Protocols)
	plain.Config.Protocols.SetHTTP1(true)
	plain.Config.Protocols.SetUnencryptedHTTP2(true)
	plain.Start()
	t.Cleanup(plain.Close)
	ours := running(t, mount{path: "/f", next: framework(t, behave)}, time.Second)
	t.Cleanup(func() {
		ours.stop <- syscall.SIGTERM
		assert.NoError(t, <-ours.done)
	})
	return both{plain.Listener.Addr().String(), ours.addr}
}

// silence throws away what servers and the framework log.
func silence(t *testing.T) {
	t.Helper()
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	require.NoError(t, err)
	before := os.Stderr
	os.Stderr = null
	log.SetOutput(io.Discard)
	t.Cleanup(func() {
		os.Stderr = before
		log.SetOutput(before)
		_ = null.Close()
	})
}

// talk sends a request to a server with a mount, and what is to follow the first
// bytes of the answer, and returns all that the server sends until it closes the
// connection or says nothing more.
func talk(t *testing.T, addr, mount, request, then string, patience time.Duration) string {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	defer conn.Close()
	require.NoError(t, conn.SetDeadline(time.Now().Add(patience)))
	first, sent := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(sent)
		_, _ = io.WriteString(conn, strings.ReplaceAll(request, "{f}", mount)) // a server that has enough closes the connection
		<-first
		_, _ = io.WriteString(conn, strings.ReplaceAll(then, "{f}", mount))
	}()
	in := bufio.NewReader(conn)
	_, _ = in.Peek(1)
	close(first)
	answer, err := io.ReadAll(in)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		answer = append(answer, "\nand then nothing"...)
	}
	_ = conn.Close()
	<-sent
	text := date.ReplaceAllString(string(answer), "Date: now\r\n")
	return strings.ReplaceAll(text, "http://"+addr, "http://server")
}

var date = regexp.MustCompile(`Date: .* GMT\r\n`)

// get and post are requests.
func get(path string, headers ...string) string { return request("GET", path, "", headers...) }

func post(path, body string, headers ...string) string {
	return request("POST", path, body, append(headers, "Content-Length: "+strconv.Itoa(len(body)))...)
}

func request(method, path, body string, headers ...string) string {
	head := method + " {f}" + path + " HTTP/1.1\r\nHost: host\r\n"
	for _, h := range headers {
		head += h + "\r\n"
	}
	return head + "\r\n" + body
}

func chunked(path, body string, headers ...string) string {
	var chunks strings.Builder
	for ; len(body) > 1000; body = body[1000:] {
		chunks.WriteString("3e8\r\n" + body[:1000] + "\r\n")
	}
	fmt.Fprintf(&chunks, "%x\r\n%s\r\n0\r\n\r\n", len(body), body)
	return request("POST", path, chunks.String(), append(headers, "Transfer-Encoding: chunked")...)
}

const (
	multipartType = "Content-Type: multipart/form-data; boundary=b"
	expect        = "Expect: 100-continue"
)

func form(size int) string {
	return "--b\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nvalue\r\n" +
		"--b\r\nContent-Disposition: form-data; name=\"f\"; filename=\"n\"\r\n\r\n" + strings.Repeat("x", size) + "\r\n--b--\r\n"
}

// TestAsNetHTTP compares what callers see with what a server of net/http alone, with
// the same handler, lets them see.
func TestAsNetHTTP(t *testing.T) {
	servers := serveBoth(t)
	t.Cleanup(func() { // when all cases have run
		left, err := os.ReadDir(os.TempDir())
		require.NoError(t, err)
		assert.Empty(t, left, "files of forms")
	})
	// The answer to it shows that the connection was kept, and that what came before
	// was taken as what it was.
	const next = "GET {f}/next?q=%2f HTTP/1.1\r\nHost: next\r\nConnection: close\r\n\r\n"
	const large = 11 << 20 // more than forms may have in memory
	for _, c := range []struct {
		name, request, then string
		waits               bool   // the server waits for the rest of the body, or for ever
		differs             string // our answer has this instead
	}{
		{name: "a form's file", request: post("/formfile", form(10), multipartType) + next},
		{name: "a form's large file", request: post("/formfile", form(large), multipartType) + next},
		{name: "a form's large file in chunks", request: chunked("/formfile", form(large), multipartType) + next},
		{name: "a form's value", request: post("/formvalue?a=q", form(10), multipartType) + next},
		{name: "a form without files", request: post("/formvalue?a=q", "a=b&c=d", "Content-Type: application/x-www-form-urlencoded") + next},
		{name: "no form", request: post("/formfile", "x", "Content-Type: text/plain") + next},
		{name: "a form that is cut", request: post("/parse", form(large)[:1<<20], multipartType) + next},
		{name: "a parsed form", request: post("/parse", form(large), multipartType) + next},
		{name: "a parsed form, before a copy", request: post("/parse-copy", form(large), multipartType) + next},
		{name: "a removed form", request: post("/removed", form(large), multipartType) + next},
		{name: "a form that is read in parts", request: post("/reader", form(1000), multipartType) + next},
		{name: "a form and a panic", request: post("/parse-panic", form(large), multipartType) + next, differs: "500 Internal"},
		{name: "a form and a late panic", request: post("/parse-late", form(large), multipartType), differs: "chunked\r\n\r\n"},

		{name: "a small body", request: post("/max", "small") + next},
		{name: "no body", request: get("/max") + next},
		// MaxBytesReader makes the server's own writer close the connection; others
		// cannot.
		{name: "limits by a handler", request: post("/max-handler", strings.Repeat("x", 20)) + next, differs: "10 http: request body too large\nHTTP/1.1 200 OK"},
		{name: "limits by a handler, in chunks", request: chunked("/max", strings.Repeat("x", 20)) + next, differs: "too much\nHTTP/1.1 200 OK"},
		{name: "limits of a large body", request: chunked("/max", strings.Repeat("x", 1<<20)) + next, differs: "Connection: close\r\n\r\ntoo much\n"},
		{name: "a body that is read", request: post("/read", strings.Repeat("x", 1<<20)) + next},
		{name: "chunks that are read", request: chunked("/read", strings.Repeat("x", 1<<20)) + next},
		{name: "chunks that are wrong", request: request("POST", "/read", "4\r\nbodyx\r\n", "Transfer-Encoding: chunked") + next},
		{name: "a body that is not read", request: post("/", "unread") + next},
		{name: "chunks that are not read", request: chunked("/", "unread") + next},
		{name: "a large body that is not read", request: post("/", strings.Repeat("x", 1<<20)) + next},
		{name: "large chunks that are not read", request: chunked("/", strings.Repeat("x", 1<<20)) + next},
		{name: "a body that is read in part", request: post("/some", "12345") + next},
		{name: "chunks that are read in part", request: chunked("/some", strings.Repeat("x", 1<<20)) + next},
		{name: "a body that is closed", request: post("/close", "unread") + next},
		{name: "a large body that is closed", request: post("/close", strings.Repeat("x", 1<<20)) + next},
		{name: "large chunks that are closed", request: chunked("/close", strings.Repeat("x", 1<<20)) + next},
		{name: "a body that is read after the answer has begun", request: post("/late-read", "late") + next},
		{name: "both directions at once", request: chunked("/duplex", "echo") + next},
		{name: "a body of the old protocol", request: "POST {f}/read HTTP/1.0\r\nContent-Length: 4\r\n\r\nbody"},
		{name: "the old protocol, kept", request: "GET {f}/ HTTP/1.0\r\nConnection: keep-alive\r\n\r\n" + next},

		{name: "expected and refused", request: request("POST", "/refuse", "", expect, "Content-Length: 1000000")},
		{name: "expected and refused at once", request: request("POST", "/flush-refuse", "", expect, "Content-Length: 1000000")},
		{name: "expected chunks and refused", request: request("POST", "/refuse", "", expect, "Transfer-Encoding: chunked"), waits: true},
		{name: "expected and read", request: request("POST", "/read", "", expect, "Content-Length: 4"), then: "body" + next},
		{name: "expected and read in part", request: request("POST", "/some", "", expect, "Content-Length: 5"), then: "12345"},
		{name: "expected and closed", request: request("POST", "/close", "", expect, "Content-Length: 4"), waits: true},
		{name: "expected and limited", request: request("POST", "/max", "", expect, "Content-Length: 4"), then: "body" + next},
		{name: "expected and a form", request: request("POST", "/formfile", "", expect, multipartType, "Content-Length: "+strconv.Itoa(len(form(large)))), then: form(large) + next},
		{name: "expected and a panic", request: request("POST", "/panic", "", expect, "Content-Length: 4"), waits: true, differs: "500 Internal"},
		{name: "something else expected", request: post("/read", "body", "Expect: tea")},

		{name: "trailers", request: request("POST", "/trailers-in", "0\r\nX-A: 1\r\n\r\n", "Transfer-Encoding: chunked", "Trailer: X-A") + next},
		{name: "trailers that were not announced", request: request("POST", "/trailers-in", "0\r\nX-A: 1\r\n\r\n", "Transfer-Encoding: chunked") + next},
		{name: "an answer's trailers", request: get("/trailers") + next},
		{name: "an answer's trailers after a flush", request: get("/trailers-flushed") + next},

		{name: "types", request: get("/types") + next},
		{name: "a connection taken over", request: get("/hijack") + "a line\n"},
		{name: "a read that is late", request: request("POST", "/read-deadline", "", "Content-Length: 4")},
		{name: "a write that is late", request: get("/write-deadline") + next},
		{name: "interim answers", request: get("/hints") + next},

		{name: "HEAD", request: request("HEAD", "/", "") + next},
		{name: "HEAD of much", request: request("HEAD", "/big", "") + next},
		{name: "HEAD and a length", request: request("HEAD", "/short", "") + next},
		{name: "much", request: get("/big") + next},
		{name: "much in the old protocol", request: "GET {f}/big HTTP/1.0\r\n\r\n"},
		{name: "two statuses", request: get("/twice") + next},
		{name: "sniffed", request: get("/sniff") + next},
		{name: "not sniffed", request: get("/no-type") + next},
		{name: "short", request: get("/short") + next},
		{name: "long", request: get("/long") + next},
		{name: "no length", request: get("/bad-length") + next},
		{name: "odd headers", request: get("/headers") + next},
		{name: "a panic", request: get("/panic") + next, differs: "500 Internal"},
		{name: "a late panic", request: get("/panic-late") + next},
		{name: "an abort", request: get("/abort") + next},

		{name: "content", request: get("/content") + next},
		{name: "content's range", request: get("/content", "Range: bytes=2-4") + next},
		{name: "content's ranges out of it", request: get("/content", "Range: bytes=20-") + next},
		{name: "content that is not modified", request: get("/content", "If-Modified-Since: Fri, 01 Jan 2100 00:00:00 GMT") + next},
		{name: "a copied file", request: get("/copy") + next},
		{name: "HEAD of a copied file", request: request("HEAD", "/copy", "") + next},
		{name: "a relative redirect", request: get("/a/../redirect") + next},
		{name: "close notification", request: get("/notify") + next},
		{name: "patterns", request: get("/mux/7/x") + next},
		{name: "a path", request: get("/a%2fb//c/../%e4?a=%20;b&c", "X-Many: 1", "x-many: 2") + next},
		{name: "the absolute form", request: "GET http://other{f}/a%2fb?q HTTP/1.1\r\nHost: host\r\n\r\n" + next},
		{name: "OPTIONS", request: request("OPTIONS", "/", "") + next},
		{name: "a method of its own", request: request("BREW", "/", "") + next},
		{name: "two requests at once", request: get("/a") + get("/b") + next},
		{name: "no host", request: "GET {f}/ HTTP/1.1\r\n\r\n"},
		{name: "two lengths", request: post("/", "body", "Content-Length: 5")},
		{name: "a length and chunks", request: chunked("/read", "body", "Content-Length: 3") + next},
		{name: "status 101", request: get("/status?101"), waits: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			patience := 10 * time.Second
			if c.waits {
				patience = 200 * time.Millisecond
			}
			got := talk(t, servers.ours, "/f", c.request, c.then, patience)
			if c.differs != "" {
				assert.Contains(t, got, c.differs)
				return
			}
			want := talk(t, servers.plain, "", c.request, c.then, patience)
			if want != got {
				assert.Equal(t, clipped(want), clipped(got))
			}
		})
	}
	t.Run("statuses", func(t *testing.T) {
		t.Parallel()
		for _, code := range []int{-1, 0, 99, 1000, 1200} {
			got := talk(t, servers.ours, "/f", get("/status?"+strconv.Itoa(code))+next, "", 10*time.Second)
			assert.Contains(t, got, "500 Internal", code)
		}
		for _, code := range []int{100, 102, 199, 200, 201, 204, 205, 301, 304, 404, 500, 599, 600, 999} {
			request := get("/status?"+strconv.Itoa(code)) + next
			assert.Equal(t, talk(t, servers.plain, "", request, "", 10*time.Second), talk(t, servers.ours, "/f", request, "", 10*time.Second), code)
		}
	})
}

func TestAsNetHTTPOverHTTP2(t *testing.T) {
	servers := serveBoth(t)
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	client := &http.Client{
		Transport:     &http.Transport{Protocols: protocols},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	t.Cleanup(client.CloseIdleConnections)
	call := func(base, method, path, body string) string {
		req, err := http.NewRequest(method, base+path, strings.NewReader(body))
		require.NoError(t, err)
		req.Host = "host"
		if path == "/trailers-in" {
			req.ContentLength, req.Trailer = -1, http.Header{"X-A": {"1"}}
		}
		if strings.HasPrefix(body, "--b") {
			req.Header.Set("Content-Type", "multipart/form-data; boundary=b")
		}
		resp, err := client.Do(req)
		if err != nil {
			return "error"
		}
		got, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		resp.Header.Del("Date")
		return fmt.Sprint(resp.Status, resp.Header, resp.ContentLength, string(got), err != nil, resp.Trailer)
	}
	large := form(11 << 20)
	for path, body := range map[string]string{
		"/": "", "/a%2fb?q": "x", "/formfile": large, "/parse": large, "/read": large, "/some": large, "/close": "x", "/max": "small",
		"/late-read": "late", "/trailers-in": "body", "/types": "", "/hijack": "", "/hints": "", "/trailers": "", "/trailers-flushed": "",
		"/status?204": "", "/status?304": "", "/status?600": "", "/twice": "", "/sniff": "", "/short": "", "/big": "", "/copy": "",
		"/abort": "", "/panic-late": "", "/content": "", "/mux/7/x": "", "/refuse": large, "/redirect": "",
	} {
		for _, method := range []string{http.MethodPost, http.MethodGet, http.MethodHead} {
			if method == http.MethodPost || body == "" {
				assert.Equal(t, call("http://"+servers.plain, method, path, body), call("http://"+servers.ours+"/f", method, path, body), method+" "+path)
			}
		}
	}
	left, err := os.ReadDir(os.TempDir())
	require.NoError(t, err)
	assert.Empty(t, left, "files of forms")
}

func TestContextEndsWhenTheCallerLeaves(t *testing.T) {
	servers := serveBoth(t)
	for _, http2 := range []bool{false, true} {
		protocols := new(http.Protocols)
		protocols.SetHTTP1(!http2)
		protocols.SetUnencryptedHTTP2(http2)
		client := &http.Client{Transport: &http.Transport{Protocols: protocols}}
		for _, url := range []string{"http://" + servers.plain, "http://" + servers.ours + "/f"} {
			resp, err := client.Get(url + "/stay")
			require.NoError(t, err)
			require.NoError(t, resp.Body.Close())
			assert.ErrorIs(t, <-left, context.Canceled)
		}
		client.CloseIdleConnections()
	}
}

func clipped(s string) string { return s[:min(len(s), 2000)] }
