package gateway

import (
	"io"
	"net/http"

	"github.com/Ishan27g/ryo-faas/proto"
)

// edge is what the settings of a function ask of its calls, before one reaches it. Most
// functions have none. It never changes.
type edge struct {
	body int64 // bytes of a request's body, at most; 0: any number
}

// with returns the edge with what a replica's row says. While settings change, the rows of
// replicas differ, and the last one counts.
func (e *edge) with(row *proto.FunctionJsonRsp) *edge {
	if row.GetBody() == "" {
		return e
	}
	var next edge
	if e != nil {
		next = *e
	}
	// One that this proxy cannot read is of a newer agent, where the function sees to it.
	next.body, _ = (&proto.FunctionJson{Body: row.GetBody()}).BodyLimit(proto.KindHTTP)
	return &next
}

// plain says whether a call with a body of a length can take the fast lane.
func (e *edge) plain(length int64) bool {
	return e == nil || e.body == 0 || length <= e.body
}

// guard returns why the call may not reach the function, whatever becomes of that. No
// process is woken before.
func (c *call) guard() error {
	e := c.route.edge
	if e == nil {
		return nil
	}
	if e.body > 0 && c.in.ContentLength > e.body {
		return e.tooLarge(c.route.name)
	}
	return nil
}

// capped returns a body of unknown length that fails where it is longer than the function
// takes. The function has not seen its end then, and cannot take the part for the whole.
func (c *call) capped(body io.ReadCloser) io.Reader {
	if e := c.route.edge; e != nil && e.body > 0 {
		return http.MaxBytesReader(nil, body, e.body)
	}
	return body
}

func (e *edge) tooLarge(name string) *proto.Error {
	return proto.Errorf(proto.ErrTooLarge, "the body is larger than %d bytes, the most that function %q takes", e.body, name).
		WithHint(`its setting "body" is the limit`).From("caller", "body")
}
