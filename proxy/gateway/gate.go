package gateway

import (
	"cmp"
	"container/list"
	"errors"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/Ishan27g/ryo-faas/proto"
)

// waitPerPlace is how many calls may wait for each place, where the function does not
// say: so a call waits for about as many others. Knative's queue-proxy has the same.
const waitPerPlace = 10

// Why a call was not let through.
var (
	errQueueFull = errors.New("the queue is full")
	errCrowded   = errors.New("no place came free")
	errGone      = errors.New("the function was stopped meanwhile")
)

// gate lets calls of one function through: at each replica at most as many at once as it
// has places for, which is the function's setting concurrency for each of its processes.
// Further calls wait, up to a number and for a time, in the order in which they came; of
// several replicas, they take the first place that comes free. The gate outlives routes:
// calls that wait while the function is deployed anew go on with the new version.
//
// A call that was given a place keeps it while it is sent to another replica because the
// first cannot be reached. That one may then have too many for a moment; its processes
// keep to the limit by themselves.
type gate struct {
	mu      sync.Mutex // guards the fields below, and places and busy of targets:
	route   *route     // nil: the function was stopped
	lines   map[uint32]*list.List
	waiting int
	last    uint64        // of waiter.number
	waited  time.Duration // how long the last call that waited did
}

// waiter is a call that waits.
type waiter struct {
	picker *picker
	number uint64 // in the order of arrival
	since  time.Time
	limit  time.Duration // of the wait
	woken  chan struct{} // closed when the wait is over
	line   *list.List    // nil: the wait is over
	at     *list.Element // in line
	err    error         // why the call was not let through
}

// places returns how many calls a service takes at once; 0: any number.
func places(s *proto.Serving) int {
	return int(s.GetConcurrency()) * max(1, int(s.GetInstances())) // without a process, the first call starts one
}

// gated gives a route the gate of its function, that of the route before, which may be
// nil, or a new one. A function without limits has none.
func (rt *route) gated(before *route) {
	all := 0
	for _, v := range rt.versions {
		for _, n := range v.places {
			all += n
		}
	}
	if all == 0 {
		return
	}
	if rt.room == 0 {
		rt.room = min(waitPerPlace*all, proto.MaxQueue)
	}
	if before != nil && before.gate != nil {
		rt.gate = before.gate
		return
	}
	rt.gate = &gate{lines: make(map[uint32]*list.List)}
}

// passGate tells the gates of a function that another route holds; nil: there is none.
func passGate(before, after *route) {
	if after != nil && after.gate != nil {
		after.gate.update(after)
	}
	if before != nil && before.gate != nil && (after == nil || after.gate == nil) {
		before.gate.update(after)
	}
}

// enter lets a call through to a replica, which is then its target, or returns a waiter
// if it must wait, or why it cannot even do that.
func (g *gate) enter(p *picker) (*waiter, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.route == nil {
		return nil, errGone
	}
	version, err := g.versionFor(p)
	if err != nil {
		return nil, err
	}
	line := g.line(version)
	if line.Len() == 0 && g.admit(p, version) {
		return nil, nil
	}
	if g.route.patience <= 0 || g.waiting >= g.route.room {
		return nil, errQueueFull
	}
	g.last++
	w := &waiter{picker: p, number: g.last, since: time.Now(), limit: g.route.patience, woken: make(chan struct{})}
	g.append(w, version)
	return w, nil
}

// versionFor returns the version for a call by the route that holds now.
func (g *gate) versionFor(p *picker) (*version, error) {
	if v := g.route.version(p.chosen.number); v != nil && (p.number != 0 || v.weight > 0) {
		return v, nil
	}
	if p.number != 0 || g.route.unready != nil {
		return nil, errGone
	}
	return g.route.choose(), nil
}

func (g *gate) line(v *version) *list.List {
	l := g.lines[v.number]
	if l == nil {
		l = list.New()
		g.lines[v.number] = l
	}
	return l
}

func (g *gate) append(w *waiter, v *version) {
	w.line = g.line(v)
	w.at = w.line.PushBack(w)
	g.waiting++
}

// admit gives a call a place at a replica, if there is one.
func (g *gate) admit(p *picker, v *version) bool {
	t, of := g.free(p, v)
	if t == nil {
		return false
	}
	t.busy++
	t.inFlight.Add(1)
	p.route, p.chosen, p.target, p.served, p.gate, p.place = g.route, v, t, of, g, t
	p.entered = true
	p.asked++
	return true
}

