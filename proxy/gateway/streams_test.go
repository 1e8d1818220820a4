package gateway

import (
	"context"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/Ishan27g/ryo-faas/transport/wire"
)

// endless is a body without an end, which counts how much of it was read.
type endless struct{ read atomic.Int64 }

func (e *endless) Read(p []byte) (int, error) {
	e.read.Add(int64(len(p)))
	return len(p), nil
}

// openCall calls a function over HTTP/2, with a body that may go on for as long as the answer.
func openCall(ctx context.Context, tr *http.Transport, url string, body io.Reader) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, body)
	if err != nil {
		return nil, err
	}
	req.ContentLength = -1
	req.Header.Set("Te", "trailers")
	return tr.RoundTrip(req)
}

func h2c(t *testing.T) *http.Transport {
	tr := &http.Transport{Protocols: new(http.Protocols)}
	tr.Protocols.SetUnencryptedHTTP2(true)
	t.Cleanup(tr.CloseIdleConnections)
	return tr
}

// What a function leaves unread fills its own part of the connections, on both sides of the
// gateway, and no more; so does what a caller leaves unread.
func TestCallsThatAreNotReadHoldUpNoOthers(t *testing.T) {
	var running atomic.Int32
	row, _ := serveH2(t, "Hello", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		running.Add(1)
		defer running.Add(-1)
		stream := http.NewResponseController(w)
		switch r.URL.Path {
		case "/deaf":
			_ = stream.Flush()
			<-r.Context().Done()
		case "/talks":
			_, _ = io.Copy(w, new(endless))
		default:
			_, _ = io.Copy(w, r.Body)
		}
	}))
	url := "http://" + front(t, row) + "/functions/hello"
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var tr *http.Transport
	var bodies [streamsEach - 2]endless
	var answers []io.Closer
	for i := range bodies {
		if i%3 == 0 { // they share what one connection of a caller may have unread
			tr = h2c(t)
		}
		path := "/deaf"
		if i%3 == 2 {
			path = "/talks"
		}
		res, err := openCall(ctx, tr, url+path, &bodies[i])
		require.NoError(t, err)
		defer res.Body.Close()
		answers = append(answers, res.Body)
	}
	for i := range bodies {
		require.Eventually(t, func() bool { return bodies[i].read.Load() >= wire.MaxStreamBuffer }, patience, time.Millisecond, "call %d", i)
	}
	for _, tr := range []*http.Transport{tr, h2c(t)} {
		large := strings.Repeat("x", 100<<10)
		res, err := openCall(ctx, tr, url+"/echo", strings.NewReader(large))
		require.NoError(t, err)
		assert.Len(t, bodyOf(t, res), len(large))
	}
	// Their callers leave, too.
	for _, a := range answers {
		_ = a.Close() // the transport hears of ctx no sooner
	}
	require.Eventually(t, func() bool { return running.Load() == 0 }, patience, time.Millisecond)
}

// A caller leaves while nothing of its body can be sent.
func TestAFunctionThatDoesNotReadHearsThatItsCallerHasLeft(t *testing.T) {
	left := make(chan struct{})
	row, _ := serveH2(t, "Hello", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
		close(left)
	}))
	var body endless
	res, err := openCall(t.Context(), h2c(t), "http://"+front(t, row)+"/functions/hello", &body)
	require.NoError(t, err)
	const full = wire.MaxStreamBuffer + 128<<10 + feedRoom + 8<<10 // and the function's part of its connection, and more
	require.Eventually(t, func() bool { return body.read.Load() >= full }, patience, time.Millisecond)
	require.NoError(t, res.Body.Close())
	select {
	case <-left:
	case <-time.After(patience):
		t.Fatal("it does not hear of it")
	}
}
