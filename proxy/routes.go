package proxy

import (
	"context"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/Ishan27g/ryo-faas/proto"
)

// The limits of connections to functions.
const (
	dialLimit     = 2 * time.Second  // both ends share a network; a busy process is reached through its backlog
	idleLimit     = 90 * time.Second // below the idle limit of the function's server, which would close first
	idlePerTarget = 1024             // the default of 2 makes every busy caller dial anew
	answerHead    = 64 << 10         // bytes of an answer's head, as many as of a request's
	continueLimit = time.Second      // how long a function may look at a head before it is sent the body
)

// routes is the table of functions by path. Reading it takes no lock. Writers
// take turns (fleet.mu).
type routes struct {
	table atomic.Pointer[map[string]*route]
}

// route is one function as callers reach it. Only turn changes.
type route struct {
	name    string
	mount   string        // what its service calls it: "/" and the escaped path
	limit   time.Duration // until the answer begins
	targets []*target     // the replicas that take calls
	unready *proto.Error  // why there are no targets
	calls   *calls
	turn    atomic.Uint32
}

// calls counts those of a path that are under way, over all versions of its route.
type calls struct {
	n     atomic.Int64
	ended chan struct{} // has room for one: the last one has
}

func (c *calls) leave() {
	if c.n.Add(-1) == 0 {
		select {
		case c.ended <- struct{}{}:
		default:
		}
	}
}

// wait returns when no call is under way, or with ctx.
func (c *calls) wait(ctx context.Context) {
	for c.n.Load() > 0 {
		select {
		case <-c.ended:
		case <-ctx.Done():
			return
		}
	}
}

// target is one replica's service.
type target struct {
	key       targetKey
	transport *http.Transport
	inFlight  atomic.Int64
	onUnix    atomic.Bool // its unix socket could be reached
}

// targetKey is what makes a replica a new one. The process is part of it so that
// no call is sent over an idle connection to one that was replaced.
type targetKey struct {
	agent   string
	address string // host:port
	socket  string // unix path, "" for none
	pid     int32
}

// replica is what an agent says about one function.
type replica struct {
	row   *proto.FunctionJsonRsp
	local bool // the agent was reached at a loopback address
}

// find returns the route of an escaped path segment, in any case. It returns nil
// when there is none, and an ErrInvalid when there can be none.
func (r *routes) find(segment string) (*route, error) {
	table := *r.table.Load()
	if rt := table[segment]; rt != nil {
		return rt, nil
	}
	name, err := url.PathUnescape(segment)
	if err != nil {
		return nil, proto.Errorf(proto.ErrInvalid, "%.*q is not a path segment", proto.MaxName, segment)
	}
	// Paths of the table were names once, so what is found needs no check.
	path := proto.Path(name)
	if rt := table[path]; rt != nil {
		return rt, nil
	}
	first, size := utf8.DecodeRuneInString(path)
	return nil, proto.CheckName(string(unicode.ToUpper(first)) + path[size:])
}

// update replaces the routes of some paths; a path without replicas is taken
// out. It returns the targets that no route uses any longer: once the lock is
// given up, their idle connections are to be closed.
func (r *routes) update(changes map[string][]replica) []*target {
	table := map[string]*route{}
	if old := r.table.Load(); old != nil {
		table = maps.Clone(*old)
	}
	var retired []*target
	for path, replicas := range changes {
		var before []*target
		underWay := &calls{ended: make(chan struct{}, 1)}
		if rt := table[path]; rt != nil {
			before, underWay = rt.targets, rt.calls
		}
		var after []*target
		delete(table, path)
		if len(replicas) > 0 {
			rt := newRoute(path, replicas, before)
			rt.calls = underWay
			table[path], after = rt, rt.targets
		}
		for _, t := range before {
			if !slices.Contains(after, t) {
				retired = append(retired, t)
			}
		}
	}
	r.table.Store(&table)
	return retired
}

// clear takes all routes out and returns their targets.
func (r *routes) clear() []*target {
	changes := map[string][]replica{}
	for path := range *r.table.Load() {
		changes[path] = nil
	}
	return r.update(changes)
}

