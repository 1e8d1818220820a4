package build

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/Ishan27g/ryo-faas/internal/testkit"
	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/remote/confine"
	"github.com/Ishan27g/ryo-faas/remote/funcfw"
)

const patience = testkit.Patience

// fakeBuilder has a go command that is a shell script. Its builds,
// the prewarm too, run lines of shell that leave a program at $out. $root is its
// GOROOT, which is returned.
func fakeBuilder(t *testing.T, cfg Config, lines string) (b *Builder, root string) {
	t.Helper()
	root = t.TempDir()
	script := filepath.Join(root, "bin", "go")
	require.NoError(t, os.MkdirAll(filepath.Join(root, "pkg", "tool"), 0o700))
	require.NoError(t, os.Mkdir(filepath.Dir(script), 0o700))
	require.NoError(t, os.WriteFile(script, fmt.Appendf(nil, `#!/bin/sh
PATH=/usr/bin:/bin
root=%q
if [ "$1" = env ]; then
	echo "{\"GOROOT\": \"$root\", \"GOVERSION\": \"go1.26.0\", \"GOPROXY\": \"https://proxy.example\", \"GOSUMDB\": \"sum.example\", \"GONOSUMDB\": \"own.example\"}"
	exit
fi
out() { while [ $# -gt 0 ] && [ "$1" != -o ]; do shift; done; echo "${2:-$root/none}"; }
out=$(out "$@")
%s
`, root, lines), 0o700))
	if cfg.Modules == nil {
		cfg.Modules = fstest.MapFS{} // whether or not this test has come with some
	}
	cfg.Go, cfg.Dir = script, filepath.Join(t.TempDir(), "made", "when", "missing")
	b, err := New(cfg)
	require.NoError(t, err)
	for _, rules := range []*confine.Rules{&b.sandbox.compile, &b.sandbox.fetch} {
		rules.Exec = []string{"/"}
		rules.Write = []string{"/"}
	}
	return b, root
}

// run lets a builder run for as long as the test.
func run(t *testing.T, b *Builder) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { assert.NoError(t, b.Run(ctx)) })
	t.Cleanup(func() { cancel(); running.Wait() })
}

func fakeSpec(t *testing.T) Spec {
	t.Helper()
	base := t.TempDir()
	spec := Spec{Root: filepath.Join(base, "root"), Work: filepath.Join(base, "work"), Out: filepath.Join(base, "fn"), Generated: &funcfw.Generated{ModuleRoot: ".", Main: "./main"}}
	require.NoError(t, os.Mkdir(spec.Root, 0o700))
	require.NoError(t, os.Mkdir(spec.Work, 0o700))
	return spec
}

func TestEnvironmentAndFlagsAreComplete(t *testing.T) {
	t.Setenv("GOFLAGS", "-toolexec=/tmp/evil")
	t.Setenv("SECRET", "1")
	b, root := fakeBuilder(t, Config{}, `
{ for a; do echo "$a"; done; /usr/bin/env; } >"$root/said.$(basename "$PWD")"
cat "$HOME/.config/go/telemetry/mode" >"$root/telemetry"
: >"$out"`)
	run(t, b)
	spec := fakeSpec(t)
	spec.Tags = []string{"a", "b"}
	require.NoError(t, b.Build(t.Context(), spec))
	said, err := os.ReadFile(filepath.Join(root, "said.root"))
	require.NoError(t, err)
	cache := filepath.Dir(b.modCache)
	want := []string{
		"build", "-v", "-mod=readonly", "-modcacherw", "-modfile=" + spec.Work + "/go.mod", "-overlay=" + spec.Work + "/overlay.json", "-tags=a,b",
		"-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", spec.Work + "/fn", "./main",
		"PATH=/usr/bin:/bin", "HOME=" + cache + "/home", "PWD=" + spec.Root, "TMPDIR=" + spec.Work + "/tmp", "GOTMPDIR=" + spec.Work + "/tmp",
		"GOENV=off", "GOFLAGS=", "GOWORK=off", "GO111MODULE=on", "GOTOOLCHAIN=local", "CGO_ENABLED=0", "GOVCS=*:off", "GOAUTH=off",
		"GOOS=" + b.platform.GOOS, "GOARCH=" + b.platform.GOARCH, "GOAMD64=v1", "GOPROXY=off", "GOSUMDB=off", "GOMAXPROCS=" + strconv.Itoa(runtime.GOMAXPROCS(0)),
		"GOCACHE=" + cache + "/gocache", "GOMODCACHE=" + cache + "/gomod", "GOPATH=" + cache + "/gopath", "GOGC=off", "GOMEMLIMIT=1073741824",
	}
	var got []string
	for line := range strings.Lines(string(said)) {
		if line = strings.TrimSpace(line); !strings.HasPrefix(line, "_=") && !strings.HasPrefix(line, "OLDPWD=") && !strings.HasPrefix(line, "SHLVL=") {
			got = append(got, line) // the shell's own
		}
	}
	assert.ElementsMatch(t, want, got)
	mode, err := os.ReadFile(filepath.Join(root, "telemetry"))
	require.NoError(t, err)
	assert.Equal(t, "off", string(mode))
}

