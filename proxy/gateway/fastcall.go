package gateway

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/proxy/gateway/forward"
	"github.com/Ishan27g/ryo-faas/proxy/gateway/http1"
	"github.com/Ishan27g/ryo-faas/transport/wire"
)

// fastCall is one call in the fast lane.
type fastCall struct {
	*Fast
	picker
	span       span
	prefix     string
	rest       []byte // of the target, behind the function's name
	head, body []byte
	at, after  int // where the request begins and ends in the buffer,
	filled     int // and what else has come
	waited     bool
	id         string
	begun      time.Time
	term       term
	closes     bool // the caller's connection ends with the answer
	repeatable bool
	repeated   bool
	used       *link         // nil: it was given back
	headAfter  time.Duration // until the head of the answer had come
	status     int
	bytes      int64
	failure    error // why the gateway answered in the function's place
}

// call makes a call and answers it. An error ends the caller's connection.
func (f *Fast) call(c *fastCall) (err error) {
	c.begun = time.Now()
	c.route.calls.add()
	defer c.end(&err)
	if f.watch == 0 {
		f.watch = f.leaving.Left(f.caller.Descriptor, f)
	}
	err = c.enter()
	c.prepare() // also for the refusal, which has the call's id
	var l *link
	if err == nil {
		l, err = c.send()
	}
	if err != nil {
		if cause := f.hold(nil); cause != nil {
			return cause
		}
		return c.refuse(err)
	}
	c.used, c.headAfter = l, time.Since(c.begun)
	if c.headAfter >= c.term.limit { // as call.begins
		c.done(false)
		return c.refuse(errLimit)
	}
	if err = c.relay(); err == nil && c.closes {
		err = errBusy
	}
	c.done(false)
	return err
}

// lies notes where the request lies in the buffer.
func (c *fastCall) lies(at, filled int) {
	c.at, c.filled = at, filled
	c.after = at + c.request.Size + int(c.request.Length)
	c.head, c.body = c.in[at:at+c.request.Size], c.in[at+c.request.Size:c.after]
}

// enter waits for a place at a replica of a function that limits its calls. Of its
// buffers the call keeps what it has read, and nothing else.
func (c *fastCall) enter() error {
	g := c.route.gate
	if g == nil {
		return nil
	}
	p := new(picker) // the call itself is not to escape to the heap
	*p = c.picker
	w, err := g.enter(p)
	if w == nil {
		c.picker = *p
		return err
	}
	kept, rest := bytes.Clone(c.in[c.at:c.filled]), len(c.request.Target)-len(c.rest)
	c.drop()
	c.waited = true
	err = g.wait(w, c.term.limit-time.Since(c.begun), c.leaves())
	c.stays()
	c.picker = *p
	filled := copy(c.get(), kept)
	c.request.Read(c.in[:filled]) // as before
	c.plain()
	c.rest = c.request.Target[rest:]
	c.lies(0, filled)
	return err
}

// leaves returns what is closed when the call is canceled, until stays.
func (f *Fast) leaves() <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	gone := make(chan struct{})
	if f.cause != nil {
		close(gone)
		return gone
	}
	f.gone = gone
	return gone
}

func (f *Fast) stays() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.gone = nil
}

// done gives the link back, which can carry another call or cannot. It is called as soon
// as the answer has been read: before its last part is sent, since the caller may call
// again at once.
func (c *fastCall) done(reusable bool) {
	l := c.used
	if l == nil {
		return
	}
	c.used = nil
	c.vacate()
	if c.hold(nil) != nil || !reusable || !c.target.links.add(l) {
		_ = l.Close()
	}
}

func (c *fastCall) end(err *error) {
	e := c.ending(*err)
	c.route.calls.done()
	c.ended(&e, &c.picker)
}

