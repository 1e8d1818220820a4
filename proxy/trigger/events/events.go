package events

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/proxy/store"
	"github.com/Ishan27g/ryo-faas/transport/wire"
)

const (
	// Path is where events are taken.
	Path = "/events"
	// topic is that of accepted events.
	topic = "events"
	// atOnce are events that are given to functions at the same time, by all proxies: each
	// waits for disks.
	atOnce = 16
	// together are the functions that one message names; more take several.
	together = 200
	// net is how long an accepted event waits for somebody else to give it to functions: the
	// proxy that has accepted it does so at once, and then withdraws it.
	net = 10 * time.Second
	// firstPause and its doubles, up to lastPause, are how long an event waits that cannot be
	// given to all.
	firstPause = time.Second
	lastPause  = time.Minute
	// keptFor is how long it is tried: as long as the calls of a day ago are known, so that
	// none is made twice.
	keptFor = 24 * time.Hour
	// restart is the wait after the queue could not be read.
	restart = 2 * time.Second
)

// Call is the call of a function that an event is.
type Call struct {
	Key      string // a second one of a key is the first
	Function string // its name
	Header   http.Header
	Body     []byte
}

// Calls are those that wait to be made.
type Calls interface {
	// Enqueue stores a call durably, unless one of its key is there, and returns its id.
	Enqueue(ctx context.Context, c Call) (id string, err error)
}

// Config is what an Inlet needs to know.
type Config struct {
	Store store.Store
	Calls Calls
	// Rows returns a row of each function that serves.
	Rows func() []*proto.FunctionJsonRsp
	// May says why the caller of a request may send no events, nil when it may.
	May    func(ctx context.Context) error
	Hooks  []Hook // the webhooks that are taken; default: none
	Logger hclog.Logger
}

// Inlet takes events and gives them to functions.
type Inlet struct {
	Config
	queue store.Queue
}

// New returns an Inlet. It takes events at once, and gives them to functions while Run
// runs, here or in another process with the same store.
func New(cfg Config) *Inlet { return &Inlet{Config: cfg, queue: cfg.Store.Queue()} }

// accepted is what callers are told of an event.
type accepted struct {
	ID     string `json:"id"`
	Source string `json:"source"`
	Calls  []told `json:"calls"` // of those who subscribe; none: nobody does, and the event is gone
}

// told is a call as callers are told of it.
type told struct {
	Function string `json:"function"`
	ID       string `json:"id,omitempty"`  // "": the event waits until it can be a call
	URL      string `json:"url,omitempty"` // the same
}

// ServeHTTP takes the events of a request, and answers with 202 and with the calls that
// they are once all of them are stored. If it fails, some may be: those are told again
// when they are sent again.
func (in *Inlet) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	list, err := in.take(w, r)
	if err != nil {
		wire.WriteError(w, err)
		return
	}
	answer(w, list)
}

// answer tells what became of events.
func answer(w http.ResponseWriter, list []accepted) {
	body, err := json.Marshal(map[string]any{"events": list})
	if err != nil {
		wire.WriteError(w, err)
		return
	}
	wire.WriteJSON(w, http.StatusAccepted, body)
}

func (in *Inlet) take(w http.ResponseWriter, r *http.Request) ([]accepted, error) {
	if err := in.May(r.Context()); err != nil {
		return nil, err
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		return nil, wire.InputError(err)
	}
	events, err := Parse(r.Header, body)
	if err != nil {
		return nil, err
	}
	return in.give(events, r)
}

// give gives the events of a request to those who subscribe now.
func (in *Inlet) give(events []*Event, r *http.Request) ([]accepted, error) {
	rows := in.Rows()
	list := make([]accepted, 0, len(events))
	for _, e := range events {
		is := accepted{ID: e.ID(), Source: e.Source(), Calls: []told{}}
		for some := range slices.Chunk(subscribers(rows, e.Type()), together) {
			calls, err := in.accept(r.Context(), e, some)
			if err != nil {
				return nil, fmt.Errorf("event %.100q: %w", e.ID(), err)
			}
			is.Calls = append(is.Calls, calls...)
		}
		list = append(list, is)
	}
	return list, nil
}

// subscribers returns the names of the functions that get events of a type, in order.
func subscribers(rows []*proto.FunctionJsonRsp, kind string) (names []string) {
	for _, row := range rows {
		if row.Subscribes(kind) {
			names = append(names, row.GetName())
		}
	}
	slices.Sort(names)
	return names
}

