package gateway

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/http/httputil"
	"time"

	"github.com/Ishan27g/ryo-faas/proxy/gateway/forward"
)

// reverse sends a call through httputil.ReverseProxy: that is the slow lane.
func (c *call) reverse(ctx context.Context) {
	c.tunnel = forward.Websocket(c.in)
	if c.in.ContentLength != 0 {
		// An answer may begin before the body has come whole. HTTP/2 always allows it.
		_ = http.NewResponseController(&c.out).EnableFullDuplex()
	}
	proxy := httputil.ReverseProxy{
		Rewrite:        c.rewrite,
		Transport:      c,
		ModifyResponse: func(res *http.Response) error { c.adapt(res); return nil },
		ErrorHandler:   func(_ http.ResponseWriter, out *http.Request, err error) { c.fail(out.Context(), err) },
		FlushInterval:  headLag,
		BufferPool:     buffers{},
		ErrorLog:       c.errorLog,
	}
	proxy.ServeHTTP(&c.out, c.in.WithContext(ctx))
}

func (c *call) rewrite(pr *httputil.ProxyRequest) {
	out := pr.Out
	forward.Rewrite(pr, c.uri, c.prefix, c.id[0])
	out.Header[forward.Timeout] = []string{spoken(c.left())}
	c.span.write(out.Header)
	if c.later != nil {
		c.later.tell(out.Header)
	}
	if out.Body != nil {
		body := &body{Reader: c.capped(out.Body), call: c}
		out.Body = body
		if out.ContentLength < 0 {
			// Also those that the caller has not announced.
			body.trailer = make(http.Header)
			out.Trailer = body.trailer
			body.copyTrailer()
		}
	}
}

// RoundTrip sends a call. One without a body goes over a link: a
// Transport would repeat it on every idle connection.
func (c *call) RoundTrip(out *http.Request) (res *http.Response, err error) {
	ctx := out.Context()
	if c.http2 = needsHTTP2(c.in); c.http2 || out.Body != nil {
		send := c.upload
		if c.http2 {
			send = c.stream
		}
		err = c.try(ctx, func(t *target) (err error) {
			res, err = send(ctx, t, out) //nolint:bodyclose // ReverseProxy does
			return err
		})
		if err != nil {
			return nil, err
		}
		if err = c.begins(res); err != nil {
			_ = res.Body.Close()
			return nil, err
		}
		if res.StatusCode != http.StatusSwitchingProtocols {
			res.Body = trailedBody{res.Body, res, c}
		}
		return res, nil
	}
	out.URL.Host = "function" // Write demands a host; it is not sent
	var request bytes.Buffer
	if err := out.Write(&request); err != nil {
		return nil, err
	}
	err = c.try(ctx, func(t *target) error {
		l, r, err := c.ask(ctx, t, request.Bytes()) //nolint:bodyclose // ReverseProxy does
		if err != nil {
			return err
		}
		res = r
		if res.StatusCode == http.StatusSwitchingProtocols {
			l.tunnel()
			res.Body = tunnelBody{l}
		} else {
			res.Body = &linkBody{trailedBody: trailedBody{res.Body, res, c}, l: l, links: &t.links}
		}
		return nil
	})
	return res, err
}

// upload sends a call whose body is passed on as it comes. As without a body, one
// that may not be made twice takes no idle connection of a function that closes them
// early.
func (c *call) upload(ctx context.Context, t *target, out *http.Request) (*http.Response, error) {
	out.URL.Host = t.key.address
	if !c.repeatable() && !t.links.trusted() {
		return t.fresh.RoundTrip(out)
	}
	b := out.Body.(*body)
	reused := false
	out = out.WithContext(httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(got httptrace.GotConnInfo) {
		reused, b.keeps = got.Reused, got.Reused
		if b.unsent = got.Reused && !quiet(got.Conn); b.unsent {
			_ = got.Conn.Close() // else the Transport might write before it sees that the function has closed it
		}
	}}))
	out.GetBody = b.again
	res, err := t.transport.RoundTrip(out)
	for err != nil && b.unsent && ctx.Err() == nil {
		if _, late := b.again(); late != nil {
			break
		}
		res, err = t.transport.RoundTrip(out)
	}
	if err != nil && reused && ctx.Err() == nil && !c.bodyFailed.Load() {
		t.links.failedAt.Store(time.Now().UnixNano())
	}
	return res, err
}