// prepare puts the request for the function together.
func (c *fastCall) prepare() {
	if c.Tracer != nil {
		c.trace()
	}
	r := &c.request
	given := ""
	b := c.out[:0]
	b = append(b, r.Method...)
	b = append(b, ' ')
	b = append(b, c.route.mount...)
	b = append(b, c.rest...)
	b = append(b, " HTTP/1.1\r\nHost: "...)
	b = append(b, c.about.Host...)
	b = append(b, "\r\n"...)
	switch string(r.Method) {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace:
		c.repeatable = true
	}
	for i, h := range r.Headers {
		switch fate := c.fates[i]; {
		case fate == forward.Hop:
			c.closes = c.closes || len(h.Name) == len("connection") && http1.Equal(h.Value, "close")
		case fate == forward.Ours:
			if http1.Equal(h.Name, "x-request-id") && given == "" {
				given = string(h.Value)
			}
		case fate == forward.Passes && !http1.Equal(h.Name, "host") && !c.span.drops(h.Name):
			if len(h.Value) > 0 && (http1.Equal(h.Name, "idempotency-key") || http1.Equal(h.Name, "x-idempotency-key")) {
				c.repeatable = true
			}
			b = append(b, h.Name...)
			b = append(b, ": "...)
			b = append(b, h.Value...)
			b = append(b, "\r\n"...)
		}
	}
	c.out = b
	c.id = proto.RequestID(given)
	c.about.Prefix, c.about.ID, c.about.Via, c.about.Left = c.prefix, c.id, forward.Via, c.route.left
	if c.term.asked || c.waited {
		c.about.Left = spoken(c.term.limit - time.Since(c.begun))
	}
	c.about.Each(c.add)
	if c.span.ours {
		c.out = append(c.out, "Traceparent: "...)
		c.out = append(c.out, c.span.header[:]...)
		c.out = append(c.out, "\r\n"...)
	}
	switch method := string(r.Method); {
	case r.Length > 0, method == http.MethodPost, method == http.MethodPut, method == http.MethodPatch:
		c.out = append(c.out, "Content-Length: "...)
		c.out = strconv.AppendInt(c.out, r.Length, 10)
		c.out = append(c.out, "\r\n"...)
	}
	c.out = append(c.out, "\r\n"...)
	c.out = append(c.out, c.body...)
}

// send sends the request to a replica, to the next one if it has seen nothing of it, and
// reads the head of the answer. The rest of what was read is in got.
func (c *fastCall) send() (l *link, err error) {
	for t := c.next(); t != nil; t = c.next() {
		if l, err = c.ask(t); err == nil {
			t.ok()
			return l, nil
		}
		canceled := c.canceled() != nil
		if !canceled && broken(err) {
			t.fail(err)
		}
		if canceled || !unsent(err) || errors.Is(err, errLimit) {
			break
		}
	}
	return nil, err
}

// ask sends the request to a target, over a link that is reused or new. If that was closed
// while it was idle, the request is sent a second time, under the rule of call.ask.
func (c *fastCall) ask(t *target) (*link, error) {
	l := t.links.untested(c.repeatable)
	reused := l != nil
	for {
		if l == nil {
			var err error
			if l, err = c.dial(t); err != nil {
				return nil, err
			}
		}
		err := c.hold(l)
		if err == nil {
			err = c.exchange(l)
		}
		if err == nil {
			return l, nil
		}
		_ = l.Close()
		if reused && errors.Is(err, errStale) {
			l = t.links.untested(c.repeatable)
			reused = l != nil
			continue
		}
		again := reused && !l.heard && c.canceled() == nil && !errors.Is(err, errLimit) && !wire.IsCutOff(err)
		if again {
			t.links.failedAt.Store(time.Now().UnixNano())
		}
		if !again || c.repeated || !c.repeatable && l.sent {
			return nil, err
		}
		c.repeated, l, reused = true, nil, false
	}
}

// dial opens a link, within the limit of the call.
func (c *fastCall) dial(t *target) (*link, error) {
	by := c.begun.Add(c.term.limit)
	ctx, cancel := context.WithDeadlineCause(context.Background(), by, errLimit)
	defer cancel()
	l, err := t.links.fresh(ctx)
	if err != nil && (errors.Is(context.Cause(ctx), errLimit) || time.Until(by) <= 0) { // net's own timer may be first
		err = errors.Join(errLimit, err)
	}
	return l, err
}

