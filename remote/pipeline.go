package remote

import (
	"cmp"
	"context"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/remote/disk"
	"github.com/Ishan27g/ryo-faas/remote/process"
	"github.com/Ishan27g/ryo-faas/remote/programs"
)

// Attempts run in goroutines of their own. They touch none of a function's fields but
// agent, name, path and log, and tell run what they have come to by post.

// startLimit is how long a process may take to answer. A Go program needs
// milliseconds; the rest is for what its init functions connect to.
const startLimit = 30 * time.Second

// result is how an attempt ended: with fail, or with processes that have answered.
type result struct {
	program *proto.Program // nil when there was one before
	procs   []*instance
	fail    *failure
}

// begin starts an attempt to bring n processes of a version up on sockets, all or
// none, in a goroutine of its own. run calls told, unless it is nil, and at last
// done. After abandon neither is called any more, and what the attempt has made is
// removed, with the version's folder when it is discarded.
func (f *function) begin(v *disk.Version, n int, at *process.Sockets, discard bool, told func(programs.Progress), done func(result)) (abandon func()) {
	ctx, cancel := context.WithCancel(context.Background())
	// Only run abandons, so what it is posted knows for sure.
	tell := func(p programs.Progress) {
		if told == nil {
			return // run may be busy with the disk, and callers wait for the process
		}
		f.post(func() {
			if ctx.Err() == nil {
				told(p)
			}
		})
	}
	kind := v.KnownKind()
	f.work.Go(func() {
		defer cancel()
		r := f.bring(ctx, v, kind, n, at, tell)
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

// bring takes a version, of whose kind may be known something, from its package to
// processes that have answered.
func (f *function) bring(ctx context.Context, v *disk.Version, kind string, n int, at *process.Sockets, tell func(programs.Progress)) (r result) {
	dir := f.agent.disk.VersionDir(f.path, v.Number)
	if _, err := os.Stat(filepath.Join(dir, "fn")); err != nil {
		checked := func(p programs.Progress) {
			if p.Kind != "" {
				kind = p.Kind
			}
			tell(p)
		}
		program, reason, err := f.agent.programs.Prepare(ctx, dir, v.Spec.FunctionJson, checked)
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

// failure is why a deploy or a process came to nothing.
type failure struct {
	disk.Failure
	crash *proto.Crash // how the process ended that it is about; nil: it is about none
}

// fail is the failure that an error of a version is.
func fail(v *disk.Version, reason string, err error) *failure {
	text := err.Error()
	if hint := proto.AsError(err).Hint; hint != "" {
		text += "\n" + hint
	}
	return &failure{Failure: disk.Failure{Version: v.Number, Reason: reason, Text: text, At: time.Now().UTC()}}
}

// persist brings a version's program to the disk, for further deploys of the same
// source. That takes longer than a start, so it is done when the version serves
// already.
func (f *function) persist(v *disk.Version, program *proto.Program) {
	if err := f.agent.programs.Keep(program.GetKey()); err != nil {
		f.log.Warn("the same source may be built again", "version", v.Number, "error", err)
	}
}

// remove deletes the folder of a version that no process runs any more.
func (f *function) remove(v *disk.Version) {
	if err := os.RemoveAll(f.agent.disk.VersionDir(f.path, v.Number)); err != nil {
		f.log.Warn("a folder is left behind", "version", v.Number, "error", err)
	}
}
