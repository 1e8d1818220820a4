package transporttest

import (
	"cmp"
	"context"
	"errors"
	"go/ast"
	"io"
	"maps"
	"slices"
	"time"

	protobuf "google.golang.org/protobuf/proto"

	"github.com/Ishan27g/ryo-faas/proto"
)

// keptVersions is how many versions of a function are kept.
const keptVersions = 10

// version is one version of a function, with the process that runs it.
type version struct {
	number  uint32
	fn      *proto.FunctionJson
	body    *ast.BlockStmt // of the function's declaration
	program *proto.Program
	time    time.Time
	service *service // of its own: that of a canary, or of one that was woken

	pid      int32
	started  time.Time
	requests uint64
	restarts uint32
}

// What a deploy would change, as a plan says it.
const (
	changeCreate   = "create"
	changeCode     = "code"
	changeSettings = "settings"
	changeNone     = "none"
)

// compare says what a deploy of to would change of the version that serves, and
// which fields.
func (fn *function) compare(to *proto.FunctionJson) (change string, changed []string) {
	if fn == nil || fn.serves == nil {
		return changeCreate, nil
	}
	changed, effect := proto.Compare(fn.serves.fn, to)
	switch {
	case effect == proto.OnBuild:
		return changeCode, changed
	case len(changed) > 0:
		return changeSettings, changed
	}
	return changeNone, nil
}

// plan returns the row of a deploy that changes nothing. f.mu is held.
func (f *Fake) plan(to *proto.FunctionJson) *proto.FunctionJsonRsp {
	fn := f.functions[proto.Path(to.GetName())]
	row := &proto.FunctionJsonRsp{Name: to.GetName(), AtAgent: FakeAddr}
	if fn != nil {
		row = protobuf.CloneOf(fn.row)
	}
	row.Package = to.GetPackage()
	row.Change, row.Changed = fn.compare(to)
	return row
}

// take makes a version that was built serve, as the canary or in the place of the one
// that serves. f.mu is held.
func (f *Fake) take(fn *function, d *deploy, body *ast.BlockStmt, about *proto.Program) error {
	v := &version{number: d.number, fn: d.fn, body: body, program: about, time: time.Now().UTC()}
	if d.fn.GetCanary() > 0 && fn.serves != nil {
		var err error
		if v.service, err = f.serve(fn, func() *version { return v }); err != nil {
			return err
		}
		fn.closeCanary()
		fn.canary, fn.share = v, d.fn.GetCanary()
	} else {
		fn.lead(v)
	}
	fn.versions = append(fn.versions, v)
	for i := 0; len(fn.versions) > keptVersions; i++ {
		if old := fn.versions[i]; old != fn.serves && old != fn.canary {
			old.service.close()
			fn.versions = slices.Delete(fn.versions, i, i+1)
		}
	}
	fn.paused = false
	f.start(fn, v)
	return nil
}

// lead makes a version serve in the place of the one before. f.mu is held.
func (fn *function) lead(v *version) {
	fn.closeCanary()
	if fn.serves == nil && fn.before == v { // it was stopped
		fn.before = fn.earlier
	}
	fn.before, fn.serves, fn.earlier = cmp.Or(fn.serves, fn.before), v, nil
}

// closeCanary closes the canary, if there is one. f.mu is held.
func (fn *function) closeCanary() {
	if fn.canary != nil {
		fn.canary.service.close()
		fn.canary.service, fn.canary, fn.share = nil, nil, 0
	}
}

