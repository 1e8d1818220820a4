package transporttest

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	protobuf "google.golang.org/protobuf/proto"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/transport"
	"github.com/Ishan27g/ryo-faas/transport/bundle"
)

// FakeAddr is the fake's address.
const FakeAddr = "localhost:9000"

// storeLimit is far above what tests store.
const storeLimit = 256 << 20

// Fake is an agent in memory. A function is Deployed when its sources parse and
// declare it, else Failed.
type Fake struct {
	store    *bundle.Store
	feed     transport.Feed
	deploys  sync.WaitGroup // under way
	services sync.WaitGroup // open

	mu        sync.Mutex // guards the fields below
	functions map[string]*function
	stopped   map[string]*function // by path
	programs  map[string]program   // by key
	pids      int32                // given out so far
}

var (
	_ transport.Interface = (*Fake)(nil)
	_ transport.Worker    = (*Fake)(nil)
)

// function is one function of a Fake.
type function struct {
	path     string
	row      *proto.FunctionJsonRsp // as published, never changed in place
	service  *service               // of the version that serves
	versions []*version             // that are kept, oldest first
	last     uint32                 // the highest number that a version has had
	serves   *version               // nil before the first is ready
	before   *version               // the one that served before
	earlier  *version               // the one before that, of a function that is stopped
	canary   *version               // nil: there is none
	share    uint32                 // of the canary, in percent
	paused   bool

	lines   []*proto.LogLine
	crashes []*proto.Crash // oldest first
	stopped bool
	changed chan struct{} // closed at the next line, and when the function is stopped
}

// NewFake returns a Fake that lives as long as the test.
func NewFake(t testing.TB) *Fake {
	t.Helper()
	store, err := bundle.OpenStore(t.TempDir(), storeLimit)
	if err != nil {
		t.Fatal(err)
	}
	f := &Fake{store: store, functions: make(map[string]*function), stopped: make(map[string]*function), programs: make(map[string]program)}
	t.Cleanup(func() {
		f.deploys.Wait()
		f.mu.Lock()
		for _, fn := range f.functions {
			fn.close()
		}
		f.mu.Unlock()
		f.services.Wait()
	})
	return f
}

// Store is where the fake takes packages from: the one for server.Serve.
func (f *Fake) Store() *bundle.Store { return f.store }

// deploy is one deploy of one function on its way.
type deploy struct {
	fn      *proto.FunctionJson // refers to pkg
	pkg     *bundle.Package
	number  uint32                 // of the version that it makes
	row     *proto.FunctionJsonRsp // the first answer
	settled chan *proto.FunctionJsonRsp
}

