package gateway

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/proxy/gateway/forward"
	"github.com/Ishan27g/ryo-faas/proxy/gateway/http1"
	"github.com/Ishan27g/ryo-faas/transport/wire"
)

// Caller is a connection of a caller between two requests, as server.Early.
type Caller interface {
	Wait(get func() []byte, put func()) (n int, err error)
	Read(p []byte, limit time.Duration) (int, error)
	Write(p []byte) (int, error)
	Unread(p []byte)
	Descriptor(do func(fd uintptr))
	Closing() bool
	Public() bool
	Believed() bool
	From(host []byte, said http.Header) (peer, scheme, addressed string, ok bool)
	May(name string, public bool, token string) bool
	Begin() bool
	End()
	Strict() (value string, ok bool)
	Request(head []byte) (*http.Request, error)
}

const (
	fastRequest = 16 << 10 // bytes of a request, with its body: others take the slow lane
	fastAnswer  = 8 << 10  // bytes of an answer that are read at first
	fastWait    = time.Second
)

var (
	errLeft     = errors.New("the caller closed its connection")
	errCut      = errors.New("the answer is not whole")
	errBusy     = errors.New("the server is stopping")
	errTrailer  = errors.New("bad trailer key")
	errSwitched = errors.New("it switched protocols unasked")
)

// Fast is the fast lane of one connection: it reads the requests that are plain from
// it, and answers them by itself, without net/http. One goroutine does all of a call.
type Fast struct {
	*Gateway
	caller Caller
	about  forward.About // what the last function was told
	token  string        // of the request; "": it has none
	said   http.Header   // what a gateway says of the request's caller; nil: nothing
	site   struct{ addressed, host string }
	get    func() []byte // method values cost an allocation each time
	put    func()
	add    func(name, value string)
	*scratch

	watch uint64 // 0: the connection is not watched

	mu    sync.Mutex // guards the fields below:
	link  *link      // of the call under way
	cause error      // why it was canceled
}

// scratch is what a call needs and an idle connection does not.
type scratch struct {
	in      [fastRequest]byte
	got     [fastAnswer]byte
	out     []byte // the request for the function, then the answer for the caller
	request http1.Request
	answer  http1.Answer
	chunked http1.Chunked
	trailer []http1.Header
	fates   []forward.Fate // of the request's headers
	early   []byte         // what has come of the answer behind its head
}

var scratches = sync.Pool{New: func() any { return &scratch{out: make([]byte, 0, fastRequest+fastAnswer)} }}

// Fast returns the fast lane of a connection.
func (g *Gateway) Fast(c Caller) *Fast {
	f := &Fast{Gateway: g, caller: c}
	f.get = func() []byte {
		if f.scratch == nil {
			f.scratch = scratches.Get().(*scratch)
		}
		return f.in[:]
	}
	f.put = f.drop
	f.add = func(name, value string) { f.out = appendLine(f.out, name, value) }
	return f
}

// Close ends what is known of the connection, which was closed.
func (f *Fast) Close() {
	f.leaving.forget(f)
}

// Abort cancels the call under way, if there is one. Any goroutine may call it.
func (f *Fast) Abort() { f.cancel(errBusy) }

// left notes that the caller has closed its side.
func (f *Fast) left() { f.cancel(errLeft) }

func (f *Fast) cancel(cause error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.cause == nil {
		f.cause = cause
	}
	if f.link != nil {
		_ = f.link.Close()
	}
}

// hold makes a link the one that is closed when the call is canceled. It returns why the
// call was canceled already.
func (f *Fast) hold(l *link) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.link = l
	return f.cause
}

func (f *Fast) canceled() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.cause
}

// drop gives back what an idle connection does not need.
func (f *Fast) drop() {
	if f.scratch == nil {
		return
	}
	if cap(f.out) <= 4*fastRequest {
		scratches.Put(f.scratch)
	}
	f.scratch = nil
}

// Serve reads requests and answers them, until one comes that is not plain. That has not
// been read then. An error ends the connection.
func (f *Fast) Serve() error {
	defer f.drop()
	for {
		n, err := f.caller.Wait(f.get, f.put)
		if err != nil {
			return err
		}
		for begin := 0; begin < n; {
			var ours bool
			if begin, n, ours, err = f.step(begin, n); err != nil {
				return err
			}
			if !ours {
				f.caller.Unread(f.in[begin:n])
				return nil
			}
			if f.caller.Closing() {
				return errBusy
			}
		}
		f.drop()
	}
}

