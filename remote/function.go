package remote

import (
	"cmp"
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
	protobuf "google.golang.org/protobuf/proto"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/remote/process"
)

const (
	// A process that ends is started again at once, then after backoffFirst,
	// doubled each time up to backoffMost. One that lived for healthy starts anew.
	backoffFirst = 100 * time.Millisecond
	backoffMost  = 30 * time.Second
	healthy      = time.Minute
	// crashLoop is the number of ends in a row after which the function is Failed
	// and its callers are refused at once instead of waiting for the next process.
	crashLoop = 5
	// handOver is how long a process may take to stop taking calls; milliseconds
	// are enough on a busy machine.
	handOver = 2 * time.Second
	// logLimit is how much of a function's output is kept, in bytes.
	logLimit = 10 << 20
	// liveOutput is how much of what a build says a row carries, in bytes.
	liveOutput = 4 << 10
)

// function is one function's life. Its goroutine, run, owns all that changes and
// is the only place where the function's status comes about.
type function struct {
	agent  *Agent
	name   string
	path   string
	log    hclog.Logger
	orders chan order
	gone   chan struct{} // closed when run has returned

	work sync.WaitGroup // attempts, and processes that are being ended

	// The below belong to run.
	rec      *record
	sockets  *process.Sockets // nil while callers are refused
	output   *process.Log
	next     *attempt // of rec.Next
	again    *attempt // of rec.Current, after its process ended
	proc     *process.Process
	readyAt  time.Time // of proc
	seen     bool      // rec.Current has been ready under this agent
	problem  *failure  // why proc is not there
	ends     int       // of processes, in a row
	restarts uint32
	retry    *time.Timer
	stage    string
	compiler string // the end of what the build of next has said
	printed  uint64 // bytes of it in all
	stopped  bool
	waiting  chan<- answer // the deployer that waits for next, if one does
	said     *proto.FunctionJsonRsp
}

// order is what others ask of a function. The channels are buffered: run never
// waits for who asks.
type order struct {
	deploy   *proto.FunctionJson // nil: stop
	accepted chan<- answer       // told when the order is on the disk; for a stop, when it is done
	settled  chan<- answer       // told when a deploy has come up or failed; nil: not wanted
}

type answer struct {
	row *proto.FunctionJsonRsp
	err error
}

func (a *Agent) newFunction(rec *record) *function {
	path := proto.Path(rec.Name)
	f := &function{
		agent: a, name: rec.Name, path: path, log: a.log.With("function", rec.Name),
		orders: make(chan order), gone: make(chan struct{}),
		rec: rec, retry: time.NewTimer(time.Hour), stage: proto.StageQueued,
	}
	f.retry.Stop()
	return f
}

// run lives as long as the function, or as the agent.
//
// first, if any, is the deploy that brought it into being.
func (f *function) run(ctx context.Context, first *order) {
	defer close(f.gone)
	defer f.close()
	switch {
	case f.rec.Stopping: // an earlier agent died half way
		f.forget()
	case first != nil:
		f.deploy(*first)
	default:
		f.resume()
	}
	for !f.stopped {
		f.publish()
		select {
		case <-ctx.Done():
			return
		case o := <-f.orders:
			if o.deploy != nil {
				f.deploy(o)
			} else {
				f.stop(o)
			}
		case p := <-f.next.stages():
			f.heard(p)
		case p := <-f.again.stages():
			f.rec.Current.Kind = cmp.Or(p.kind, f.rec.Current.Kind)
		case r := <-f.next.results():
			f.settle(r)
		case r := <-f.again.results():
			f.restarted(r)
		case <-f.exited():
			f.crashed()
		case <-f.retry.C:
			f.restart()
		}
	}
}

// heard notes how far the deploy has come.
func (f *function) heard(p progress) {
	f.stage = p.stage
	f.rec.Next.Kind = cmp.Or(p.kind, f.rec.Next.Kind)
	if p.stage != proto.StageBuilding {
		f.compiler, f.printed = "", 0
		return
	}
	f.printed += uint64(len(p.output))
	f.compiler += p.output
	if over := len(f.compiler) - liveOutput; over > 0 {
		f.compiler = strings.ToValidUTF8(f.compiler[over:], "") // from the next whole character on
	}
}

func (f *function) exited() <-chan struct{} {
	if f.proc == nil {
		return nil
	}
	return f.proc.Done()
}