func TestConfigSaysWhereModulesComeFrom(t *testing.T) {
	b, _ := fakeBuilder(t, Config{Proxy: "off", SumDB: "off", Private: "corp.example"}, "")
	assert.Subset(t, b.sandbox.online, []string{"GOPROXY=off", "GOSUMDB=off", "GONOSUMDB=corp.example"})
	b, _ = fakeBuilder(t, Config{}, "")
	assert.Subset(t, b.sandbox.online, []string{"GOPROXY=https://proxy.example", "GOSUMDB=sum.example", "GONOSUMDB=own.example"})
}

func TestOwnModulesComeFirst(t *testing.T) {
	own := fstest.MapFS{"example.org/!x/@v/v1.0.0.mod": {Data: []byte("module example.org/X\n")}}
	b, _ := fakeBuilder(t, Config{Proxy: "off", Modules: own}, "")
	dir := filepath.Join(filepath.Dir(b.modCache), "modules")
	assert.Contains(t, b.sandbox.online, "GOPROXY=file://"+dir+",off")

	// A damaged file is mended at the next start, one of another agent stays.
	file := filepath.Join(dir, "example.org", "!x", "@v", "v1.0.0.mod")
	other := filepath.Join(dir, "example.org", "!x", "@v", "v2.0.0.mod")
	require.NoError(t, os.WriteFile(file, []byte("\x00"), 0o600))
	require.NoError(t, os.WriteFile(other, nil, 0o600))
	require.NoError(t, unpack(own, dir))
	got, err := os.ReadFile(file)
	require.NoError(t, err)
	assert.Equal(t, "module example.org/X\n", string(got))
	assert.FileExists(t, other)
}

func TestTheFirstFillIsTold(t *testing.T) {
	b, root := fakeBuilder(t, Config{}, `
case $1 in
list) echo "unsafe "; echo "fmt "; echo "net/http " ;;
*) echo unsafe >&2; echo fmt >&2; until [ -e "$root/go" ]; do sleep 0.01; done; : >"$out" ;;
esac`)
	run(t, b)
	heard, to := io.Pipe()
	spec := fakeSpec(t)
	spec.Output = to
	var building sync.WaitGroup
	building.Go(func() { assert.NoError(t, b.Build(t.Context(), spec)); to.Close() })
	lines := bufio.NewScanner(heard)
	for lines.Scan() && lines.Text() != "filling the build cache, once: 2 of 3 packages" {
	}
	assert.Equal(t, "filling the build cache, once: 2 of 3 packages", b.Filling())
	require.NoError(t, os.WriteFile(filepath.Join(root, "go"), nil, 0o600))
	_, err := io.Copy(io.Discard, heard)
	require.NoError(t, err)
	building.Wait()
}

func TestPrewarmIsNice(t *testing.T) {
	b, root := fakeBuilder(t, Config{}, `
until [ "$(nice)" = 15 ]; do :; done
echo done >"$root/nice"
: >"$out"`)
	run(t, b)
	select {
	case <-b.Warm():
	case <-time.After(patience):
		require.Fail(t, "not warm")
	}
	assert.FileExists(t, filepath.Join(root, "nice"))
}

func TestBuildsGoOnAfterAFailedPrewarm(t *testing.T) {
	b, _ := fakeBuilder(t, Config{}, `case $PWD in */prewarm-*) exit 1 ;; esac; : >"$out"`)
	run(t, b)
	require.NoError(t, b.Build(t.Context(), fakeSpec(t)))
	select {
	case <-b.Warm():
		assert.Fail(t, "warm without a prewarm")
	default:
	}
}

