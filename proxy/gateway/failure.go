package gateway

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/proxy/gateway/forward"
	"github.com/Ishan27g/ryo-faas/transport/wire"
)

// fail answers a call to which the function gave no answer.
func (c *call) fail(ctx context.Context, err error) {
	name, took := c.route.name, c.elapsed()
	c.unreached = unsent(err) || errors.Is(err, errQueueFull) || errors.Is(err, errCrowded) || errors.Is(err, errGone)
	var e *proto.Error
	switch {
	case errors.Is(context.Cause(ctx), errLimit), errors.Is(err, errLimit):
		e = c.late(err, took).Late(c.term.limit, took)
	case errors.Is(context.Cause(ctx), errStalled) && c.term.asked:
		e = proto.Errorf(proto.ErrStalled, "the request's body did not come whole within %v, after %v", c.term, took).
			WithHint(c.term.hint()).From("caller", "stalled").Late(c.term.limit, took)
	case errors.Is(context.Cause(ctx), errStalled):
		e = proto.Errorf(proto.ErrStalled, "the request's body stopped coming for %v", c.term.limit).
			WithHint(`the setting "timeout" of the function is how long it is waited for`).From("caller", "stalled").Late(c.term.limit, took)
	case c.in.Context().Err() != nil, errors.Is(context.Cause(ctx), errLeft):
		e = proto.Errorf(proto.ErrCanceled, "the caller canceled the call").From("caller", "canceled")
	case errors.Is(err, errQueueFull), errors.Is(err, errCrowded):
		e = c.refused(err, took)
	case c.overflows.Load():
		e = c.route.edge.tooLarge(name)
	case c.bodyFailed.Load():
		e = proto.Errorf(proto.ErrInvalid, "the request's body cannot be read: %w", err).From("caller", "body")
	case errors.Is(err, errFull):
		e = proto.Errorf(proto.ErrUnavailable, "function %q cannot be called now: %w", name, err).
			WithHint("call again, or deploy it on more agents").From("gateway", string(proto.ErrUnavailable))
	case unsent(err), errors.Is(err, errGone):
		e = c.unreachable(err)
	case wire.IsCutOff(err):
		e = proto.Errorf(proto.ErrBadGateway, "agent %s, where function %q was called, is cut off: its machine has not answered for %v", c.target.key.agent, name, wire.PeerSilence).
			WithHint("the call may have been executed; check that the machine runs, and that no firewall is between").From("agent", "lost")
	case errors.Is(err, errNoSocket):
		e = proto.Errorf(proto.ErrUnsupported, "function %q serves no websockets: %w", name, err).From("function", "answer")
	case c.agentErr() != nil:
		e = proto.Errorf(proto.ErrBadGateway, "function %q was called, and the connection was lost: %s", name, c.agentErr().Message).
			WithHint("the call may have been executed; proxyCli agents shows which agents answer").From("agent", "lost")
	default:
		e = proto.Errorf(proto.ErrBadGateway, "function %q gave no valid answer: %w", name, withoutAddress(err)).
			WithHint("proxyCli log "+name+" shows its last output").From("function", "answer")
	}
	c.refuse(e)
}

// late says that the function did not begin to answer in time, and what it was.
func (c *call) late(err error, took time.Duration) *proto.Error {
	name := c.route.name
	switch agent := c.agentErr(); {
	case errors.Is(err, errCrowded):
		return proto.Errorf(proto.ErrTimeout, "function %q had no place for the call within %v, after %v", name, c.term, took).
			WithHint(crowdHint).From("gateway", "queued")
	case agent != nil:
		return proto.Errorf(proto.ErrTimeout, "function %q was called, and did not answer within %v, after %v: %s", name, c.term, took, agent.Message).
			WithHint(agent.Hint).From("agent", "timeout")
	case isDial(err):
		return proto.Errorf(proto.ErrTimeout, "function %q took no connection within %v, after %v", name, c.term, took).
			WithHint(c.term.hint()).From("function", "dial")
	}
	return proto.Errorf(proto.ErrTimeout, "function %q did not answer within %v, after %v", name, c.term, took).
		WithHint(c.term.hint()).From("function", "timeout")
}

