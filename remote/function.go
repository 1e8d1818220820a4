package remote

import (
	"context"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	protobuf "google.golang.org/protobuf/proto"

	"github.com/Ishan27g/ryo-faas/proto"
)

const (
	// handOver is how long a process may take to stop taking calls; milliseconds
	// are enough on a busy machine.
	handOver = 2 * time.Second
	// linger is how long a service that is no longer in the rows goes on: proxies
	// hear of it within milliseconds.
	linger = 2 * time.Second
)

// function is one function's life. Its goroutine, run, owns all that changes and
// is the only place where the function's status comes about.
type function struct {
	agent  *Agent
	name   string
	path   string
	log    hclog.Logger
	events chan func()
	over   chan struct{} // closed when run takes no further events, by shut
	shut   func()
	gone   chan struct{}  // closed when run has returned
	work   sync.WaitGroup // all that posts events, and processes that are being ended

	// The below belong to run.
	rec      *record
	main     *service
	canary   *service            // nil: there is none
	pinned   map[uint32]*service // kept versions that are called by their number
	leaving  []*service          // out of the rows, and soon to end
	next     *move               // nil: none is under way
	crashes  []*proto.Crash      // the newest first
	restarts uint32
	totals   map[uint32]reading // of processes that have ended, by version
	stopped  bool
	said     *proto.FunctionJsonRsp
	procs    []*instance // that have not ended, whatever they do
	noted    inventory
}

// answer is what an order comes to.
type answer struct {
	row *proto.FunctionJsonRsp
	err error
}

// order tells who asks what became of an order: first that it is on the disk, or
// why it is refused, then, if settled is not nil, how it ended. The channels are
// buffered: run never waits for who asks.
type order struct{ accepted, settled chan<- answer }

// end tells all at once.
func (o order) end(a answer) {
	o.accepted <- a
	if o.settled != nil {
		o.settled <- a
	}
}

func (a *Agent) newFunction(rec *record) *function {
	path := proto.Path(rec.Name)
	f := &function{
		agent: a, name: rec.Name, path: path, log: a.log.With("function", rec.Name),
		events: make(chan func()), over: make(chan struct{}), gone: make(chan struct{}),
		rec: rec, pinned: make(map[uint32]*service), totals: make(map[uint32]reading),
	}
	f.shut = sync.OnceFunc(func() { close(f.over) })
	f.main = &service{f: f, version: rec.find(rec.Main), port: rec.Port}
	if c := rec.Canary; c != nil {
		f.canary = &service{f: f, version: rec.find(c.Version), weight: c.Weight, port: c.Port}
	}
	return f
}

// run lives as long as the function, or as the agent.
//
// first, if any, is the order that brought it into being.
func (f *function) run(ctx context.Context, first func(*function)) {
	defer close(f.gone)
	defer f.leave()
	defer f.shut()
	timer := time.NewTimer(0)
	defer timer.Stop()
	switch {
	case f.rec.Stopping: // an earlier agent died half way
		f.forget()
	case first != nil:
		first(f)
	default:
		f.resume()
	}
	for !f.stopped {
		if next := f.tend(time.Now()); !next.IsZero() {
			timer.Reset(time.Until(next))
		}
		f.publish()
		select {
		case <-ctx.Done():
			return
		case event := <-f.events:
			event()
		case <-timer.C:
		}
	}
}

// tend has every service come closer to what it should be, and returns when that
// is to be looked at again at the latest, the zero time for never.
func (f *function) tend(now time.Time) (next time.Time) {
	f.leaving = slices.DeleteFunc(f.leaving, func(s *service) bool {
		left := !now.Before(s.until)
		if left {
			s.end()
		}
		return left
	})
	for _, s := range f.all() {
		for _, at := range []time.Time{s.tend(now), s.until} {
			if next.IsZero() || !at.IsZero() && at.Before(next) {
				next = at
			}
		}
	}
	return next
}

// all are the services of rows and those that leave.
func (f *function) all() []*service { return append(f.services(), f.leaving...) }

// services are those that rows tell of, the main one first.
func (f *function) services() []*service {
	all := []*service{f.main}
	if f.canary != nil {
		all = append(all, f.canary)
	}
	for _, v := range f.rec.Versions {
		if s := f.pinned[v.Number]; s != nil {
			all = append(all, s)
		}
	}
	return all
}

