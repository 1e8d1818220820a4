package remote

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/Ishan27g/ryo-faas/internal/state"
	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/remote/disk"
	"github.com/Ishan27g/ryo-faas/remote/isolation"
	"github.com/Ishan27g/ryo-faas/remote/process"
	"github.com/Ishan27g/ryo-faas/remote/programs"
)

// watch adds to a function's procs, and what it posts removes from them. All else here
// is called by other goroutines than run and uses only the function's agent, name, path
// and logger.

// killLag is how long after its drain a process is killed.
const killLag = 5 * time.Second

// killGrace is how long a process that hangs may take to print its goroutines.
const killGrace = 2 * time.Second

// instance is one process of a version.
type instance struct {
	*process.Process
	version *disk.Version // with which it was started
	now     atomic.Pointer[disk.Version]
	tier    proto.Isolation // it runs under
	since   time.Time       // when it was started
	last    atomic.Pointer[reading]
	hung    atomic.Bool // killed since it did not answer
	full    atomic.Bool // killed since its temporary files took too much
	frozen  bool        // stopped by a signal; run owns it
}

// serves returns the version that the process serves now.
func (p *instance) serves() *disk.Version { return cmp.Or(p.now.Load(), p.version) }

// start starts a process of a version, whose folder is complete, and waits until it has
// answered.
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
	p := &instance{version: v, tier: f.agent.walls.Tier(), since: time.Now()}
	p.Process, err = process.Start(spec)
	if err != nil {
		return nil, trouble(v, err)
	}
	if err := output.Started(p.Pid()); err != nil {
		f.logger.Error("what a process prints is not read", "pid", p.Pid(), "error", err)
	}
	f.work.Go(func() { f.measure(p) })
	limit, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	if err := p.Ready(limit); err != nil {
		if errors.Is(err, context.DeadlineExceeded) {
			err = fmt.Errorf("the process did not answer within %s of its start", startLimit)
		}
		p.Stop(context.WithoutCancel(ctx), 0)
		why := fail(v, proto.ReasonStart, err)
		why.crash = f.inquire(p)
		if p.full.Load() {
			f.emptyTemp(v)
			why.Text += ": " + why.crash.GetCause()
		}
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

// process says how to start a process of a version.
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
	dir := f.agent.disk.VersionDir(f.path, v.Home())
	tmp := f.temp(v)
	if err := os.MkdirAll(tmp, 0o700); err != nil { // it may have been removed by hand
		return process.Spec{}, err
	}
	program := filepath.Join(dir, "fn")
	fork, err := f.agent.walls.Fork(fn.FunctionJson, isolation.Place{
		Program: program, Package: filepath.Join(dir, "src"), Temp: tmp, Extra: []string{f.agent.disk.Path("furniture")}, User: f.user, Data: process.DataLimit(memory),
	})
	if err != nil {
		return process.Spec{}, err
	}
	// Package os/user wants USER where the user is not in /etc/passwd, as on tier full.
	env := []string{"PATH=/usr/local/bin:/usr/bin:/bin", "HOME=" + tmp, "TMPDIR=" + tmp, "USER=" + f.path}
	env = append(env, f.agent.furniture...)
	env = append(env, f.agent.tracer.Environment(f.name, v.Number)...)
	for _, values := range []map[string]string{fn.GetEnv(), secrets} {
		for name, value := range values {
			env = append(env, name+"="+value) // of two the last counts: the user's own
		}
	}
	if body > 0 {
		env = append(env, "RYO_BODY="+strconv.FormatInt(body, 10))
	}
	if how := fn.GetWebhook(); how != "" {
		env = append(env, "RYO_WEBHOOK="+how)
	}
	if fn.GetStrict() {
		env = append(env, "RYO_STRICT=1")
	}
	return process.Spec{
		Path:        program,
		Dir:         filepath.Join(dir, "src", filepath.FromSlash(programs.PackagePath(fn.FunctionJson))),
		Mount:       "/" + f.path,
		Function:    cmp.Or(fn.GetTarget(), fn.GetName()),
		Env:         env,
		Sockets:     at,
		Drain:       v.Drain(),
		Memory:      memory,
		Procs:       cpus,
		Concurrency: int(fn.GetConcurrency()),
		Fork:        fork,
	}, nil
}

// watch tells a process's service when the process has exited, and kills the process
// when it does not answer for too long.
func (f *function) watch(s *service, p *instance) {
	f.procs = append(f.procs, p)
	f.holdControl(p)
	f.work.Go(func() {
		select {
		case <-p.Done():
		case <-f.agent.handedOver:
			return
		}
		crash := f.inquire(p)
		if p.full.Load() { // before the next one starts
			f.emptyTemp(p.version)
		}
		control := controlName(p.Identity())
		if !f.post(func() {
			f.procs = slices.DeleteFunc(f.procs, func(other *instance) bool { return other == p })
			f.agent.removeHeld(control)
			f.count(p)
			s.exited(p, crash)
		}) {
			f.agent.removeHeld(control) // the function was stopped
		}
	})
	f.work.Go(func() { f.notice(p) })
	if limit := p.version.Liveness(); limit > 0 {
		f.work.Go(func() { f.pulse(p, limit) })
	}
}

