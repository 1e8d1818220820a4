package gateway

import (
	"cmp"
	"context"
	"errors"
	"log"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/Ishan27g/ryo-faas/internal/poll"
	"github.com/Ishan27g/ryo-faas/internal/trace"
	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/proxy/gateway/accesslog"
	"github.com/Ishan27g/ryo-faas/proxy/gateway/forward"
	"github.com/Ishan27g/ryo-faas/transport/wire"
)

// Prefix is where functions are called. Below it come a name and what reaches the
// function.
const Prefix = "/functions/"

// Why a call that took too long was canceled.
var (
	errLimit   = errors.New("no answer within the function's time limit")
	errStalled = errors.New("no more of the caller's body within the function's time limit")
	errUnread  = errors.New("the function reads nothing of the caller's body")
)

// Config is what a gateway needs.
type Config struct {
	Table *Table
	// Admit says why the caller of a request may not call a function, nil when it may.
	// A function that is not known counts as not public.
	Admit   func(r *http.Request, name string, public bool) error
	Unknown func(segment string) error // says why a path has no route
	// Public reports whether everybody may call a path that has no route now; default: not.
	Public func(segment string) bool
	// Heard waits, within a limit, until there is a route, or until it is known what all
	// agents serve; default: that is known. There may be a route when is returns true.
	Heard func(ctx context.Context, is func() bool)
	// Wake opens a version without a route and returns when there is one.
	Wake     func(ctx context.Context, name string, version uint32) error
	AgentErr func(agent string) *proto.Error // says why an agent does not answer; nil when it does
	// Stranger reports whether a caller may not know more of a function than its answers.
	Stranger func(r *http.Request) bool
	// Whose names whose calls are counted together with r, where a function is called no
	// more often than its setting says.
	Whose  func(r *http.Request) string
	Logger hclog.Logger
	// AccessLog gets a line of each call; nil: there is none.
	AccessLog *accesslog.Log
	// Later returns what is known of calls that wait to be made later; nil: there are none.
	Later func(ctx context.Context) []Later
	// Notices returns what became of notices for deploy hooks; nil: there are none.
	Notices func(ctx context.Context) []Notices
	// Tracer gets a span of each call that is recorded; nil: none is.
	Tracer *trace.Tracer
	// Descriptor calls do with the descriptor of a request's connection, unless that is
	// closed already; nil: nobody knows it. A call that waits, and whose body is not read
	// yet, ends when its caller closes that connection.
	Descriptor func(r *http.Request, do func(fd uintptr))
	// Silence is how long a caller of HTTP/2 may take nothing of its answer, and a function
	// nothing of a body when it has begun to answer; default: as long as a caller of HTTP/1
	// may.
	Silence time.Duration
}

// Gateway serves calls of functions, Prefix and below.
type Gateway struct {
	Config
	errorLog *log.Logger
	leaving  poll.Poll[leaver] // watches the connections of the fast lane,
	queued   poll.Poll[leaver] // and those of calls in the slow lane that wait in a queue
	strays   meter             // counts calls that find no function
	// compressing has an element for each answer that is being compressed.
	compressing chan struct{}
}

// Close ends what calls share. None may be under way.
func (g *Gateway) Close() {
	g.leaving.Close()
	g.queued.Close()
}

// leaver is told that the caller of a call has closed its side. One epoll(7) has a
// connection once, so each of both lanes has its own.
type leaver interface{ hasLeft() }

// New returns a gateway.
func New(cfg Config) *Gateway {
	cfg.Silence = cmp.Or(cfg.Silence, wire.SilentWrite)
	return &Gateway{
		Config: cfg, compressing: make(chan struct{}, compressors), strays: meter{function: noFunction},
		leaving: poll.Poll[leaver]{Tell: leaver.hasLeft}, queued: poll.Poll[leaver]{Tell: leaver.hasLeft},
		errorLog: cfg.Logger.StandardLogger(&hclog.StandardLoggerOptions{ForceLevel: hclog.Debug}),
	}
}

// call is one call of a function.
type call struct {
	*Gateway
	in    *http.Request
	id    [1]string // an array, so that headers share it as their value
	begun time.Time
	own   bool      // it came by a route of the function's own
	later *Dispatch // it was accepted before; nil: it comes from a caller who waits
	picker
	span   span
	prefix string // the part of the path that the function does not see
	uri    string // the request target at the function's service

	out        response
	repeated   bool          // it was sent a second time
	head       time.Duration // until the head of the answer had come
	tunnel     bool          // the caller asked for a websocket
	http2      bool          // it goes to the function over HTTP/2,
	feed       *feed         // with this body; nil: none was read
	cancel     context.CancelCauseFunc
	term       term
	from       time.Time     // when the function's own limit began
	limit      *time.Timer   // of it
	answered   atomic.Bool   // the answer's head has come: the limit no longer holds
	over       atomic.Bool   // though a Transport may still read the body
	reading    atomic.Bool   // a read of the caller's body is waiting
	bodyRead   atomic.Bool   // the caller's body has come whole
	bodyFailed atomic.Bool   // the caller's body could not be read
	bytesIn    atomic.Int64  // of the caller's body, so far
	overflows  atomic.Bool   // it is larger than the function's limit
	failure    error         // why the function's answer is missing or not whole
	unreached  bool          // the function has seen nothing of it
	wait       time.Duration // until the caller may call again; 0: at once
}