// step answers the request that begins at a place of in, of which n bytes are filled. It
// returns the place after it.
func (f *Fast) step(begin, n int) (after, filled int, ours bool, err error) {
	r := &f.request
	for {
		verdict := r.Read(f.in[begin:n])
		if verdict == http1.Good && r.Length <= fastRequest && begin+r.Size+int(r.Length) <= n {
			break
		}
		if verdict == http1.Unusual || verdict == http1.Good && (r.Length > fastRequest || !f.plain()) {
			return begin, n, false, nil
		}
		if begin > 0 {
			n = copy(f.in[:], f.in[begin:n])
			begin = 0
		}
		if n == len(f.in) || verdict == http1.Good && r.Size+int(r.Length) > len(f.in) {
			return begin, n, false, nil
		}
		more, err := f.caller.Read(f.in[n:], fastWait)
		if n += more; err != nil { // a slow caller, or one that has left
			return begin, n, false, nil // net/http meets it too
		}
	}
	if !f.plain() || !f.from() {
		return begin, n, false, nil
	}
	p, prefix, rest := f.find()
	if p.route == nil || !f.caller.May(p.route.name, p.route.public, f.token) || !f.caller.Begin() {
		return begin, n, false, nil
	}
	defer f.caller.End()
	after = begin + r.Size + int(r.Length)
	return after, n, true, f.call(&fastCall{Fast: f, picker: p, prefix: prefix, rest: rest, body: f.in[begin+r.Size : after], head: f.in[begin : begin+r.Size]})
}

// from sets where the request comes from, and reports whether it is served here.
func (f *Fast) from() (ok bool) {
	f.about.Remote, f.about.Scheme, f.about.Host, ok = f.caller.From(f.request.Host, f.said)
	return ok
}

// find returns the route of the request, which holds nothing if the slow lane is to say
// why, and the parts of the target.
func (f *Fast) find() (p picker, prefix string, rest []byte) {
	below, ok := bytes.CutPrefix(f.request.Target, []byte(Prefix))
	if !ok {
		return f.findSite()
	}
	end := bytes.IndexAny(below, "/?")
	if end < 0 {
		end = len(below)
	}
	routes := *f.Table.routes.Load()
	rt := routes[string(below[:end])]
	if rt != nil {
		prefix = rt.prefix
	} else {
		var room [proto.MaxName]byte
		if rt = routes[string(http1.Lower(room[:0], below[:end]))]; rt == nil {
			return p, "", nil
		}
		prefix = string(f.request.Target[:len(Prefix)+end])
	}
	if rt.unready != nil {
		return p, "", nil
	}
	return picker{route: rt, chosen: rt.choose()}, prefix, below[end:]
}

// findSite finds it by a route of the function's own, as call.findSite. Answers of those
// below a path take the slow lane, which changes them.
func (f *Fast) findSite() (p picker, prefix string, rest []byte) {
	all := *f.Table.sites.Load()
	if len(all) == 0 || !f.caller.Public() {
		return p, "", nil
	}
	if f.site.addressed != f.about.Host {
		f.site.addressed, f.site.host = f.about.Host, hostName(f.about.Host)
	}
	own, ok := all.find(f.site.host, http1.Path(f.request.Target))
	if !ok || own.path != "" {
		return p, "", nil
	}
	rt := (*f.Table.routes.Load())[own.function]
	if rt == nil || rt.unready != nil {
		return p, "", nil
	}
	return picker{route: rt, chosen: rt.choose()}, "", f.request.Target
}

// plain says whether the headers of the request ask for nothing that the slow lane alone
// does, or decides. It notes what becomes of each, and what is said about the caller.
func (f *Fast) plain() bool {
	public, believed := f.caller.Public(), f.caller.Believed()
	f.fates, f.token, f.said = f.fates[:0], "", nil
	for _, h := range f.request.Headers {
		fate := forward.FateOf(h.Name)
		switch fate {
		case forward.Hop:
			if !usualHop(h) {
				return false
			}
		case forward.Ours: // a gateway's, where none may be
			switch {
			case http1.Equal(h.Name, "x-request-id"):
			case !public:
				return false
			case believed:
				if f.said == nil {
					f.said = make(http.Header)
				}
				f.said.Add(string(h.Name), string(h.Value))
			}
		case forward.Passes:
			if !usual(h, public) {
				return false
			}
			if len(h.Name) == len("authorization") && bytes.Contains(h.Value, []byte(wire.TokenPrefix)) && http1.Equal(h.Name, "authorization") {
				if f.token != "" || !isBearer(h.Value) {
					return false
				}
				f.token, fate = string(h.Value), forward.Ours // no function may see it
			}
		}
		f.fates = append(f.fates, fate)
	}
	return true
}

