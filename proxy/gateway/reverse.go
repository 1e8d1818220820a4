package gateway

import (
	"context"
	"io"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
)

// reverse sends a call that is not plain through httputil.ReverseProxy.
func (c *call) reverse(ctx context.Context) {
	c.tunnel = strings.EqualFold(c.in.Header.Get("Upgrade"), "websocket")
	if c.in.ContentLength != 0 {
		// An answer may begin before the body ends. HTTP/2 always allows it.
		_ = http.NewResponseController(&c.out).EnableFullDuplex()
	}
	proxy := httputil.ReverseProxy{
		Rewrite:        c.rewrite,
		Transport:      c,
		ModifyResponse: c.answer,
		ErrorHandler:   c.fail,
		FlushInterval:  headLag,
		BufferPool:     buffers{},
		ErrorLog:       c.errorLog,
	}
	proxy.ServeHTTP(&c.out, c.in.WithContext(ctx))
}

func (c *call) rewrite(pr *httputil.ProxyRequest) {
	out := pr.Out
	for name := range out.Header {
		if fateOf(name) == ours {
			delete(out.Header, name)
		}
	}
	if !c.tunnel {
		// Any other protocol, h2c above all, is a way past every check.
		out.Header.Del("Connection")
		out.Header.Del("Upgrade")
	}
	for name, value := range c.added {
		out.Header[name] = []string{value}
	}
	// net/url would encode some bytes anew; what is opaque it writes as it is.
	out.URL = &url.URL{Scheme: "http", Opaque: c.target}
	if out.Body != nil {
		body := &body{Reader: out.Body, call: c}
		out.Body = body
		if len(out.Trailer) > 0 {
			body.trailer = out.Trailer
			body.copyTrailer()
		}
	}
}

// RoundTrip sends a call that is not plain.
func (c *call) RoundTrip(out *http.Request) (res *http.Response, err error) {
	err = c.try(out.Context(), func(t *target) (err error) {
		out.URL.Host = t.key.address
		res, err = t.transport.RoundTrip(out) //nolint:bodyclose // ReverseProxy does
		return err
	})
	return res, err
}

// body is the caller's body on its way to the function. It does not close what
// it reads: another replica may be given the same body.
type body struct {
	io.Reader
	call    *call
	trailer http.Header // of the outbound request, filled at the end; nil for none
}

func (b *body) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	if !b.call.answered.Load() {
		// The limit counts from the last part of the body: a slow upload is no fault
		// of the function.
		b.call.limit.Reset(b.call.route.limit)
	}
	switch {
	case err == io.EOF && b.trailer != nil:
		b.copyTrailer()
	case err != nil && err != io.EOF:
		b.call.bodyFailed.Store(true)
	}
	return n, err
}

func (*body) Close() error { return nil }

// copyTrailer takes over the caller's trailers, which before the body's end have
// names but no values.
func (b *body) copyTrailer() {
	clear(b.trailer)
	for name, values := range b.call.in.Trailer {
		if fateOf(name) == passes {
			b.trailer[name] = values
		}
	}
}
