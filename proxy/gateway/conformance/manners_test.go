package conformance_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/textproto"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/Ishan27g/ryo-faas/internal/testkit"
	"github.com/Ishan27g/ryo-faas/proxy/gateway/conformance"
)

// patience bounds every wait.
const patience = testkit.Patience

// left is told when and why the context of a call of /wait ends.
type left struct {
	at  time.Time
	why error
}

// mannered is a function that does what a path says.
func mannered(lefts chan left) http.Handler {
	does := map[string]http.HandlerFunc{}
	does["/hello/early"] = func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Link", "</style.css>")
		w.WriteHeader(http.StatusEarlyHints)
		w.WriteHeader(http.StatusProcessing)
		fmt.Fprint(w, "whole")
	}
	does["/hello/turns"] = func(w http.ResponseWriter, r *http.Request) {
		stream := http.NewResponseController(w)
		_ = stream.EnableFullDuplex()
		_ = stream.Flush()
		in := bufio.NewReader(r.Body)
		for {
			line, err := in.ReadString('\n')
			if err != nil {
				w.Header().Set(http.TrailerPrefix+"After", r.Trailer.Get("After"))
				return
			}
			fmt.Fprint(w, line)
			_ = stream.Flush()
		}
	}
	does["/hello/wait"] = func(w http.ResponseWriter, r *http.Request) {
		// Go's server hears of it alone while somebody reads the body, or after its end.
		read := make(chan struct{})
		go func() {
			defer close(read)
			_, _ = io.Copy(io.Discard, r.Body)
		}()
		if r.URL.RawQuery == "begun" {
			_ = http.NewResponseController(w).Flush()
		}
		lefts <- left{}
		select {
		case <-r.Context().Done():
			lefts <- left{time.Now(), r.Context().Err()}
		case <-time.After(patience):
		}
		<-read
	}
	does["/hello/cut"] = func(w http.ResponseWriter, r *http.Request) {
		if n := r.URL.RawQuery; n != "" {
			w.Header().Set("Content-Length", n)
		}
		fmt.Fprint(w, strings.Repeat("x", 1000))
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}
	does["/hello/count"] = func(w http.ResponseWriter, r *http.Request) {
		n, err := io.Copy(io.Discard, r.Body)
		fmt.Fprint(w, n, err)
	}
	does["/hello/much"] = func(w http.ResponseWriter, r *http.Request) {
		n, _ := strconv.ParseInt(r.URL.RawQuery, 10, 64)
		_, _ = io.CopyN(w, zeros{}, n)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if do := does[r.URL.Path]; do != nil {
			do(w, r)
			return
		}
		fmt.Fprint(w, r.RequestURI)
	})
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// TestManners has calls of all versions of HTTP, with and without TLS.
func TestManners(t *testing.T) {
	serves, asks := certified(t)
	for name, tt := range map[string]struct{ http2, secure bool }{
		"HTTP/1.1": {false, false}, "HTTP/1.1 over TLS": {false, true}, "HTTP/2": {true, false}, "HTTP/2 over TLS": {true, true},
	} {
		lefts := make(chan left, 1)
		function := httptest.NewUnstartedServer(mannered(lefts))
		function.Config.Protocols = new(http.Protocols)
		function.Config.Protocols.SetHTTP1(true)
		function.Config.Protocols.SetUnencryptedHTTP2(true)
		function.Start()
		t.Cleanup(function.Close)
		routes := []conformance.Route{{Name: "hello", Address: function.Listener.Addr().String()}}
		tr := &http.Transport{Protocols: new(http.Protocols), DisableCompression: true}
		var config *tls.Config
		scheme := "http"
		if tt.secure {
			scheme, config, tr.TLSClientConfig = "https", serves, asks.Clone() // which the transport changes
		}
		tr.Protocols.SetHTTP1(!tt.http2)
		tr.Protocols.SetHTTP2(tt.http2)
		tr.Protocols.SetUnencryptedHTTP2(tt.http2)
		t.Cleanup(tr.CloseIdleConnections)
		c := calling{tr, scheme + "://" + serveTLS(t, routes, config) + "/functions/hello/", tt.http2, lefts}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c.test(t)
		})
	}
}

// calling is a way to call the function.
type calling struct {
	tr    *http.Transport
	url   string
	http2 bool
	lefts chan left
}

func (c calling) request(t *testing.T, ctx context.Context, method, path string, body io.Reader) *http.Request {
	t.Helper()
	req, err := http.NewRequestWithContext(ctx, method, c.url+path, body)
	require.NoError(t, err)
	return req
}

func (c calling) do(t *testing.T, req *http.Request) *http.Response {
	t.Helper()
	res, err := c.tr.RoundTrip(req)
	require.NoError(t, err)
	t.Cleanup(func() { _ = res.Body.Close() })
	assert.Equal(t, c.http2, res.ProtoMajor == 2)
	return res
}

