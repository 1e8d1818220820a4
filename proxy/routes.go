package proxy

import (
	"cmp"
	"context"
	"maps"
	"math"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
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

// route is one function as callers reach it. It never changes.
type route struct {
	name     string
	mount    string        // what its service calls it: "/" and the escaped path
	limit    time.Duration // until the answer begins
	versions []*version    // those that can be called, in the order of their numbers
	total    uint32        // of their weights
	step     uint32        // between the places of two calls among total
	unready  *proto.Error  // why calls that name no version are not taken
	retry    time.Time     // when they may be again; zero when nobody knows
	calls    *calls
}

// version is one version of a function with the replicas that serve it. Only turn
// changes.
type version struct {
	number  uint32
	weight  uint32 // its share of the route's total; 0: it is called by its number alone
	targets []*target
	turn    atomic.Uint32
}

// calls counts those of a path, over all routes that it has had.
type calls struct {
	n     atomic.Int64  // under way
	turn  atomic.Uint32 // that named no version
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
	links     links           // for plain calls
	transport *http.Transport // for all others
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
	idle    time.Duration // how long connections are kept without a call
}

// replica is what an agent says about one function.
type replica struct {
	row   *proto.FunctionJsonRsp
	local bool // the agent was reached at a loopback address
}

// find returns the route of an escaped path segment, NAME in any case or
// NAME@VERSION, and the version's number, 0 for none. The route is nil when there
// is none; when there can be none it is an ErrInvalid.
func (r *routes) find(segment string) (rt *route, number uint32, err error) {
	table := *r.table.Load()
	if rt := table[segment]; rt != nil {
		return rt, 0, nil
	}
	plain, err := url.PathUnescape(segment)
	if err != nil {
		return nil, 0, proto.Errorf(proto.ErrInvalid, "%.*q is not a path segment", proto.MaxName, segment)
	}
	name, digits, pinned := strings.Cut(plain, "@")
	if pinned {
		n, err := strconv.ParseUint(digits, 10, 32)
		if err != nil || digits[0] == '0' {
			return nil, 0, proto.Errorf(proto.ErrInvalid, "%.20q is not the number of a version", digits).
				WithHint("versions are counted from 1: " + prefix + "hello@3")
		}
		number = uint32(n)
	}
	// Paths of the table were names once, so what is found needs no check.
	path := proto.Path(name)
	if rt := table[path]; rt != nil {
		return rt, number, nil
	}
	first, size := utf8.DecodeRuneInString(path)
	return nil, number, proto.CheckName(string(unicode.ToUpper(first)) + path[size:])
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
			before, underWay = rt.targets(), rt.calls
		}
		var after []*target
		delete(table, path)
		if len(replicas) > 0 {
			rt := newRoute(path, replicas, before)
			rt.calls = underWay
			table[path], after = rt, rt.targets()
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
	rt := &route{name: replicas[0].row.GetName(), mount: "/" + url.PathEscape(path), limit: proto.DefaultTimeout}
	for _, r := range replicas {
		// Two agents may have been given, not through a proxy, functions whose names
		// differ in case alone: no name may answer with the other's function.
		if r.row.GetName() != rt.name {
			continue
		}
		for _, s := range serving(r.row) {
			key, ok := keyOf(r, s)
			if !ok {
				continue
			}
			if limit, err := (&proto.FunctionJson{Timeout: r.row.GetTimeout()}).TimeLimit(); err == nil {
				rt.limit = limit
			}
			v := rt.version(s.GetVersion())
			if v == nil {
				v = &version{number: s.GetVersion()}
				rt.versions = append(rt.versions, v)
			}
			v.weight += s.GetWeight()
			rt.total += s.GetWeight()
			if i := slices.IndexFunc(old, func(t *target) bool { return t.key == key }); i >= 0 {
				v.targets = append(v.targets, old[i])
			} else {
				v.targets = append(v.targets, newTarget(key))
			}
		}
	}
	slices.SortFunc(rt.versions, func(a, b *version) int { return cmp.Compare(a.number, b.number) })
	rt.balance()
	if rt.total == 0 {
		rt.unready, rt.retry = unready(replicas)
	}
	return rt
}

// serving returns the versions of a replica to which calls may be sent. The agent
// keeps the sockets of a version open while no process serves it, so that calls
// queue: while it restarts, or is idle. A function that is being replaced, or
// could not be, serves with what it had before.
func serving(row *proto.FunctionJsonRsp) []*proto.Serving {
	status := proto.Status(row.GetStatus())
	list := row.GetServing()
	queues := status == proto.Deployed || status == proto.Deploying && len(list) > 0
	if len(list) == 0 { // of a function without versions
		list = []*proto.Serving{{
			Version: row.GetVersion(), Weight: 100, Proxy: row.GetProxy(), Socket: row.GetSocket(),
			Instances: row.GetInstances(), Pid: row.GetPid(),
		}}
	}
	return slices.DeleteFunc(slices.Clone(list), func(s *proto.Serving) bool { return !queues && s.GetInstances() == 0 })
}

// unready says why a function takes no calls, and when it may again.
func unready(replicas []replica) (*proto.Error, time.Time) {
	row := replicas[0].row
	var retry time.Time
	for _, r := range replicas {
		if proto.Status(r.row.GetStatus()) == proto.Deploying {
			return proto.Errorf(proto.ErrUnavailable, "function %q is not deployed yet", r.row.GetName()).
				WithHint("call again in a moment").From("function", "deploying"), time.Time{}
		}
		if at, err := time.Parse(time.RFC3339, r.row.GetRetry()); err == nil && (retry.IsZero() || at.Before(retry)) {
			row, retry = r.row, at
		}
	}
	kind, does := proto.ErrBadGateway, "does not run"
	if !retry.IsZero() {
		kind, does = proto.ErrUnavailable, "keeps ending and is tried again at "+row.GetRetry()
	}
	return proto.Errorf(kind, "function %q %s", row.GetName(), does).
		WithHint("proxyCli list says why; proxyCli log "+row.GetName()+" shows its last output").
		From("function", row.GetReason()), retry
}

// balance finds the step from which each version gets its calls spread among
// those of the others, as often in a row of total as it weighs.
func (rt *route) balance() {
	divisor := rt.total
	for _, v := range rt.versions {
		divisor = gcd(divisor, v.weight)
	}
	if divisor > 1 {
		rt.total /= divisor
		for _, v := range rt.versions {
			v.weight /= divisor
		}
	}
	// The golden ratio leaves the fewest neighbours alike; without a common divisor
	// every place is visited.
	rt.step = max(1, uint32(float64(rt.total)/math.Phi))
	for gcd(rt.step, rt.total) > 1 {
		rt.step--
	}
}

func gcd(a, b uint32) uint32 {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// version returns the version of a number, nil when it cannot be called.
func (rt *route) version(number uint32) *version {
	for _, v := range rt.versions {
		if v.number == number {
			return v
		}
	}
	return nil
}

// targets returns those of all versions.
func (rt *route) targets() (list []*target) {
	for _, v := range rt.versions {
		list = append(list, v.targets...)
	}
	return list
}

// choose returns the version for a call that names none, by weight. The route is
// ready.
func (rt *route) choose() *version {
	if len(rt.versions) == 1 {
		return rt.versions[0]
	}
	place := uint32(uint64(rt.calls.turn.Add(1)) * uint64(rt.step) % uint64(rt.total))
	for _, v := range rt.versions {
		if place < v.weight {
			return v
		}
		place -= v.weight
	}
	return rt.versions[0] // not reached: the weights add up to total
}

// keyOf reads where a version's service is; false when the agent did not say.
func keyOf(r replica, s *proto.Serving) (targetKey, bool) {
	u, err := url.Parse(s.GetProxy())
	if err != nil || u.Scheme != "http" || u.Port() == "" {
		return targetKey{}, false
	}
	key := targetKey{agent: r.row.GetAtAgent(), address: u.Host, pid: s.GetPid(), idle: idleLimit}
	if r.local {
		key.socket = s.GetSocket()
	}
	// An open connection keeps a process from becoming idle.
	if idle, err := (&proto.FunctionJson{Idle: r.row.GetIdle()}).IdleLimit(); err == nil && idle > 0 {
		key.idle = min(idleLimit, max(1, idle/2))
	}
	return key, true
}

func newTarget(key targetKey) *target {
	t := &target{key: key}
	dialer := net.Dialer{Timeout: dialLimit}
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	t.links.idle = key.idle
	t.links.dial = func(ctx context.Context) (net.Conn, error) {
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
	}
	t.transport = &http.Transport{
		DialContext:            func(ctx context.Context, _, _ string) (net.Conn, error) { return t.links.dial(ctx) },
		MaxIdleConnsPerHost:    idlePerTarget,
		IdleConnTimeout:        key.idle,
		ExpectContinueTimeout:  continueLimit,
		MaxResponseHeaderBytes: answerHead,
		DisableCompression:     true, // a body passes as it is
		Protocols:              protocols,
	}
	return t
}

// pick chooses the replica with the fewest calls in flight, in turn among equals,
// leaving out those that were tried. It returns nil when none is left.
func (v *version) pick(tried []*target) *target {
	if len(v.targets) == 1 && len(tried) == 0 {
		return v.targets[0]
	}
	var best *target
	var least int64
	start := int(v.turn.Add(1) % uint32(len(v.targets)))
	for i := range v.targets {
		t := v.targets[(start+i)%len(v.targets)]
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