// describe writes what serves into a row. f.mu is held.
func (fn *function) describe(row *proto.FunctionJsonRsp) {
	v := fn.serves
	row.Version, row.Package, row.Program = v.number, v.fn.GetPackage(), v.program
	row.Kind = kind(v.fn)
	row.Timeout = cmp.Or(v.fn.GetTimeout(), proto.DefaultTimeout.String())
	row.Auth, row.Routes, row.App = v.fn.GetAuth(), v.fn.GetRoutes(), v.fn.GetApp()
	row.Preview, row.PreviewTtl = v.fn.GetPreview(), v.fn.GetPreviewTtl()
	row.Body, row.Rate, row.AllowIps = v.fn.GetBody(), v.fn.GetRate(), v.fn.GetAllowIps()
	row.Compress = v.fn.GetCompress()
	row.Schedule, row.Timezone, row.Overlap = v.fn.GetSchedule(), v.fn.GetTimezone(), v.fn.GetOverlap()
	row.Jitter, row.Missed, row.Subscribe = v.fn.GetJitter(), v.fn.GetMissed(), v.fn.GetSubscribe()
	row.Queue, row.QueueTimeout = v.fn.GetQueue(), v.fn.GetQueueTimeout()
	row.Tries, row.MaxAge, row.OnSuccess, row.OnFailure = uint32(v.fn.Tries()), v.fn.GetMaxAge(), v.fn.GetOnSuccess(), v.fn.GetOnFailure()
	row.Min, row.Max, row.InFlight = v.fn.GetMin(), v.fn.GetMax(), v.fn.GetInFlight()
	row.Idle = cmp.Or(v.fn.GetIdle(), proto.DefaultIdle.String())
	row.Instances, row.Pid, row.Restarts = uint32(v.fn.Processes()), v.pid, v.restarts
	if fn.paused {
		row.Instances, row.Pid = 0, 0
	}
	row.Serving = []*proto.Serving{fn.callable(v)}
	for _, v := range fn.versions {
		if v != fn.serves && v.service != nil {
			row.Serving = append(row.Serving, fn.callable(v))
		}
	}
}

// callable says where a version is called. f.mu is held.
func (fn *function) callable(v *version) *proto.Serving {
	where := v.service
	if v == fn.serves {
		where = fn.service
	}
	return &proto.Serving{
		Version: v.number, Weight: fn.weight(v), Proxy: where.url, Instances: uint32(v.fn.Processes()), Pid: v.pid, Concurrency: v.fn.GetConcurrency(),
	}
}

// weight is the percentage of the calls that a version gets. f.mu is held.
func (fn *function) weight(v *version) uint32 {
	switch v {
	case fn.serves:
		return 100 - fn.share
	case fn.canary:
		return fn.share
	}
	return 0
}

func kind(fn *proto.FunctionJson) string { return cmp.Or(fn.GetKind(), proto.KindHTTP) }

// kept returns the version of a number. f.mu is held.
func (fn *function) kept(number uint32) (*version, error) {
	for _, v := range fn.versions {
		if v.number == number {
			return v, nil
		}
	}
	return nil, proto.Errorf(proto.ErrNotFound, "function %s has no version %d", fn.row.GetName(), number).
		WithHint("proxyCli versions " + fn.row.GetName() + " shows which are kept")
}

// Versions implements transport.Interface.
func (f *Fake) Versions(ctx context.Context, fnName string) ([]*proto.Version, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	fn, err := f.printed(ctx, fnName)
	if err == nil && fn.stopped && len(fn.versions) == 0 {
		_, err = f.find(ctx, fnName)
	}
	if err != nil {
		return nil, err
	}
	list := make([]*proto.Version, 0, len(fn.versions))
	for _, v := range slices.Backward(fn.versions) {
		settings := v.fn.Lasting()
		settings.Replicas, settings.Placement = fn.row.GetReplicas(), maps.Clone(fn.row.GetPlacement())
		for name := range settings.GetSecrets() {
			settings.Secrets[name] = ""
		}
		list = append(list, &proto.Version{
			Version: v.number, Package: v.fn.GetPackage(), Kind: kind(v.fn), Note: v.fn.GetNote(), Time: v.time.Format(time.RFC3339),
			Settings: settings, Program: v.program, Weight: fn.weight(v), AtAgent: FakeAddr, Previous: v == fn.before,
		})
	}
	return list, nil
}

// Source implements transport.Interface.
func (f *Fake) Source(ctx context.Context, fnName string, version uint32) (io.ReadCloser, error) {
	list, err := f.Versions(ctx, fnName)
	if err != nil {
		return nil, err
	}
	v, err := proto.FindVersion(fnName, list, version)
	if err != nil {
		return nil, err
	}
	r, err := f.store.Open(v.GetPackage())
	if errors.Is(err, proto.ErrNotFound) {
		return nil, v.SourceGone(fnName)
	}
	return r, err
}

