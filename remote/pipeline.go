package remote

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"path/filepath"
	"sync"
	"time"

	"github.com/Ishan27g/ryo-faas/internal/state"
	"github.com/Ishan27g/ryo-faas/internal/trace"
	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/remote/disk"
	"github.com/Ishan27g/ryo-faas/remote/process"
	"github.com/Ishan27g/ryo-faas/remote/programs"
)

// Attempts run in goroutines of their own. They use only agent, name, path and logger
// of a function's fields, and post their result to run.

// startLimit is how long a process may take to answer. A Go program needs
// milliseconds; the rest is for what its init functions connect to.
const startLimit = 30 * time.Second

// result is the result of an attempt: fail, or processes that have answered.
type result struct {
	program *proto.Program // nil: the version had one already
	procs   []*instance
	fail    *failure
}

// begin starts an attempt to start n processes of a version on sockets, all or none, in
// a goroutine of its own. run calls told, unless it is nil, and at last done. After
// cancel it calls neither, and the attempt's processes are killed. If discard is set,
// the version's folder is removed when the attempt fails or is canceled.
func (f *function) begin(v *disk.Version, n int, at *process.Sockets, discard bool, told func(programs.Progress), done func(result)) (cancel func()) {
	ctx, cancel := context.WithCancel(context.Background())
	// Only run cancels, so ctx cannot end while run calls what was posted.
	tell := func(p programs.Progress) {
		if told == nil {
			return // run may be busy with the disk while callers wait for the process
		}
		f.post(func() {
			if ctx.Err() == nil {
				told(p)
			}
		})
	}
	kind, digest := v.KnownKind(), v.Program.GetDigest()
	f.work.Go(func() {
		defer cancel()
		var span *trace.Running
		if told == nil { // else it is a part of a change
			span = f.agent.tracer.Begin("start "+f.name, f.about(v)...)
		}
		r := f.bring(ctx, v, kind, digest, n, at, tell)
		if r.fail == nil {
			span.Finish("")
		} else if ctx.Err() == nil { // else nobody wants it any longer
			span.Finish(r.fail.Reason + ": " + r.fail.Text)
		}
		if r.fail != nil && discard {
			f.remove(v)
		}
		taken := false
		f.post(func() {
			if taken = ctx.Err() == nil; taken {
				done(r)
			}
		})
		if taken {
			return
		}
		f.killAll(r.procs)
		if discard {
			f.remove(v)
		}
	})
	return cancel
}

// bring takes a version from its package to processes that have answered. kind is that
// of the function and digest that of the program, if they are known.
func (f *function) bring(ctx context.Context, v *disk.Version, kind, digest string, n int, at *process.Sockets, tell func(programs.Progress)) (r result) {
	dir := f.agent.disk.VersionDir(f.path, v.Home())
	missing := f.missing(v, dir, digest)
	if missing != nil {
		checked := func(p programs.Progress) {
			if p.Kind != "" {
				kind = p.Kind
			}
			tell(p)
		}
		program, reason, err := f.agent.programs.Prepare(ctx, dir, v.Spec.FunctionJson, checked)
		if errors.Is(missing, state.ErrDamaged) && err != nil {
			reason, err = proto.ReasonDamaged, proto.Errorf(proto.ErrUnavailable, "%w; it cannot be made again: %w", missing, err).
				WithHint("deploy the function again")
		}
		if err != nil {
			return result{fail: fail(v, reason, err)}
		}
		r.program = program
	}
	tell(programs.Progress{Stage: proto.StageStarting})
	procs, fails := make([]*instance, n), make([]*failure, n)
	var starts sync.WaitGroup
	for i := range n {
		starts.Go(func() { procs[i], fails[i] = f.start(ctx, v, kind, at) })
	}
	starts.Wait()
	for i, p := range procs {
		if p != nil {
			r.procs = append(r.procs, p)
		}
		r.fail = cmp.Or(r.fail, fails[i])
	}
	if r.fail != nil {
		f.killAll(r.procs)
		r.procs = nil
	}
	return r
}

// missing says why the program of a version must be made; nil: it is there. A digest of
// "" means that it never was. A damaged program is set aside.
func (f *function) missing(v *disk.Version, dir, digest string) error {
	if digest == "" {
		return fs.ErrNotExist
	}
	err := f.agent.programs.Verify(filepath.Join(dir, "fn"), digest)
	if errors.Is(err, state.ErrDamaged) {
		f.agent.disk.SetProgramAside(f.path, v.Home(), err)
	}
	return err
}

// failure is why a deploy or a process failed.
type failure struct {
	disk.Failure
	crash *proto.Crash // how the process exited; nil: no process did
}

// fail makes a failure of an error.
func fail(v *disk.Version, reason string, err error) *failure {
	text := err.Error()
	if hint := proto.AsError(err).Hint; hint != "" {
		text += "\n" + hint
	}
	return &failure{Failure: disk.Failure{
		Version: v.Number, Reason: reason, Text: text, At: time.Now().UTC(), Preview: v.Spec.GetPreview(), PreviewTTL: v.Spec.GetPreviewTtl(),
	}}
}

// persist stores a version's program for further deploys of the same source. That takes
// longer than a start, so it is done once the version serves.
func (f *function) persist(v *disk.Version, program *proto.Program) {
	if err := f.agent.programs.Keep(program.GetKey()); err != nil {
		f.logger.Warn("the same source may be built again", "version", v.Number, "error", err)
	}
}

// remove removes the folder of a version that has no process any more.
func (f *function) remove(v *disk.Version) {
	if err := state.RemoveAll(f.agent.disk.VersionDir(f.path, v.Home())); err != nil {
		f.logger.Warn("the folder of a version cannot be removed", "version", v.Number, "error", err)
	}
}
