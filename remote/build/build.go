package build

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/mod/module"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/remote/confine"
	"github.com/Ishan27g/ryo-faas/remote/funcfw"
)

const (
	// cpuLimit is the processor time of one build: many times what the largest public
	// client libraries take, so that it stops only sources made to keep compilers busy.
	// Time spent waiting for a processor or for modules does not count.
	cpuLimit = 20 * time.Minute
	// stallLimit is how long a build waits for the next module to arrive.
	stallLimit = 5 * time.Minute
	// wallLimit bounds a build where its processor time is not known.
	wallLimit = 2 * time.Hour
	// slowAfter is when a build gives its place to the next one and goes on with less
	// priority, so that two bombs do not keep others waiting. An edited function
	// takes half of it.
	slowAfter = 750 * time.Millisecond
	// askLimit is how long the go command may take to say its version.
	askLimit = 30 * time.Second
	// maxProgram bounds what is built, in bytes; a small function has 8 MiB.
	maxProgram = 200 << 20
	// memoryGoal is the memory, in bytes, above which a compiler collects garbage.
	memoryGoal = 1 << 30
)

// Config is what a Builder works with.
type Config struct {
	Go    string // the go command; default: go in the PATH
	Dir   string // for the caches; made when it is missing
	Temp  string // an existing folder for what Run builds; default: the system's
	Proxy string // GOPROXY of builds, of which "direct" is left out; default: as go env says
	SumDB string // GOSUMDB of builds; default: as go env says
	// Private are patterns of modules that SumDB is not asked about, as in GOPRIVATE.
	// They come from Proxy like all others. Default: GONOSUMDB as go env says.
	Private string
	Slots   int          // builds at one time, and as many slow ones; default: one per processor
	Logger  hclog.Logger // default: says nothing
	// Modules are asked for before Proxy is, in the form in which a module proxy
	// serves them. Default: those that came with this program, which every function
	// needs. The go command checks them like all others.
	Modules fs.FS
	// CacheLimit is what the build cache and the module cache may take, each, in bytes.
	// Default: 10 GiB.
	CacheLimit int64
	// Launcher confines builds. Default: a new one.
	Launcher *confine.Launcher
}

// Builder builds functions. Its methods may be called concurrently.
type Builder struct {
	goCommand                       string
	platform                        funcfw.Platform
	cpuLimit, stallLimit, wallLimit time.Duration // the constants
	goRoot                          string
	cache                           string // the build cache
	modCache                        string
	caches                          *caches
	owners                          string // the build cache of the agent's owner, which seeds an empty one; "": none
	temp                            string
	target                          []string // the part of env that decides about the program
	launcher                        *confine.Launcher
	sandbox                         *sandbox
	env                             []string // of every go command
	logger                          hclog.Logger
	slots                           chan struct{}
	slow                            chan struct{}
	slowAfter                       time.Duration // slowAfter
	tried                           chan struct{} // closed when the first prewarm has succeeded or failed
	warm                            chan struct{}
	fill                            *fill
}

