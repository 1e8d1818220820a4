package gateway

import (
	"cmp"
	"context"
	"maps"
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

// Table is the routes of all functions, by path. Reading it takes no lock: what is
// read never changes, and Update swaps all of it.
type Table struct {
	routes atomic.Pointer[map[string]*route]
	sites  atomic.Pointer[sites] // it may lead to a path that has no route any longer
}

// NewTable returns a table without routes.
func NewTable() *Table {
	t := new(Table)
	t.routes.Store(&map[string]*route{})
	t.sites.Store(&sites{})
	return t
}

// route is one function as callers reach it. It never changes.
type route struct {
	table    *Table
	name     string
	mount    string        // what its service calls it: "/" and the escaped path
	prefix   string        // as callers call it: Prefix and the path
	public   bool          // everybody may call it
	sites    []proto.Route // where else it wants to be called
	edge     *edge         // what is asked of its calls; nil: nothing
	limit    time.Duration // within which the answer begins
	left     string        // what a function is told of that
	room     int           // calls that may wait at the gate,
	patience time.Duration // for as long
	later    lasting       // how calls are tried that wait in a queue that lasts
	versions []*version    // those that can be called, in the order of their numbers
	total    uint32        // of their weights
	step     uint32        // between the places of two calls among total
	unready  *proto.Error  // why calls that name no version are refused
	retry    time.Time     // when the function is tried again; zero: not known
	calls    *Calls
	gate     *gate    // nil: no version limits its calls
	none     *meter   // of calls that reach no version
	meters   []*meter // all, in the order of their versions
}

// version is one version of a function with the replicas that serve it. Only turn changes.
type version struct {
	number  uint32
	weight  uint32 // its share of the route's total; 0: it is called by its number alone
	targets []*target
	places  []int // calls that each target takes at once; 0: any number
	turn    atomic.Uint32
	meter   *meter
}

// Calls counts the calls of a path, over all routes that it has had.
type Calls struct {
	n       atomic.Int64  // under way
	turn    atomic.Uint32 // counts the calls that name no version
	drained chan struct{} // holds a value after the last call; has room for one
}

func (c *Calls) add() { c.n.Add(1) }

func (c *Calls) done() {
	if c.n.Add(-1) == 0 {
		select {
		case c.drained <- struct{}{}:
		default:
		}
	}
}

// UnderWay is how many calls are under way, with those that wait.
func (c *Calls) UnderWay() int {
	if c == nil {
		return 0
	}
	return int(c.n.Load())
}

// Wait waits until no call is under way or ctx is done.
func (c *Calls) Wait(ctx context.Context) {
	if c == nil {
		return
	}
	for c.n.Load() > 0 {
		select {
		case <-c.drained:
		case <-ctx.Done():
			return
		}
	}
}

// Replica is what an agent says about one function.
type Replica struct {
	Row   *proto.FunctionJsonRsp
	Local bool // the agent runs on this machine,
	User  int  // as this user, whose sockets alone are called
	Door  Door // the way to the agent's services; nil: their addresses
}

// find returns the route of an escaped path segment, NAME in any case or
// NAME@VERSION, and the version's number, 0 for none. Without a route rt is nil; a
// segment that can have none is an ErrInvalid.
func (t *Table) find(segment string) (rt *route, number uint32, err error) {
	routes := *t.routes.Load()
	if rt := routes[segment]; rt != nil {
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
				WithHint("versions are counted from 1: " + Prefix + "hello@3")
		}
		number = uint32(n)
	}
	// A path that has a route was checked as a name.
	path := proto.Path(name)
	if rt := routes[path]; rt != nil {
		return rt, number, nil
	}
	first, size := utf8.DecodeRuneInString(path)
	return nil, number, proto.CheckName(string(unicode.ToUpper(first)) + path[size:])
}

// Update replaces the routes of some paths, and removes those of paths without
// replicas. It closes the idle connections of replicas that no route leads to any
// longer. Writers take turns.
func (t *Table) Update(changes map[string][]Replica) {
	routes := maps.Clone(*t.routes.Load())
	var retired []*target
	for path, replicas := range changes {
		var before []*target
		underWay := &Calls{drained: make(chan struct{}, 1)}
		if rt := routes[path]; rt != nil {
			before, underWay = rt.targets(), rt.calls
		}
		var after []*target
		if len(replicas) > 0 {
			rt := newRoute(path, replicas, before)
			rt.table, rt.calls = t, underWay
			rt.gated(routes[path])
			rt.measure(routes[path])
			rt.remember(routes[path])
			routes[path], after = rt, rt.targets()
		} else {
			delete(routes, path)
		}
		for _, t := range before {
			if !slices.Contains(after, t) {
				retired = append(retired, t)
			}
		}
	}
	old := *t.routes.Swap(&routes)
	for path := range changes {
		passGate(old[path], routes[path])
	}
	own := settle(routes, *t.sites.Load())
	t.sites.Store(&own)
	for _, t := range retired {
		t.retire()
	}
}

// Clear removes all routes.
func (t *Table) Clear() {
	changes := map[string][]Replica{}
	for path := range *t.routes.Load() {
		changes[path] = nil
	}
	t.Update(changes)
}

// Calls returns the calls of a path, nil when it has no route.
func (t *Table) Calls(path string) *Calls {
	if rt := (*t.routes.Load())[path]; rt != nil {
		return rt.calls
	}
	return nil
}

// Trouble says why calls of a row's function go to other replicas than the row's, although
// its agent says nothing against it; nil: they do not.
func (t *Table) Trouble(row *proto.FunctionJsonRsp) error {
	rt := (*t.routes.Load())[proto.Path(row.GetName())]
	if rt == nil {
		return nil
	}
	for _, to := range rt.targets() {
		if to.key.agent != row.GetAtAgent() {
			continue
		}
		if err := to.health.trouble(); err != nil {
			return err
		}
	}
	return nil
}

