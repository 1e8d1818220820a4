package remote

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/Ishan27g/ryo-faas/internal/state"
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
	kind, digest := v.KnownKind(), v.Program.GetDigest()
	f.work.Go(func() {
		defer cancel()
		r := f.bring(ctx, v, kind, digest, n, at, tell)
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

// bring takes a version, of whose kind and program may be known something, from its
// package to processes that have answered.
func (f *function) bring(ctx context.Context, v *disk.Version, kind, digest string, n int, at *process.Sockets, tell func(programs.Progress)) (r result) {
	dir := f.agent.disk.VersionDir(f.path, v.Number)
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

// missing says why the program of a version, of which the digest is known if it has
// been there before, has to be made; nil: it is there. One that is damaged is set aside.
func (f *function) missing(v *disk.Version, dir, digest string) error {
	if digest == "" {
		return fs.ErrNotExist
	}
	err := f.agent.programs.Verify(filepath.Join(dir, "fn"), digest)
	if errors.Is(err, state.ErrDamaged) {
		f.agent.disk.SetProgramAside(f.path, v.Number, err)
	}
	return err
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