// New finds the toolchain and asks it for its version. The error is an
// ErrUnavailable when there is none.
func New(cfg Config) (*Builder, error) {
	if cfg.Slots <= 0 {
		cfg.Slots = runtime.GOMAXPROCS(0)
	}
	if cfg.Logger == nil {
		cfg.Logger = hclog.NewNullLogger()
	}
	dir, err := filepath.Abs(cfg.Dir)
	if err != nil {
		return nil, err
	}
	home := filepath.Join(dir, "home")
	if err := telemetryOff(home); err != nil {
		return nil, err
	}
	known, err := ask(cfg.Go, dir, home)
	if err != nil {
		return nil, err
	}
	if cfg.Proxy == "" {
		cfg.Proxy = known.GOPROXY
	}
	if cfg.SumDB == "" {
		cfg.SumDB = known.GOSUMDB
	}
	if cfg.Private == "" {
		cfg.Private = known.GONOSUMDB
	}
	own, err := modules(cfg.Modules, filepath.Join(dir, "modules"))
	if err != nil {
		return nil, fmt.Errorf("unpack the modules of functions: %w", err)
	}
	if own != "" {
		cfg.Proxy = own + "," + cfg.Proxy
	}
	if cfg.Launcher == nil {
		cfg.Launcher = confine.New()
	}
	sandbox, err := newSandbox(known, dir, cfg)
	if err != nil {
		return nil, err
	}
	bin, cache, modCache := filepath.Join(known.GOROOT, "bin"), filepath.Join(dir, "gocache"), filepath.Join(dir, "gomod")
	target := []string{"CGO_ENABLED=0", "GOOS=" + runtime.GOOS, "GOARCH=" + runtime.GOARCH, "GOAMD64=v1"}
	if cfg.CacheLimit <= 0 {
		cfg.CacheLimit = defaultCache
	}
	b := &Builder{
		goCommand: filepath.Join(bin, "go"),
		platform:  funcfw.Platform{GOOS: runtime.GOOS, GOARCH: runtime.GOARCH, GoVersion: known.GOVERSION},
		cpuLimit:  cpuLimit, stallLimit: stallLimit, wallLimit: wallLimit,
		goRoot:   known.GOROOT,
		cache:    cache,
		owners:   seeds(known.GOCACHE, cache),
		modCache: modCache,
		caches: &caches{
			lock: filepath.Join(dir, "caches.lock"), built: make(chan struct{}, 1),
			space: Caches{Build: Space{Limit: cfg.CacheLimit}, Modules: Space{Limit: cfg.CacheLimit}},
		},
		temp:     cfg.Temp,
		target:   target,
		launcher: cfg.Launcher,
		sandbox:  sandbox,
		env: append([]string{
			"PATH=" + bin, "HOME=" + home, "GOENV=off", "GOFLAGS=", "GOWORK=off", "GO111MODULE=on", "GOTOOLCHAIN=local",
			"GOVCS=*:off", "GOAUTH=off",
			"GOCACHE=" + cache, "GOMODCACHE=" + modCache, "GOPATH=" + goPath(dir),
			// In its sandbox the go command cannot see how many processors a container has.
			"GOMAXPROCS=" + strconv.Itoa(runtime.GOMAXPROCS(0)), "GOGC=off", "GOMEMLIMIT=" + strconv.Itoa(memoryGoal),
		}, target...),
		logger: cfg.Logger,
		slots:  make(chan struct{}, cfg.Slots),
		slow:   make(chan struct{}, cfg.Slots), slowAfter: slowAfter,
		tried: make(chan struct{}),
		warm:  make(chan struct{}),
		fill:  new(fill),
	}
	return b, nil
}

// toolchain is what go env says.
type toolchain struct{ GOROOT, GOVERSION, GOPROXY, GOSUMDB, GONOSUMDB, GOCACHE string }

// ask asks a go command about itself, as its owner has configured it. The command
// writes to home alone.
func ask(command, dir, home string) (*toolchain, error) {
	const hint = "install Go, from https://go.dev/dl, or put it in the agent's PATH"
	if command == "" {
		command = "go"
	}
	command, err := exec.LookPath(command)
	if err != nil {
		return nil, proto.Errorf(proto.ErrUnavailable, "find the go command: %w", err).WithHint(hint)
	}
	ctx, cancel := context.WithTimeout(context.Background(), askLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, command, "env", "-json", "GOROOT", "GOVERSION", "GOPROXY", "GOSUMDB", "GONOSUMDB", "GOCACHE")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOTOOLCHAIN=local", "XDG_CONFIG_HOME="+filepath.Join(home, ".config"))
	if config, err := os.UserConfigDir(); err == nil && os.Getenv("GOENV") == "" {
		cmd.Env = append(cmd.Env, "GOENV="+filepath.Join(config, "go", "env"))
	}
	out, err := cmd.Output()
	if err != nil {
		return nil, proto.Errorf(proto.ErrUnavailable, "ask %s for its version: %w", command, err).WithHint(hint)
	}
	known := new(toolchain)
	if err := json.Unmarshal(out, known); err != nil || known.GOROOT == "" {
		return nil, proto.Errorf(proto.ErrUnavailable, "%s is not a go command", command).WithHint(hint)
	}
	return known, nil
}

// telemetryOff makes a home folder in which the go command counts nothing.
func telemetryOff(home string) error {
	config := filepath.Join(home, ".config")
	if runtime.GOOS == "darwin" {
		config = filepath.Join(home, "Library", "Application Support")
	}
	telemetry := filepath.Join(config, "go", "telemetry")
	if err := os.MkdirAll(telemetry, 0o700); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(telemetry, "mode"), []byte("off"), 0o600)
}

// Platform is what programs are built for, and with.
func (b *Builder) Platform() funcfw.Platform { return b.platform }

// Layers says what confines builds on this machine.
func (b *Builder) Layers() []confine.Layer { return b.launcher.Layers() }

// Warm is closed once builds are quick, because what all functions share has been
// compiled.
func (b *Builder) Warm() <-chan struct{} { return b.warm }

