package queue

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/proxy/store"
	"github.com/Ishan27g/ryo-faas/transport/wire"
)

// maxDepth is how many calls may lead to one: longer chains go in circles.
const maxDepth = 8

// The first segments of the names of blobs.
const (
	payloads = "pay"
	results  = "res"
)

// die writes down that a call is tried no more.
func (q *Queue) die(ctx context.Context, i id, rec *record, r *request, body []byte, why error) store.Verdict {
	rec.State, rec.Ended, rec.Next, rec.Error = dead, time.Now(), time.Time{}, clip(why.Error())
	if n := len(rec.Attempts); n > 0 && rec.Attempts[n-1].Took == 0 { // its proxy has ended
		rec.Attempts[n-1].Took, rec.Attempts[n-1].Error = 1, errStopped.Message
	}
	v := q.settle(ctx, i, rec, store.Verdict{})
	if v.Again {
		return v
	}
	q.counts.died(i.path)
	q.Logger.Info("a call is tried no more", "call", rec.ID, "function", i.path, "attempts", rec.Tried, "error", rec.Error)
	return q.follow(ctx, i, rec, r, body)
}

// follow does what follows from the end of a call, once or more: a dead letter, the next
// function, a callback. Then its message is done.
func (q *Queue) follow(ctx context.Context, i id, rec *record, r *request, body []byte) store.Verdict {
	if rec.State == canceled {
		q.discard(ctx, r.Blob)
		return store.Verdict{}
	}
	var steps []func() error
	if rec.State == dead {
		steps = append(steps, func() error { return q.bury(ctx, i, rec, r, body) })
	}
	steps = append(steps, func() error { return q.next(ctx, i, rec, r, body) }, func() error { return q.announce(ctx, i, rec) })
	for _, step := range steps {
		if err := step(); err != nil {
			return q.postpone(ctx, i, err)
		}
	}
	if rec.State == done {
		q.discard(ctx, r.Blob)
	}
	return store.Verdict{}
}

// discard removes a blob, if there is one. What is left is removed for its age.
func (q *Queue) discard(ctx context.Context, name string) {
	if name == "" {
		return
	}
	if err := q.store.Blobs().Delete(ctx, name); err != nil {
		q.Logger.Debug("a body is left behind", "blob", name, "error", err)
	}
}

// next calls the function that a function's settings name for the end of its calls.
func (q *Queue) next(ctx context.Context, i id, rec *record, r *request, body []byte) error {
	f, _ := q.Gateway.Function(i.path)
	name := f.OnSuccess
	if rec.State == dead {
		name = f.OnFailure
	}
	if name == "" {
		return nil
	}
	if r.Depth+1 > maxDepth {
		q.Logger.Warn("a chain of calls ends: more led to it than may", "call", rec.ID, "function", i.path, "next", name, "limit", maxDepth)
		return nil
	}
	known, _ := q.Gateway.Function(proto.Path(name))
	then := &request{
		Path: proto.Path(name), Name: cmp.Or(known.Name, name), Segment: segmentOf(name), Method: http.MethodPost, Header: http.Header{}, Host: r.Host, Remote: r.Remote, Scheme: r.Scheme,
		Accepted: time.Now(), Age: proto.DefaultMaxAge, Depth: r.Depth + 1, Priority: r.Priority,
	}
	data, blob := rec.Body, ""
	if rec.State == dead {
		told := rec.message()
		q.quote(told, r, body)
		var err error
		if data, err = wire.Encode(told); err != nil {
			return err
		}
		then.Header.Set("Content-Type", "application/json")
	} else {
		blob = rec.Result
		for _, name := range []string{"Content-Type", "Content-Encoding"} {
			if v := rec.Header.Get(name); v != "" {
				then.Header.Set(name, v)
			}
		}
	}
	if id := r.Header.Get(proto.RequestIDHeader); id != "" {
		then.Header.Set(proto.RequestIDHeader, id)
	}
	what := i.once("next " + rec.State + roundText(rec.Round))
	nonce, err := q.derive(ctx, what)
	if err != nil {
		return err
	}
	then.Nonce = nonce[:]
	if blob != "" {
		from, err := q.store.Blobs().Open(ctx, blob)
		if errors.Is(err, proto.ErrNotFound) {
			return nil // it was called already, and the answer is gone for its age
		}
		if err != nil {
			return err
		}
		defer from.Close()
		return q.publishBlob(ctx, then, from, what)
	}
	if len(data) > inline {
		return q.publishBlob(ctx, then, bytes.NewReader(data), what)
	}
	_, _, err = q.publish(ctx, then, data, what)
	if errors.Is(err, proto.ErrExhausted) {
		return proto.Errorf(proto.ErrExhausted, "call %s, which follows: %w", name, err)
	}
	return err
}

// publishBlob publishes a call whose body is stored by itself.
func (q *Queue) publishBlob(ctx context.Context, r *request, body io.Reader, once string) error {
	r.Blob = payloads + "/" + rand16()
	stored, err := q.store.Blobs().Put(ctx, r.Blob, body)
	if err != nil {
		return err
	}
	r.Size = stored.Size
	_, duplicate, err := q.publish(ctx, r, nil, once)
	if err != nil || duplicate {
		q.discard(ctx, r.Blob)
	}
	return err
}

// letter is a call that is tried no more, with all that it takes to try it again.
type letter struct {
	Record  *record  `json:"record"`
	Request *request `json:"request"`
	Body    []byte   `json:"body,omitempty"`

	key      string
	revision uint64
}

// bury stores a dead letter.
func (q *Queue) bury(ctx context.Context, i id, rec *record, r *request, body []byte) error {
	value, err := json.Marshal(letter{Record: rec, Request: r, Body: body})
	if err != nil {
		return err
	}
	_, err = q.store.Registry(store.Dead).Create(ctx, i.key(), value)
	if errors.Is(err, proto.ErrConflict) {
		return nil // it is there
	}
	return err
}