// Rollback implements transport.Interface.
func (f *Fake) Rollback(ctx context.Context, fnName string, to uint32) ([]*proto.FunctionJsonRsp, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	fn, err := f.printed(ctx, fnName)
	if err != nil {
		return nil, err
	}
	if to == 0 && fn.before == nil {
		return nil, proto.Errorf(proto.ErrNotFound, "function %s has no version that served before", fnName)
	}
	if to == 0 {
		to = fn.before.number
	}
	v, err := fn.kept(to)
	if err != nil {
		return nil, err
	}
	if fn.stopped {
		if fn, err = f.function(fn.row.GetName()); err != nil {
			return nil, err
		}
		f.move(fn, proto.Deploying, func(row *proto.FunctionJsonRsp) { row.Generation++ })
	}
	fn.paused = false
	if v != fn.serves {
		fn.lead(v)
		f.start(fn, v)
	}
	row := f.move(fn, proto.Deployed, func(*proto.FunctionJsonRsp) {})
	return []*proto.FunctionJsonRsp{protobuf.CloneOf(row)}, nil
}

// Pause implements transport.Interface.
func (f *Fake) Pause(ctx context.Context, fnName string) ([]*proto.FunctionJsonRsp, error) {
	return f.pause(ctx, fnName, true)
}

// Resume implements transport.Interface.
func (f *Fake) Resume(ctx context.Context, fnName string) ([]*proto.FunctionJsonRsp, error) {
	return f.pause(ctx, fnName, false)
}

func (f *Fake) pause(ctx context.Context, fnName string, paused bool) ([]*proto.FunctionJsonRsp, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	fn, err := f.find(ctx, fnName)
	if err != nil {
		return nil, err
	}
	if paused && fn.serves == nil {
		return nil, proto.Errorf(proto.ErrConflict, "function %s has no version that serves and could be paused", fnName)
	}
	fn.paused = paused
	return f.publish(fn), nil
}

// Shift implements transport.Interface.
func (f *Fake) Shift(ctx context.Context, fnName string, canary uint32) ([]*proto.FunctionJsonRsp, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	fn, err := f.find(ctx, fnName)
	switch {
	case err != nil:
		return nil, err
	case canary > 100:
		return nil, proto.Errorf(proto.ErrInvalid, "%d is not a percentage", canary)
	case fn.canary == nil:
		return nil, proto.Errorf(proto.ErrConflict, "function %s has no canary", fnName)
	case canary == 0:
		fn.closeCanary()
	case canary == 100:
		fn.lead(fn.canary)
	default:
		fn.share = canary
	}
	return f.publish(fn), nil
}

// publish tells what serves now. f.mu is held.
func (f *Fake) publish(fn *function) []*proto.FunctionJsonRsp {
	row := f.move(fn, proto.Status(fn.row.GetStatus()), func(*proto.FunctionJsonRsp) {})
	return []*proto.FunctionJsonRsp{protobuf.CloneOf(row)}
}

// Wake implements transport.Worker.
func (f *Fake) Wake(ctx context.Context, fnName string, number uint32) (*proto.Serving, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	fn, err := f.find(ctx, fnName)
	if err != nil {
		return nil, err
	}
	v, err := fn.kept(number)
	if err != nil {
		return nil, err
	}
	if v != fn.serves && v.service == nil {
		if v.service, err = f.serve(fn, func() *version { return v }); err != nil {
			return nil, err
		}
		f.start(fn, v)
		f.publish(fn)
	}
	return fn.callable(v), nil
}

// Usage implements transport.Interface.
func (f *Fake) Usage(ctx context.Context, fnName string) ([]*proto.Usage, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	functions := f.functions
	if fnName != "" {
		fn, err := f.find(ctx, fnName)
		if err != nil {
			return nil, err
		}
		functions = map[string]*function{fn.path: fn}
	}
	list := []*proto.Usage{}
	for _, path := range slices.Sorted(maps.Keys(functions)) {
		fn := functions[path]
		for _, v := range fn.versions {
			if v != fn.serves && v.service == nil {
				continue // no process runs it
			}
			list = append(list, &proto.Usage{
				Function: fn.row.GetName(), Version: v.number, Pid: v.pid, AtAgent: FakeAddr, CpuSeconds: 0.01,
				Resident: 10 << 20, Peak: 12 << 20, Descriptors: 8, Restarts: v.restarts, Requests: v.requests,
				Since: v.started.Format(time.RFC3339),
			})
		}
	}
	return list, ctx.Err()
}