// ServeHTTP implements http.Handler.
func (g *Gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) { g.serve(w, r, false) }

// serve serves a call that came to Prefix, or to a route of the function's own.
func (g *Gateway) serve(w http.ResponseWriter, r *http.Request, own bool) {
	c := g.newCall(w, r)
	c.own = own
	c.serve()
}

func (g *Gateway) newCall(w http.ResponseWriter, r *http.Request) *call {
	c := &call{Gateway: g, in: r, id: [1]string{proto.RequestID(r.Header.Get(forward.RequestID))}, begun: time.Now()}
	c.out.ResponseWriter, c.out.proto = w, r.ProtoMajor*10+r.ProtoMinor
	if r.ProtoMajor > 1 {
		c.out.silence = g.Silence
	}
	if asksForSocket(r) {
		c.out.socket, c.in = newSocket(r)
	}
	return c
}

func (c *call) serve() {
	r := c.in
	if c.Tracer != nil {
		c.trace()
	}
	defer c.close()
	if err := c.find(); err != nil {
		c.refuse(err)
		return
	}
	if forward.LastHop(r) {
		c.answerItself()
		return
	}
	c.route.calls.add()
	ctx := c.limited()
	if err := c.enter(ctx); err != nil {
		c.fail(ctx, err)
		return
	}
	c.reverse(ctx)
}

// enter waits for a place at a replica of a function that limits its calls. Nothing of a
// body is read meanwhile.
func (c *call) enter(ctx context.Context) error {
	g := c.route.gate
	if g == nil {
		return nil
	}
	w, err := g.enter(&c.picker)
	if w == nil {
		return err
	}
	if c.Descriptor != nil && c.unread() && c.in.ProtoMajor == 1 { // else net/http reads, and notices it
		descriptor := func(do func(fd uintptr)) { c.Descriptor(c.in, do) }
		defer c.queued.End(c.queued.Left(descriptor, canceler(c.cancel)), descriptor)
	}
	return g.wait(w, c.left(), ctx.Done())
}

// canceler cancels a call whose caller has left.
type canceler context.CancelCauseFunc

// hasLeft implements leaver.
func (cancel canceler) hasLeft() { cancel(errLeft) }

// answerItself answers a call that may go no further (forward.LastHop).
func (c *call) answerItself() {
	if c.in.Method == http.MethodTrace {
		c.refuse(proto.Errorf(proto.ErrUnsupported, "TRACE is answered by functions alone").WithHint("send a larger Max-Forwards"))
		return
	}
	c.out.Header()[forward.RequestID] = c.id[:]
	c.out.WriteHeader(http.StatusNoContent)
}

// close runs at the end of each call. What was answered is in out, what went wrong in
// failure.
func (c *call) close() {
	p := recover()
	if p != nil {
		defer panic(p)
		c.out.reset()
		if c.unread() {
			// The server would wait for more of the body before it ends the connection.
			_ = http.NewResponseController(c.out.ResponseWriter).SetReadDeadline(time.Now())
		}
	}
	e := c.ending(p)
	if c.feed != nil {
		c.feed.close()
	}
	if c.cancel != nil {
		c.over.Store(true)
		c.limit.Stop()
		c.cancel(nil)
		c.route.calls.done()
	}
	c.ended(&e, &c.picker)
}

// left is how much of the call's time is left. What a caller has asked for runs from the
// beginning; the function's own limit, from when it can be called.
func (c *call) left() time.Duration {
	from := c.from
	if c.term.asked || from.IsZero() {
		from = c.begun
	}
	return c.term.limit - time.Since(from)
}

// limited returns the context of the call, which is canceled when the function has
// not begun to answer within its limit.
func (c *call) limited() context.Context {
	ctx, cancel := context.WithCancelCause(c.in.Context())
	c.cancel, c.from = cancel, time.Now()
	c.limit = time.AfterFunc(c.left(), func() {
		switch reading := c.reading.Load(); {
		case c.over.Load():
			return
		case c.answered.Load():
			// The caller may take its time now, the function may not.
			if reading || c.bodyRead.Load() {
				return
			}
			cancel(errUnread)
		case reading:
			cancel(errStalled)
		default:
			cancel(errLimit)
		}
		if c.in.ContentLength != 0 && !c.bodyRead.Load() {
			// A Transport does not return while it reads the body.
			_ = http.NewResponseController(c.out.ResponseWriter).SetReadDeadline(time.Now())
		}
	})
	return ctx
}

