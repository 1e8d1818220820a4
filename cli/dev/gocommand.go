package dev

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/remote/funcfw"
)

const (
	// maxOutput is how much of a build's output is kept, in bytes: its beginning, since
	// the first error matters most.
	maxOutput = 64 << 10
	// pipeLag is how long to wait for the output of a build that was killed.
	pipeLag = time.Second
	// memoryGoal is the memory from which a compiler collects garbage. Without
	// collection it is 8 % faster.
	memoryGoal = "GOMEMLIMIT=1GiB"
)

// goCommand is the user's go command.
type goCommand struct {
	path     string
	env      []string
	platform funcfw.Platform
	modCache string
	goRoot   string
}

// settings are the user's settings that a build uses; all others are those of a deploy.
var settings = []string{
	"GOROOT", "GOVERSION", "GOCACHE", "GOMODCACHE", "GOPATH",
	"GOPROXY", "GOSUMDB", "GOPRIVATE", "GONOPROXY", "GONOSUMDB", "GOINSECURE", "GOVCS", "GOAUTH",
}

// findGo asks the go command in the PATH about itself, in the package's folder: its
// go.mod may want another toolchain than the installed one. If that cannot be had, the
// installed one is used, and the check refuses the source.
func findGo(ctx context.Context, dir string) (*goCommand, error) {
	const hint = "install Go, from https://go.dev/dl, or put it in the PATH"
	path, err := exec.LookPath("go")
	if err != nil {
		return nil, proto.Errorf(proto.ErrUnavailable, "find the go command: %w", err).WithHint(hint)
	}
	var known map[string]string
	for _, toolchain := range []string{"", "GOTOOLCHAIN=local"} {
		cmd := exec.CommandContext(ctx, path, slices.Concat([]string{"env", "-json"}, settings)...) //nolint:gosec // it is the user's
		cmd.Dir, cmd.Env = dir, append(os.Environ(), "GOWORK=off")
		if toolchain != "" {
			cmd.Env = append(cmd.Env, toolchain)
		}
		var out []byte
		if out, err = cmd.Output(); err == nil {
			err = json.Unmarshal(out, &known)
		}
		if err == nil {
			break
		}
	}
	if err != nil {
		return nil, proto.Errorf(proto.ErrUnavailable, "ask %s for its version: %w", path, err).WithHint(hint)
	}
	env := append(os.Environ(),
		"GOENV=off", "GOFLAGS=", "GOWORK=off", "GO111MODULE=on", "GOTOOLCHAIN=local", "GOEXPERIMENT=",
		"CGO_ENABLED=0", "GOOS="+runtime.GOOS, "GOARCH="+runtime.GOARCH, "GOAMD64=v1", "GOGC=off", memoryGoal)
	for _, name := range settings[2:] {
		env = append(env, name+"="+known[name])
	}
	return &goCommand{
		path:     filepath.Join(known["GOROOT"], "bin", "go"),
		env:      env,
		platform: funcfw.Platform{GOOS: runtime.GOOS, GOARCH: runtime.GOARCH, GoVersion: known["GOVERSION"]},
		modCache: known["GOMODCACHE"],
		goRoot:   known["GOROOT"],
	}, nil
}

// failure is the go command's output for a source that does not build.
type failure struct{ said string }

func (f *failure) Error() string { return f.said }

// job is one program to build.
type job struct {
	root      string // of the bundle
	work      string // a private folder, which may have files of builds before
	program   string // the file to make
	generated *funcfw.Generated
	fn        *proto.FunctionJson
	fetching  func(module string) // called for each module that is fetched
}

// build makes a program. The error is a *failure when the go command refuses.
func (g *goCommand) build(ctx context.Context, j job) error {
	linker, err := funcfw.LinkerFlags(j.fn.GetLdflags())
	if err != nil {
		return err
	}
	if err := j.lay(); err != nil {
		return fmt.Errorf("write the generated files: %w", err)
	}
	files := []string{
		"-modfile=" + filepath.Join(j.work, "go.mod"), "-overlay=" + filepath.Join(j.work, "overlay.json"),
		"-tags=" + strings.Join(j.fn.GetTags(), ","),
	}
	compile := func() (string, error) {
		return g.run(ctx, j, slices.Concat([]string{"build", "-mod=readonly"}, files, funcfw.BuildFlags,
			[]string{"-ldflags=" + linker, "-o", j.program, j.generated.Main}))
	}
	output, err := compile()
	if err != nil && strings.Contains(output, "updates to go.mod needed") {
		// The user's go.mod raises a module of the framework. This rewrites the go.mod of
		// -modfile alone.
		if output, err = g.run(ctx, j, slices.Concat([]string{"list", "-deps", "-f=", "-mod=mod"}, files, []string{j.generated.Main})); err == nil {
			output, err = compile()
		}
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if _, refused := errors.AsType[*exec.ExitError](err); refused {
		places := funcfw.Places{Root: j.root, Work: j.work, ModCache: g.modCache, GoRoot: g.goRoot, Generated: j.generated}
		said, ours := places.Explain(output)
		return &failure{cmp.Or(places.Advise(said), ours, err.Error())}
	}
	return err
}

// lay writes the generated files of a build.
func (j job) lay() error {
	files, err := j.generated.Layout(j.root, j.work)
	if err != nil {
		return err
	}
	for name, content := range files {
		file := filepath.Join(j.work, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			return err
		}
		if err := os.WriteFile(file, content, 0o600); err != nil {
			return err
		}
	}
	return os.MkdirAll(filepath.Join(j.work, "tmp"), 0o700)
}

// run runs the go command in the module's folder and returns the beginning of its
// output. The command has its own process group, which is killed if ctx is canceled.
func (g *goCommand) run(ctx context.Context, j job, args []string) (string, error) {
	cmd := exec.CommandContext(ctx, g.path, args...) //nolint:gosec // what is variable is checked
	cmd.Dir = filepath.Join(j.root, filepath.FromSlash(j.generated.ModuleRoot))
	cmd.Env = append(slices.Clip(g.env), "GOTMPDIR="+filepath.Join(j.work, "tmp"), "PWD="+cmd.Dir)
	said := &said{fetching: j.fetching}
	cmd.Stdout, cmd.Stderr = said, said
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = pipeLag
	err := cmd.Run()
	return said.kept.String(), err
}

var fetching = regexp.MustCompile(`(?m)^go: downloading (\S+ \S+)$`)

// said keeps the beginning of the go command's output and finds the modules that it
// fetches. The go command writes whole lines.
type said struct {
	kept     bytes.Buffer
	fetching func(module string)
}

func (s *said) Write(p []byte) (int, error) {
	for _, m := range fetching.FindAllSubmatch(p, -1) {
		s.fetching(string(m[1]))
	}
	s.kept.Write(p[:min(maxOutput-s.kept.Len(), len(p))])
	return len(p), nil
}