func (c calling) test(t *testing.T) {
	t.Run("a target, byte for byte", func(t *testing.T) {
		const target = "a%2Fb//c/../d;e/%7e{}|/?q=%zz&&a;b?c"
		req := c.request(t, t.Context(), http.MethodGet, "", nil)
		req.URL.Opaque = "//" + req.URL.Host + "/functions/hello/" + target
		got, err := io.ReadAll(c.do(t, req).Body)
		require.NoError(t, err)
		assert.Equal(t, "/hello/"+target, string(got))
	})
	t.Run("interim answers", func(t *testing.T) {
		var interim []string
		ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
			interim = append(interim, fmt.Sprint(code, h.Get("Link")))
			return nil
		}})
		body, err := io.ReadAll(c.do(t, c.request(t, ctx, http.MethodGet, "early", nil)).Body)
		require.NoError(t, err)
		assert.Equal(t, "whole", string(body))
		assert.Equal(t, []string{"103</style.css>", "102</style.css>"}, interim)
	})
	for _, te := range []string{"", "trailers"} {
		t.Run("turns, and trailers "+te, func(t *testing.T) { c.turns(t, te) })
	}
	for _, query := range []string{"", "1001", "1000000"} {
		t.Run("a cut answer "+query, func(t *testing.T) {
			res := c.do(t, c.request(t, t.Context(), http.MethodGet, "cut?"+query, nil))
			_, err := io.Copy(io.Discard, res.Body)
			assert.Error(t, err)
		})
	}
	for _, age := range []time.Duration{0, 300 * time.Millisecond} {
		for _, how := range []string{"GET ", "GET begun", "POST body", "POST small", "POST stream"} {
			t.Run(fmt.Sprintf("the caller leaves %s after %v", how, age), func(t *testing.T) { c.leaves(t, how, age) })
		}
	}
	t.Run("large bodies", func(t *testing.T) {
		const size = 32 << 20
		for _, length := range []int64{size, -1} {
			req := c.request(t, t.Context(), http.MethodPost, "count", io.LimitReader(zeros{}, size))
			req.ContentLength = length
			body, err := io.ReadAll(c.do(t, req).Body)
			require.NoError(t, err)
			assert.Equal(t, fmt.Sprint(size, "<nil>"), strings.ReplaceAll(string(body), " ", ""))
		}
		n, err := io.Copy(io.Discard, c.do(t, c.request(t, t.Context(), http.MethodGet, "much?"+strconv.Itoa(size), nil)).Body)
		require.NoError(t, err)
		assert.EqualValues(t, size, n)
	})
}

// turns sends and gets lines in turns, and trailers.
func (c calling) turns(t *testing.T, te string) {
	in, out := io.Pipe()
	req := c.request(t, t.Context(), http.MethodPost, "turns", in)
	if te != "" {
		req.Header.Set("Te", te)
	}
	req.Trailer = http.Header{"After": nil}
	res := c.do(t, req)
	lines := bufio.NewReader(res.Body)
	for i := range 10 {
		_, err := fmt.Fprintln(out, i)
		require.NoError(t, err)
		line, err := lines.ReadString('\n')
		require.NoError(t, err)
		assert.Equal(t, fmt.Sprintln(i), line)
	}
	req.Trailer.Set("After", "all")
	require.NoError(t, out.Close())
	_, err := lines.ReadString('\n')
	require.ErrorIs(t, err, io.EOF)
	assert.Equal(t, "all", res.Trailer.Get("After"))
}

// leavers is how many calls are canceled: one alone tells little of how soon they end.
const leavers = 50

// leaves cancels calls of some age, one by one.
func (c calling) leaves(t *testing.T, how string, age time.Duration) {
	cancels := make([]context.CancelFunc, leavers)
	ended := make([]<-chan struct{}, leavers)
	for i := range cancels {
		cancels[i], ended[i] = c.begin(t, how)
		select {
		case <-c.lefts:
		case <-time.After(patience):
			t.Fatal("the call does not reach the function")
		}
	}
	select {
	case <-time.After(age):
	case l := <-c.lefts:
		t.Fatal("a call has ended by itself: ", l.why)
	}
	took := make([]time.Duration, leavers)
	for i, cancel := range cancels {
		at := time.Now()
		cancel()
		select {
		case l := <-c.lefts:
			require.ErrorIs(t, l.why, context.Canceled)
			took[i] = l.at.Sub(at)
		case <-time.After(patience):
			t.Fatal("the function does not hear of it")
		}
		<-ended[i]
	}
	slices.Sort(took)
	t.Log("median", took[leavers/2], "most", took[leavers-1])
	assert.Less(t, took[leavers/2], time.Second, "it is 1 ms; on a busy machine, some")
}

// begin begins a call of /wait.
func (c calling) begin(t *testing.T, how string) (cancel context.CancelFunc, over <-chan struct{}) {
	ctx, cancel := context.WithCancel(t.Context())
	method, query, _ := strings.Cut(how, " ")
	var body io.Reader
	switch query {
	case "body", "stream":
		open, write := io.Pipe()
		context.AfterFunc(ctx, func() { _ = write.CloseWithError(context.Canceled) })
		go func() { _, _ = io.WriteString(write, "1") }()
		body = open
	case "small":
		body = strings.NewReader("1")
	}
	req := c.request(t, ctx, method, "wait?"+query, body)
	if query == "stream" { // to the function over HTTP/2, if it comes so
		req.Header.Set("Te", "trailers")
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		res, err := c.tr.RoundTrip(req)
		if err == nil {
			_, _ = io.Copy(io.Discard, res.Body)
			_ = res.Body.Close()
		}
	}()
	return cancel, ended
}