// isBearer says whether the value of an Authorization header is a token of ours.
func isBearer(value []byte) bool {
	const scheme = "bearer "
	return len(value) > len(scheme) && http1.Equal(value[:len(scheme)], scheme) && bytes.HasPrefix(bytes.TrimLeft(value[len(scheme):], " \t"), []byte(wire.TokenPrefix))
}

func usualHop(h http1.Header) bool {
	switch h.Name[0] | 0x20 {
	case 't', 'u': // Te, Trailer, Transfer-Encoding, Upgrade
		return false
	case 'c':
		return http1.Equal(h.Value, "keep-alive") || http1.Equal(h.Value, "close")
	}
	return true
}

func usual(h http1.Header, public bool) bool {
	switch len(h.Name) {
	case len("expect"):
		return !http1.Equal(h.Name, "expect") && (public || !http1.Equal(h.Name, "origin"))
	case len("max-forwards"):
		return !http1.Equal(h.Name, "max-forwards")
	case len("sec-fetch-site"):
		return public || !http1.Equal(h.Name, "sec-fetch-site")
	case len("via"):
		return public || !http1.Equal(h.Name, "via")
	}
	return true
}

// fastCall is one call in the fast lane.
type fastCall struct {
	*Fast
	picker
	prefix     string
	rest       []byte // of the target, behind the function's name
	head, body []byte
	id         string
	begun      time.Time
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
	f.leaving.watch(f)
	c.prepare()
	l, err := c.send()
	if err != nil {
		if cause := f.hold(nil); cause != nil {
			return cause
		}
		return c.refuse(err)
	}
	c.used, c.headAfter = l, time.Since(c.begun)
	if err = c.relay(); err == nil && c.closes {
		err = errBusy
	}
	c.done(false)
	return err
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
	if c.hold(nil) != nil || !reusable || !c.target.links.add(l) {
		_ = l.Close()
	}
}

func (c *fastCall) end(err *error) {
	e := c.ending(*err)
	c.release()
	c.route.calls.done()
	c.ended(&e)
}

// prepare puts the request for the function together.
func (c *fastCall) prepare() {
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
		case fate == forward.Passes && !http1.Equal(h.Name, "host"):
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
	c.about.Prefix, c.about.ID, c.about.Via = c.prefix, c.id, forward.Via
	c.about.Each(c.add)
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
	l := t.links.take(c.repeatable)
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
	ctx, cancel := context.WithDeadlineCause(context.Background(), c.begun.Add(c.route.limit), errLimit)
	defer cancel()
	l, err := t.links.fresh(ctx)
	if err != nil && errors.Is(context.Cause(ctx), errLimit) {
		err = errors.Join(errLimit, err)
	}
	return l, err
}