// message is an accepted event as it is stored.
type message struct {
	Attributes  map[string]string `json:"attributes"`
	ContentType string            `json:"contentType,omitempty"`
	Data        []byte            `json:"data,omitempty"`
	Functions   []string          `json:"functions"` // that it is for
}

// accept stores an event for functions, and gives it to them. One that cannot take it now
// gets it later.
func (in *Inlet) accept(ctx context.Context, e *Event, functions []string) (calls []told, err error) {
	var data bytes.Buffer
	text := json.NewEncoder(&data)
	text.SetEscapeHTML(false) // which would take six bytes for one
	if err := text.Encode(message{Attributes: e.Attributes, ContentType: e.ContentType, Data: e.Data, Functions: functions}); err != nil {
		return nil, err
	}
	m := store.Message{Topic: topic, ID: e.key(functions[0]), Data: data.Bytes(), NotBefore: time.Now().Add(net)}
	receipt, err := in.queue.Publish(ctx, m)
	if err != nil {
		return nil, err
	}
	calls, err = in.enqueue(ctx, e, functions)
	switch {
	case err == nil:
		if err := in.queue.Withdraw(ctx, topic, m.ID); err != nil {
			in.Logger.Debug("an event is given to functions twice, which keeps one", "error", err)
		}
	case receipt.Duplicate: // what is stored may be withdrawn
		return nil, err
	}
	return calls, nil
}

// enqueue gives an event to functions. The error says that some cannot take it now.
func (in *Inlet) enqueue(ctx context.Context, e *Event, functions []string) (calls []told, waits error) {
	for _, name := range functions {
		is := told{Function: name}
		id, err := in.Calls.Enqueue(ctx, Call{Key: e.key(name), Function: name, Header: e.Header(), Body: e.Data})
		switch {
		case err == nil:
			is.ID, is.URL = id, "/calls/"+id
		case ctx.Err() != nil || passes(err):
			waits = err
		default:
			in.Logger.Error("a function does not get an event", "function", name, "source", e.Source(), "id", e.ID(), "error", err)
			continue
		}
		calls = append(calls, is)
	}
	return calls, waits
}

// key names what an event is to a function, by its source and its id.
func (e *Event) key(function string) string {
	h := sha256.New()
	for _, part := range []string{e.Source(), e.ID(), proto.Path(function)} {
		fmt.Fprintf(h, "%d %s\n", len(part), part)
	}
	return "event-" + hex.EncodeToString(h.Sum(nil)[:16])
}

// Run gives accepted events to functions until ctx is done.
func (in *Inlet) Run(ctx context.Context) {
	for ctx.Err() == nil {
		err := in.queue.Consume(ctx, topic, atOnce, in.deliver)
		if ctx.Err() != nil {
			return
		}
		in.Logger.Warn("events wait", "error", err)
		timer := time.NewTimer(restart)
		select {
		case <-ctx.Done():
		case <-timer.C:
		}
		timer.Stop()
	}
}

// deliver gives an event to the functions that it is for.
func (in *Inlet) deliver(ctx context.Context, m store.Message, attempt int) store.Verdict {
	var is message
	if err := json.Unmarshal(m.Data, &is); err != nil {
		in.Logger.Error("an event cannot be read", "sequence", m.Sequence, "error", err)
		return store.Verdict{}
	}
	e := &Event{Attributes: is.Attributes, ContentType: is.ContentType, Data: is.Data}
	_, waits := in.enqueue(ctx, e, is.Functions)
	switch {
	case waits == nil:
		return store.Verdict{}
	case time.Since(m.Time) > keptFor:
		in.Logger.Error("an event is dropped", "source", e.Source(), "id", e.ID(), "error", waits)
		return store.Verdict{}
	}
	in.Logger.Warn("an event waits", "source", e.Source(), "id", e.ID(), "error", waits)
	return store.Verdict{Again: true, After: min(lastPause, firstPause<<min(attempt-1, 6))}
}

// passes reports whether what an error says is over some time.
func passes(err error) bool {
	return slices.ContainsFunc([]error{proto.ErrUnavailable, proto.ErrExhausted, proto.ErrTimeout, proto.ErrTooMany, proto.ErrConflict}, func(kind error) bool {
		return errors.Is(err, kind)
	})
}