// exchange sends the request over a link and reads the head of the answer.
func (c *fastCall) exchange(l *link) error {
	l.heard, l.sent = false, false
	by := c.begun.Add(c.term.limit)
	buf, filled := c.got[:], 0
	l.send(c.out)
	for {
		n, err := l.readBy(buf[filled:], by, c.term.limit)
		filled += n
		l.heard = l.heard || n > 0
		if err != nil && !l.sent {
			return errors.Join(errUnsent, err)
		}
		for n > 0 {
			verdict, bad := c.answer.Read(buf[:filled])
			if bad != nil {
				return bad
			}
			if verdict == http1.More {
				break
			}
			c.early = buf[c.answer.Size:filled]
			interim, err := c.interim()
			if err != nil {
				return err
			}
			if !interim {
				return nil
			}
			n = copy(buf, c.early)
			filled = n
		}
		switch {
		case err != nil:
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return err
		case filled == len(buf) && filled < answerHead:
			buf = slices.Grow(bytes.Clone(buf), answerHead-filled)[:answerHead]
		case filled == len(buf):
			return errLongHead
		}
	}
}

// interim passes an interim answer on, and reports whether it was one.
func (c *fastCall) interim() (bool, error) {
	a := &c.answer
	switch {
	case a.Status < 100:
		return false, errors.New("it has the status " + strconv.Itoa(a.Status))
	case a.Status == http.StatusSwitchingProtocols:
		return false, errSwitched
	case a.Status > 199:
		return false, nil
	}
	b := appendStatus(nil, a.Status)
	for _, h := range a.Headers {
		if forward.FateOf(h.Name) != forward.Hop && !nominated(a.Headers, h.Name) {
			b = appendHeader(b, h)
		}
	}
	if _, err := c.caller.Write(append(b, "\r\n"...)); err != nil {
		c.cancel(errLeft)
		return true, err
	}
	return true, nil
}

// refuse answers in the function's place, as the slow lane does.
func (c *fastCall) refuse(err error) error {
	in, bad := c.caller.Request(c.head)
	if bad != nil {
		return bad
	}
	slow := &call{Gateway: c.Gateway, in: in, id: [1]string{c.id}, begun: c.begun, term: c.term, picker: c.picker, prefix: c.prefix}
	slow.bodyRead.Store(true)
	said := &reply{header: make(http.Header)}
	slow.out.ResponseWriter, slow.out.proto = said, 11
	ctx, cancel := context.WithCancelCause(in.Context())
	if errors.Is(err, errLimit) {
		cancel(errLimit)
	}
	slow.fail(ctx, err)
	cancel(nil)
	c.status, c.failure = said.status, slow.failure
	b := appendStatus(c.out[:0], said.status)
	said.header.Del(forward.RequestID)
	var lines bytes.Buffer
	_ = said.header.Write(&lines)
	b = append(b, lines.Bytes()...)
	b = c.appendOurs(b, false)
	b = append(b, "Content-Length: "...)
	b = strconv.AppendInt(b, int64(len(said.body)), 10)
	b = append(b, "\r\n"...)
	if c.closes = c.closes || c.caller.Closing(); c.closes {
		b = append(b, "Connection: close\r\n"...)
	}
	b = append(b, "\r\n"...)
	if string(c.request.Method) != http.MethodHead {
		b = append(b, said.body...)
		c.bytes = int64(len(said.body))
	}
	c.out = b
	if _, err := c.caller.Write(b); err != nil {
		return err
	}
	if c.closes {
		return errBusy
	}
	return nil
}

// reply keeps what is answered.
type reply struct {
	header http.Header
	status int
	body   []byte
}

func (r *reply) Header() http.Header { return r.header }

func (r *reply) WriteHeader(status int) { r.status = status }

func (r *reply) Write(p []byte) (int, error) {
	if r.status == 0 {
		r.status = http.StatusOK
	}
	r.body = append(r.body, p...)
	return len(p), nil
}

// Flush implements http.Flusher.
func (*reply) Flush() {}
