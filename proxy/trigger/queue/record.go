package queue

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/proxy/store"
)

// The states of a call.
const (
	queued   = "queued"
	delayed  = "delayed"
	running  = "running"
	failed   = "failed" // it is tried again
	done     = "done"
	dead     = "dead"
	canceled = "canceled"
)

var states = []string{queued, delayed, running, failed, done, dead, canceled}

// record is what is known of a call once it has begun, or was canceled.
type record struct {
	ID        string      `json:"id"`
	Function  string      `json:"function"` // its path
	Name      string      `json:"name,omitempty"`
	State     string      `json:"state"`
	Method    string      `json:"method"`
	Target    string      `json:"target,omitempty"`
	Accepted  time.Time   `json:"accepted"`
	NotBefore time.Time   `json:"notBefore,omitzero"`
	Started   time.Time   `json:"started,omitzero"`
	Ended     time.Time   `json:"ended,omitzero"`
	Next      time.Time   `json:"next,omitzero"`
	Attempts  []attempt   `json:"attempts,omitempty"` // the last ones
	Tried     int         `json:"tried,omitempty"`    // all of them
	Counted   int         `json:"counted,omitempty"`  // those of this round that the function has failed
	Lost      int         `json:"lost,omitempty"`     // those of this round that ended with their proxy
	Status    int         `json:"status,omitempty"`
	Header    http.Header `json:"header,omitempty"`
	Body      []byte      `json:"body,omitempty"`
	Result    string      `json:"result,omitempty"` // the blob that has the answer's body
	Size      int64       `json:"size,omitempty"`   // of the answer's body
	Error     string      `json:"error,omitempty"`
	Depth     int         `json:"depth,omitempty"`
	Round     int         `json:"round,omitempty"`
	Sequence  uint64      `json:"sequence,omitempty"` // of the message that it was last made from
	Callback  *callback   `json:"callback,omitempty"`
	Priority  string      `json:"priority,omitempty"` // "": normal
	// Payload is the blob of the request's body, where there is one.
	Payload string `json:"payload,omitempty"`
	Request string `json:"request,omitempty"` // its X-Request-Id

	revision uint64 // 0: it is not stored
}

type attempt struct {
	Number int           `json:"number"`
	Time   time.Time     `json:"time"`
	Took   time.Duration `json:"took,omitempty"` // 0: it has not ended
	Status int           `json:"status,omitempty"`
	Error  string        `json:"error,omitempty"`
}

type callback struct {
	URL   string `json:"url"`
	State string `json:"state"`
	Tried int    `json:"tried,omitempty"`
	Error string `json:"error,omitempty"`
}

const (
	maxAttempts = 10  // that are kept of a call: the last ones tell
	maxText     = 500 // bytes of an error
)

// clip bounds a text that is kept.
func clip(text string) string {
	if len(text) > maxText {
		text = strings.ToValidUTF8(text[:maxText], "") + "…"
	}
	return text
}

// newRecord returns that of a call that has not begun.
func newRecord(i id, r *request) *record {
	rec := &record{
		ID: i.String(), Function: r.Path, Name: r.Name, State: queued, Method: r.Method, Target: r.Target, Accepted: r.Accepted, NotBefore: r.NotBefore,
		Depth: r.Depth, Round: r.Round, Sequence: i.sequence, Priority: r.Priority, Payload: r.Blob,
		Request: r.Header.Get(proto.RequestIDHeader),
	}
	if r.Callback != "" {
		rec.Callback = &callback{URL: r.Callback, State: "waiting"}
	}
	if r.NotBefore.After(time.Now()) {
		rec.State = delayed
	}
	return rec
}

// over reports whether the call has ended.
func (r *record) over() bool { return r.State == done || r.State == dead || r.State == canceled }

// began adds an attempt that begins. One before it that has not ended was lost with its
// proxy.
func (r *record) began(sequence uint64, now time.Time) {
	if n := len(r.Attempts); r.State == running && n > 0 && r.Attempts[n-1].Took == 0 {
		last := &r.Attempts[n-1]
		last.Took, last.Error = now.Sub(last.Time), "the proxy that made it ended"
		r.Lost++
	}
	r.Tried++
	if r.Attempts = append(r.Attempts, attempt{Number: r.Tried, Time: now}); len(r.Attempts) > maxAttempts {
		r.Attempts = r.Attempts[1:]
	}
	if r.Started.IsZero() {
		r.Started = now
	}
	r.State, r.Next, r.Sequence = running, time.Time{}, sequence
}