// repeat calls look after a pause, and then after each pause that it returns. It returns
// when that is 0, when the process has exited, or when the next agent is to take it over.
func (f *function) repeat(p *instance, pause time.Duration, look func() time.Duration) {
	next := time.NewTimer(pause)
	defer next.Stop()
	for pause > 0 {
		select {
		case <-p.Done():
			return
		case <-f.agent.handedOver:
			return
		case <-next.C:
		}
		pause = look()
		next.Reset(pause)
	}
}

// noticeEvery is how often it is looked whether a process is frozen: seldom enough that
// ten thousand of them take 2 % of a core.
const noticeEvery = 4 * time.Second

// notice makes the function's row say whether a process is frozen.
func (f *function) notice(p *instance) {
	said := false
	f.repeat(p, noticeEvery, func() time.Duration {
		if frozen := p.Frozen(); frozen != said {
			said = frozen
			f.post(func() {
				p.frozen = frozen
				f.logger.Warn("a process was stopped by a signal, or goes on", "version", p.version.Number, "pid", p.Pid(), "frozen", frozen)
			})
		}
		return noticeEvery
	})
}

const (
	// measureEvery is how often the temporary files of a process are looked at.
	measureEvery = time.Second
	// measureShare bounds the processor time that looks take: to 1 part in measureShare.
	measureShare = 50
)

// measure kills a process when the temporary files of its version take more than its
// setting disk, also while it starts.
func (f *function) measure(p *instance) {
	limit := p.version.Disk()
	if limit == 0 {
		return
	}
	f.repeat(p, measureEvery, func() time.Duration {
		began := time.Now()
		if isolation.Takes(f.temp(p.version), p.Pid(), limit) {
			f.logger.Warn("a process takes more of the disk than it may", "version", p.version.Number, "pid", p.Pid(), "limit", limit)
			p.full.Store(true)
			p.Stop(context.Background(), 0)
			return 0
		}
		return max(measureEvery, time.Since(began)*measureShare)
	})
}

// temp is the folder for the temporary files of a version.
func (f *function) temp(v *disk.Version) string {
	return filepath.Join(f.agent.disk.VersionDir(f.path, v.Home()), "tmp")
}

// emptyTemp removes the temporary files of a version.
func (f *function) emptyTemp(v *disk.Version) {
	entries, err := os.ReadDir(f.temp(v))
	for _, e := range entries {
		err = errors.Join(err, state.RemoveAll(filepath.Join(f.temp(v), e.Name())))
	}
	if err != nil {
		f.logger.Warn("temporary files are left behind", "version", v.Number, "error", err)
	}
}

// pulse asks a process for its health, limit after the answer before, and kills it when it
// does not answer within limit.
func (f *function) pulse(p *instance, limit time.Duration) {
	f.repeat(p, limit, func() time.Duration {
		ctx, cancel := context.WithTimeout(context.Background(), limit)
		defer cancel()
		switch err := p.Health(ctx); {
		case err == nil:
			return limit
		case ctx.Err() == nil:
			return 0 // it has exited, or takes no further calls
		}
		f.logger.Warn("a process does not answer", "version", p.version.Number, "pid", p.Pid(), "for", limit)
		p.hung.Store(true)
		p.Kill(killGrace)
		return 0
	})
}

// drain drains processes and returns when they take no further calls.
func (f *function) drain(procs []*instance) {
	ctx, cancel := context.WithTimeout(context.Background(), handOver)
	defer cancel()
	var all sync.WaitGroup
	for _, p := range procs {
		all.Go(func() {
			_, _ = p.read(ctx) // its last reading is kept, also after an error
			if err := p.Drain(ctx); err != nil {
				f.logger.Warn("a process that is replaced goes on taking calls", "pid", p.Pid(), "error", err)
			}
		})
	}
	all.Wait()
}

// retire drains and stops processes in the background. run calls then once they take no
// further calls.
func (f *function) retire(procs []*instance, then func()) {
	f.work.Go(func() {
		f.drain(procs)
		f.post(then)
		f.stopAll(procs)
	})
}

// stopAll drains processes and waits until they have exited, or until the next agent is
// to take them over. A process that takes longer than its drain is killed.
func (f *function) stopAll(procs []*instance) {
	f.each(procs, func(p *instance) {
		asked, cancel := context.WithCancel(context.Background())
		cancel()
		_ = p.Drain(asked) // sends SIGTERM and does not wait
		limit := time.NewTimer(p.version.Drain() + killLag)
		defer limit.Stop()
		select {
		case <-p.Done():
		case <-f.agent.handedOver:
		case <-limit.C:
			p.Stop(context.Background(), 0)
		}
	})
}

// killAll kills processes that have taken no calls.
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
