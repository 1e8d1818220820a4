package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"runtime"
	"slices"
	"sync"

	protobuf "google.golang.org/protobuf/proto"

	"github.com/Ishan27g/ryo-faas/internal/flags"
	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/remote/disk"
	"github.com/Ishan27g/ryo-faas/transport"
	"github.com/Ishan27g/ryo-faas/transport/bundle"
)

// There are two ways to what run owns: callers ask, or order when they change
// something, and wait for the answer; the function's own helpers post events.

// logAnswer is how much of a function's output one answer carries, in bytes, well
// below what a gRPC message may hold.
const logAnswer = 1 << 20

// Deploy implements transport.Interface.
func (a *Agent) Deploy(ctx context.Context, fns ...*proto.FunctionJson) ([]*proto.FunctionJsonRsp, error) {
	if err := a.ready(ctx); err != nil {
		return nil, err
	}
	if err := a.examine(fns); err != nil {
		return nil, err
	}
	if slices.ContainsFunc(fns, func(fn *proto.FunctionJson) bool { return !fn.GetPlan() }) {
		if err := a.room(); err != nil {
			return nil, err
		}
	}
	resolved := make([]*proto.FunctionJson, len(fns))
	for i, fn := range fns {
		var err error
		if resolved[i], _, err = a.store.Resolve(ctx, fn); err != nil {
			return nil, err
		}
	}
	rows := make([]*proto.FunctionJsonRsp, len(fns))
	settled := make([]<-chan outcome, len(fns))
	for i, fn := range resolved {
		acc, err := a.deploy(ctx, fn)
		if err != nil && len(fns) == 1 {
			return nil, err
		}
		if err != nil {
			acc = accepted{row: a.refused(fn.GetName(), err)}
		}
		if rows[i] = acc.row; fn.GetWait() {
			settled[i] = acc.settled
		}
	}
	for i, s := range settled {
		if s == nil {
			continue
		}
		row, err := await(ctx, resolved[i].GetName(), s)
		if err != nil {
			return nil, err
		}
		rows[i] = row
	}
	return rows, nil
}

// deploy hands a deploy, or the plan of one, to its function.
func (a *Agent) deploy(ctx context.Context, fn *proto.FunctionJson) (accepted, error) {
	if !fn.GetPlan() {
		return order(ctx, a, fn.GetName(), anyway, func(f *function) (accepted, error) { return f.deploy(fn) })
	}
	row, err := ask(ctx, a, fn.GetName(), func(f *function) (*proto.FunctionJsonRsp, error) { return f.plan(fn) })
	if errors.Is(err, proto.ErrNotFound) {
		row, err = &proto.FunctionJsonRsp{Name: fn.GetName(), AtAgent: a.addr, Package: fn.GetPackage(), Change: disk.ChangeCreate}, nil
	}
	return accepted{row: row}, err
}

// await waits for the outcome of an order.
func await(ctx context.Context, name string, settled <-chan outcome) (*proto.FunctionJsonRsp, error) {
	select {
	case o := <-settled:
		return o.row, o.err
	case <-ctx.Done():
		return nil, waitError(ctx, name)
	}
}