// undo takes the attempt back that has begun: the function has seen nothing of it.
func (r *record) undo() {
	r.Attempts = r.Attempts[:len(r.Attempts)-1]
	if r.Tried--; r.Tried == 0 {
		r.Started = time.Time{}
	}
	r.State = queued
	if r.Counted > 0 {
		r.State = failed
	}
}

// tried notes what came of the attempt that has begun.
func (r *record) tried(now time.Time, a *answer, err error) {
	last := &r.Attempts[len(r.Attempts)-1]
	last.Took, last.Status = max(1, now.Sub(last.Time)), a.status
	r.Status, r.Header, r.Body, r.Result, r.Size, r.Error = a.status, a.kept, a.inline(), a.blob, a.size, ""
	if err != nil {
		last.Error = clip(err.Error())
		r.Error = last.Error
	}
}

// load returns the record of a call, nil when there is none.
func (q *Queue) load(ctx context.Context, i id) (*record, error) {
	e, err := q.store.Registry(store.Calls).Get(ctx, i.key())
	if errors.Is(err, proto.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return decodeRecord(e)
}

func decodeRecord(e store.Entry) (*record, error) {
	r := new(record)
	if err := json.Unmarshal(e.Value, r); err != nil {
		return nil, proto.Errorf(proto.ErrInternal, "the record of call %s cannot be read: %w", e.Key, err)
	}
	r.revision = e.Revision
	return r, nil
}

// save stores a record on the revision that it was read with. If it was changed meanwhile,
// that is an ErrConflict.
func (q *Queue) save(ctx context.Context, r *record) error {
	i, err := parseID(r.ID)
	if err != nil {
		return err
	}
	value, err := json.Marshal(r)
	if err != nil {
		return err
	}
	calls := q.store.Registry(store.Calls)
	revision := r.revision
	if revision == 0 {
		revision, err = calls.Create(ctx, i.key(), value)
	} else {
		revision, err = calls.Update(ctx, i.key(), value, revision)
	}
	if err == nil {
		r.revision = revision
	}
	return err
}

// now returns the state as callers see it: a call whose time has come does not say so
// itself.
func (r *record) now() string {
	if r.State == delayed && !r.NotBefore.After(time.Now()) {
		return queued
	}
	return r.State
}

// message returns the record as callers see it.
func (r *record) message() *proto.Call {
	c := &proto.Call{
		Id: r.ID, Function: cmp.Or(r.Name, r.Function), State: r.now(), Method: r.Method, Path: r.Target, Accepted: at(r.Accepted), NotBefore: at(r.NotBefore),
		Started: at(r.Started), Ended: at(r.Ended), Next: at(r.Next), Tried: uint32(r.Tried), Status: uint32(r.Status), Size: uint32(r.Size), //nolint:gosec // bounded
		Error: r.Error, Depth: uint32(r.Depth), Headers: map[string]string{}, Priority: cmp.Or(r.Priority, normal), //nolint:gosec // bounded
		RequestId: r.Request, Redriven: uint32(r.Round), //nolint:gosec // bounded
	}
	for _, a := range r.Attempts {
		one := &proto.Attempt{Number: uint32(a.Number), Time: at(a.Time), Status: uint32(a.Status), Error: a.Error} //nolint:gosec // bounded
		if a.Took > 0 {
			one.Took = a.Took.Round(time.Microsecond).String()
		}
		c.Attempts = append(c.Attempts, one)
	}
	for name, values := range r.Header {
		c.Headers[name] = strings.ToValidUTF8(strings.Join(values, ", "), "\uFFFD")
	}
	if utf8.Valid(r.Body) {
		c.Body = string(r.Body)
	} else {
		c.BodyBase64 = r.Body
	}
	if r.Status > 0 && r.over() {
		c.Result = ResultsPath + r.ID
	}
	if r.Callback != nil {
		c.Callback = &proto.Callback{Url: r.Callback.URL, State: r.Callback.State, Tried: uint32(r.Callback.Tried), Error: r.Callback.Error} //nolint:gosec // bounded
	}
	return c
}

// at is a time as it is told: as texts, times are in the order of times.
func at(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02T15:04:05.000000000Z07:00")
}
