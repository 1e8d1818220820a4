package remote

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/remote/process"
)

const (
	// startLimit is how long a process may take to answer. A Go program needs
	// milliseconds; the rest is for what its init functions connect to.
	startLimit = 30 * time.Second
	// drain is how long requests in flight may take when a process is ended, and
	// killAfter when it is killed, both counted from the signal.
	drain     = 10 * time.Second
	killAfter = drain + 5*time.Second
	// lastWords bounds the output that is told when a process ends too soon, in
	// bytes: about the last 20 lines.
	lastWords = 2 << 10
)

// attempt is one try to bring a version up, in a goroutine of its own.
type attempt struct {
	cancel context.CancelFunc
	stage  chan progress
	result chan result
}

// progress is the stage that an attempt has come to, the function's kind once the
// source has told it, and what the build has just printed.
type progress struct{ stage, kind, output string }

// result is how an attempt ended: with a process or a failure. program is set when
// this attempt made the version's folder.
type result struct {
	proc    *process.Process
	program *proto.Program
	fail    *failure
}

// stages and results are the channels of an attempt; of none, they never deliver.
func (t *attempt) stages() <-chan progress {
	if t == nil {
		return nil
	}
	return t.stage
}

func (t *attempt) results() <-chan result {
	if t == nil {
		return nil
	}
	return t.result
}

// begin starts an attempt. Whoever abandons it calls cancel; the attempt then
// ends and removes what it made by itself. discard says whether the version's
// folder goes with it when it comes to nothing.
func (f *function) begin(v *version, discard bool) *attempt {
	ctx, cancel := context.WithCancel(context.Background())
	t := &attempt{cancel: cancel, stage: make(chan progress), result: make(chan result)}
	tell := func(p progress) {
		select {
		case t.stage <- p:
		case <-ctx.Done():
		}
	}
	sockets, kind := f.sockets, v.Kind
	f.work.Go(func() {
		r := f.bring(ctx, v, kind, sockets, tell)
		if r.fail != nil && discard {
			f.remove(v)
		}
		select {
		case t.result <- r:
			return
		case <-ctx.Done():
		}
		if r.proc != nil {
			r.proc.Stop(context.WithoutCancel(ctx), 0)
			if discard {
				f.remove(v)
			}
		}
	})
	return t
}

// persist brings a version's program to the disk and keeps it for further deploys
// of the same source. That takes longer than a start, so it is done when the
// version serves already.
func (f *function) persist(v *version, program *proto.Program) {
	if program == nil { // it was persisted, or an earlier agent made it
		return
	}
	dir := f.agent.ws.generationDir(f.path, v.Generation)
	if err := f.agent.programs.Keep(program.GetKey(), filepath.Join(dir, "fn")); err != nil && !errors.Is(err, os.ErrNotExist) { // or replaced meanwhile
		f.log.Warn("the same source may be built again", "generation", v.Generation, "error", err)
	}
}

// remove deletes the folder of a version that no process runs any more.
func (f *function) remove(v *version) {
	if err := os.RemoveAll(f.agent.ws.generationDir(f.path, v.Generation)); err != nil {
		f.log.Warn("a folder is left behind", "generation", v.Generation, "error", err)
	}
}

// bring takes a version, whose kind is "" before its first check, from its package
// to a process that has answered.
func (f *function) bring(ctx context.Context, v *version, kind string, sockets *process.Sockets, tell func(progress)) (r result) {
	fail := func(reason string, err error) result {
		text := err.Error()
		if hint := proto.AsError(err).Hint; hint != "" {
			text += "\n" + hint
		}
		return result{fail: &failure{Generation: v.Generation, Reason: reason, Text: text, At: time.Now().UTC()}}
	}
	dir := f.agent.ws.generationDir(f.path, v.Generation)
	if _, err := os.Stat(filepath.Join(dir, "fn")); err != nil {
		checked := func(p progress) {
			kind = cmp.Or(p.kind, kind)
			tell(p)
		}
		var reason string
		if r.program, reason, err = f.agent.prepare(ctx, dir, v.Spec.FunctionJson, checked); err != nil {
			return fail(reason, err)
		}
	}
	tell(progress{stage: proto.StageStarting})
	said, err := os.Stat(f.agent.ws.logFile(f.path))
	if err != nil {
		return fail(proto.ReasonAgent, err)
	}
	proc, err := f.start(dir, kind, v.Spec.FunctionJson, sockets)
	if errors.Is(err, syscall.ENOEXEC) {
		// A loss of power came before the binary was on the disk: build it anew.
		err = errors.Join(err, os.Remove(filepath.Join(dir, "fn")))
	}
	if err != nil {
		return fail(proto.ReasonAgent, err)
	}
	limit, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	if err := proc.Ready(limit); err != nil {
		proc.Stop(context.WithoutCancel(ctx), 0)
		if errors.Is(err, context.DeadlineExceeded) {
			err = fmt.Errorf("the process did not answer within %s of its start", startLimit)
		}
		return fail(proto.ReasonStart, withOutput(err, f.agent.ws.logFile(f.path), said.Size()))
	}
	r.proc = proc
	return r
}

// start runs the binary of a version in its package's folder.
func (f *function) start(dir, kind string, fn *proto.FunctionJson, sockets *process.Sockets) (*process.Process, error) {
	memory, err := fn.MemoryLimit()
	if err != nil {
		return nil, err
	}
	body, err := fn.BodyLimit(kind)
	if err != nil {
		return nil, err
	}
	tmp := filepath.Join(dir, "tmp")
	env := []string{"PATH=/usr/local/bin:/usr/bin:/bin", "HOME=" + tmp, "TMPDIR=" + tmp}
	for name, value := range fn.GetEnv() {
		env = append(env, name+"="+value) // the last of two counts, so the user's own wins
	}
	env = append(env, "RYO_FUNCTION="+fn.GetName())
	if body > 0 {
		env = append(env, "RYO_BODY="+strconv.FormatInt(body, 10))
	}
	if fn.GetStrict() {
		env = append(env, "RYO_STRICT=1")
	}
	return process.Start(process.Spec{
		Path:    filepath.Join(dir, "fn"),
		Dir:     filepath.Join(dir, "src", filepath.FromSlash(packagePath(fn))),
		Mount:   "/" + f.path,
		Env:     env,
		Sockets: sockets,
		Log:     f.output,
		Drain:   drain,
		Memory:  memory,
	})
}

// withOutput adds to err the end of what was printed to a log since an offset.
func withOutput(err error, log string, since int64) error {
	file, openErr := os.Open(log)
	if openErr != nil {
		return err
	}
	defer file.Close()
	info, statErr := file.Stat()
	if statErr != nil {
		return err
	}
	from := max(since, info.Size()-lastWords)
	text, _ := io.ReadAll(io.NewSectionReader(file, from, lastWords))
	words := strings.TrimSpace(strings.ToValidUTF8(strings.Trim(string(text), "\x00"), "\uFFFD"))
	if words == "" {
		return err
	}
	return fmt.Errorf("%w\n%s", err, words)
}
