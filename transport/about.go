package transport

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"net/http"
	"time"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/transport/wire"
)

// About is what a proxy or an agent says of itself.
type About struct {
	Program string // "agent" or "proxy"; "" for callers who may not read
	Version string // likewise
	Ready   error  // why it cannot do its work; nil: it can
	// Ahead is by how much its clock is ahead of this machine's, with an error of half a
	// second and half the time that its answer took.
	Ahead time.Duration
	// Certificate is what it proved itself by; nil without TLS.
	Certificate *x509.Certificate
	// Detail is what /readyz says beside the status; nothing for callers who may not read,
	// and of one that is not ready.
	Detail map[string]json.RawMessage
}

// About asks the server what it is and how it does, over HTTP, which every port of
// proxies and agents speaks.
func (c *Client) About(ctx context.Context) (*About, error) {
	if c.invalid != nil {
		return nil, c.invalid
	}
	ctx, cancel := within(ctx, wire.RequestLimit)
	defer cancel()
	conn := newHTTPConn(c.addr, c.token, c.tls)
	defer func() { _ = conn.close() }()

	about := &About{}
	sent := time.Now()
	rsp, err := conn.get(ctx, "/readyz")
	if err != nil {
		return nil, err
	}
	if date, err := http.ParseTime(rsp.Header.Get("Date")); err == nil {
		took := time.Since(sent)
		about.Ahead = date.Add(time.Second / 2).Sub(sent.Add(took / 2))
	}
	if rsp.TLS != nil && len(rsp.TLS.PeerCertificates) > 0 {
		about.Certificate = rsp.TLS.PeerCertificates[0]
	}
	data, err := conn.body(rsp)
	_ = rsp.Body.Close()
	switch {
	case err == nil:
		if err := json.Unmarshal(data, &about.Detail); err != nil {
			return nil, stranger(c.addr, "its /readyz is no JSON object")
		}
		delete(about.Detail, "status")
	case rsp.StatusCode == http.StatusServiceUnavailable && proto.AsError(err).RequestID != "": // else it is none of ours
		about.Ready = err
	default:
		return nil, err
	}

	if rsp, err = conn.get(ctx, "/"); err != nil {
		return nil, err
	}
	defer func() { _ = rsp.Body.Close() }()
	data, err = conn.body(rsp)
	if err != nil {
		return about, nil // a caller who may not read
	}
	var front struct{ Program, Version string }
	if err := json.Unmarshal(data, &front); err != nil {
		return nil, stranger(c.addr, "its front page is no JSON object")
	}
	about.Program, about.Version = front.Program, front.Version
	return about, nil
}

func (c *httpConn) get(ctx context.Context, path string) (*http.Response, error) {
	req, err := c.request(ctx, wire.Route{Method: http.MethodGet, Path: path}, &proto.DetailsRequest{})
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "application/json")
	return c.do(req)
}