// free returns a replica with a free place: of the call's version, or, if none of that
// can be reached and the caller has named none, of another.
func (g *gate) free(p *picker, v *version) (*target, *version) {
	for _, fits := range [...]func(*target) bool{(*target).available, func(*target) bool { return true }} {
		if t, some := v.roomiest(fits); some {
			return t, v
		}
		for _, other := range g.route.versions {
			if p.number != 0 || other == v || other.weight == 0 {
				continue
			}
			if t, some := other.roomiest(fits); some {
				return t, other
			}
		}
	}
	return nil, nil
}

// roomiest returns the target with the most free places of those that fit, nil if they
// have none, and whether some fit.
func (v *version) roomiest(fits func(*target) bool) (best *target, some bool) {
	n := len(v.targets)
	first, most := int(v.turn.Add(1)%uint32(n)), 0 //nolint:gosec // few
	for i := range n {
		t := v.targets[(first+i)%n]
		if !fits(t) {
			continue
		}
		some = true
		room := math.MaxInt
		if t.places > 0 {
			room = t.places - t.busy
		}
		if room > most {
			best, most = t, room
		}
	}
	return best, some
}

// over ends the wait of a call. The caller holds mu.
func (g *gate) over(w *waiter, err error) {
	w.line.Remove(w.at)
	w.line, w.at, w.err = nil, nil, err
	g.waiting--
	close(w.woken)
}

// serve gives the places that are free to those who wait. The caller holds mu.
func (g *gate) serve() {
	for number, line := range g.lines {
		var v *version
		if g.route != nil {
			v = g.route.version(number)
		}
		for line.Len() > 0 && v != nil {
			w := line.Front().Value.(*waiter)
			if !g.admit(w.picker, v) {
				break
			}
			g.waited = time.Since(w.since)
			g.over(w, nil)
		}
	}
}

// look gives places that are free to those who wait. It is called when a replica can be
// reached again.
func (g *gate) look() {
	if g == nil {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.serve()
}

// wait waits until a call is let through, for as long as it may, or until gone is closed.
// left is how much of the call's own time is left.
func (g *gate) wait(w *waiter, left time.Duration, gone <-chan struct{}) error {
	limit, why := w.limit, errCrowded
	if left <= limit {
		limit, why = left, errors.Join(errCrowded, errLimit)
	}
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-w.woken:
		return w.err
	case <-timer.C:
		return g.leave(w, why)
	case <-gone:
		return g.leave(w, errCrowded)
	}
}

// leave ends the wait of a call for a reason, unless it is over already. It returns why
// the call was not let through.
func (g *gate) leave(w *waiter, why error) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if w.line != nil {
		g.over(w, why)
	}
	return w.err
}

// vacate gives a place back.
func (g *gate) vacate(t *target) {
	g.mu.Lock()
	defer g.mu.Unlock()
	t.busy--
	g.serve()
}

// move takes a call's place along to another replica.
func (g *gate) move(from, to *target) {
	g.mu.Lock()
	defer g.mu.Unlock()
	from.busy--
	to.busy++
	g.serve()
}

// update makes a route hold; nil: the function was stopped. Those who wait go on with it,
// in their order.
func (g *gate) update(rt *route) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.route = rt
	var all []*waiter
	for _, line := range g.lines {
		for e := line.Front(); e != nil; e = e.Next() {
			all = append(all, e.Value.(*waiter))
		}
	}
	slices.SortFunc(all, func(a, b *waiter) int { return cmp.Compare(a.number, b.number) })
	before := g.lines
	g.lines = make(map[uint32]*list.List, len(before))
	for _, w := range all {
		version, err := (*version)(nil), errGone
		if rt != nil {
			version, err = g.versionFor(w.picker)
		}
		if err != nil {
			g.over(w, err)
			continue
		}
		g.waiting--
		g.append(w, version)
	}
	if rt == nil {
		return
	}
	for _, v := range rt.versions {
		for i, t := range v.targets {
			t.places = v.places[i]
			t.gate.Store(g)
		}
	}
	g.serve()
}

// crowd returns how many calls wait, and for how long the last one did.
func (g *gate) crowd() (waiting int, waited time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.waiting, g.waited
}