// Spec says what to build.
type Spec struct {
	Root string // the unpacked package, absolute; it is not written to
	Work string // an empty private folder, absolute; the caller removes it afterwards
	// Out is the program to make. It appears whole or not at all, and lies on the
	// same file system as Work.
	Out       string
	Generated *funcfw.Generated
	Tags      []string // build tags
	Ldflags   string   // linker flags, of which -X alone is taken
	// Output gets the progress of the build, for people: how many modules
	// have been fetched and packages compiled, each second at most, and errors about
	// files as the user knows them. It is bounded, and written to at most ten times a
	// second, by one goroutine at a time and never after the build. Default: nobody
	// listens.
	Output io.Writer
	// Warn gets what the build found out that its user should know beside
	// Generated.Warnings, a line each, before Build returns. Default: nobody listens.
	Warn func(line string)

	// filling is set for the builder's own source, which an empty cache is seeded for.
	// It is called with how many packages are in the cache.
	filling func(done, total int)
}

// Failure is the error of a source that does not build. It is the user's to
// mend, and an ErrInvalid.
type Failure struct {
	// Output is what the go command said, about files as the user knows them:
	// relative to the package's root.
	Output string
}

func (f *Failure) Error() string { return f.Output }

// Unwrap gives errors.Is the kind.
func (f *Failure) Unwrap() error { return proto.ErrInvalid }

// Build builds one program. It waits for Run's first prewarm and for a slot, so
// Run must be running. When ctx ends or a limit is met, Build kills all processes of
// the build; the next build uses what this one has compiled. A source that does not build is a *Failure.
func (b *Builder) Build(ctx context.Context, spec Spec) error {
	if err := b.await(ctx, spec.Output); err != nil {
		return fmt.Errorf("wait for the build cache: %w", err)
	}
	pace := new(pace)
	release, err := b.acquire(ctx, pace)
	if err != nil {
		return fmt.Errorf("wait for a free place to build: %w", err)
	}
	defer release()
	return b.build(ctx, spec, pace)
}

// goOn is the hint for a build that a time limit has stopped.
const goOn = "deploy again: what was built is kept, and the build goes on from there"

// attempt is a build on its way.
type attempt struct {
	*Builder
	Spec
	cancel context.CancelCauseFunc
	pace   *pace
	places funcfw.Places
	files  []string // flags of every go command
	status *status
	hidden bool // the last line of it was not shown
}

func (b *Builder) build(ctx context.Context, spec Spec, pace *pace) error {
	linker, err := funcfw.LinkerFlags(spec.Ldflags)
	if err != nil {
		return err
	}
	if err := write(spec); err != nil {
		return fmt.Errorf("write the generated files: %w", err)
	}
	release, err := b.caches.hold()
	if err != nil {
		return fmt.Errorf("hold the caches: %w", err)
	}
	defer release()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	a := &attempt{
		Builder: b, Spec: spec, cancel: cancel, pace: pace,
		places: funcfw.Places{Root: spec.Root, Work: spec.Work, ModCache: b.modCache, GoRoot: b.goRoot, Generated: spec.Generated},
		files:  filesOf(spec),
	}
	a.status = newStatus(spec.Output, a.shown, spec.filling)
	defer a.status.close()
	defer a.watch()()
	program := filepath.Join(spec.Work, "fn")
	output, updated, err := a.make(ctx, linker)
	if ctx.Err() != nil {
		return fmt.Errorf("build: %w", context.Cause(ctx))
	}
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		return explain(a.places, output)
	}
	if err != nil {
		return fmt.Errorf("run %s: %w", b.goCommand, err)
	}
	if mod, err := os.ReadFile(filepath.Join(spec.Work, "go.mod")); err == nil {
		b.use(mod)
	}
	info, err := os.Stat(program)
	if err != nil {
		return err
	}
	if info.Size() > maxProgram {
		return &Failure{fmt.Sprintf("the program has %d MiB; at most %d are taken", info.Size()>>20, maxProgram>>20)}
	}
	if updated {
		if err := warn(spec); err != nil {
			return err
		}
	}
	if updated || !spec.Generated.Alone {
		if err := a.warnOfCgo(ctx); err != nil {
			return err
		}
	}
	return os.Rename(program, spec.Out)
}

// filesOf are the flags of every go command by which it finds the files of a spec.
func filesOf(spec Spec) []string {
	return []string{
		"-modcacherw", "-modfile=" + filepath.Join(spec.Work, "go.mod"), "-overlay=" + filepath.Join(spec.Work, "overlay.json"),
		"-tags=" + strings.Join(spec.Tags, ","),
	}
}

// building are the arguments of `go build` for a spec.
func building(spec Spec, linker string) []string {
	return slices.Concat([]string{"-mod=readonly"}, filesOf(spec), funcfw.BuildFlags,
		[]string{"-ldflags=" + linker, "-o", filepath.Join(spec.Work, "fn"), spec.Generated.Main})
}