// close leaves nothing running; what should run stays on the disk.
func (f *function) close() {
	f.quiesce()
	f.tell(answer{err: proto.Errorf(proto.ErrUnavailable, "the agent is ending; it goes on with function %s when it is started again", f.name)})
	if f.output != nil {
		f.output.Close()
	}
}

// resume takes up what the record says.
func (f *function) resume() {
	f.restart()
	if f.rec.Next == nil {
		return
	}
	f.stage = proto.StageQueued
	if err := f.listen(); err != nil {
		why := f.trouble(err)
		why.Generation = f.rec.Next.Generation
		f.fail(why)
		return
	}
	f.next = f.begin(f.rec.Next, true)
}

// deploy takes a deploy on: it is on the disk before it is acknowledged.
func (f *function) deploy(o order) {
	if err := f.take(o.deploy); err != nil {
		o.accepted <- answer{err: err}
		f.silence()
		if f.rec.Generation == 0 { // it was to be the first
			f.forget()
		}
		return
	}
	f.publish()
	o.accepted <- answer{row: protobuf.CloneOf(f.said)}
	f.waiting = o.settled
}

func (f *function) take(fn *proto.FunctionJson) error {
	if err := f.listen(); err != nil {
		return err
	}
	rec := *f.rec
	rec.Generation++
	rec.Next = &version{Generation: rec.Generation, Spec: spec{fn}}
	rec.Failure = nil
	if err := f.agent.ws.save(&rec); err != nil {
		return proto.Errorf(proto.ErrExhausted, "store the deploy of function %s: %w", f.name, err)
	}
	if f.next != nil {
		f.next.cancel()
		f.tell(answer{row: f.failed(&failure{
			Generation: f.rec.Generation, Reason: proto.ReasonAgent, Text: "replaced by a later deploy before it was ready",
		})})
	}
	f.rec, f.stage = &rec, proto.StageQueued
	f.next = f.begin(rec.Next, true)
	f.log.Info("deploying", "generation", rec.Generation, "package", fn.GetPackage())
	return nil
}

// settle ends a deploy, one way or the other.
func (f *function) settle(r result) {
	if r.fail != nil {
		f.fail(r.fail)
		return
	}
	old, oldVersion := f.proc, f.rec.Current
	if f.again != nil {
		f.again.cancel()
		f.again = nil
	}
	f.rec.Current, f.rec.Next, f.next = f.rec.Next, nil, nil
	f.save()
	if old != nil {
		// Deployed is said when the old code takes no further calls.
		ctx, cancel := context.WithTimeout(context.Background(), handOver)
		if err := old.Drain(ctx); err != nil {
			f.log.Warn("the old process goes on taking calls", "pid", old.Pid(), "error", err)
		}
		cancel()
	}
	f.up(r.proc)
	f.ends, f.restarts = 0, 0
	f.log.Info("deployed", "generation", f.rec.Current.Generation, "pid", r.proc.Pid())
	f.publish()
	f.tell(answer{row: protobuf.CloneOf(f.said)})
	version := f.rec.Current
	f.work.Go(func() {
		f.persist(version, r.program)
		if old != nil {
			old.Stop(context.Background(), killAfter)
		}
		if oldVersion != nil {
			f.remove(oldVersion)
		}
	})
}

// fail ends a deploy that came to nothing: what ran before goes on.
func (f *function) fail(why *failure) {
	why.Kind = cmp.Or(f.rec.Next.Kind, f.rec.Next.Spec.GetKind())
	f.rec.Next, f.next = nil, nil
	f.rec.Failure = why
	f.silence()
	f.save()
	f.log.Info("deploy failed", "generation", why.Generation, "reason", why.Reason, "error", why.Text)
	f.publish()
	f.tell(answer{row: f.failed(why)})
}

// crashed arranges for the next process after one that ended by itself.
func (f *function) crashed() {
	exit := f.proc.Exit()
	f.proc = nil
	if time.Since(f.readyAt) >= healthy {
		f.ends = 0
	}
	f.retryAfter(&failure{Reason: proto.ReasonCrash, Text: "the process ended: " + exit.String(), At: time.Now().UTC()})
}

// retryAfter counts one more end and sets the time of the next start.
func (f *function) retryAfter(why *failure) {
	f.problem = why
	f.ends++
	wait := backoff(f.ends)
	f.retry.Reset(wait)
	f.log.Warn("process ended", "error", why.Text, "ends", f.ends, "restart", wait)
	f.silence()
}

