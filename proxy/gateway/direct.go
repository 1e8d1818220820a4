package gateway

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/Ishan27g/ryo-faas/proxy/gateway/forward"
	"github.com/Ishan27g/ryo-faas/transport/wire"
)

const (
	directBody = 16 << 10 // bytes; a body up to this size is read before the function is called
	headBuffer = 4 << 10  // bytes; holds most requests with small bodies
)

// requests is the pool of the buffers in which requests are put together.
var requests = sync.Pool{New: func() any { return new([headBuffer]byte) }}

// plain says whether the call can go directly: its request is whole before the answer
// begins, and asks nothing of HTTP that the direct lane does not do.
func (c *call) plain() bool {
	r := c.in
	if r.ProtoMajor != 1 || r.ProtoMinor != 1 || r.Host == "" || r.ContentLength < 0 || r.ContentLength > directBody {
		return false
	}
	for _, name := range [...]string{"Expect", "Te", "Upgrade"} {
		if _, ok := r.Header[name]; ok {
			return false
		}
	}
	switch options := r.Header["Connection"]; len(options) {
	case 0:
		return true
	case 1:
		return strings.EqualFold(options[0], "keep-alive") || strings.EqualFold(options[0], "close")
	default:
		return false
	}
}

// direct sends a plain call over a link of the target's, in this goroutine alone,
// and passes the answer on.
func (c *call) direct(ctx context.Context) {
	buf := requests.Get().(*[headBuffer]byte)
	defer requests.Put(buf)
	request, err := c.readBody(c.appendHead(buf[:0]))
	if err != nil {
		c.fail(ctx, err)
		return
	}
	var l *link
	var res *http.Response
	err = c.try(ctx, func(t *target) (err error) {
		l, res, err = c.ask(ctx, t, request) //nolint:bodyclose // closing would read the rest; the link is closed instead
		return err
	})
	if err != nil {
		c.fail(ctx, err)
		return
	}
	c.adapt(res)
	if err := c.relay(res, l); err != nil {
		l.cancel()
		c.failure = err
		panic(http.ErrAbortHandler) // the caller sees that it is not whole
	}
	if reusable(res) {
		c.target.links.put(l)
	} else {
		l.cancel()
	}
}

// appendHead appends the head of the request for the function. The server has
// checked names and values.
func (c *call) appendHead(b []byte) []byte {
	r := c.in
	b = append(b, r.Method...)
	b = append(b, ' ')
	b = append(b, c.uri...)
	b = append(b, " HTTP/1.1\r\n"...)
	b = appendLine(b, "Host", r.Host)
	for name, values := range r.Header {
		if forward.FateOf(name) != forward.Passes {
			continue
		}
		for _, v := range values {
			b = appendLine(b, name, v)
		}
	}
	forward.AboutOf(r, c.prefix, c.id[0]).Each(func(name, value string) { b = appendLine(b, name, value) })
	if r.ContentLength > 0 || r.Method == http.MethodPost || r.Method == http.MethodPut || r.Method == http.MethodPatch {
		b = append(b, "Content-Length: "...)
		b = strconv.AppendInt(b, r.ContentLength, 10)
		b = append(b, "\r\n"...)
	}
	return append(b, "\r\n"...)
}

func appendLine(b []byte, name, value string) []byte {
	b = append(b, name...)
	b = append(b, ": "...)
	b = append(b, value...)
	return append(b, "\r\n"...)
}

// readBody appends the caller's body.
func (c *call) readBody(b []byte) ([]byte, error) {
	n := int(c.in.ContentLength)
	if n == 0 {
		return b, nil
	}
	head := len(b)
	b = slices.Grow(b, n)[:head+n]
	_, err := io.ReadFull(&body{Reader: c.in.Body, call: c}, b[head:])
	return b, err
}

// ask sends the request to a target. If the link seems to have been closed while it
// was idle, the request is sent a second time over a new one: nothing of an answer has
// come, and either nothing of the call was sent or the caller allows that it is made
// twice. There is no third time, at any replica: if this call kills the function's
// process, it would kill one after the other.
func (c *call) ask(ctx context.Context, t *target, request []byte) (*link, *http.Response, error) {
	l, reused, err := c.link(ctx, t)
	if err != nil {
		return nil, nil, err
	}
	res, err := l.ask(ctx, &c.out, c.in, request)
	if err != nil && reused && !l.heard && ctx.Err() == nil && !wire.IsCutOff(err) {
		t.links.failedAt.Store(time.Now().UnixNano())
		if (c.repeatable() || !l.sent) && !c.repeated {
			c.repeated = true
			l.cancel()
			if l, err = t.links.fresh(ctx); err != nil {
				return nil, nil, err
			}
			res, err = l.ask(ctx, &c.out, c.in, request)
		}
	}
	if err == nil {
		err = c.begins(res)
	} else if !l.sent {
		err = fmt.Errorf("%w: %w", errUnsent, err)
	}
	if err != nil {
		l.cancel()
		return nil, nil, err
	}
	return l, res, nil
}

// link returns a link for the call, reused or new.
func (c *call) link(ctx context.Context, t *target) (l *link, reused bool, err error) {
	return t.links.get(ctx, c.repeatable())
}

// reusable says whether the link can serve another call after a whole answer. An
// answer that announces a body where there can be none may be followed by one.
func reusable(res *http.Response) bool {
	switch res.StatusCode {
	case http.StatusNoContent, http.StatusNotModified:
		length := res.Header.Get("Content-Length") // of a 304 ContentLength says 0
		return !res.Close && (length == "" || length == "0") && len(res.TransferEncoding) == 0
	}
	return !res.Close
}

// repeatable says whether the caller allows that its call is made twice, as
// net/http understands it.
func (c *call) repeatable() bool {
	switch c.in.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace:
		return true
	}
	return c.in.Header.Get("Idempotency-Key") != "" || c.in.Header.Get("X-Idempotency-Key") != ""
}

// relay passes the answer on, each part as it comes.
func (c *call) relay(res *http.Response, l *link) error {
	h := c.out.Header()
	forward.Pass(h, res.Header)
	for name := range res.Trailer { // adapt has pruned it
		h["Trailer"] = append(h["Trailer"], name)
	}
	c.out.WriteHeader(res.StatusCode)
	if res.Body == http.NoBody {
		return nil
	}
	if l.in.Buffered() == 0 { // the head does not wait for the body
		if err := http.NewResponseController(&c.out).Flush(); err != nil {
			return err
		}
	}
	buf := buffers{}.Get()
	defer buffers{}.Put(buf)
	_, err := io.CopyBuffer(&c.out, res.Body, buf)
	if forward.Prune(res.Trailer); err != nil || len(res.Trailer) == 0 {
		return err
	}
	for name, values := range res.Trailer {
		h[http.TrailerPrefix+name] = values
	}
	// Else the server would send a short body with its length, and no trailers.
	return http.NewResponseController(&c.out).Flush()
}

// passInterim passes an interim answer on.
func passInterim(w http.ResponseWriter, res *http.Response) {
	h := w.Header()
	forward.Pass(h, res.Header)
	w.WriteHeader(res.StatusCode)
	clear(h)
}
