package gateway

import (
	"bytes"
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/Ishan27g/ryo-faas/internal/trace"
	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/proxy/gateway/forward"
	"github.com/Ishan27g/ryo-faas/proxy/gateway/http1"
	"github.com/Ishan27g/ryo-faas/transport/wire"
)

// Caller is a connection of a caller between two requests, as server.Early.
type Caller interface {
	Wait(get func() []byte, put func()) (n int, err error)
	Read(p []byte, until time.Time) (int, error)
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
	fastHeaders = 256      // lines of a head whose room is kept for other calls
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
	asked  time.Duration // how long the request's caller waits; 0: it does not say
	site   struct{ addressed, host string }
	get    func() []byte // method values cost an allocation each time
	put    func()
	add    func(name, value string)
	*scratch

	watch uint64 // of leaving; 0: the connection is not watched

	mu    sync.Mutex    // guards the fields below:
	link  *link         // of the call under way
	gone  chan struct{} // closed when the call is canceled that waits; nil: none does
	cause error         // why it was canceled
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
	trace   [trace.HeaderSize]byte
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
	f.leaving.Forget(f.watch)
}

// Abort cancels the call under way, if there is one. Any goroutine may call it.
func (f *Fast) Abort() { f.cancel(errBusy) }

// left implements leaver: a lane remembers it for its calls to come.
func (f *Fast) hasLeft() { f.cancel(errLeft) }

func (f *Fast) cancel(cause error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.cause == nil {
		f.cause = cause
	}
	if f.link != nil {
		_ = f.link.Close()
	}
	if f.gone != nil {
		close(f.gone)
		f.gone = nil
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
	if f.small() {
		scratches.Put(f.scratch)
	}
	f.scratch = nil
}

// small says whether it is worth keeping: an odd request or answer makes its lists long.
func (s *scratch) small() bool {
	return cap(s.out) <= 4*fastRequest && max(cap(s.request.Headers), cap(s.answer.Headers), cap(s.trailer)) <= fastHeaders
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
		}
		f.drop()
	}
}

// step answers the request that begins at a place of in, of which n bytes are filled. It
// returns the place after it.
func (f *Fast) step(begin, n int) (after, filled int, ours bool, err error) {
	r := &f.request
	var until time.Time // more of the request is waited for
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
		if until.IsZero() {
			until = time.Now().Add(fastWait)
		}
		more, err := f.caller.Read(f.in[n:], until)
		if n += more; err != nil { // a slow caller, or one that has left
			return begin, n, false, nil // net/http meets it too
		}
	}
	if !f.plain() || !f.from() {
		return begin, n, false, nil
	}
	rt, prefix, rest := f.find()
	if rt == nil || rt.unready != nil || !rt.edge.plain(r.Length) || !f.caller.May(rt.name, rt.public, f.token) || !f.caller.Begin() {
		return begin, n, false, nil
	}
	defer f.caller.End()
	c := &fastCall{Fast: f, picker: picker{route: rt, chosen: rt.choose()}, prefix: prefix, rest: rest, term: rt.term(f.asked)}
	c.lies(begin, n)
	err = f.call(c)
	return c.after, c.filled, true, err
}

// from sets where the request comes from, and reports whether it is served here.
func (f *Fast) from() (ok bool) {
	f.about.Remote, f.about.Scheme, f.about.Host, ok = f.caller.From(f.request.Host, f.said)
	return ok
}

// find returns the route of the request, nil if the slow lane is to say why there is none,
// and the parts of the target.
func (f *Fast) find() (rt *route, prefix string, rest []byte) {
	below, ok := bytes.CutPrefix(f.request.Target, []byte(Prefix))
	if !ok {
		return f.findSite()
	}
	end := bytes.IndexAny(below, "/?")
	if end < 0 {
		end = len(below)
	}
	routes := *f.Table.routes.Load()
	if rt := routes[string(below[:end])]; rt != nil {
		return rt, rt.prefix, below[end:]
	}
	var room [proto.MaxName]byte
	if rt := routes[string(http1.Lower(room[:0], below[:end]))]; rt != nil {
		return rt, string(f.request.Target[:len(Prefix)+end]), below[end:]
	}
	return nil, "", nil
}

// findSite finds it by a route of the function's own, as call.findSite. Answers of those
// below a path take the slow lane, which changes them.
func (f *Fast) findSite() (rt *route, prefix string, rest []byte) {
	all := *f.Table.sites.Load()
	if len(all) == 0 || !f.caller.Public() {
		return nil, "", nil
	}
	if f.site.addressed != f.about.Host {
		f.site.addressed, f.site.host = f.about.Host, hostName(f.about.Host)
	}
	own, ok := all.find(f.site.host, http1.Path(f.request.Target))
	if !ok || own.path != "" {
		return nil, "", nil
	}
	return (*f.Table.routes.Load())[own.function], "", f.request.Target
}

// plain says whether the headers of the request ask for nothing that the slow lane alone
// does, or decides. It notes what becomes of each, and what is said about the caller.
func (f *Fast) plain() bool {
	public, believed := f.caller.Public(), f.caller.Believed()
	f.fates, f.token, f.said, f.asked = f.fates[:0], "", nil, 0
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
			case http1.Equal(h.Name, "x-ryo-timeout"):
				asked, err := parseTimeout(string(h.Value))
				if err != nil || f.asked > 0 {
					return false
				}
				f.asked = asked
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
		return !http1.Equal(h.Name, "expect") && !http1.Equal(h.Name, "prefer") && (public || !http1.Equal(h.Name, "origin"))
	case len("user-agent"):
		return len(h.Value) > 0 || !http1.Equal(h.Name, "user-agent") // net/http drops an empty one
	case len("max-forwards"):
		return !http1.Equal(h.Name, "max-forwards") && !http1.Equal(h.Name, "grpc-timeout")
	case len("sec-fetch-site"):
		return public || !http1.Equal(h.Name, "sec-fetch-site")
	case len("via"):
		return public || !http1.Equal(h.Name, "via")
	}
	return true
}