// examine refuses a request that cannot be served as a whole, before any of it is.
func (a *Agent) examine(fns []*proto.FunctionJson) error {
	names := make(map[string]string)
	for _, fn := range fns {
		if err := fn.Check(); err != nil {
			return err
		}
		if fn.GetPreview() != "" && !fn.GetAges() {
			return proto.Errorf(proto.ErrUnsupported, "function %s is a preview, and an agent alone removes none for its age", fn.GetName()).
				WithHint("deploy it through a proxy: proxyCli -proxy HOST:9001")
		}
		if err := a.walls.Check(fn); err != nil {
			return err
		}
		path := proto.Path(fn.GetName())
		if other, twice := names[path]; twice {
			return proto.Errorf(proto.ErrConflict, "functions %s and %s of one request share the path /%s", other, fn.GetName(), path).
				WithHint("deploy one of them under another name")
		}
		names[path] = fn.GetName()
		for _, addr := range fn.GetToAgent() {
			if !a.is(addr) {
				return proto.Errorf(proto.ErrInvalid, "function %s is meant for the agent %s; this is %s", fn.GetName(), addr, a.addr).
					WithHint("ask that agent, or a proxy, which passes deploys on")
			}
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for path, name := range names {
		if f := a.functions[path]; f != nil && f.name != name {
			return collision(name, f.name, path)
		}
		if rec := a.stopped[path]; rec != nil && rec.Name != name {
			return collision(name, rec.Name, path)
		}
	}
	return nil
}

func collision(name, other, path string) error {
	return proto.Errorf(proto.ErrConflict, "function %s would share the path /%s with %s", name, path, other).
		WithHint("choose another name, or remove " + other + " first: proxyCli rm " + other)
}

// question is a question or an order for the goroutine of a function. The answer is
// buffered: run never waits for a caller.
type question[T any] struct {
	ask    func(*function) (T, error)
	answer chan reply[T]
}

type reply[T any] struct {
	value T
	err   error
}

func newQuestion[T any](ask func(*function) (T, error)) question[T] {
	return question[T]{ask, make(chan reply[T], 1)}
}

// put is called by run.
func (q question[T]) put(f *function) {
	value, err := q.ask(f)
	q.answer <- reply[T]{value, err}
}

// putFirst is put for the order that launched the function.
func (q question[T]) putFirst(f *function) {
	value, err := q.ask(f)
	f.cancelFirst()
	q.answer <- reply[T]{value, err}
}

func (q question[T]) wait(ctx context.Context, name string) (none T, _ error) {
	select {
	case r := <-q.answer:
		return r.value, r.err
	case <-ctx.Done():
		return none, waitError(ctx, name)
	}
}

// ask puts a question to the goroutine of a function. While the function is being
// stopped, which may take as long as its calls, the error is ErrUnavailable.
func ask[T any](ctx context.Context, a *Agent, name string, what func(*function) (T, error)) (none T, _ error) {
	if err := a.ready(ctx); err != nil {
		return none, err
	}
	f, _, err := a.function(name, active, nil)
	if err != nil {
		return none, err
	}
	q := newQuestion(what)
	select {
	case f.events <- func() { q.put(f) }:
		return q.wait(ctx, name)
	case <-f.closed:
		return none, proto.Errorf(proto.ErrUnavailable, "function %s is stopping", f.name)
	case <-ctx.Done():
		return none, waitError(ctx, name)
	}
}

// reach is which functions an order is for.
type reach int

const (
	active reach = iota // those that are not stopped
	kept                // those that are stopped too, which are launched
	anyway              // those that do not exist too, which are launched
)

// order is ask for what changes a function. While the function is being stopped it
// waits, and then goes to its successor.
func order[T any](ctx context.Context, a *Agent, name string, which reach, what func(*function) (T, error)) (none T, _ error) {
	if err := a.ready(ctx); err != nil {
		return none, err
	}
	q := newQuestion(what)
	for {
		f, fresh, err := a.function(name, which, q.putFirst)
		if err != nil {
			return none, err
		}
		if fresh {
			return q.wait(ctx, name)
		}
		select {
		case f.events <- func() { q.put(f) }:
			return q.wait(ctx, name)
		case <-f.exited:
		case <-ctx.Done():
			return none, waitError(ctx, name)
		}
	}
}

// function returns the function of a name. One that is stopped or does not exist is
// launched with a first order, or not found, as which says.
func (a *Agent) function(name string, which reach, first func(*function)) (f *function, fresh bool, err error) {
	path := proto.Path(name)
	a.mu.Lock()
	defer a.mu.Unlock()
	f = a.functions[path]
	rec := a.stopped[path]
	switch {
	case f == nil && (which == active || which == kept && rec == nil):
		return nil, false, a.notFound(name)
	case a.live == nil:
		return nil, false, proto.Errorf(proto.ErrUnavailable, "the agent %s is stopping", a.addr)
	case f != nil && which == anyway && f.name != name:
		return nil, false, collision(name, f.name, path)
	case f != nil:
		return f, false, nil
	case rec == nil:
		rec = &disk.Record{History: disk.History{Name: name}}
	case which == anyway && rec.Name != name:
		return nil, false, collision(name, rec.Name, path)
	}
	f = a.newFunction(rec)
	a.launch(f, first)
	return f, true, nil
}

// notFound is the error for a name that is not deployed. The caller holds mu.
func (a *Agent) notFound(name string) error {
	err := proto.Errorf(proto.ErrNotFound, "function %q is not deployed on %s", name, a.addr)
	if rec := a.stopped[proto.Path(name)]; rec != nil {
		return err.WithHint("it is stopped; proxyCli rollback " + rec.Name + " brings it back, proxyCli rm " + rec.Name + " removes it")
	}
	var names []string
	for _, f := range a.functions {
		names = append(names, f.name)
	}
	if near := proto.Nearest(name, names); near != "" {
		return err.WithHint("did you mean " + near + "?")
	}
	return err.WithHint("proxyCli details shows what is deployed")
}

// refused is the row of a function whose deploy the agent refused, beside those that it
// accepted.
func (a *Agent) refused(name string, err error) *proto.FunctionJsonRsp {
	return &proto.FunctionJsonRsp{
		Name: name, Status: string(proto.Failed), AtAgent: a.addr, Error: err.Error(), Reason: proto.ReasonAgent,
	}
}

func waitError(ctx context.Context, name string) error {
	return contextError(ctx, "the caller waits no longer for function %s; the agent goes on with it", name).
		WithHint("proxyCli details shows how it stands")
}

// Stop implements transport.Interface.
func (a *Agent) Stop(ctx context.Context, fnName string) (*proto.FunctionJsonRsp, error) {
	return order(ctx, a, fnName, active, (*function).stop)
}

// Remove implements transport.Interface.
func (a *Agent) Remove(ctx context.Context, fnName string) (*proto.FunctionJsonRsp, error) {
	return order(ctx, a, fnName, kept, (*function).erase)
}

// Stopped implements transport.Interface.
func (a *Agent) Stopped(ctx context.Context, atAgent string) ([]*proto.FunctionJsonRsp, error) {
	if atAgent != "" {
		if err := a.meant(atAgent); err != nil {
			return nil, err
		}
	}
	if err := a.ready(ctx); err != nil {
		return nil, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	rows := []*proto.FunctionJsonRsp{}
	for _, path := range slices.Sorted(maps.Keys(a.stopped)) {
		rows = append(rows, a.asStopped(path).row())
	}
	return rows, nil
}

// asStopped returns the function at a path if it is stopped, else nil. It is for
// reading while the caller holds mu.
func (a *Agent) asStopped(path string) *function {
	rec := a.stopped[path]
	if rec == nil {
		return nil
	}
	f := a.newFunction(rec)
	f.stopped = true
	return f
}

// List implements transport.Interface.
func (a *Agent) List(ctx context.Context, atAgent string) ([]*proto.FunctionJsonRsp, error) {
	if err := a.meant(atAgent); err != nil {
		return nil, err
	}
	return a.Details(ctx)
}

// meant finds out whether an address is this agent's.
func (a *Agent) meant(addr string) error {
	if _, err := transport.NormalizeAddr(addr); err != nil {
		return err
	}
	if !a.is(addr) {
		return proto.Errorf(proto.ErrNotFound, "the agent %q is not known here; this is %s", addr, a.addr).
			WithHint("ask that agent, or a proxy that knows it")
	}
	return nil
}

// Details implements transport.Interface.
func (a *Agent) Details(ctx context.Context) ([]*proto.FunctionJsonRsp, error) {
	if err := a.ready(ctx); err != nil {
		return nil, err
	}
	return a.feed.Rows(), nil
}

// Log implements transport.Interface. What a function printed outlives it.
func (a *Agent) Log(ctx context.Context, fnName string) (*proto.FunctionLogs, error) {
	row, err := a.printed(ctx, fnName)
	if err != nil {
		return nil, err
	}
	text, truncated, err := a.logs.Tail(row.GetName(), logAnswer)
	if err != nil {
		return nil, fmt.Errorf("read the log of function %s: %w", row.GetName(), err)
	}
	return &proto.FunctionLogs{Function: row, Logs: text, Truncated: truncated}, nil
}

// printed returns the row of a function that is deployed, or was and printed something.
func (a *Agent) printed(ctx context.Context, name string) (*proto.FunctionJsonRsp, error) {
	if err := a.ready(ctx); err != nil {
		return nil, err
	}
	for _, row := range a.feed.Rows() {
		if proto.Path(row.GetName()) == proto.Path(name) {
			return row, nil
		}
	}
	last, _, err := a.logs.Tail(name, 1)
	a.mu.Lock()
	defer a.mu.Unlock()
	if f := a.asStopped(proto.Path(name)); f != nil {
		return f.row(), nil
	}
	if err != nil || last == "" { // or it is no name
		return nil, a.notFound(name)
	}
	return &proto.FunctionJsonRsp{Name: name, Status: string(proto.Stopped), AtAgent: a.addr}, nil
}

// Logs implements transport.Interface.
func (a *Agent) Logs(ctx context.Context, req *proto.LogsRequest, on func(*proto.LogLines) error) error {
	row, err := a.printed(ctx, req.GetName())
	if err != nil {
		return err
	}
	req = protobuf.CloneOf(req)
	req.Name = row.GetName()
	over := make(chan struct{})
	if req.GetFollow() {
		watching, cancel := context.WithCancel(ctx)
		var watch sync.WaitGroup
		watch.Go(func() {
			defer close(over)
			a.untilStopped(watching, req.GetName())
		})
		defer watch.Wait()
		defer cancel()
	}
	return a.logs.Lines(ctx, req, over, func(lines *proto.LogLines) error {
		for _, line := range lines.GetLines() {
			line.AtAgent = a.addr
		}
		return on(lines)
	})
}

// untilStopped returns when a function is stopped, at once when it is already, or when
// ctx ends.
func (a *Agent) untilStopped(ctx context.Context, name string) {
	_ = a.feed.Watch(ctx, func(ev *proto.WatchEvent) error {
		runs := !ev.GetSnapshot()
		for _, row := range ev.GetFunctions() {
			if proto.Path(row.GetName()) == proto.Path(name) {
				runs = proto.Status(row.GetStatus()) != proto.Stopped
			}
		}
		if !runs {
			return io.EOF
		}
		return nil
	})
}

// Watch implements transport.Interface.
func (a *Agent) Watch(ctx context.Context, on func(*proto.WatchEvent) error) error {
	if err := a.ready(ctx); err != nil {
		return err
	}
	return a.feed.Watch(ctx, on)
}

// Upload implements transport.Interface.
func (a *Agent) Upload(ctx context.Context, pkg *bundle.Package) error {
	if a.store.Has(pkg.Digest) {
		return nil
	}
	file, err := os.Open(pkg.Path)
	if err != nil {
		return err
	}
	defer file.Close()
	_, err = a.store.Put(ctx, pkg.Digest, file)
	return err
}

// Versions implements transport.Interface.
func (a *Agent) Versions(ctx context.Context, fnName string) ([]*proto.Version, error) {
	if err := a.ready(ctx); err != nil {
		return nil, err
	}
	a.mu.Lock()
	var stopped []*proto.Version
	f := a.asStopped(proto.Path(fnName))
	if f != nil {
		stopped = f.versions()
	}
	a.mu.Unlock()
	if f != nil {
		return stopped, nil
	}
	return ask(ctx, a, fnName, func(f *function) ([]*proto.Version, error) { return f.versions(), nil })
}

// Source implements transport.Interface.
func (a *Agent) Source(ctx context.Context, fnName string, version uint32) (io.ReadCloser, error) {
	list, err := a.Versions(ctx, fnName)
	if err != nil {
		return nil, err
	}
	v, err := proto.FindVersion(fnName, list, version)
	if err != nil {
		return nil, err
	}
	r, err := a.store.Open(v.GetPackage())
	if errors.Is(err, proto.ErrNotFound) {
		return nil, v.SourceGone(fnName)
	}
	return r, err
}

// Rollback implements transport.Interface.
func (a *Agent) Rollback(ctx context.Context, fnName string, to uint32) ([]*proto.FunctionJsonRsp, error) {
	return a.settle(ctx, fnName, kept, func(f *function) (accepted, error) { return f.rollback(to) })
}

// Shift implements transport.Interface.
func (a *Agent) Shift(ctx context.Context, fnName string, canary uint32) ([]*proto.FunctionJsonRsp, error) {
	return a.settle(ctx, fnName, active, func(f *function) (accepted, error) { return f.shift(canary) })
}

// Pause implements transport.Interface.
func (a *Agent) Pause(ctx context.Context, fnName string) ([]*proto.FunctionJsonRsp, error) {
	return one(order(ctx, a, fnName, active, (*function).pause))
}

// Resume implements transport.Interface.
func (a *Agent) Resume(ctx context.Context, fnName string) ([]*proto.FunctionJsonRsp, error) {
	return one(order(ctx, a, fnName, active, (*function).resume))
}

func one(row *proto.FunctionJsonRsp, err error) ([]*proto.FunctionJsonRsp, error) {
	if err != nil {
		return nil, err
	}
	return []*proto.FunctionJsonRsp{row}, nil
}

// settle hands an order to a function and returns the function's row when the order is
// settled.
func (a *Agent) settle(ctx context.Context, name string, which reach, what func(*function) (accepted, error)) ([]*proto.FunctionJsonRsp, error) {
	acc, err := order(ctx, a, name, which, what)
	if err != nil {
		return nil, err
	}
	row, err := await(ctx, name, acc.settled)
	if err != nil {
		return nil, err
	}
	return []*proto.FunctionJsonRsp{row}, nil
}

// Crashes implements transport.Interface.
func (a *Agent) Crashes(ctx context.Context, fnName string) ([]*proto.Crash, error) {
	return ask(ctx, a, fnName, func(f *function) (list []*proto.Crash, _ error) {
		for _, crash := range f.crashes {
			list = append(list, protobuf.CloneOf(crash))
		}
		return list, nil
	})
}

// Wake implements transport.Worker.
func (a *Agent) Wake(ctx context.Context, fnName string, version uint32) (*proto.Serving, error) {
	return ask(ctx, a, fnName, func(f *function) (*proto.Serving, error) { return f.wake(version) })
}

// Build implements transport.Worker: it builds a program without a deploy.
func (a *Agent) Build(ctx context.Context, fn *proto.FunctionJson) (*proto.Program, error) {
	if err := a.ready(ctx); err != nil {
		return nil, err
	}
	if err := a.room(); err != nil {
		return nil, err
	}
	return a.programs.Build(ctx, fn)
}

// room refuses what can wait when the disk is nearly full. What runs goes on, and what
// makes room is never refused.
func (a *Agent) room() error {
	if err := a.disk.Room(); err != nil {
		return proto.AsError(err).From("agent", "disk")
	}
	return nil
}

// HasProgram implements transport.Worker.
func (a *Agent) HasProgram(key string) bool { return a.programs.Has(key) }

// OpenProgram implements transport.Worker.
func (a *Agent) OpenProgram(key string) (io.ReadCloser, *proto.Program, error) {
	return a.programs.Open(key)
}

// KeepProgram implements transport.Worker.
func (a *Agent) KeepProgram(ctx context.Context, p *proto.Program, r io.Reader) error {
	if err := a.room(); err != nil {
		return err
	}
	return a.programs.Put(ctx, p, r)
}

// Place implements transport.Worker.
func (a *Agent) Place(ctx context.Context, fnName, replicas string, placement map[string]string) (*proto.FunctionJsonRsp, error) {
	return order(ctx, a, fnName, active, func(f *function) (*proto.FunctionJsonRsp, error) {
		was := f.history.Placed
		f.history.Placed = disk.PlacedBy(&proto.FunctionJson{Replicas: replicas, Placement: placement})
		if err := f.store(); err != nil {
			f.history.Placed = was
			return nil, proto.Errorf(proto.ErrExhausted, "store where function %s is to be: %w", f.name, err)
		}
		return f.tell(), nil
	})
}

// Resize implements transport.Worker.
func (a *Agent) Resize(ctx context.Context, fnName string, processes int) (*proto.FunctionJsonRsp, error) {
	return order(ctx, a, fnName, active, func(f *function) (*proto.FunctionJsonRsp, error) {
		f.resized = processes
		return f.tell(), nil // run tends the services next
	})
}

// Info implements transport.Worker.
func (a *Agent) Info() *proto.AgentInfo {
	info := a.programs.Info()
	info.Id, info.Version = a.id, flags.ThisBuild().Version
	info.Exposed, info.Isolation = a.expose, a.walls.Tier().String()
	info.Labels, info.Memory = maps.Clone(a.labels), memory()
	info.Cpus = uint32(runtime.GOMAXPROCS(0))             //nolint:gosec // few
	info.Ports = uint32(a.ports.last - a.ports.first + 1) //nolint:gosec // below 65536
	return info
}
