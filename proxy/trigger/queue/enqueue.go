package queue

import (
	"bytes"
	"cmp"
	"context"
	"net/http"
	"time"

	"github.com/Ishan27g/ryo-faas/proto"
)

// Order is a call that another part of the proxy asks for: a POST at the function's root.
type Order struct {
	Key      string // a second one of a key is the first
	Function string // its name
	Header   http.Header
	Body     []byte
}

// ownHost is the host that a function is told of a call that nobody has sent.
const ownHost = "localhost"

// Enqueue stores a call durably, unless one of its key was stored within a day, and
// returns its id. If no further call of the function is kept, it is an ErrExhausted.
func (q *Queue) Enqueue(ctx context.Context, o Order) (string, error) {
	path := proto.Path(o.Function)
	if !isPath(path) {
		return "", proto.Errorf(proto.ErrInvalid, "%.100q is no name of a function", o.Function)
	}
	nonce, err := q.derive(ctx, path+"\nown\n"+o.Key) // no caller's: those begin with "key"
	if err != nil {
		return "", err
	}
	once := nonceText(nonce)
	i, found, err := q.before(ctx, path, once, "")
	if err != nil || found {
		return i.String(), err
	}
	body, stored, _, err := q.receive(ctx, bytes.NewReader(o.Body))
	if err != nil {
		return "", err
	}
	f, _ := q.Gateway.Function(path)
	i, duplicate, err := q.publish(ctx, &request{
		Nonce: nonce[:], Path: path, Name: cmp.Or(f.Name, o.Function), Segment: segmentOf(o.Function), Method: http.MethodPost, Header: o.Header.Clone(), Host: ownHost, Scheme: "http",
		Accepted: time.Now(), Age: cmp.Or(f.Age, proto.DefaultMaxAge), Blob: stored.Name, Size: stored.Size,
	}, body, once)
	if err != nil || duplicate {
		q.discard(context.WithoutCancel(ctx), stored.Name)
	}
	if err != nil {
		return "", err
	}
	q.remember(ctx, i, once, "")
	return i.String(), nil
}