// backoff is the time from the nth end in a row to the next start.
func backoff(ends int) time.Duration {
	if ends <= 1 {
		return 0
	}
	wait := backoffMost
	if doublings := ends - 2; doublings < 16 { // a larger shift could overflow
		wait = min(backoffFirst<<doublings, backoffMost)
	}
	// Functions that fell together shall not rise together.
	return time.Duration(float64(wait) * (0.8 + 0.4*rand.Float64()))
}

// restart starts a process of the current version.
func (f *function) restart() {
	if f.rec.Current == nil || f.proc != nil || f.again != nil {
		return
	}
	if err := f.listen(); err != nil {
		f.retryAfter(f.trouble(err))
		return
	}
	if f.seen {
		f.restarts++
	}
	f.again = f.begin(f.rec.Current, false)
}

// restarted ends a restart, one way or the other.
func (f *function) restarted(r result) {
	f.again = nil
	if r.fail != nil {
		if f.seen && r.fail.Reason == proto.ReasonStart {
			r.fail.Reason = proto.ReasonCrash // it could start before
		}
		f.retryAfter(r.fail)
		return
	}
	f.up(r.proc)
	f.log.Info("started", "generation", f.rec.Current.Generation, "pid", r.proc.Pid())
}

// up takes a process that has answered as the one that serves.
func (f *function) up(proc *process.Process) {
	f.proc, f.readyAt, f.seen, f.problem = proc, time.Now(), true, nil
	f.retry.Stop()
}

// stop ends the function for good. Its state on disk says so first, so that an
// agent that dies half way is continued, not contradicted.
func (f *function) stop(o order) {
	f.rec.Stopping = true
	if err := f.agent.ws.save(f.rec); err != nil {
		f.rec.Stopping = false
		o.accepted <- answer{err: proto.Errorf(proto.ErrExhausted, "store the stop of function %s: %w", f.name, err)}
		return
	}
	f.quiesce()
	f.tell(answer{err: proto.Errorf(proto.ErrConflict, "function %s was stopped before it was ready", f.name)})
	f.forget()
	f.log.Info("stopped")
	o.accepted <- answer{row: protobuf.CloneOf(f.said)}
}

// quiesce ends every process and attempt and waits for them.
func (f *function) quiesce() {
	f.retry.Stop()
	f.closeSockets()
	for _, t := range []*attempt{f.next, f.again} {
		if t != nil {
			t.cancel()
		}
	}
	if f.proc != nil {
		f.proc.Stop(context.Background(), killAfter)
	}
	f.work.Wait()
	f.next, f.again, f.proc = nil, nil, nil
}

// forget removes all that is left of a function that does not run.
func (f *function) forget() {
	if f.rec.Port != 0 {
		f.agent.ports.release(f.rec.Port)
	}
	if err := os.RemoveAll(f.agent.ws.functionDir(f.path)); err != nil {
		f.log.Error("the function's folder cannot be removed", "error", err)
	}
	f.stopped = true
	f.publish()
	f.agent.drop(f)
}

// listen opens the function's log and sockets unless they are open.
func (f *function) listen() error {
	if err := f.openLog(); err != nil || f.sockets != nil {
		return err
	}
	busy := make(map[int]bool)
	for {
		port := f.rec.Port
		if port == 0 {
			var err error
			if port, err = f.agent.ports.take(busy); err != nil {
				return err
			}
		}
		sockets, err := f.agent.listen(port)
		switch {
		case err == nil:
			f.sockets, f.rec.Port = sockets, port
			return nil
		case f.rec.Port != 0:
			return proto.Errorf(proto.ErrUnavailable, "open port %d, which function %s had before: %w", port, f.name, err)
		}
		f.agent.ports.release(port)
		if !errors.Is(err, syscall.EADDRINUSE) {
			return err
		}
		busy[port] = true // another program has it
	}
}

func (f *function) openLog() (err error) {
	if f.output != nil {
		return nil
	}
	if err := os.MkdirAll(f.agent.ws.functionDir(f.path), 0o700); err != nil {
		return err
	}
	if f.output, err = process.OpenLog(f.agent.ws.logFile(f.path), logLimit); err != nil {
		return err
	}
	f.agent.keeper.Add(f.output)
	return nil
}

func (f *function) closeSockets() {
	if f.sockets != nil {
		f.sockets.Close()
		f.sockets = nil
	}
}