// Deploy implements transport.Interface.
func (f *Fake) Deploy(ctx context.Context, fns ...*proto.FunctionJson) ([]*proto.FunctionJsonRsp, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	deploys := make([]*deploy, len(fns))
	for i, fn := range fns {
		if err := check(fn); err != nil {
			return nil, err
		}
		resolved, pkg, err := f.store.Resolve(ctx, fn)
		if err != nil {
			return nil, err
		}
		deploys[i] = &deploy{fn: resolved, pkg: pkg, settled: make(chan *proto.FunctionJsonRsp, 1)}
	}
	if err := f.begin(deploys); err != nil {
		return nil, err
	}
	rows := make([]*proto.FunctionJsonRsp, len(deploys))
	for i, d := range deploys {
		rows[i] = protobuf.CloneOf(d.row)
		if !d.fn.GetWait() || d.row.GetStatus() != string(proto.Deploying) {
			continue
		}
		select {
		case rows[i] = <-d.settled:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return rows, nil
}

func check(fn *proto.FunctionJson) error {
	if err := fn.Check(); err != nil {
		return err
	}
	for _, addr := range fn.GetToAgent() {
		if _, err := transport.NormalizeAddr(addr); err != nil {
			return err
		}
	}
	return nil
}

// begin starts all deploys, or none.
func (f *Fake) begin(deploys []*deploy) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	names := make(map[string]string)
	for p, fn := range f.functions {
		names[p] = fn.row.GetName()
	}
	for p, fn := range f.stopped {
		names[p] = fn.row.GetName()
	}
	for _, d := range deploys {
		name, path := d.fn.GetName(), proto.Path(d.fn.GetName())
		if other := cmp.Or(names[path], name); other != name {
			return proto.Errorf(proto.ErrConflict, "function %s has the path of %s, %s", name, other, path).
				WithHint("remove " + other + " or choose another name")
		}
		names[path] = name
		if fn := f.known(path); fn != nil && d.fn.GetVersion() != 0 && d.fn.GetVersion() <= fn.last {
			return proto.Errorf(proto.ErrConflict, "function %s has had a version %d already", name, fn.last)
		}
		serves, changing := uint32(0), false
		if fn := f.known(path); fn != nil {
			changing = fn.row.GetStatus() == string(proto.Deploying)
			if v := cmp.Or(fn.serves, fn.before); v != nil {
				serves = v.number
			}
		}
		if err := d.fn.CheckServes(serves, changing); err != nil {
			return err
		}
	}
	for _, d := range deploys {
		if fn := f.known(proto.Path(d.fn.GetName())); fn != nil && cmp.Or(fn.serves, fn.before) != nil {
			d.fn.Retain(cmp.Or(fn.serves, fn.before).fn, d.fn.GetKeep())
		}
		if err := d.fn.Check(); err != nil {
			return err
		}
		if d.fn.GetPlan() {
			d.row = f.plan(d.fn)
			continue
		}
		fn, err := f.function(d.fn.GetName())
		if err != nil {
			return err
		}
		if change, _ := fn.compare(d.fn); change == changeNone && !fn.paused && fn.row.GetStatus() == string(proto.Deployed) {
			d.row = f.move(fn, proto.Deployed, func(row *proto.FunctionJsonRsp) {
				row.Generation++
				row.Error, row.Reason = "", ""
				row.Replicas, row.Placement = d.fn.GetReplicas(), d.fn.GetPlacement()
			})
			continue
		}
		fn.last = max(fn.last+1, d.fn.GetVersion())
		d.number = fn.last
		d.row = f.move(fn, proto.Deploying, func(row *proto.FunctionJsonRsp) {
			row.Generation++
			row.Stage, row.Error, row.Reason = proto.StageBuilding, "", ""
			row.Replicas, row.Placement = d.fn.GetReplicas(), d.fn.GetPlacement()
		})
		f.deploys.Go(func() { d.settled <- f.build(d) })
	}
	return nil
}

// known returns the function of a path, stopped or not, nil if there is none. f.mu is
// held.
func (f *Fake) known(path string) *function { return cmp.Or(f.functions[path], f.stopped[path]) }

// function returns the function of a name. One that was stopped goes on; one that does
// not exist is made. f.mu is held.
func (f *Fake) function(name string) (*function, error) {
	path := proto.Path(name)
	if f.functions[path] == nil {
		made := &function{path: path, changed: make(chan struct{})}
		var err error
		if made.service, err = f.serve(made, func() *version { return made.serves }); err != nil {
			return nil, err
		}
		made.row = &proto.FunctionJsonRsp{
			Name: name, AtAgent: FakeAddr, Proxy: made.service.url, Url: made.service.url + "/" + path,
		}
		if was := f.stopped[path]; was != nil {
			made.lines, made.versions, made.last, made.before, made.earlier = was.lines, was.versions, was.last, was.before, was.earlier
			made.row.Generation = was.row.GetGeneration()
			delete(f.stopped, path)
		}
		f.functions[path] = made
	}
	return f.functions[path], nil
}

// close closes the services of a function. f.mu is held.
func (fn *function) close() {
	fn.service.close()
	for _, v := range fn.versions {
		v.service.close()
	}
}

// move publishes the function in a new state, changed by edit, and returns the
// row. f.mu is held.
func (f *Fake) move(fn *function, to proto.Status, edit func(*proto.FunctionJsonRsp)) *proto.FunctionJsonRsp {
	row := protobuf.CloneOf(fn.row)
	if from := proto.Status(row.GetStatus()); !proto.CanMove(from, to) {
		panic("the fake moves a function from " + string(from) + " to " + string(to))
	}
	row.Status, row.Since = string(to), time.Now().UTC().Format(time.RFC3339)
	row.LastVersion, row.Paused = fn.last, fn.paused
	if fn.serves != nil {
		fn.describe(row)
	}
	edit(row)
	fn.row = row
	f.feed.Set(row)
	return row
}

// build finishes a deploy and returns the row for a caller that waits. When a deploy
// fails the version before it goes on serving.
func (f *Fake) build(d *deploy) *proto.FunctionJsonRsp {
	body, reason, failure := compile(d.fn, d.pkg)
	f.mu.Lock()
	defer f.mu.Unlock()
	built := programOf(d.fn, d.pkg)
	if key := d.fn.GetProgram(); failure == nil && key != "" {
		var has bool
		if built, has = f.programs[key]; !has {
			reason, failure = "program", proto.Errorf(proto.ErrUnavailable, "program %s is not stored", key)
		}
	}
	fn := f.functions[proto.Path(d.fn.GetName())]
	if fn == nil || fn.row.GetGeneration() != d.row.GetGeneration() || fn.row.GetStatus() != string(proto.Deploying) {
		result := protobuf.CloneOf(d.row) // stopped or replaced meanwhile
		result.Status, result.Stage, result.Reason, result.Error = string(proto.Failed), "", proto.ReasonAgent, "another deploy came after this one"
		return result
	}
	if failure == nil {
		f.programs[built.about.GetKey()] = built
		failure = f.take(fn, d, body, built.about)
		reason = proto.ReasonAgent
	}
	if failure == nil {
		return protobuf.CloneOf(f.move(fn, proto.Deployed, func(row *proto.FunctionJsonRsp) { row.Stage = "" }))
	}
	state := proto.Failed
	if fn.serves != nil {
		state = proto.Deployed
	}
	result := protobuf.CloneOf(f.move(fn, state, func(row *proto.FunctionJsonRsp) {
		row.Stage, row.Reason, row.Error = "", reason, failure.Error()
	}))
	result.Status = string(proto.Failed)
	return result
}

// Stop implements transport.Interface.
func (f *Fake) Stop(ctx context.Context, fnName string) (*proto.FunctionJsonRsp, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	fn, err := f.find(ctx, fnName)
	if err != nil {
		return nil, err
	}
	return f.stop(fn), nil
}

// stop stops a function. f.mu is held.
func (f *Fake) stop(fn *function) *proto.FunctionJsonRsp {
	row := f.move(fn, proto.Stopped, func(row *proto.FunctionJsonRsp) { row.Instances, row.Stage, row.Serving = 0, "", nil })
	delete(f.functions, fn.path)
	f.stopped[fn.path] = fn
	fn.close()
	for _, v := range fn.versions {
		v.service = nil
	}
	if fn.serves != nil {
		fn.earlier, fn.before, fn.serves = fn.before, fn.serves, nil
	}
	fn.canary, fn.share, fn.paused = nil, 0, false
	fn.stopped = true
	close(fn.changed)
	return protobuf.CloneOf(row)
}

// Remove implements transport.Interface.
func (f *Fake) Remove(ctx context.Context, fnName string) (*proto.FunctionJsonRsp, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	fn, err := f.printed(ctx, fnName)
	if err != nil {
		return nil, err
	}
	row := protobuf.CloneOf(fn.row)
	if !fn.stopped {
		row = f.stop(fn)
	}
	delete(f.stopped, fn.path)
	return row, nil
}

// Stopped implements transport.Interface.
func (f *Fake) Stopped(ctx context.Context, atAgent string) ([]*proto.FunctionJsonRsp, error) {
	if atAgent != "" {
		if _, err := f.List(ctx, atAgent); err != nil {
			return nil, err
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	rows := []*proto.FunctionJsonRsp{}
	for _, path := range slices.Sorted(maps.Keys(f.stopped)) {
		if fn := f.stopped[path]; len(fn.versions) > 0 {
			rows = append(rows, protobuf.CloneOf(fn.row))
		}
	}
	return rows, ctx.Err()
}

// find returns the function of a name. f.mu is held.
func (f *Fake) find(ctx context.Context, name string) (*function, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if fn := f.functions[proto.Path(name)]; fn != nil {
		return fn, nil
	}
	return nil, proto.Errorf(proto.ErrNotFound, "function %.40q not found", name).
		WithHint("proxyCli details shows what is deployed")
}

// printed returns the function of a name, stopped or not. f.mu is held.
func (f *Fake) printed(ctx context.Context, name string) (*function, error) {
	fn, err := f.find(ctx, name)
	if last := f.stopped[proto.Path(name)]; errors.Is(err, proto.ErrNotFound) && last != nil {
		return last, nil
	}
	return fn, err
}

// List implements transport.Interface.
func (f *Fake) List(ctx context.Context, atAgent string) ([]*proto.FunctionJsonRsp, error) {
	addr, err := transport.NormalizeAddr(atAgent)
	if err != nil {
		return nil, err
	}
	if addr != FakeAddr {
		return nil, proto.Errorf(proto.ErrNotFound, "agent %s is not known here; this is %s", addr, FakeAddr)
	}
	return f.Details(ctx)
}

// Log implements transport.Interface.
func (f *Fake) Log(ctx context.Context, fnName string) (*proto.FunctionLogs, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	fn, err := f.printed(ctx, fnName)
	if err != nil {
		return nil, err
	}
	var text strings.Builder
	for _, l := range fn.lines {
		text.WriteString(l.GetText() + "\n")
	}
	return &proto.FunctionLogs{Function: protobuf.CloneOf(fn.row), Logs: text.String()}, nil
}

// Details implements transport.Interface.
func (f *Fake) Details(ctx context.Context) ([]*proto.FunctionJsonRsp, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return f.feed.Rows(), nil
}

// Watch implements transport.Interface.
func (f *Fake) Watch(ctx context.Context, on func(*proto.WatchEvent) error) error {
	return f.feed.Watch(ctx, on)
}

// Upload implements transport.Interface.
func (f *Fake) Upload(ctx context.Context, pkg *bundle.Package) error {
	if f.store.Has(pkg.Digest) {
		return nil
	}
	file, err := os.Open(pkg.Path)
	if err != nil {
		return proto.Errorf(proto.ErrInvalid, "open the package: %w", err)
	}
	defer func() { _ = file.Close() }()
	_, err = f.store.Put(ctx, pkg.Digest, file)
	return err
}