// make runs the go command to make the program. It returns the output of its last run, and
// whether it has updated the alternative go.mod.
func (a *attempt) make(ctx context.Context, linker string) (output string, updated bool, err error) {
	building := building(a.Spec, linker)
	compile := func() (string, error) {
		return a.run(ctx, a.sandbox.compile, unreachable, nil, slices.Concat([]string{"build", "-v"}, building)...)
	}
	if a.filling != nil { // so that it can say beforehand how much there is
		seeded := a.owners != "" && a.empty() // the first go command makes it look used
		if output, err = a.fetch(ctx, "-mod=readonly"); err != nil {
			return output, false, err
		}
		if seeded {
			a.status.begin(a.seed(func(said io.Writer) error { return a.plan(ctx, a.owners, a.Spec, a.pace, building, said) }))
		}
	}
	output, err = compile()
	if err != nil && a.sandbox.lacks.MatchString(output) {
		if output, err = a.fetch(ctx, "-mod=readonly"); err == nil {
			output, err = compile()
		}
	}
	if err != nil && strings.Contains(output, incomplete) {
		// A requirement of the user's raises one of the framework's. This rewrites the
		// alternative go.mod alone. It is slower and may ask the module proxy.
		updated = true
		if output, err = a.fetch(ctx, "-mod=mod"); err == nil {
			output, err = compile()
		}
	}
	return output, updated, err
}

// fetch gets the modules that compile will need, and no more: `go mod download` would
// fetch all that go.mod names, also for tests and for packages that nothing imports.
func (a *attempt) fetch(ctx context.Context, mod string) (string, error) {
	list := new(packages)
	stop := a.status.fetching(a.missing(), a.stallLimit, func() {
		a.cancel(proto.Errorf(proto.ErrUnavailable, "no module has come for %s, since %s", a.stallLimit, a.status.last()).
			WithHint("see that the agent reaches its module proxy (-goproxy); deploy again: what was fetched is kept"))
	})
	output, err := a.run(ctx, a.sandbox.fetch, a.sandbox.online, list,
		slices.Concat([]string{"list", "-deps", "-f=" + packageLine, mod}, a.files, []string{a.Generated.Main})...)
	stop()
	a.status.expect(list)
	return output, err
}

// run runs a go command. What it says goes to the status; list gets its standard
// output if that is apart.
func (a *attempt) run(ctx context.Context, rules confine.Rules, env []string, list io.Writer, args ...string) (string, error) {
	cmd := a.command(a.Spec, env, args...)
	cmd.Stdout = list
	return a.runGroup(ctx, cmd, with(rules, a.Spec), a.pace, a.status)
}

// missing are the folders of the required modules that are not in the cache.
func (a *attempt) missing() (folders []string) {
	mod, err := os.ReadFile(filepath.Join(a.Work, "go.mod"))
	if err != nil {
		return nil
	}
	for _, m := range funcfw.Required(mod) {
		path, errPath := module.EscapePath(m.Path)
		version, errVersion := module.EscapeVersion(m.Version)
		folder := filepath.Join(a.modCache, filepath.FromSlash(path)+"@"+version)
		if errPath == nil && errVersion == nil && !exists(folder) {
			folders = append(folders, folder)
		}
	}
	return folders
}

func exists(name string) bool {
	_, err := os.Stat(name)
	return err == nil
}

// warn says what the go command has updated in the alternative go.mod.
func warn(spec Spec) error {
	mod, err := os.ReadFile(filepath.Join(spec.Work, "go.mod"))
	if err != nil {
		return err
	}
	lines, err := funcfw.Raised(spec.Generated.GoMod, mod)
	for _, line := range lines {
		if spec.Warn != nil {
			spec.Warn(line)
		}
	}
	return err
}

// command is a go command in a spec's module.
func (b *Builder) command(spec Spec, env []string, args ...string) *command {
	tmp := filepath.Join(spec.Work, "tmp")
	dir := filepath.Join(spec.Root, filepath.FromSlash(spec.Generated.ModuleRoot))
	return &command{Args: args, Dir: dir, Env: slices.Concat(b.env, env, []string{"GOTMPDIR=" + tmp, "TMPDIR=" + tmp, "PWD=" + dir})}
}

// write lays out the work folder: tmp and what Layout says.
func write(spec Spec) error {
	if err := os.Mkdir(filepath.Join(spec.Work, "tmp"), 0o700); err != nil {
		return err
	}
	files, err := spec.Generated.Layout(spec.Root, spec.Work)
	if err != nil {
		return err
	}
	for name, content := range files {
		path := filepath.Join(spec.Work, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return err
		}
		if err := os.WriteFile(path, content, 0o600); err != nil {
			return err
		}
	}
	return nil
}