// newRoute makes the route of a path from its replicas, at least one, with the old
// targets that still hold.
func newRoute(path string, replicas []Replica, old []*target) *route {
	rt := &route{name: replicas[0].Row.GetName(), mount: "/" + url.PathEscape(path), prefix: Prefix + path, limit: proto.DefaultTimeout, public: true}
	rt.later = lastingOf(replicas[0].Row)
	for _, r := range replicas {
		// Agents that were used without a proxy may have functions whose names differ in
		// case alone: no name may answer with the other's function.
		if r.Row.GetName() != rt.name {
			continue
		}
		for _, s := range r.Row.OwnRoutes() {
			if !slices.Contains(rt.sites, s) {
				rt.sites = append(rt.sites, s)
			}
		}
		rt.public = rt.public && r.Row.Public() // until all replicas are, while that changes
		rt.edge = rt.edge.with(r.Row)
		for _, s := range serving(r.Row) {
			key, ok := keyOf(r, s)
			if !ok {
				continue
			}
			if limit, err := (&proto.FunctionJson{Timeout: r.Row.GetTimeout()}).TimeLimit(); err == nil {
				rt.limit = limit
			}
			if patience, err := (&proto.FunctionJson{QueueTimeout: r.Row.GetQueueTimeout()}).QueueLimit(); err == nil {
				rt.patience, rt.room = patience, int(r.Row.GetQueue())
			}
			v := rt.version(s.GetVersion())
			if v == nil {
				v = &version{number: s.GetVersion()}
				rt.versions = append(rt.versions, v)
			}
			v.weight += s.GetWeight()
			rt.total += s.GetWeight()
			var to *target
			if i := slices.IndexFunc(old, func(t *target) bool { return t.key == key }); i >= 0 {
				to = old[i]
			} else {
				to = newTarget(key)
			}
			to.told(r.Row.Available(s))
			v.targets = append(v.targets, to)
			v.places = append(v.places, places(s))
		}
	}
	rt.left = spoken(rt.limit)
	slices.SortFunc(rt.versions, func(a, b *version) int { return cmp.Compare(a.number, b.number) })
	rt.balance()
	if rt.total == 0 {
		rt.unready, rt.retry = unready(replicas)
	}
	return rt
}

// serving returns the versions of a replica to which calls may be sent. The agent
// keeps the sockets of a version open while it restarts or is idle, so that calls
// queue. A function that is being replaced, or could not be, serves with what it had
// before.
func serving(row *proto.FunctionJsonRsp) []*proto.Serving {
	status := proto.Status(row.GetStatus())
	list := row.GetServing()
	queues := status == proto.Deployed || status == proto.Deploying && len(list) > 0
	if len(list) == 0 { // the function has no versions
		list = []*proto.Serving{{
			Version: row.GetVersion(), Weight: 100, Proxy: row.GetProxy(), Socket: row.GetSocket(),
			Instances: row.GetInstances(), Pid: row.GetPid(),
		}}
	}
	return slices.DeleteFunc(slices.Clone(list), func(s *proto.Serving) bool { return !queues && s.GetInstances() == 0 })
}

// unready says why a function takes no calls, and when it is tried again.
func unready(replicas []Replica) (*proto.Error, time.Time) {
	row := replicas[0].Row
	var retry time.Time
	for _, r := range replicas {
		if proto.Status(r.Row.GetStatus()) == proto.Deploying {
			return proto.Errorf(proto.ErrUnavailable, "function %q is not deployed yet", r.Row.GetName()).
				WithHint("call again in a moment").From("function", "deploying"), time.Time{}
		}
		if at, err := time.Parse(time.RFC3339, r.Row.GetRetry()); err == nil && (retry.IsZero() || at.Before(retry)) {
			row, retry = r.Row, at
		}
	}
	kind, does := proto.ErrBadGateway, "does not run"
	if !retry.IsZero() {
		kind, does = proto.ErrUnavailable, "keeps crashing and is tried again at "+row.GetRetry()
	}
	return proto.Errorf(kind, "function %q %s", row.GetName(), does).
		WithHint("proxyCli list says why; proxyCli log "+row.GetName()+" shows its last output").
		From("function", row.GetReason()), retry
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

// targets returns the targets of all versions.
func (rt *route) targets() (list []*target) {
	for _, v := range rt.versions {
		list = append(list, v.targets...)
	}
	return list
}

// splitURI takes a request target apart: the escaped segment after Prefix, and the
// rest, byte for byte, which is empty or begins with "/" or "?".
func splitURI(uri string) (segment, rest string, err error) {
	below, ok := strings.CutPrefix(uri, Prefix)
	if !ok {
		return "", "", proto.Errorf(proto.ErrInvalid, "the request target must have the form %sNAME", Prefix)
	}
	if err := checkTarget(below); err != nil {
		return "", "", err
	}
	end := strings.IndexAny(below, "/?")
	if end < 0 {
		end = len(below)
	}
	if end == 0 {
		return "", "", proto.Errorf(proto.ErrInvalid, "no function is named").
			WithHint("functions are called at " + Prefix + "NAME; GET /details says which there are")
	}
	return below[:end], below[end:], nil
}

// checkTarget refuses bytes that HTTP/2 lets through and that would end an HTTP/1.1
// request line.
func checkTarget(target string) error {
	for i := range len(target) {
		if target[i] <= ' ' || target[i] == 0x7f {
			return proto.Errorf(proto.ErrInvalid, "the request target holds the byte 0x%02x", target[i])
		}
	}
	return nil
}
