package remote

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	protobuf "google.golang.org/protobuf/proto"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/remote/disk"
)

const (
	// handOver is how long a process may take to stop taking calls; milliseconds
	// are enough on a busy machine.
	handOver = 2 * time.Second
	// linger is how long a service serves after it has left the rows: proxies hear of
	// that within milliseconds.
	linger = 2 * time.Second
)

// function is one function's life. Its goroutine, run, owns all that changes and alone
// decides the function's status.
type function struct {
	agent  *Agent
	name   string
	path   string
	user   uint32 // number of its user; set before it is launched
	logger hclog.Logger
	events chan func()
	closed chan struct{} // closed, by close, when run takes no further events
	close  func()
	exited chan struct{}  // closed when run has returned
	work   sync.WaitGroup // all that posts events, and processes that are being stopped

	// run owns the fields below; record says how they are stored.
	history  disk.History
	since    time.Time // when it was stopped, if it is
	resized  int       // how many processes there are to be, as a proxy said; 0: it did not
	paused   bool      // no process runs, and the agent answers callers
	main     *service
	canary   *service            // nil: there is none
	pinned   map[uint32]*service // kept versions that are called by their number
	retiring []*service          // out of the rows, and soon stopped
	next     *move               // nil: no change is under way
	crashes  []*proto.Crash      // the newest first
	restarts uint32
	totals   map[uint32]reading // of processes that have exited, by version
	stopped  bool
	said     *proto.FunctionJsonRsp
	procs    []*instance // that have not exited, whatever they do
	noted    inventory
}

// accepted is an order that is on the disk.
type accepted struct {
	row     *proto.FunctionJsonRsp
	settled <-chan outcome // gets the outcome
}

// outcome is what an order came to.
type outcome struct {
	row *proto.FunctionJsonRsp
	err error
}

func (a *Agent) newFunction(rec *disk.Record) *function {
	path := proto.Path(rec.Name)
	f := &function{
		agent: a, name: rec.Name, path: path, logger: a.logger.With("function", rec.Name),
		events: make(chan func()), closed: make(chan struct{}), exited: make(chan struct{}),
		history: rec.History, since: rec.Stopped, paused: rec.Paused, pinned: make(map[uint32]*service), totals: make(map[uint32]reading),
	}
	f.close = sync.OnceFunc(func() { close(f.closed) })
	f.main = &service{f: f, version: rec.Find(rec.Main), port: rec.Port}
	if c := rec.Canary; c != nil {
		f.canary = &service{f: f, version: rec.Find(c.Version), weight: c.Weight, port: c.Port}
	}
	if rec.Next != nil {
		f.next = f.newMove(rec.Next, f.main)
	}
	return f
}

// record is what the next agent needs to know to go on with the function.
func (f *function) record() *disk.Record {
	rec := &disk.Record{History: f.history, Port: f.main.port, Main: f.main.number(), Paused: f.paused}
	if f.canary != nil {
		rec.Canary = &disk.Canary{Version: f.canary.number(), Weight: f.canary.weight, Port: f.canary.port}
	}
	if f.next != nil {
		rec.Next = f.next.Change
	}
	return rec
}