// stuck is a build that starts a child which ignores SIGTERM, and waits.
const stuck = `
case $PWD in */prewarm-*) : >"$out"; exit ;; esac
trap '' TERM
sleep 1000 &
: >"$PWD/child"
wait`

func TestBuildKillsAllAtItsLimit(t *testing.T) {
	b, _ := fakeBuilder(t, Config{}, stuck)
	b.wallLimit = time.Second
	run(t, b)
	spec := fakeSpec(t)
	err := b.Build(t.Context(), spec)
	require.ErrorIs(t, err, proto.ErrTimeout)
	assert.EqualError(t, err, "build: the build took longer than 1s and was canceled")
	assert.Equal(t, goOn, proto.AsError(err).Hint)
	dead(t, spec)
}

// What waits takes no processor time.
func TestBuildsMayTakeSoMuchProcessorTime(t *testing.T) {
	b, _ := fakeBuilder(t, Config{}, `
case $PWD in */prewarm-*) : >"$out"; exit ;; esac
if [ -e busy ]; then while :; do :; done; fi
sleep 0.5
: >"$out"`)
	b.cpuLimit = 300 * time.Millisecond
	run(t, b)
	require.NoError(t, b.Build(t.Context(), fakeSpec(t)))
	spec := fakeSpec(t)
	require.NoError(t, os.WriteFile(filepath.Join(spec.Root, "busy"), nil, 0o600))
	require.ErrorIs(t, b.Build(t.Context(), spec), proto.ErrTimeout)
	dead(t, spec)
}

func TestModulesThatDoNotComeAreGivenUp(t *testing.T) {
	b, _ := fakeBuilder(t, Config{}, `
case $PWD in */prewarm-*) : >"$out"; exit ;; esac
case $1 in
list) echo "go: downloading example.org/x v1.0.0" >&2; sleep 1000 ;;
*) echo "module lookup disabled by GOPROXY=off"; exit 1 ;;
esac`)
	b.stallLimit = 100 * time.Millisecond
	run(t, b)
	spec := fakeSpec(t)
	err := b.Build(t.Context(), spec)
	require.ErrorIs(t, err, proto.ErrUnavailable)
	assert.ErrorContains(t, err, "no module has come for 100ms, since example.org/x v1.0.0")
	dead(t, spec)
}

// A cache that an agent before has filled is not filled again before it is due.
func TestAFilledCacheIsNotFilledAgain(t *testing.T) {
	b, root := fakeBuilder(t, Config{}, `echo "$PWD" >>"$root/builds"; : >"$out"`)
	count := func() int {
		text, err := os.ReadFile(filepath.Join(root, "builds"))
		if !os.IsNotExist(err) {
			require.NoError(t, err)
		}
		return strings.Count(string(text), "prewarm-")
	}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { assert.NoError(t, b.Run(ctx)) })
	<-b.Warm()
	cancel()
	running.Wait()
	once := count()
	assert.NotZero(t, once)

	again := func() *Builder {
		next, err := New(Config{Go: b.goCommand, Dir: filepath.Dir(b.cache), Modules: fstest.MapFS{}})
		require.NoError(t, err)
		next.sandbox = b.sandbox
		return next
	}
	next := again()
	run(t, next)
	<-next.Warm()
	assert.Empty(t, next.Filling())
	assert.Equal(t, once, count())

	for name, spoil := range map[string]func() error{
		"another toolchain": func() error { return os.WriteFile(b.filled(), []byte("other"), 0o600) },
		"a day later":       func() error { return os.Chtimes(b.filled(), time.Time{}, time.Now().Add(-warmEvery)) },
		"an empty cache":    func() error { return os.Remove(b.filled()) },
	} {
		require.NoError(t, spoil(), name)
		before, next := count(), again()
		run(t, next)
		<-next.Warm()
		assert.Greater(t, count(), before, name)
	}
}

func TestBuildKillsAllWithItsContext(t *testing.T) {
	b, _ := fakeBuilder(t, Config{}, stuck)
	run(t, b)
	spec := fakeSpec(t)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- b.Build(ctx, spec) }()
	assert.Eventually(t, func() bool {
		_, err := os.Stat(filepath.Join(spec.Root, "child"))
		return err == nil
	}, patience, 5*time.Millisecond)
	cancel()
	require.ErrorIs(t, <-done, context.Canceled)
	dead(t, spec)
}