// exchange sends the request over a link and reads the head of the answer.
func (c *fastCall) exchange(l *link) error {
	l.heard, l.sent = false, false
	by := c.begun.Add(c.route.limit)
	buf, filled := c.got[:], 0
	l.send(c.out)
	for {
		n, err := l.readBy(buf[filled:], by, c.route.limit)
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

// relay passes the answer on, each part as it comes.
func (c *fastCall) relay() (err error) {
	a := &c.answer
	c.status = a.Status
	method := string(c.request.Method)
	bodiless := a.Bodiless(method)
	closes, nominates, dated := a.Old, false, false
	b := appendStatus(c.out[:0], a.Status)
	for _, h := range a.Headers {
		if len(h.Name) == len("connection") && http1.Equal(h.Name, "connection") {
			closes = closes && !http1.Holds(h.Value, "keep-alive") || http1.Holds(h.Value, "close")
			nominates = nominates || !http1.Equal(h.Value, "close") && !http1.Equal(h.Value, "keep-alive")
		}
	}
	for _, h := range a.Headers {
		switch {
		case forward.FateOf(h.Name) == forward.Hop:
			if a.Until == http1.Chunks && http1.Equal(h.Name, "trailer") {
				if b, err = appendTrailerNames(b, h.Value); err != nil {
					return err
				}
			}
			continue
		case http1.Equal(h.Name, "x-request-id"), nominates && nominated(a.Headers, h.Name):
			continue
		case a.Status == http.StatusNotModified && http1.Equal(h.Name, "content-type"): // as net/http's server does
			continue
		case len(h.Name) == len("date") && http1.Equal(h.Name, "date"):
			dated = true
		}
		b = appendHeader(b, h)
	}
	b = c.appendOurs(b, dated)
	switch {
	case a.Length >= 0 && a.Status != http.StatusNoContent && a.Status != http.StatusNotModified:
		b = append(b, "Content-Length: "...)
		b = strconv.AppendInt(b, a.Length, 10)
		b = append(b, "\r\n"...)
	case !bodiless:
		b = append(b, "Transfer-Encoding: chunked\r\n"...)
	}
	if c.closes = c.closes || c.caller.Closing(); c.closes {
		b = append(b, "Connection: close\r\n"...)
	}
	b = append(b, "\r\n"...)
	c.out = b
	switch {
	case bodiless:
		// What announces a body where there can be none may be followed by one.
		none := a.Status == http.StatusNoContent || a.Status == http.StatusNotModified
		announced := a.Length > 0 || a.Until == http1.Chunks
		c.done(!closes && len(c.early) == 0 && (!none || !announced))
		_, err = c.caller.Write(c.out)
		return err
	case a.Until == http1.Length:
		return c.copy(closes)
	}
	return c.copyChunks(closes)
}

// appendOurs appends the headers that the gateway adds to an answer.
func (c *fastCall) appendOurs(b []byte, dated bool) []byte {
	if !dated {
		b = append(b, "Date: "...)
		b = c.begun.UTC().AppendFormat(b, http.TimeFormat)
		b = append(b, "\r\n"...)
	}
	if value, strict := c.caller.Strict(); strict {
		b = appendLine(b, "Strict-Transport-Security", value)
	}
	return appendLine(b, "X-Request-Id", c.id)
}

// copy passes a body of known length on.
func (c *fastCall) copy(closes bool) error {
	left := c.answer.Length
	first := c.early[:min(int64(len(c.early)), left)]
	reusable := !closes && len(first) == len(c.early)
	c.out = append(c.out, first...)
	c.bytes = int64(len(first))
	if left -= c.bytes; left == 0 {
		c.done(reusable)
	}
	if _, err := c.caller.Write(c.out); err != nil || left == 0 {
		return err
	}
	buf := buffers{}.Get()
	defer buffers{}.Put(buf)
	for left > 0 {
		n, err := c.used.read(buf[:min(int64(len(buf)), left)])
		if left -= int64(n); left == 0 {
			c.done(reusable)
		}
		if n > 0 {
			c.bytes += int64(n)
			if _, err := c.caller.Write(buf[:n]); err != nil {
				return err
			}
		}
		if err != nil && left > 0 {
			return errors.Join(errCut, err)
		}
	}
	return nil
}

// Room around a part of a body for the lines of its chunk, and the last one.
const (
	chunkFront = 16
	chunkBack  = 8
)

// copyChunks passes on a body that comes in chunks, or until the connection ends.
func (c *fastCall) copyChunks(closes bool) error {
	c.chunked.Reset()
	part, rest, err := c.decode(c.early)
	if len(part) > 0 {
		c.out = strconv.AppendInt(c.out, int64(len(part)), 16)
		c.out = append(c.out, "\r\n"...)
		c.out = append(c.out, part...)
		c.out = append(c.out, "\r\n"...)
		c.bytes = int64(len(part))
	}
	if c.chunked.Done() || err != nil {
		return c.sendLast(c.out, !closes && len(rest) == 0, err)
	}
	if _, err := c.caller.Write(c.out); err != nil {
		return err
	}
	buf := buffers{}.Get()
	defer buffers{}.Put(buf)
	for {
		n, failed := c.used.read(buf[chunkFront : len(buf)-chunkBack])
		part, rest, err = c.decode(buf[chunkFront : chunkFront+n])
		out := buf[:0]
		if len(part) > 0 {
			out = enclose(buf, len(part))
			c.bytes += int64(len(part))
		}
		switch {
		case c.chunked.Done() || err != nil:
			return c.sendLast(out, !closes && len(rest) == 0, err)
		case failed != nil && c.answer.Until == http1.Close && errors.Is(failed, io.EOF):
			return c.sendLast(out, false, nil)
		case failed != nil:
			return c.sendLast(out, false, errors.Join(errCut, failed))
		}
		if _, err := c.caller.Write(out); err != nil {
			return err
		}
	}
}

// sendLast sends the last part of a body that comes in chunks, and the end if nothing is
// wrong.
func (c *fastCall) sendLast(out []byte, reusable bool, bad error) error {
	if bad == nil {
		out, bad = c.appendEnd(out)
	}
	if bad == nil {
		c.done(reusable)
	}
	_, err := c.caller.Write(out)
	return errors.Join(bad, err)
}

// decode returns the data in p, moved to its beginning, and what follows the body.
func (c *fastCall) decode(p []byte) (data, rest []byte, err error) {
	if c.answer.Until == http1.Close {
		return p, nil, nil
	}
	size := 0
	for at := 0; at < len(p) && !c.chunked.Done(); {
		part, n, err := c.chunked.Next(p[at:])
		size += copy(p[size:], part)
		at += n
		if err != nil {
			return p[:size], nil, err
		}
		rest = p[at:]
	}
	return p[:size], rest, nil
}

// enclose makes a chunk of the size bytes that lie behind the front of buf.
func enclose(buf []byte, size int) []byte {
	var line [chunkFront]byte
	first := append(strconv.AppendInt(line[:0], int64(size), 16), "\r\n"...)
	begin := chunkFront - len(first)
	copy(buf[begin:], first)
	return append(buf[begin:chunkFront+size], "\r\n"...)
}

// appendEnd appends the last chunk and the trailers.
func (c *fastCall) appendEnd(b []byte) (_ []byte, err error) {
	if c.trailer, err = c.chunked.Trailer(c.trailer[:0]); err != nil {
		return b, err
	}
	b = append(b, "0\r\n"...)
	for _, h := range c.trailer {
		if forward.Trails(http.CanonicalHeaderKey(string(h.Name))) {
			b = appendHeader(b, h)
		}
	}
	return append(b, "\r\n"...), nil
}

// appendTrailerNames appends the announcement of trailers, without those that may not
// pass.
func appendTrailerNames(b, value []byte) ([]byte, error) {
	first := true
	for name := range bytes.SplitSeq(value, []byte(",")) {
		key := http.CanonicalHeaderKey(string(bytes.TrimSpace(name)))
		switch key {
		case "Transfer-Encoding", "Trailer", "Content-Length":
			return b, errTrailer
		}
		if key == "" || !forward.Trails(key) {
			continue
		}
		if first {
			b = append(b, "Trailer: "...)
		} else {
			b = append(b, ", "...)
		}
		first = false
		b = append(b, key...)
	}
	if !first {
		b = append(b, "\r\n"...)
	}
	return b, nil
}

func appendLine(b []byte, name, value string) []byte {
	b = append(b, name...)
	b = append(b, ": "...)
	b = append(b, value...)
	return append(b, "\r\n"...)
}

func appendHeader(b []byte, h http1.Header) []byte {
	b = append(b, h.Name...)
	b = append(b, ": "...)
	b = append(b, h.Value...)
	return append(b, "\r\n"...)
}

func appendStatus(b []byte, status int) []byte {
	b = append(b, "HTTP/1.1 "...)
	b = strconv.AppendInt(b, int64(status), 10)
	b = append(b, ' ')
	if text := http.StatusText(status); text != "" {
		b = append(b, text...)
	} else {
		b = append(b, "status code "...)
		b = strconv.AppendInt(b, int64(status), 10)
	}
	return append(b, "\r\n"...)
}

// nominated says whether a Connection header is about a header.
func nominated(list []http1.Header, name []byte) bool {
	for _, h := range list {
		if http1.Equal(h.Name, "connection") && http1.Holds(h.Value, string(http1.Lower(nil, name))) {
			return true
		}
	}
	return false
}

// refuse answers in the function's place, as the slow lane does.
func (c *fastCall) refuse(err error) error {
	in, bad := c.caller.Request(c.head)
	if bad != nil {
		return bad
	}
	slow := &call{Gateway: c.Gateway, in: in, id: [1]string{c.id}, begun: c.begun, picker: c.picker, prefix: c.prefix}
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