// crowdHint is what to do when a function has no place for a call.
const crowdHint = `call again later; the function's settings "concurrency", "instances", "queue" and "queueTimeout" say how many calls it takes, and how many wait for how long`

// refused says why the call was not let through to the function.
func (c *call) refused(err error, took time.Duration) *proto.Error {
	if errors.Is(err, errQueueFull) {
		return proto.Errorf(proto.ErrUnavailable, "function %q is busy, and as many calls wait for it as may", c.route.name).
			WithHint(crowdHint).From("gateway", "full")
	}
	return proto.Errorf(proto.ErrUnavailable, "function %q is busy: the call has waited for its place for %v", c.route.name, took).
		WithHint(crowdHint).From("gateway", "queued").Late(c.route.patience, took)
}

// agentErr says why the agent where the call went does not answer; nil when it does.
func (c *call) agentErr() *proto.Error {
	if c.target == nil {
		return nil
	}
	return c.AgentErr(c.target.key.agent)
}

func (c *call) unreachable(err error) *proto.Error {
	if e := c.agentErr(); e != nil {
		return e
	}
	// It may have been stopped or paused since the call was given a replica.
	switch now, _, _ := c.Table.find(proto.Path(c.route.name)); {
	case now == nil:
		return proto.AsError(c.Unknown(c.route.name))
	case now != c.route && now.unready != nil:
		return now.unready
	}
	return proto.Errorf(proto.ErrBadGateway, "function %q is down: %w", c.route.name, withoutAddress(err)).
		WithHint("proxyCli list says why").From("function", "dial")
}

// withoutAddress is an error of a connection without its addresses: callers are not
// told where the sockets of functions lie.
func withoutAddress(err error) error {
	if op := (*net.OpError)(nil); errors.As(err, &op) {
		return fmt.Errorf("%s: %w", op.Op, withoutAddress(op.Err)) // that of a door may hold its connection's
	}
	return err
}

// forStrangers is what callers are told who may not know what a function consists of,
// where it runs and what keeps it from answering.
var forStrangers = map[proto.Kind]string{
	proto.ErrUnavailable: "the function cannot be called now",
	proto.ErrBadGateway:  "the function gave no answer",
	proto.ErrTimeout:     "the function did not answer in time",
	proto.ErrInternal:    "the function could not be called",
}

// refusedLinger is how long the body of a refused call is still read: a caller that is
// sending it sees the answer meanwhile, and not a broken connection. One that waits in the
// middle keeps no connection longer.
const refusedLinger = time.Second

// refuse answers in the function's place.
func (c *call) refuse(err error) {
	if c.failure = err; c.later != nil { // nobody waits for the answer
		return
	}
	w := &c.out
	e := *proto.AsError(err)
	if e.Component == "" {
		e = *e.From("gateway", string(e.Kind))
	}
	if says := forStrangers[e.Kind]; says != "" && e.Component != "caller" && c.Stranger(c.in) {
		e = *proto.Errorf(e.Kind, "%s", says).From("function", string(e.Kind)).Late(e.Limit, e.Elapsed) // they have waited for it
	}
	w.Header().Set(forward.RequestID, c.id[0])
	if e.Kind == proto.ErrUnavailable || e.Kind == proto.ErrTooMany {
		w.Header().Set("Retry-After", strconv.Itoa(c.retryAfter()))
	}
	if c.unread() {
		// To keep the connection the server would read the rest of the body, which the
		// Transport may still be reading.
		w.Header().Set("Connection", "close")
	}
	wire.Refuse(w, c.in, &e)
	if wire.IsGRPC(c.in) { // whose answers all have the status 200
		_, w.status = wire.CodeOf(e.Kind)
	}
	if c.unread() {
		_ = http.NewResponseController(w.ResponseWriter).SetReadDeadline(time.Now().Add(refusedLinger))
	}
}

// retryAfter returns the seconds after which the caller may try again.
func (c *call) retryAfter() int {
	wait := c.wait
	switch {
	case wait > 0, c.route == nil:
	case !c.route.retry.IsZero():
		wait = time.Until(c.route.retry)
	case c.route.gate != nil:
		_, wait = c.route.gate.crowd() // as long as calls wait now
	}
	return max(1, int(math.Ceil(wait.Seconds())))
}