// run lives as long as the function, or as the agent. first, if any, is the order that
// launched it.
func (f *function) run(ctx context.Context, first func(*function)) {
	defer close(f.exited)
	defer f.exit()
	defer f.close()
	timer := time.NewTimer(0)
	defer timer.Stop()
	if first != nil {
		first(f)
	} else {
		f.takeUp()
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

// tend brings every service closer to what it should be, and returns when it is to be
// called again at the latest; zero: never.
func (f *function) tend(now time.Time) (next time.Time) {
	f.retiring = slices.DeleteFunc(f.retiring, func(s *service) bool {
		left := !now.Before(s.until)
		if left {
			s.stop()
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

// all are the services of rows and those that retire.
func (f *function) all() []*service { return append(f.services(), f.retiring...) }

// services are those that rows tell of, the main one first.
func (f *function) services() []*service {
	all := []*service{f.main}
	if f.canary != nil {
		all = append(all, f.canary)
	}
	for _, v := range f.history.Versions {
		if s := f.pinned[v.Number]; s != nil {
			all = append(all, s)
		}
	}
	return all
}

// post makes run call event. It returns when that has happened, or when run takes no
// further events, and reports which. run must not call it.
func (f *function) post(event func()) (called bool) {
	done := make(chan struct{})
	select {
	case f.events <- func() { defer close(done); event() }:
		<-done
		return true
	case <-f.closed:
		return false
	}
}

// takeUp goes on with what the record says.
func (f *function) takeUp() {
	if f.next == nil {
		return
	}
	if err := f.advance(f.next.Change); err != nil {
		f.fail(trouble(f.next.Version, err))
	}
}

// deploy takes a deploy on, unless there is nothing to change.
func (f *function) deploy(fn *proto.FunctionJson) (accepted, error) {
	serves := uint32(0)
	if v := f.served(); v != nil {
		serves = v.Number
	}
	if err := fn.CheckServes(serves, f.next != nil); err != nil {
		return accepted{}, err
	}
	fn, err := f.retained(fn)
	if err != nil {
		return accepted{}, err
	}
	was := f.history.Placed
	f.history.Placed = disk.PlacedBy(fn) // stored with the change, or by serve
	got, err := f.begun(disk.NewVersion(fn, f.agent.seal, time.Now().UTC()), fn.GetCanary())
	if err != nil {
		f.history.Placed = was
	}
	return got, err
}

// begun begins to deploy a version, with its weight as a canary, unless it serves already.
func (f *function) begun(v *disk.Version, weight uint32) (accepted, error) {
	if f.main.version == nil {
		weight = 0 // the first version has nothing beside it
	}
	switch {
	case f.same(f.main, v):
		return f.serve(f.main.version)
	case f.same(f.canary, v) && weight > 0:
		f.cancelNext()
		f.weigh(weight)
		return f.settled(), nil
	case f.same(f.canary, v):
		return f.accept(&disk.Change{Version: f.canary.version})
	default:
		return f.accept(&disk.Change{Version: v, Canary: weight})
	}
}

// size is how many processes of a version serve at the same time, while there are calls.
func (f *function) size(v *disk.Version) int {
	least, most := v.Spec.Processes(), int(v.Spec.GetMax())
	if f.resized == 0 || most == 0 {
		return least
	}
	return min(max(f.resized, int(v.Spec.GetMin()), 1), most)
}

// served is the version that serves or, when there is none, the one that did last.
func (f *function) served() *disk.Version {
	if f.main.version != nil {
		return f.main.version
	}
	return f.history.Find(f.history.Before)
}

// retained is a deploy completed with the settings that it keeps of the version that
// serves, or that did last.
func (f *function) retained(fn *proto.FunctionJson) (*proto.FunctionJson, error) {
	v := f.served()
	if len(fn.GetKeep()) == 0 || v == nil {
		err := fn.CheckWebhookSecret()
		return fn, err
	}
	was := f.settings(v)
	var err error
	if was.Secrets, err = f.agent.seal.Open(f.path, v.Secrets); err != nil {
		return nil, err
	}
	fn = protobuf.CloneOf(fn)
	fn.Retain(was, fn.GetKeep())
	if err := fn.Check(); err != nil {
		return nil, fmt.Errorf("with what is kept of version %d: %w", v.Number, err)
	}
	err = fn.CheckWebhookSecret()
	return fn, err
}

// settings are those of a version, with where the function is to be.
func (f *function) settings(v *disk.Version) *proto.FunctionJson {
	fn := v.Settings()
	if placed := f.history.Placed; placed != nil {
		fn.Replicas, fn.Placement = placed.Replicas, maps.Clone(placed.Labels)
	}
	return fn
}

// same reports whether a service has the package and the settings of a version.
func (f *function) same(s *service, v *disk.Version) bool {
	if s == nil || s.version == nil {
		return false
	}
	change, _, err := disk.Compare(s.version, v, f.agent.seal)
	return err == nil && change == disk.ChangeNone
}

// serve makes a kept version serve alone. If it does already, only what else is under
// way is canceled.
func (f *function) serve(v *disk.Version) (accepted, error) {
	if v != f.main.version || !f.main.seen || f.main.refusing() || f.paused {
		return f.accept(&disk.Change{Version: v})
	}
	f.cancelNext()
	f.retireCanary()
	f.history.Failure = nil
	f.save()
	return f.settled(), nil
}

// settled is the answer to an order that changes nothing.
func (f *function) settled() accepted {
	row := f.tell()
	settled := make(chan outcome, 1)
	settled <- outcome{row: row}
	return accepted{row, settled}
}

// rollback makes a kept version serve again; 0: the one that served before.
func (f *function) rollback(to uint32) (accepted, error) {
	if to == 0 {
		to = f.history.Before
	}
	v := f.history.Find(to)
	if v == nil {
		return accepted{}, f.notKept(to)
	}
	return f.serve(v)
}

// notKept is the error for a version that does not exist; 0: the one before the first.
func (f *function) notKept(number uint32) error {
	err := proto.Errorf(proto.ErrNotFound, "version %d of function %s is not kept", number, f.name)
	if number == 0 {
		err = proto.Errorf(proto.ErrNotFound, "no version of function %s served before", f.name)
	}
	var kept []string
	for _, v := range f.history.Versions {
		kept = append(kept, strconv.FormatUint(uint64(v.Number), 10))
	}
	if kept == nil {
		return err.WithHint("none has been ready yet")
	}
	return err.WithHint("versions that are kept: " + strings.Join(kept, ", "))
}

// shift changes the percentage of calls that the canary gets.
func (f *function) shift(weight uint32) (accepted, error) {
	switch {
	case weight > 100:
		return accepted{}, proto.Errorf(proto.ErrInvalid, "a canary cannot get %d %% of the calls", weight)
	case f.canary == nil:
		return accepted{}, proto.Errorf(proto.ErrConflict, "function %s has no canary", f.name).
			WithHint("deploy one with -canary, such as: proxyCli deploy -canary 10")
	case weight == 100:
		return f.accept(&disk.Change{Version: f.canary.version})
	case weight == 0:
		f.retireCanary()
		f.save()
	default:
		f.weigh(weight)
	}
	return f.settled(), nil
}

func (f *function) weigh(weight uint32) {
	f.canary.weight = weight
	f.save()
}

// retireCanary stops the canary, if there is one. Its version is kept.
func (f *function) retireCanary() {
	f.retireService(f.canary)
	f.canary = nil
}

// retireService stops a service, which may be nil, once proxies have heard that rows no
// longer name it.
func (f *function) retireService(s *service) {
	if s != nil {
		s.until = time.Now().Add(linger)
		f.retiring = append(f.retiring, s)
	}
}

// wake opens a version for calls and returns where it serves; 0: the main one.
func (f *function) wake(number uint32) (*proto.Serving, error) {
	s := f.at(number)
	if s == nil {
		v := f.history.Find(number)
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
	if !f.paused {
		s.wake()
	}
	return s.serving(), nil
}

// at returns the service of a version, nil if it has none; 0: the main one.
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

// closePinned stops the service of a version that is no longer called by its number.
func (f *function) closePinned(s *service) {
	delete(f.pinned, s.version.Number)
	f.retireService(s)
}

// stop stops the function and keeps its versions.
func (f *function) stop() (*proto.FunctionJsonRsp, error) {
	now := time.Now()
	f.stopServices(now)
	f.logger.Info("stopped")
	rec := f.record().AsStopped(now)
	if len(rec.Versions) == 0 { // nothing is left that could be brought back
		f.closeAs(nil)
		return protobuf.CloneOf(f.said), nil
	}
	for _, file := range []string{disk.RunFile(f.path), disk.CrashFile(f.path)} {
		_ = os.Remove(f.agent.disk.Path(filepath.FromSlash(file))) // they describe processes
	}
	if err := f.agent.disk.Sweep(rec); err != nil {
		f.logger.Warn("what a version that never served has left is not removed", "error", err)
	}
	f.closeAs(rec)
	return protobuf.CloneOf(f.said), nil
}

// erase stops the function, if it is not stopped, and removes all that is stored of it.
func (f *function) erase() (*proto.FunctionJsonRsp, error) {
	f.stopServices(time.Now())
	err := f.agent.logs.Remove(f.name)
	f.closeAs(nil)
	if err != nil {
		return nil, fmt.Errorf("remove the log of function %s: %w", f.name, err)
	}
	f.logger.Info("removed")
	return protobuf.CloneOf(f.said), nil
}

// stopServices stops all services of the function. The disk says so first, so that the
// next agent goes on with a stop that this one did not finish.
func (f *function) stopServices(now time.Time) {
	if err := f.agent.disk.Stop(f.path, now); err != nil && !errors.Is(err, fs.ErrNotExist) {
		f.logger.Error("that the function is stopped cannot be stored", "error", err)
	}
	if f.next != nil {
		f.next.close(outcome{err: proto.Errorf(proto.ErrConflict, "function %s was stopped before it was ready", f.name)})
	}
	f.quiesce()
}

// quiesce stops every process, cancels every attempt and waits for them.
func (f *function) quiesce() {
	f.close()
	if f.next != nil {
		f.next.cancel()
		f.next.at.stop()
	}
	for _, s := range f.all() {
		s.stop()
	}
	f.work.Wait()
}

// exit is the last step of run when the agent stops. What should run stays on the disk.
// What serves goes on when the next agent is to take it over.
func (f *function) exit() {
	if f.stopped {
		return
	}
	if f.next != nil {
		f.next.close(outcome{err: proto.Errorf(proto.ErrUnavailable, "the agent is stopping; it goes on with function %s when it is started again", f.name)})
	}
	select {
	case <-f.agent.handedOver:
	default:
		f.quiesce()
		return
	}
	f.close()
	if f.next != nil {
		f.next.cancel()
		if f.next.at != f.main {
			f.next.at.stop()
		}
	}
	for _, s := range f.services() {
		s.cancel()
	}
	for _, s := range f.retiring {
		s.stop()
	}
	f.note()
	f.work.Wait()
}

// closeAs is the last step of run when the function does not run any more. rec is kept
// of it; if rec is nil, its folder is removed.
func (f *function) closeAs(rec *disk.Record) {
	if rec == nil {
		if err := f.agent.disk.Remove(f.path); err != nil {
			f.logger.Error("the function's folder cannot be removed", "error", err)
		}
	}
	f.stopped = true
	f.publish()
	f.agent.removeFunction(f, rec)
}

// cancelFirst undoes the first order of a function if it failed: the function is again
// stopped, or does not exist.
func (f *function) cancelFirst() {
	switch {
	case f.said != nil || f.stopped:
	case f.history.Generation == 0:
		f.closeAs(nil)
	default:
		f.closeAs(f.record().AsStopped(f.since))
	}
}

// store brings the record to the disk.
func (f *function) store() error {
	return f.agent.disk.Save(f.record())
}

// save stores the record after a change has settled. If that fails, the next agent
// settles the change once more.
func (f *function) save() {
	if err := f.store(); err != nil {
		f.logger.Error("the function's record cannot be stored", "error", err)
	}
}

// tell publishes the function's row and returns it.
func (f *function) tell() *proto.FunctionJsonRsp {
	f.publish()
	return protobuf.CloneOf(f.said)
}

func trouble(v *disk.Version, err error) *failure {
	if proto.AsError(err).Reason == proto.ReasonDamaged {
		return fail(v, proto.ReasonDamaged, err)
	}
	return fail(v, proto.ReasonAgent, err)
}