// newRoute makes the route of a path from its replicas, of which there is at
// least one, reusing targets that are still good.
func newRoute(path string, replicas []replica, old []*target) *route {
	first := replicas[0].row
	rt := &route{name: first.GetName(), mount: "/" + url.PathEscape(path), limit: proto.DefaultTimeout}
	for _, r := range replicas {
		// Two agents may have been given, not through a proxy, functions whose names
		// differ in case alone: no name may answer with the other's function.
		if r.row.GetName() != rt.name || !takesCalls(r.row) {
			continue
		}
		key, ok := keyOf(r)
		if !ok {
			continue
		}
		if limit, err := (&proto.FunctionJson{Timeout: r.row.GetTimeout()}).TimeLimit(); err == nil {
			rt.limit = limit
		}
		i := slices.IndexFunc(old, func(t *target) bool { return t.key == key })
		if i >= 0 {
			rt.targets = append(rt.targets, old[i])
		} else {
			rt.targets = append(rt.targets, newTarget(key))
		}
	}
	if len(rt.targets) == 0 {
		rt.unready = unready(replicas)
	}
	return rt
}

// takesCalls says whether calls may be sent. The agent keeps the sockets of a
// deployed function open while its process restarts, so that calls queue; a
// function that is being replaced, or could not be, serves with its old process.
func takesCalls(row *proto.FunctionJsonRsp) bool {
	return proto.Status(row.GetStatus()) == proto.Deployed || row.GetInstances() > 0
}

func unready(replicas []replica) *proto.Error {
	row := replicas[0].row
	for _, r := range replicas {
		if proto.Status(r.row.GetStatus()) == proto.Deploying {
			return proto.Errorf(proto.ErrUnavailable, "function %q is not deployed yet", r.row.GetName()).
				WithHint("call again in a moment").From("function", "deploying")
		}
	}
	return proto.Errorf(proto.ErrBadGateway, "function %q does not run", row.GetName()).
		WithHint("proxyCli list says why; proxyCli log "+row.GetName()+" shows its last output").
		From("function", row.GetReason())
}

// keyOf reads where a replica's service is; false when the agent did not say.
func keyOf(r replica) (targetKey, bool) {
	u, err := url.Parse(r.row.GetProxy())
	if err != nil || u.Scheme != "http" || u.Port() == "" {
		return targetKey{}, false
	}
	key := targetKey{agent: r.row.GetAtAgent(), address: u.Host, pid: r.row.GetPid()}
	if r.local {
		key.socket = r.row.GetSocket()
	}
	return key, true
}

func newTarget(key targetKey) *target {
	t := &target{key: key}
	dialer := net.Dialer{Timeout: dialLimit}
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	t.transport = &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			if key.socket != "" {
				// 27 % less CPU per call than TCP. An agent behind a tunnel looks local but
				// its sockets are not there. One that was there and is gone tells that the
				// agent has ended, and then its port may be another agent's by now.
				conn, err := dialer.DialContext(ctx, "unix", key.socket)
				if err == nil {
					t.onUnix.Store(true)
				}
				if err == nil || t.onUnix.Load() {
					return conn, err
				}
			}
			return dialer.DialContext(ctx, "tcp", key.address)
		},
		MaxIdleConnsPerHost:    idlePerTarget,
		IdleConnTimeout:        idleLimit,
		ExpectContinueTimeout:  continueLimit,
		MaxResponseHeaderBytes: answerHead,
		DisableCompression:     true, // a body passes as it is
		Protocols:              protocols,
	}
	return t
}

// pick chooses the replica with the fewest calls in flight, in turn among equals,
// leaving out those that were tried. It returns nil when none is left.
func (rt *route) pick(tried []*target) *target {
	if len(rt.targets) == 1 && len(tried) == 0 {
		return rt.targets[0]
	}
	var best *target
	var least int64
	start := int(rt.turn.Add(1) % uint32(len(rt.targets)))
	for i := range rt.targets {
		t := rt.targets[(start+i)%len(rt.targets)]
		if n := t.inFlight.Load(); !slices.Contains(tried, t) && (best == nil || n < least) {
			best, least = t, n
		}
	}
	return best
}

// splitTarget takes a request target apart: the escaped segment after prefix,
// and the rest, byte for byte, which is empty or begins with "/" or "?".
func splitTarget(target string) (segment, rest string, err error) {
	below, ok := strings.CutPrefix(target, prefix)
	if !ok {
		return "", "", proto.Errorf(proto.ErrInvalid, "the request target must have the form %sNAME", prefix)
	}
	for i := range len(below) {
		// HTTP/2 lets bytes through that would end an HTTP/1.1 request line.
		if below[i] <= ' ' || below[i] == 0x7f {
			return "", "", proto.Errorf(proto.ErrInvalid, "the request target holds the byte 0x%02x", below[i])
		}
	}
	end := strings.IndexAny(below, "/?")
	if end < 0 {
		end = len(below)
	}
	return below[:end], below[end:], nil
}
