package proxy

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log"
	"math"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/transport"
)

const (
	prefix       = "/functions/"
	requestID    = "X-Request-Id"
	executionID  = "Function-Execution-Id" // what functions-framework-go logs
	maxRequestID = 128                     // bytes; longer than any id in use
	copyBuffer   = 32 << 10                // bytes, as io.Copy's
	headLag      = 5 * time.Millisecond    // how long the head of an answer waits for its body, to leave with it
)

// errLimit is why the context of a call ended whose function took too long.
var errLimit = errors.New("no answer within the function's time limit")

// gateway serves /functions/{name} and everything below it.
type gateway struct {
	routes   *routes
	unknown  func(segment string) error // why a path has no route
	wake     func(ctx context.Context, name string, version uint32) error
	agentErr func(agent string) *proto.Error // why an agent does not answer; nil when it does
	logger   hclog.Logger
	errorLog *log.Logger
}

// call is one call of a function on its way.
type call struct {
	*gateway
	in     *http.Request
	id     [1]string // the value of headers that carry it, without a slice for each
	route  *route
	number uint32 // of the version that the caller named; 0: none
	chosen *version
	target string // the request target at the function's service

	out        flusher
	to         *target // counts this call as in flight
	tunnel     bool    // the caller asked for a websocket
	limit      *time.Timer
	answered   atomic.Bool // the answer's head is there: the limit is over
	bodyFailed atomic.Bool // the caller's body could not be read
}

func (g *gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c := &call{gateway: g, in: r, id: [1]string{idOf(r)}}
	if err := c.find(); err != nil {
		c.refuse(w, err)
		return
	}
	c.route.calls.n.Add(1)
	defer c.route.calls.leave()
	ctx, cancel := context.WithCancelCause(r.Context())
	defer cancel(nil)
	c.limit = time.AfterFunc(c.route.limit, func() {
		if c.answered.Load() {
			return
		}
		cancel(errLimit)
		if r.ContentLength != 0 {
			// A Transport does not return before it has read what it is reading.
			_ = http.NewResponseController(w).SetReadDeadline(time.Now())
		}
	})
	defer c.limit.Stop()
	defer c.leave()
	c.out.ResponseWriter = w
	if c.plain() {
		c.direct(ctx, w)
		return
	}
	c.tunnel = strings.EqualFold(r.Header.Get("Upgrade"), "websocket")
	if r.ContentLength != 0 {
		// An answer may begin before the body ends. HTTP/2 always allows it.
		_ = http.NewResponseController(w).EnableFullDuplex()
	}
	proxy := httputil.ReverseProxy{
		Rewrite:        c.rewrite,
		Transport:      c,
		ModifyResponse: c.answer,
		ErrorHandler:   c.fail,
		FlushInterval:  headLag,
		BufferPool:     buffers{},
		ErrorLog:       g.errorLog,
	}
	proxy.ServeHTTP(&c.out, r.WithContext(ctx))
}

// find sets the route and the target, from the raw request target: what lies
// below the name reaches the function byte for byte.
func (c *call) find() error {
	if c.in.Method == http.MethodConnect {
		return proto.Errorf(proto.ErrInvalid, "CONNECT is not served")
	}
	segment, rest, err := splitTarget(c.in.RequestURI)
	if err != nil {
		return err
	}
	if err := c.look(segment); err != nil {
		return err
	}
	if c.route == nil {
		err = c.unknown(segment)
		// An agent may have told of it between the two looks.
		if _ = c.look(segment); c.route == nil {
			return err
		}
	}
	if err := c.choose(segment); err != nil {
		return err
	}
	c.target = c.route.mount + rest
	return nil
}

func (c *call) look(segment string) (err error) {
	c.route, c.number, err = c.routes.find(segment)
	return err
}

// choose sets the version. One that the caller names is opened if need be.
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
	if err := c.wake(c.in.Context(), c.route.name, c.number); err != nil {
		return err
	}
	if err := c.look(segment); err != nil {
		return err
	}
	if c.route != nil {
		c.chosen = c.route.version(c.number)
	}
	if c.chosen == nil {
		return proto.Errorf(proto.ErrUnavailable, "function %.*q has just gone again", proto.MaxName, segment).WithHint("call again")
	}
	return nil
}