// trailedBody is the body of an answer; at its end it removes trailers that may not pass,
// and gives the call's place back.
type trailedBody struct {
	io.ReadCloser
	res  *http.Response
	call *call
}

func (b trailedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err == io.EOF {
		forward.Prune(b.res.Trailer)
		b.call.vacate()
	}
	return n, err
}

// linkBody is the body of an answer that came over a link.
type linkBody struct {
	trailedBody
	l     *link // nil: given back, or closed
	links *links
}

// Read gives the link back at the end.
func (b *linkBody) Read(p []byte) (int, error) {
	n, err := b.trailedBody.Read(p)
	if errors.Is(err, io.EOF) && b.l != nil && reusable(b.res) {
		b.links.put(b.l)
		b.l = nil
	}
	return n, err
}

// Close closes the link of an answer that was not read whole.
func (b *linkBody) Close() error {
	if b.l != nil {
		b.l.cancel()
		b.l = nil
	}
	return nil
}

// tunnelBody is a link that has switched protocols.
type tunnelBody struct{ l *link }

func (b tunnelBody) Read(p []byte) (int, error)  { return b.l.in.Read(p) }
func (b tunnelBody) Write(p []byte) (int, error) { return b.l.Write(p) }

// CloseWrite tells the function that the caller sends no more.
func (b tunnelBody) CloseWrite() error {
	return b.l.Conn.(interface{ CloseWrite() error }).CloseWrite()
}

// Close may be called at any time.
func (b tunnelBody) Close() error {
	b.l.cancel()
	return nil
}

// body is the caller's body on its way to the function. It does not close what it
// reads: the next replica may get the same body.
type body struct {
	io.Reader
	call    *call
	trailer http.Header // of the outbound request, filled at the end; nil for none
	keeps   bool        // what is read is kept, for another connection
	kept    []byte
	unsent  bool // nothing of it was written: its connection had been closed
}

// keptBody bounds what is kept of a body, in bytes: a Transport reads less before it
// first writes to a connection.
const keptBody = 64 << 10

// again returns the body for a call that is sent over another connection. A Transport
// asks for it if it has written nothing, and if the caller allows that the call is made
// twice; it would ask for each idle connection.
func (b *body) again() (io.ReadCloser, error) {
	if !b.keeps || b.call.repeated && !b.unsent {
		return nil, errClosed
	}
	b.call.repeated = b.call.repeated || !b.unsent
	b.unsent = false
	b.Reader = io.MultiReader(bytes.NewReader(b.kept), b.Reader)
	b.kept = nil
	return b, nil
}

func (b *body) Read(p []byte) (int, error) {
	b.call.reading.Store(true)
	n, err := b.Reader.Read(p)
	b.call.reading.Store(false)
	b.call.bytesIn.Add(int64(n))
	if b.keeps = b.keeps && len(b.kept)+n <= keptBody; b.keeps {
		b.kept = append(b.kept, p[:n]...)
	}
	if err == io.EOF {
		b.call.bodyRead.Store(true)
	}
	switch {
	case b.call.over.Load():
	case b.call.answered.Load():
		b.call.limit.Reset(b.call.Silence)
	case !b.call.term.asked:
		// The function's limit counts from the last part of the body: a slow upload is not
		// its fault.
		b.call.limit.Reset(b.call.term.limit)
	}
	switch {
	case err == io.EOF && b.trailer != nil:
		b.copyTrailer()
	case err != nil && err != io.EOF:
		if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
			b.call.overflows.Store(true)
		}
		b.call.bodyFailed.Store(true)
	}
	return n, err
}

func (*body) Close() error { return nil }

// copyTrailer copies the caller's trailers. Until the body has come whole they have
// names but no values.
func (b *body) copyTrailer() {
	clear(b.trailer)
	for name, values := range b.call.in.Trailer {
		if forward.Trails(name) {
			b.trailer[name] = values
		}
	}
}