// post has run call event, and returns when it has been called, or is not to be
// called any more, which it reports. It must not be called by run.
func (f *function) post(event func()) (called bool) {
	done := make(chan struct{})
	select {
	case f.events <- func() { defer close(done); event() }:
		<-done
		return true
	case <-f.over:
		return false
	}
}

// resume takes up what the record says.
func (f *function) resume() {
	if f.rec.Next == nil {
		return
	}
	if err := f.advance(f.rec.Next, nil); err != nil {
		f.next = &move{change: f.rec.Next, at: f.main}
		f.fail(trouble(f.rec.Next.Version, err))
	}
}

// deploy takes a deploy on, unless there is nothing to change.
func (f *function) deploy(fn *proto.FunctionJson, o order) {
	v := newVersion(fn, f.agent.seal, time.Now().UTC())
	weight := fn.GetCanary()
	if f.rec.Main == 0 {
		weight = 0 // the first version has nothing beside it
	}
	switch {
	case f.same(f.main, v):
		f.serve(f.main.version, o)
	case f.same(f.canary, v) && weight > 0:
		f.abandonNext()
		f.weigh(weight)
		o.end(f.answer())
	case f.same(f.canary, v):
		f.accept(&change{Version: f.canary.version}, o)
	default:
		f.accept(&change{Version: v, Canary: weight}, o)
	}
}

// same reports whether a service has the package and the settings of a version.
func (f *function) same(s *service, v *version) bool {
	if s == nil || s.version == nil {
		return false
	}
	change, _, err := compare(s.version, v, f.agent.seal)
	return err == nil && change == changeNone
}

// serve has a kept version serve alone. If it does so already nothing is done but
// to give up what else was under way.
func (f *function) serve(v *version, o order) {
	if v != f.main.version || !f.main.seen || f.main.refusing() {
		f.accept(&change{Version: v}, o)
		return
	}
	f.abandonNext()
	f.dropCanary()
	f.rec.Failure = nil
	f.save()
	o.end(f.answer())
}

// refuse answers an order that changes nothing.
func (f *function) refuse(o order, err error) {
	o.accepted <- answer{err: err}
	f.main.silence()
	if f.rec.Generation == 0 { // it was to be the first
		f.forget()
	}
}

// rollback has a kept version serve again, 0 for the one that served before.
func (f *function) rollback(to uint32, o order) {
	if to == 0 {
		to = f.rec.Before
	}
	v := f.rec.find(to)
	if v == nil {
		o.end(answer{err: f.notKept(to)})
		return
	}
	f.serve(v, o)
}

// notKept is the error for a version that there is not, 0 for one before the first.
func (f *function) notKept(number uint32) error {
	err := proto.Errorf(proto.ErrNotFound, "version %d of function %s is not kept", number, f.name)
	if number == 0 {
		err = proto.Errorf(proto.ErrNotFound, "no version of function %s served before", f.name)
	}
	var kept []string
	for _, v := range f.rec.Versions {
		kept = append(kept, strconv.FormatUint(uint64(v.Number), 10))
	}
	if kept == nil {
		return err.WithHint("none has come up yet")
	}
	return err.WithHint("these are: " + strings.Join(kept, ", "))
}

// shift changes what part of the calls the canary gets.
func (f *function) shift(weight uint32, o order) {
	switch {
	case weight > 100:
		o.end(answer{err: proto.Errorf(proto.ErrInvalid, "a canary cannot get %d %% of the calls", weight)})
	case f.canary == nil:
		o.end(answer{err: proto.Errorf(proto.ErrConflict, "function %s has no canary", f.name).
			WithHint("deploy one with canary, such as 10")})
	case weight == 100:
		f.accept(&change{Version: f.canary.version}, o)
	case weight == 0:
		f.dropCanary()
		f.save()
		o.end(f.answer())
	default:
		f.weigh(weight)
		o.end(f.answer())
	}
}

func (f *function) weigh(weight uint32) {
	f.canary.weight, f.rec.Canary.Weight = weight, weight
	f.save()
}

// dropCanary ends the canary, if there is one. Its version is kept.
func (f *function) dropCanary() {
	if f.canary == nil {
		return
	}
	f.let(f.canary)
	f.canary, f.rec.Canary = nil, nil
}