// find sets the route, the version and the uri, from the raw request target: what
// lies below the name reaches the function byte for byte.
func (c *call) find() error {
	segment, rest, err := c.letIn()
	if err != nil {
		return err
	}
	asked, err := timeoutOf(c.in.Header)
	if err != nil {
		return err
	}
	c.term = c.route.term(asked)
	if err := c.choose(segment); err != nil {
		return err
	}
	c.uri = c.route.mount + rest
	return nil
}

// letIn sets the route, and returns the parts of the target, or why the call may not be
// made.
func (c *call) letIn() (segment, rest string, err error) {
	if c.in.Method == http.MethodConnect {
		return "", "", proto.Errorf(proto.ErrInvalid, "CONNECT is not served")
	}
	if !forward.IsToken(c.in.Method) {
		return "", "", proto.Errorf(proto.ErrInvalid, "%.20q is not a method", c.in.Method)
	}
	segment, rest, err = c.locate()
	if err == nil && c.route == nil && c.Heard != nil {
		c.Heard(c.in.Context(), func() bool {
			_, _, err := c.locate()
			return err != nil || c.route != nil
		})
		segment, rest, err = c.locate()
	}
	if err != nil {
		return "", "", err
	}
	err = c.admit(segment)
	if err != nil && (segment != "" || !errors.Is(err, proto.ErrForbidden)) {
		return "", "", err
	}
	if segment == "" { // also for tokens of other functions: there is nothing to call
		return "", "", proto.Errorf(proto.ErrNotFound, "no function has a route at %.200q", c.in.Host+c.in.URL.Path)
	}
	if c.route == nil {
		err = c.Unknown(segment)
		// An agent may have told of it since the first look.
		if _ = c.look(segment); c.route == nil {
			return "", "", err
		}
		if err := c.admit(segment); err != nil {
			return "", "", err
		}
	}
	return segment, rest, c.guard()
}

// locate is split, and sets the route, nil for none.
func (c *call) locate() (segment, rest string, err error) {
	segment, rest, err = c.split()
	if err == nil && segment != "" {
		err = c.look(segment)
	}
	return segment, rest, err
}

// split takes the target apart: the function's segment, "" where no function has a
// route there, and what reaches it. It sets the prefix.
func (c *call) split() (segment, rest string, err error) {
	if c.own {
		return c.findSite()
	}
	if segment, rest, err = splitURI(c.in.RequestURI); err == nil {
		c.prefix = c.in.RequestURI[:len(Prefix)+len(segment)]
	}
	return segment, rest, err
}

// admit returns why the caller may not call what a segment names. What is published is
// the function, not each version of it that is kept.
func (c *call) admit(segment string) error {
	if c.later != nil {
		return nil
	}
	if c.route == nil {
		return c.Admit(c.in, segment, c.Public != nil && c.Public(segment))
	}
	return c.Admit(c.in, c.route.name, c.route.public && c.number == 0)
}

func (c *call) look(segment string) (err error) {
	c.route, c.number, err = c.Table.find(segment)
	return err
}

// choose sets the version. It opens one that the caller names and that does not serve.
func (c *call) choose(segment string) error {
	if c.number == 0 {
		if c.route.unready != nil {
			return c.route.unready
		}
		c.chosen = c.route.choose()
		return nil
	}
	if c.chosen = c.route.version(c.number); c.chosen != nil {
		return nil
	}
	if err := c.wake(); err != nil {
		return err
	}
	if err := c.look(segment); err != nil {
		return err
	}
	if c.route != nil {
		c.chosen = c.route.version(c.number)
	}
	if c.chosen == nil {
		return proto.Errorf(proto.ErrUnavailable, "function %.*q was closed again before the call reached it", proto.MaxName, segment).WithHint("call again")
	}
	return nil
}

// wake opens the version that the caller names.
func (c *call) wake() error {
	ctx := c.in.Context()
	if c.term.asked {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, c.left(), errLimit)
		defer cancel()
	}
	err := c.Wake(ctx, c.route.name, c.number)
	if err != nil && errors.Is(context.Cause(ctx), errLimit) {
		took := c.elapsed()
		return proto.Errorf(proto.ErrTimeout, "version %d of function %q was not ready within %v, after %v", c.number, c.route.name, c.term, took).
			WithHint(c.term.hint()).From("gateway", "starting").Late(c.term.limit, took)
	}
	return err
}

// elapsed is how long the call has taken, as callers are told.
func (c *call) elapsed() time.Duration { return time.Since(c.begun).Round(time.Millisecond) }

// try sends the call to a replica, and to the next one if it has seen nothing of the call.
func (c *call) try(ctx context.Context, send func(*target) error) (err error) {
	for t := c.next(); t != nil; t = c.next() {
		err = send(t)
		switch late := errors.Is(context.Cause(ctx), errLimit); {
		case err == nil:
			t.ok()
			return nil
		case late && isDial(err), ctx.Err() == nil && broken(err) && !c.bodyFailed.Load():
			t.fail(err)
		}
		if !unsent(err) || ctx.Err() != nil {
			break
		}
	}
	return err
}