func (c *call) rewrite(pr *httputil.ProxyRequest) {
	out := pr.Out
	for name := range out.Header {
		if private(name) {
			delete(out.Header, name)
		}
	}
	if !c.tunnel {
		// Any other protocol, h2c above all, is a way past every check.
		out.Header.Del("Connection")
		out.Header.Del("Upgrade")
	}
	pr.SetXForwarded()
	out.Header[requestID], out.Header[executionID] = c.id[:], c.id[:]
	// net/url would encode some bytes anew; what is opaque it writes as it is.
	out.URL = &url.URL{Scheme: "http", Opaque: c.target}
	if out.Body != nil {
		body := &body{Reader: out.Body, call: c}
		out.Body = body
		if len(out.Trailer) > 0 {
			body.trailer = out.Trailer
			body.copyTrailer()
		}
	}
}

// RoundTrip sends a call that is not plain.
func (c *call) RoundTrip(out *http.Request) (res *http.Response, err error) {
	err = c.try(out.Context(), func(t *target) (err error) {
		out.URL.Host = t.key.address
		res, err = t.transport.RoundTrip(out) //nolint:bodyclose // ReverseProxy does
		return err
	})
	return res, err
}

// try sends the call to a replica, and to the next one if a replica cannot be
// dialed: then it has seen nothing of the call.
func (c *call) try(ctx context.Context, send func(*target) error) error {
	var tried []*target
	var failed error
	for {
		t := c.pick(tried)
		if t == nil {
			return failed
		}
		c.leave()
		c.to = t
		t.inFlight.Add(1)
		if failed = send(t); !isDial(failed) || ctx.Err() != nil {
			return failed
		}
		tried = append(tried, t)
	}
}

// pick chooses a replica that was not tried, of another version only if the
// caller named none.
func (c *call) pick(tried []*target) *target {
	t := c.chosen.pick(tried)
	if t != nil || c.number != 0 {
		return t
	}
	for _, v := range c.route.versions {
		if v.weight == 0 {
			continue
		}
		if t := v.pick(tried); t != nil {
			return t
		}
	}
	return nil
}

// leave takes the call out of its target's count.
func (c *call) leave() {
	if c.to != nil {
		c.to.inFlight.Add(-1)
		c.to = nil
	}
}

func isDial(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial"
}

// answer sees the head of the function's answer.
func (c *call) answer(res *http.Response) error {
	c.answered.Store(true)
	c.limit.Stop()
	switch {
	case res.StatusCode < 100:
		return fmt.Errorf("it has the status %d", res.StatusCode)
	case res.StatusCode == http.StatusSwitchingProtocols && !c.tunnel:
		return errors.New("it switched protocols unasked")
	}
	res.Header[requestID] = c.id[:]
	if _, ok := res.Header["Content-Type"]; !ok {
		c.out.Header()["Content-Type"] = nil // or the server would guess it
	}
	c.out.left = res.ContentLength
	return nil
}

// fail is failed, as ReverseProxy calls it.
func (c *call) fail(w http.ResponseWriter, out *http.Request, err error) {
	c.failed(out.Context(), w, err)
}

// failed answers a call to which the function gave no answer.
func (c *call) failed(ctx context.Context, w http.ResponseWriter, err error) {
	name := c.route.name
	var e *proto.Error
	switch {
	case errors.Is(context.Cause(ctx), errLimit):
		e = proto.Errorf(proto.ErrTimeout, "function %q did not answer within %v", name, c.route.limit).
			WithHint(`its setting "timeout" is how long callers wait`).From("function", "timeout")
	case c.in.Context().Err() != nil:
		e = proto.Errorf(proto.ErrCanceled, "the caller left").From("caller", "canceled")
	case c.bodyFailed.Load():
		e = proto.Errorf(proto.ErrInvalid, "the request's body cannot be read: %w", err).From("caller", "body")
	case isDial(err):
		e = c.unreachable(err)
	default:
		e = proto.Errorf(proto.ErrBadGateway, "function %q gave no valid answer: %w", name, err).
			WithHint("proxyCli log "+name+" shows its last output").From("function", "answer")
	}
	c.refuse(w, e)
}

func (c *call) unreachable(err error) *proto.Error {
	if c.to != nil {
		if e := c.agentErr(c.to.key.agent); e != nil {
			return e
		}
	}
	return proto.Errorf(proto.ErrBadGateway, "function %q is down: %w", c.route.name, err).
		WithHint("proxyCli list says why").From("function", "dial")
}