// let has a service, if it is one, that rows no longer tell of end when nobody
// calls it any more.
func (f *function) let(s *service) {
	if s != nil {
		s.until = time.Now().Add(linger)
		f.leaving = append(f.leaving, s)
	}
}

// wake opens a version for calls, 0 for the main one, and returns where it is.
func (f *function) wake(number uint32) (*proto.Serving, error) {
	s := f.at(number)
	if s == nil {
		v := f.rec.find(number)
		if v == nil {
			return nil, f.notKept(number)
		}
		s = &service{f: f, version: v, pinned: true}
	}
	if s.version == nil || s.refusing() {
		return nil, proto.Errorf(proto.ErrUnavailable, "function %s does not run", f.name).
			WithHint("proxyCli details shows how it stands")
	}
	if err := s.open(); err != nil {
		return nil, err
	}
	if s.pinned {
		f.pinned[s.version.Number] = s
	}
	s.wake()
	return s.serving(), nil
}

// at returns the service of a version, 0 for the main one, nil if it has none.
func (f *function) at(number uint32) *service {
	if number == 0 {
		return f.main
	}
	i := slices.IndexFunc(f.services(), func(s *service) bool { return s.version != nil && s.version.Number == number })
	if i < 0 {
		return nil
	}
	return f.services()[i]
}

// unpin closes a version that is no longer called by its number.
func (f *function) unpin(s *service) {
	delete(f.pinned, s.version.Number)
	f.let(s)
}

// stop ends the function for good. Its state on disk says so first, so that an
// agent that dies half way is continued, not contradicted.
func (f *function) stop(o order) {
	f.rec.Stopping = true
	if err := f.store(); err != nil {
		f.rec.Stopping = false
		o.end(answer{err: proto.Errorf(proto.ErrExhausted, "store the stop of function %s: %w", f.name, err)})
		return
	}
	if f.next != nil {
		f.next.tell(answer{err: proto.Errorf(proto.ErrConflict, "function %s was stopped before it was ready", f.name)})
	}
	f.quiesce()
	f.forget()
	f.log.Info("stopped")
	o.end(answer{row: protobuf.CloneOf(f.said)})
}

// quiesce ends every process and attempt and waits for them.
func (f *function) quiesce() {
	f.shut()
	if f.next != nil {
		f.next.abandon()
		f.next.at.end()
	}
	for _, s := range f.all() {
		s.end()
	}
	f.work.Wait()
}

// leave is what run ends with. What should run stays on the disk, and what serves
// goes on when the next agent is to take it over.
func (f *function) leave() {
	if f.stopped {
		return
	}
	if f.next != nil {
		f.next.tell(answer{err: proto.Errorf(proto.ErrUnavailable, "the agent is ending; it goes on with function %s when it is started again", f.name)})
	}
	select {
	case <-f.agent.left:
	default:
		f.quiesce()
		return
	}
	f.shut()
	if f.next != nil {
		f.next.abandon()
		if f.next.at != f.main {
			f.next.at.end()
		}
	}
	for _, s := range f.services() {
		s.halt()
	}
	for _, s := range f.leaving {
		s.end()
	}
	f.note()
	f.work.Wait()
}

// forget removes all that is left of a function that does not run.
func (f *function) forget() {
	if err := os.RemoveAll(f.agent.ws.functionDir(f.path)); err != nil {
		f.log.Error("the function's folder cannot be removed", "error", err)
	}
	f.stopped = true
	f.publish()
	f.agent.drop(f)
}

// store brings the record to the disk.
func (f *function) store() error {
	f.rec.Port = f.main.port
	return f.agent.ws.save(f.rec)
}

// save stores the record after the fact: a change that has settled. Should it
// fail, the next agent settles that change once more.
func (f *function) save() {
	if err := f.store(); err != nil {
		f.log.Error("the function's record cannot be stored", "error", err)
	}
}

// answer publishes the function as it is now and returns that.
func (f *function) answer() answer {
	f.publish()
	return answer{row: protobuf.CloneOf(f.said)}
}

func trouble(v *version, err error) *failure {
	return fail(v, proto.ReasonAgent, err)
}