// silence refuses callers when no process is about to come: they are told at
// once instead of waiting in the backlog.
func (f *function) silence() {
	if f.next != nil || f.rec.Current != nil && f.ends < crashLoop {
		return
	}
	f.closeSockets()
	if f.rec.Current == nil && f.rec.Port != 0 {
		f.agent.ports.release(f.rec.Port)
		f.rec.Port = 0
	}
}

// save stores the record after the fact: a deploy that has settled. Should it
// fail, the next agent settles that deploy once more.
func (f *function) save() {
	if err := f.agent.ws.save(f.rec); err != nil {
		f.log.Error("the function's record cannot be stored", "error", err)
	}
}

func (f *function) trouble(err error) *failure {
	return &failure{Reason: proto.ReasonAgent, Text: err.Error(), At: time.Now().UTC()}
}

// tell answers the deployer that waits, if one does.
func (f *function) tell(a answer) {
	if f.waiting != nil {
		f.waiting <- a
		f.waiting = nil
	}
}

// status is derived from what is there.
func (f *function) status() proto.Status {
	switch {
	case f.stopped:
		return proto.Stopped
	case f.rec.Next != nil:
		return proto.Deploying
	case f.rec.Current == nil, f.ends >= crashLoop && f.proc == nil:
		return proto.Failed
	case f.seen:
		return proto.Deployed
	default: // an agent that was started again has not seen it ready yet
		return proto.Deploying
	}
}

// row is the function as callers see it.
func (f *function) row() *proto.FunctionJsonRsp {
	row := &proto.FunctionJsonRsp{
		Name: f.name, Status: string(f.status()), AtAgent: f.agent.addr,
		Generation: f.rec.Generation, Restarts: f.restarts,
	}
	if v := cmp.Or(f.rec.Current, f.rec.Next); v != nil {
		row.Package, row.Timeout, row.Kind = v.Spec.GetPackage(), v.Spec.GetTimeout(), cmp.Or(v.Kind, v.Spec.GetKind())
	} else if f.rec.Failure != nil {
		row.Kind = f.rec.Failure.Kind
	}
	if f.rec.Port != 0 && !f.stopped {
		base := url.URL{Scheme: "http", Host: net.JoinHostPort(f.agent.host, strconv.Itoa(f.rec.Port))}
		row.Proxy = base.String()
		base.Path = "/" + f.path
		row.Url = base.String()
	}
	if f.sockets != nil {
		row.Socket = f.sockets.Path()
	}
	if f.proc != nil {
		row.Instances, row.Pid = 1, int32(f.proc.Pid())
	}
	switch proto.Status(row.GetStatus()) {
	case proto.Deploying:
		row.Stage, row.Output, row.Printed = f.stage, f.compiler, f.printed
		if f.rec.Next == nil {
			row.Stage = proto.StageStarting
		}
	case proto.Deployed, proto.Failed:
		f.explain(row)
	}
	return row
}

// explain says in a row what is wrong, if anything is.
func (f *function) explain(row *proto.FunctionJsonRsp) {
	last := f.rec.Failure
	switch {
	case f.problem != nil && f.proc == nil:
		row.Error, row.Reason = f.problem.Text, f.problem.Reason
	case last != nil && f.rec.Current != nil:
		row.Reason = last.Reason
		row.Error = "the last deploy failed and changed nothing: " + last.Text
	case last != nil:
		row.Error, row.Reason = last.Text, last.Reason
	}
}

// failed is the row for who asked for a deploy that came to nothing. The row of
// the list differs when an earlier version goes on serving.
func (f *function) failed(why *failure) *proto.FunctionJsonRsp {
	row := f.row()
	row.Status, row.Stage = string(proto.Failed), ""
	row.Error, row.Reason, row.Generation, row.Kind = why.Text, why.Reason, why.Generation, why.Kind
	row.Since = why.At.Format(time.RFC3339)
	return row
}

// publish tells the agent's feed what the function is like now.
func (f *function) publish() {
	if f.rec.Generation == 0 { // nothing has been accepted yet
		return
	}
	row := f.row()
	from := proto.Status(f.said.GetStatus())
	to := proto.Status(row.GetStatus())
	if row.Since = f.said.GetSince(); from != to {
		row.Since = time.Now().UTC().Format(time.RFC3339)
		if !proto.CanMove(from, to) {
			f.log.Error("a move that the table of states does not know", "from", from, "to", to)
		}
	}
	if protobuf.Equal(f.said, row) {
		return
	}
	f.said = row
	f.agent.feed.Set(row)
}