// dead waits until all processes of a stuck build have exited: they run in its root.
func dead(t *testing.T, spec Spec) {
	t.Helper()
	require.Eventually(t, func() bool {
		links, err := filepath.Glob("/proc/[0-9]*/cwd")
		require.NoError(t, err)
		return !slices.ContainsFunc(links, func(link string) bool {
			dir, err := os.Readlink(link)
			return err == nil && dir == spec.Root
		})
	}, patience, 5*time.Millisecond)
}

func TestSlotsBoundTheBuildsAtOneTime(t *testing.T) {
	b, root := fakeBuilder(t, Config{Slots: 2}, `
case $PWD in */prewarm-*) : >"$out"; exit ;; esac
own=$(mktemp "$root/running.XXXXXXXX")
ls "$root" | grep -c running >>"$root/counts"
rm "$own"
: >"$out"`)
	run(t, b)
	var all sync.WaitGroup
	for range 8 {
		spec := fakeSpec(t)
		all.Go(func() { assert.NoError(t, b.Build(t.Context(), spec)) })
	}
	all.Wait()
	counts, err := os.ReadFile(filepath.Join(root, "counts"))
	require.NoError(t, err)
	assert.Len(t, strings.Fields(string(counts)), 8)
	for _, n := range strings.Fields(string(counts)) {
		assert.Contains(t, []string{"1", "2"}, n)
	}
}

// As many slow builds as there are places keep nobody waiting.
func TestSlowBuildsMakePlace(t *testing.T) {
	b, root := fakeBuilder(t, Config{Slots: 2}, `
case $PWD in */prewarm-*) : >"$out"; exit ;; esac
if [ -e slow ]; then
	until [ "$(nice)" -ge 5 ]; do sleep 0.01; done
	mktemp "$root/yielded.XXXXXXXX"
	sleep 1000
fi
: >"$out"`)
	b.slowAfter = 20 * time.Millisecond
	run(t, b)
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	defer all.Wait()
	defer cancel()
	for range 2 {
		spec := fakeSpec(t)
		require.NoError(t, os.WriteFile(filepath.Join(spec.Root, "slow"), nil, 0o600))
		all.Go(func() { assert.ErrorIs(t, b.Build(ctx, spec), context.Canceled) })
	}
	require.Eventually(t, func() bool {
		yielded, err := filepath.Glob(filepath.Join(root, "yielded.*"))
		return err == nil && len(yielded) == 2
	}, patience, 5*time.Millisecond)
	require.NoError(t, b.Build(t.Context(), fakeSpec(t)))
}

func TestOutputIsBounded(t *testing.T) {
	b, _ := fakeBuilder(t, Config{}, `
case $PWD in */prewarm-*) : >"$out"; exit ;; esac
echo "p.go:1:1: the first"
yes "p.go:2:1: more" | head -c 1000000
exit 1`)
	run(t, b)
	var failure *Failure
	require.ErrorAs(t, b.Build(t.Context(), fakeSpec(t)), &failure)
	assert.True(t, strings.HasPrefix(failure.Output, "p.go:1:1: the first\n"))
	assert.True(t, strings.HasSuffix(failure.Output, "\n(more was said)"))
	assert.Less(t, len(failure.Output), maxOutput+100)
}

func TestProgramIsBounded(t *testing.T) {
	b, _ := fakeBuilder(t, Config{}, `case $PWD in */prewarm-*) : >"$out"; exit ;; esac; truncate -s 201M "$out"`)
	run(t, b)
	spec := fakeSpec(t)
	var failure *Failure
	require.ErrorAs(t, b.Build(t.Context(), spec), &failure)
	assert.Equal(t, "the program has 201 MiB; at most 200 are taken", failure.Output)
	assert.NoFileExists(t, spec.Out)
}

func TestGeneratedFilesStayBelowTheWorkFolder(t *testing.T) {
	spec := fakeSpec(t)
	spec.Generated.Overlay = map[string][]byte{"../evil.go": nil}
	require.ErrorContains(t, write(spec), "is not a path of generated files")
	assert.NoFileExists(t, filepath.Join(spec.Work, "evil.go"))
}

func TestNoSpaceIsNotTheUsersFault(t *testing.T) {
	b, _ := fakeBuilder(t, Config{}, `case $PWD in */prewarm-*) : >"$out"; exit ;; esac; echo "write x: no space left on device"; exit 1`)
	run(t, b)
	require.ErrorIs(t, b.Build(t.Context(), fakeSpec(t)), proto.ErrExhausted)
}