// refuse answers in the function's place.
func (c *call) refuse(w http.ResponseWriter, err error) {
	e := *proto.AsError(err)
	e.RequestID = c.id[0]
	if e.Component == "" {
		e = *e.From("gateway", string(e.Kind))
	}
	c.logger.Debug("call refused", "method", c.in.Method, "target", c.in.RequestURI, "error", e.Message, "id", c.id[0])
	w.Header().Set(requestID, c.id[0])
	if e.Kind == proto.ErrUnavailable {
		w.Header().Set("Retry-After", strconv.Itoa(c.retryAfter()))
	}
	if c.in.ContentLength != 0 && c.in.ProtoMajor == 1 {
		// The Transport may still read the body; to keep the connection the server
		// would read the rest of it at the same time.
		w.Header().Set("Connection", "close")
	}
	transport.WriteError(w, &e)
}

// retryAfter is in how many seconds the caller may try again.
func (c *call) retryAfter() int {
	if c.route == nil || c.route.retry.IsZero() {
		return 1
	}
	return max(1, int(math.Ceil(time.Until(c.route.retry).Seconds())))
}

// body is the caller's body on its way to the function. It does not close what
// it reads: another replica may be given the same body.
type body struct {
	io.Reader
	call    *call
	trailer http.Header // of the outbound request, filled at the end; nil for none
}

func (b *body) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	if !b.call.answered.Load() {
		// The limit counts from the last part of the body: a slow upload is no fault
		// of the function.
		b.call.limit.Reset(b.call.route.limit)
	}
	switch {
	case err == io.EOF && b.trailer != nil:
		b.copyTrailer()
	case err != nil && err != io.EOF:
		b.call.bodyFailed.Store(true)
	}
	return n, err
}

func (*body) Close() error { return nil }

// copyTrailer takes over the caller's trailers, which before the body's end have
// names but no values.
func (b *body) copyTrailer() {
	clear(b.trailer)
	for name, values := range b.call.in.Trailer {
		if !private(name) {
			b.trailer[name] = values
		}
	}
}

// private says whether a header speaks for the platform, so that no caller may
// set it. Underscores count as hyphens, as they do to CGI and its heirs.
func private(name string) bool {
	return hasPrefix(name, "x-forwarded-") || hasPrefix(name, "x-ryo-") ||
		len(name) == len("forwarded") && hasPrefix(name, "forwarded")
}

// hasPrefix compares with a lower-case prefix without regard to case.
func hasPrefix(name, prefix string) bool {
	if len(name) < len(prefix) {
		return false
	}
	for i := range len(prefix) {
		b := name[i]
		switch {
		case b == '_':
			b = '-'
		case 'A' <= b && b <= 'Z':
			b += 'a' - 'A'
		}
		if b != prefix[i] {
			return false
		}
	}
	return true
}

// idOf is the request's id: the caller's, if it can stand in a header and a log,
// or a new one.
func idOf(r *http.Request) string {
	id := r.Header.Get(requestID)
	for i := range len(id) {
		if id[i] <= ' ' || id[i] >= 0x7f {
			return rand.Text()
		}
	}
	if id == "" || len(id) > maxRequestID {
		return rand.Text()
	}
	return id
}

// flusher sends each part of an answer on as it comes. Where the length is known
// the last part is left to the server, which joins the head of the answer to it: a
// short answer is one write instead of two.
type flusher struct {
	http.ResponseWriter
	left int64 // of the declared length, in bytes; negative when there is none
}

func (f *flusher) Write(p []byte) (int, error) {
	n, err := f.ResponseWriter.Write(p)
	if f.left -= int64(n); f.left != 0 && err == nil {
		err = http.NewResponseController(f.ResponseWriter).Flush()
	}
	return n, err
}

// Unwrap serves http.ResponseController.
func (f *flusher) Unwrap() http.ResponseWriter { return f.ResponseWriter }

// buffers is the pool of the buffers that answers are copied with.
type buffers struct{}

var pool = sync.Pool{New: func() any { return new([copyBuffer]byte) }}

func (buffers) Get() []byte  { return pool.Get().(*[copyBuffer]byte)[:] }
func (buffers) Put(b []byte) { pool.Put((*[copyBuffer]byte)(b)) }
