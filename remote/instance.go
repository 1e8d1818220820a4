package remote

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/remote/disk"
	"github.com/Ishan27g/ryo-faas/remote/process"
	"github.com/Ishan27g/ryo-faas/remote/programs"
)

// Of a function's fields, watch alone adds to procs; what it posts takes away. The rest
// is called by goroutines that run does not wait for, and touches none but agent, name,
// path and log.

// killLag is by how much a process may outlive its drain before it is killed.
const killLag = 5 * time.Second

// lastBreath is how long a process that hangs may take to print its goroutines.
const lastBreath = 2 * time.Second

// instance is one process of a version.
type instance struct {
	*process.Process
	version *disk.Version
	since   time.Time // it was started
	last    atomic.Pointer[reading]
	hung    atomic.Bool // it was ended since it did not answer
}

// start starts a process of a version, whose folder is whole, and waits until it
// has answered.
func (f *function) start(ctx context.Context, v *disk.Version, kind string, at *process.Sockets) (*instance, *failure) {
	spec, err := f.process(v, kind, at)
	if err != nil {
		return nil, trouble(v, err)
	}
	output, err := f.agent.logs.Output(f.name, v.Number)
	if err != nil {
		return nil, trouble(v, err)
	}
	defer output.Close()
	spec.Stdout, spec.Stderr = output.Stdout, output.Stderr
	p := &instance{version: v, since: time.Now()}
	p.Process, err = process.Start(spec)
	if err != nil {
		return nil, trouble(v, err)
	}
	if err := output.Started(p.Pid()); err != nil {
		f.log.Error("what a process prints is not read", "pid", p.Pid(), "error", err)
	}
	limit, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	if err := p.Ready(limit); err != nil {
		if errors.Is(err, context.DeadlineExceeded) {
			err = fmt.Errorf("the process did not answer within %s of its start", startLimit)
		}
		p.Stop(context.WithoutCancel(ctx), 0)
		why := fail(v, proto.ReasonStart, err)
		why.crash = f.inquire(p)
		if process.Listens(why.crash.GetOutput()) {
			why.Text += ": " + notToListen
		}
		if words := why.crash.GetOutput(); words != "" {
			why.Text += "\n" + words
		}
		return nil, why
	}
	return p, nil
}

// process is how a process of a version is started.
func (f *function) process(v *disk.Version, kind string, at *process.Sockets) (process.Spec, error) {
	fn := v.Spec
	memory, err := fn.MemoryLimit()
	if err != nil {
		return process.Spec{}, err
	}
	body, err := fn.BodyLimit(kind)
	if err != nil {
		return process.Spec{}, err
	}
	cpus, err := fn.CPUs()
	if err != nil {
		return process.Spec{}, err
	}
	secrets, err := f.agent.seal.Open(f.path, v.Secrets)
	if err != nil {
		return process.Spec{}, err
	}
	dir := f.agent.disk.VersionDir(f.path, v.Number)
	tmp := filepath.Join(dir, "tmp")
	env := []string{"PATH=/usr/local/bin:/usr/bin:/bin", "HOME=" + tmp, "TMPDIR=" + tmp}
	env = append(env, f.agent.furniture...)
	for _, values := range []map[string]string{fn.GetEnv(), secrets} {
		for name, value := range values {
			env = append(env, name+"="+value) // the last of two counts, so the user's own wins
		}
	}
	if body > 0 {
		env = append(env, "RYO_BODY="+strconv.FormatInt(body, 10))
	}
	if fn.GetStrict() {
		env = append(env, "RYO_STRICT=1")
	}
	return process.Spec{
		Path:        filepath.Join(dir, "fn"),
		Dir:         filepath.Join(dir, "src", filepath.FromSlash(programs.PackagePath(fn.FunctionJson))),
		Mount:       "/" + f.path,
		Function:    cmp.Or(fn.GetTarget(), fn.GetName()),
		Env:         env,
		Sockets:     at,
		Drain:       v.Drain(),
		Memory:      memory,
		Procs:       cpus,
		Concurrency: int(fn.GetConcurrency()),
	}, nil
}

// watch tells the service that a process serves on when that has ended, and ends it
// when it does not answer for too long.
func (f *function) watch(s *service, p *instance) {
	f.procs = append(f.procs, p)
	f.holdControl(p)
	f.work.Go(func() {
		select {
		case <-p.Done():
		case <-f.agent.left:
			return
		}
		crash := f.inquire(p)
		control := controlName(p.Identity())
		if !f.post(func() {
			f.procs = slices.DeleteFunc(f.procs, func(other *instance) bool { return other == p })
			f.agent.letGo(control)
			f.count(p)
			s.ended(p, crash)
		}) {
			f.agent.letGo(control) // the function was stopped
		}
	})
	if limit := p.version.Liveness(); limit > 0 {
		f.work.Go(func() { f.pulse(p, limit) })
	}
}

// pulse asks a process for its health, again and again, and ends it when it has
// not answered for as long as limit.
func (f *function) pulse(p *instance, limit time.Duration) {
	beat := time.NewTicker(limit)
	defer beat.Stop()
	for {
		select {
		case <-p.Done():
			return
		case <-f.agent.left:
			return
		case <-beat.C:
		}
		ctx, cancel := context.WithTimeout(context.Background(), limit)
		err := p.Health(ctx)
		late := ctx.Err() != nil
		cancel()
		switch {
		case err == nil:
		case !late:
			return // it has ended, or takes no further calls
		default:
			f.log.Warn("a process does not answer", "version", p.version.Number, "pid", p.Pid(), "for", limit)
			p.hung.Store(true)
			p.Kill(lastBreath)
			return
		}
	}
}

// drain has processes take no further calls, and returns when they do not.
func (f *function) drain(procs []*instance) {
	ctx, cancel := context.WithTimeout(context.Background(), handOver)
	defer cancel()
	var all sync.WaitGroup
	for _, p := range procs {
		all.Go(func() {
			_, _ = p.read(ctx) // what it has done is counted, also when it does not tell
			if err := p.Drain(ctx); err != nil {
				f.log.Warn("a process that is replaced goes on taking calls", "pid", p.Pid(), "error", err)
			}
		})
	}
	all.Wait()
}

// retire ends processes in the background. then is called by run when they take no
// further calls.
func (f *function) retire(procs []*instance, then func()) {
	f.work.Go(func() {
		f.drain(procs)
		f.post(then)
		f.endAll(procs)
	})
}

// endAll ends processes, which finish the calls that they have taken, and waits for
// that, or until the agent leaves them to themselves.
func (f *function) endAll(procs []*instance) {
	f.each(procs, func(p *instance) {
		asked, cancel := context.WithCancel(context.Background())
		cancel()
		_ = p.Drain(asked) // it is told; how far it is does not matter
		limit := time.NewTimer(p.version.Drain() + killLag)
		defer limit.Stop()
		select {
		case <-p.Done():
		case <-f.agent.left:
		case <-limit.C:
			p.Stop(context.Background(), 0)
		}
	})
}

// killAll ends processes that have taken no calls.
func (f *function) killAll(procs []*instance) {
	f.each(procs, func(p *instance) { p.Stop(context.Background(), 0) })
}

func (f *function) each(procs []*instance, do func(*instance)) {
	var all sync.WaitGroup
	for _, p := range procs {
		all.Go(func() { do(p) })
	}
	all.Wait()
}
