package gateway

import (
	"net/http"
	"strconv"
	"time"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/proxy/gateway/forward"
)

// grpcTimeout is where callers that speak gRPC say how long they wait.
const grpcTimeout = "Grpc-Timeout"

// term is the time within which the answer to a call must begin.
type term struct {
	limit time.Duration
	asked bool // its caller has shortened it
}

// term returns that of a call whose caller waits for a time, 0 for any. It can only
// shorten what the function's setting says.
func (rt *route) term(asked time.Duration) term {
	if asked > 0 && asked < rt.limit {
		return term{asked, true}
	}
	return term{limit: rt.limit}
}

// String says whose limit it is.
func (t term) String() string {
	if t.asked {
		return "the " + t.limit.String() + " that its caller gives it"
	}
	return "its limit of " + t.limit.String()
}

// hint says how to change it.
func (t term) hint() string {
	if t.asked {
		return "the caller's " + forward.Timeout + ", or its gRPC deadline, may be as long as the function's setting \"timeout\""
	}
	return `the function's setting "timeout" is how long callers wait`
}

// spoken is what a function is told of the time that is left. In whole milliseconds, both
// lanes tell the same.
func spoken(left time.Duration) string {
	left = max(left, 1)
	return (left + time.Millisecond - 1).Truncate(time.Millisecond).String()
}

// timeoutOf returns how long the caller of a request waits for its answer to begin, 0 if
// it does not say.
func timeoutOf(h http.Header) (time.Duration, error) {
	least, err := timeoutIn(h[forward.Timeout], parseTimeout)
	if err != nil {
		return 0, err
	}
	other, err := timeoutIn(h[grpcTimeout], parseGRPCTimeout)
	if least == 0 || other > 0 && other < least {
		least = other
	}
	return least, err
}

func timeoutIn(values []string, parse func(string) (time.Duration, error)) (time.Duration, error) {
	switch len(values) {
	case 0:
		return 0, nil
	case 1:
		return parse(values[0])
	}
	return 0, proto.Errorf(proto.ErrInvalid, "the request says %d times how long its caller waits: %.40q, %.40q", len(values), values[0], values[1]).
		WithHint("say it once").From("caller", string(proto.ErrInvalid))
}

// parseTimeout parses a duration as in settings.
func parseTimeout(text string) (time.Duration, error) {
	d, err := time.ParseDuration(text)
	if err != nil || d <= 0 {
		return 0, proto.Errorf(proto.ErrInvalid, "the request's %s: %.40q is not a duration longer than 0", forward.Timeout, text).
			WithHint("write a number with its unit, such as 500ms, 1.5s or 2m").From("caller", string(proto.ErrInvalid))
	}
	return d, nil
}

// parseGRPCTimeout parses what gRPC sends: up to eight digits and a unit.
func parseGRPCTimeout(text string) (time.Duration, error) {
	units := map[byte]time.Duration{'H': time.Hour, 'M': time.Minute, 'S': time.Second, 'm': time.Millisecond, 'u': time.Microsecond, 'n': 1}
	if last := len(text) - 1; last >= 1 && last <= 8 {
		n, err := strconv.ParseUint(text[:last], 10, 31)
		if unit := units[text[last]]; err == nil && n > 0 && unit > 0 {
			return time.Duration(min(int64(n), int64(proto.MaxTimeout/unit)+1) * int64(unit)), nil
		}
	}
	return 0, proto.Errorf(proto.ErrInvalid, "the request's grpc-timeout: %.40q is no timeout", text).
		WithHint("it has up to eight digits, not all of them 0, and one of the units H, M, S, m, u and n").From("caller", string(proto.ErrInvalid))
}
