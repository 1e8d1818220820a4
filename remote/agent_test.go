package remote

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/Ishan27g/ryo-faas/internal/testkit"
	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/remote/disk"
	"github.com/Ishan27g/ryo-faas/remote/process"
	"github.com/Ishan27g/ryo-faas/transport"
	"github.com/Ishan27g/ryo-faas/transport/transporttest"
)

func TestMain(m *testing.M) {
	guarded := testkit.Guarded(m)
	if code, holder := process.HolderMain(os.Args); holder {
		os.Exit(code)
	}
	if os.Getenv(beAgent) != "" {
		os.Exit(Main(os.Args, os.Stdin, os.Stdout, os.Stderr))
	}
	testkit.ShortRun(atOnce)
	goleak.VerifyTestMain(guarded)
}

// atOnce are the tests in which much happens at the same time: those that are left of a
// -short run, for the race detector above all.
const atOnce = "Conformance|AtOnce|LosesNo|NoCallIsLost|WithoutALoss|WokenOnce|SurviveTheirAgent|ReplacedInPlace|HoldsUpNo|NotReady|Hangs|Frozen|CrashLoop|CountBackwards|LastCaller|ShareThePort"

// beAgent makes the test's own program the agent.
const beAgent = "REMOTE_TEST_AGENT"

// What the tests of several rooms share.
const patience = testkit.BuildPatience

var (
	source = testkit.Source
	says   = testkit.Says
)

// running is an agent that a test has started.
type running struct {
	*Agent
	dir string
	end func()
}

// start runs an agent on a folder until the test ends or end is called.
func start(t *testing.T, dir string) running {
	t.Helper()
	return startWith(t, dir, func(*Config) {})
}

// startWith is start with settings.
func startWith(t *testing.T, dir string, set func(*Config)) running {
	t.Helper()
	cache, err := os.UserCacheDir()
	require.NoError(t, err)
	cfg := Config{Dir: dir, Port: 9000, Ports: testPorts(t), Cache: filepath.Join(cache, "ryo-faas-test"), StopFunctions: true}
	set(&cfg)
	agent, err := New(cfg)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- agent.Run(ctx) }()
	var once sync.Once
	end := func() {
		once.Do(func() {
			cancel()
			assert.NoError(t, <-done)
		})
	}
	t.Cleanup(end)
	return running{agent, dir, end}
}

// testPorts are ports of an agent, apart from those of other tests.
func testPorts(t *testing.T) string {
	t.Helper()
	first := testkit.Ports(t)
	return fmt.Sprintf("%d-%d", first, first+98)
}

func (a running) deploy(t *testing.T, name, code string) *proto.FunctionJsonRsp {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	rows, err := a.Deploy(ctx, &proto.FunctionJson{Name: name, Dir: source(t, code), Wait: true})
	require.NoError(t, err)
	require.Len(t, rows, 1)
	return rows[0]
}

// row is what the agent says about a function now, nil for nothing.
func (a running) row(t *testing.T, name string) *proto.FunctionJsonRsp {
	t.Helper()
	rows, err := a.Details(t.Context())
	require.NoError(t, err)
	for _, row := range rows {
		if row.GetName() == name {
			return row
		}
	}
	return nil
}

// until waits until a function's row fulfils a condition and returns it.
func (a running) until(t *testing.T, name string, is func(*proto.FunctionJsonRsp) bool) *proto.FunctionJsonRsp {
	t.Helper()
	var row *proto.FunctionJsonRsp
	require.Eventually(t, func() bool { row = a.row(t, name); return row != nil && is(row) }, patience, 5*time.Millisecond)
	return row
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func get(url string) (string, error) {
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 30 * time.Second}
	rsp, err := client.Get(url)
	if err != nil {
		return "", err
	}
	defer rsp.Body.Close()
	body, err := io.ReadAll(rsp.Body)
	if rsp.StatusCode != http.StatusOK {
		return string(body), fmt.Errorf("status %s: %s", rsp.Status, body)
	}
	return string(body), err
}

func assertSays(t *testing.T, text, url string) {
	t.Helper()
	body, err := get(url)
	require.NoError(t, err)
	assert.Equal(t, text, body)
}

func TestConformance(t *testing.T) {
	agent := start(t, t.TempDir()).Agent
	transporttest.Run(t, func(*testing.T) transport.Interface { return agent })
}

func TestRedeployServesTheNewCodeAndLosesNoRequest(t *testing.T) {
	a := start(t, t.TempDir())
	first := a.deploy(t, "Hello", says("Hello", "one"))
	require.Equal(t, string(proto.Deployed), first.GetStatus(), first.GetError())
	assertSays(t, "one", first.GetUrl())

	ctx, cancel := context.WithCancel(t.Context())
	var calls, failed atomic.Int64
	var callers sync.WaitGroup
	for range 4 {
		callers.Go(func() {
			for ctx.Err() == nil {
				calls.Add(1)
				if body, err := get(first.GetUrl()); err != nil || body != "one" && body != "two" {
					failed.Add(1)
					t.Log(body, err)
				}
			}
		})
	}
	second := a.deploy(t, "Hello", says("Hello", "two"))
	require.Equal(t, string(proto.Deployed), second.GetStatus(), second.GetError())
	assert.Equal(t, first.GetUrl(), second.GetUrl())
	for range 50 { // from the moment that Deployed is said
		assertSays(t, "two", second.GetUrl())
	}
	require.Eventually(t, func() bool { return syscall.Kill(int(first.GetPid()), 0) != nil }, patience, time.Millisecond, "the old process exits")
	cancel()
	callers.Wait()
	assert.Zero(t, failed.Load(), "of %d calls", calls.Load())
	assert.FileExists(t, filepath.Join(a.dir, "functions", "hello", "1", "fn"), "for a rollback")
}

func TestUnchangedSourceIsNotBuiltAgain(t *testing.T) {
	dir := t.TempDir()
	a := start(t, dir)
	fn := &proto.FunctionJson{Name: "Hello", Dir: source(t, says("Hello", "one")), Wait: true}
	first, err := a.Deploy(t.Context(), fn)
	require.NoError(t, err)
	require.Equal(t, string(proto.Deployed), first[0].GetStatus(), first[0].GetError())
	stored := func() (files []string) {
		files, err := filepath.Glob(filepath.Join(dir, "programs", "*"))
		require.NoError(t, err)
		return files
	}
	require.Eventually(t, func() bool { return len(stored()) == 1 }, patience, time.Millisecond)
	program, err := os.Stat(stored()[0])
	require.NoError(t, err)
	same := func(generation string) {
		t.Helper()
		info, err := os.Stat(filepath.Join(dir, "functions", "hello", generation, "fn"))
		require.NoError(t, err)
		assert.True(t, os.SameFile(program, info))
	}
	same("1")

	began := time.Now()
	again, err := a.Deploy(t.Context(), fn)
	t.Log("the same source again:", time.Since(began))
	require.NoError(t, err)
	require.Equal(t, string(proto.Deployed), again[0].GetStatus(), again[0].GetError())
	assert.Equal(t, first[0].GetPid(), again[0].GetPid(), "there is nothing to do")
	assert.EqualValues(t, 1, again[0].GetVersion())

	fn.Env = map[string]string{"A": "a"}
	again, err = a.Deploy(t.Context(), fn)
	t.Log("other settings:", time.Since(began))
	require.NoError(t, err)
	require.Equal(t, string(proto.Deployed), again[0].GetStatus(), again[0].GetError())
	assert.EqualValues(t, 2, again[0].GetVersion())
	same("2")

	// Settings that do not enter the build, and a stop, change nothing about that.
	_, err = a.Stop(t.Context(), "Hello")
	require.NoError(t, err)
	a.end()
	a = start(t, dir)
	fn.Env, fn.Timeout, fn.Memory = map[string]string{"A": "b"}, "10s", "128MiB"
	again, err = a.Deploy(t.Context(), fn)
	require.NoError(t, err)
	require.Equal(t, string(proto.Deployed), again[0].GetStatus(), again[0].GetError())
	assert.EqualValues(t, 3, again[0].GetVersion(), "numbers go on")
	same("3")
	assertSays(t, "one", again[0].GetUrl())

	// A build tag does.
	fn.Tags = []string{"other"}
	_, err = a.Deploy(t.Context(), fn)
	require.NoError(t, err)
	require.Eventually(t, func() bool { return len(stored()) == 2 }, patience, time.Millisecond)
}

func TestAFailedRedeployLeavesTheOldVersionServing(t *testing.T) {
	a := start(t, t.TempDir())
	first := a.deploy(t, "Hello", says("Hello", "one"))
	for reason, code := range map[string]string{
		proto.ReasonCheck: "package fn\n\nfunc Hello() {}\n",
		proto.ReasonBuild: strings.Replace(says("Hello", "two"), "fmt.Fprint", "fmt.Fprit", 1),
		proto.ReasonStart: says("Hello", "two") + "\nfunc init() { panic(\"boom\") }\n",
	} {
		row := a.deploy(t, "Hello", code)
		assert.Equal(t, string(proto.Failed), row.GetStatus())
		assert.Equal(t, reason, row.GetReason(), row.GetError())
		now := a.row(t, "Hello")
		assert.Equal(t, string(proto.Deployed), now.GetStatus())
		assert.Contains(t, now.GetError(), row.GetError())
		assert.Equal(t, first.GetPid(), now.GetPid())
		assertSays(t, "one", first.GetUrl())
	}
}

func TestRowsSayTheKind(t *testing.T) {
	dir := t.TempDir()
	a := start(t, dir)
	const typed = "package fn\n\nfunc Echo(in string) (string, error) { return in, nil }\n"
	post := func(url, body string) (status int, answer string) {
		resp, err := http.Post(url, "application/json", strings.NewReader(body))
		require.NoError(t, err)
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		return resp.StatusCode, string(text)
	}
	row := a.deploy(t, "Echo", typed)
	require.Equal(t, string(proto.Deployed), row.GetStatus(), row.GetError())
	assert.Equal(t, proto.KindTyped, row.GetKind())
	_, body := post(row.GetUrl(), `"100% <b>"`)
	assert.Equal(t, "\"100% <b>\"\n", body)
	status, _ := post(row.GetUrl(), `"`+strings.Repeat("x", proto.DefaultBody)+`"`)
	assert.Equal(t, http.StatusRequestEntityTooLarge, status)

	hello := a.deploy(t, "Hello", says("Hello", "hi"))
	assert.Equal(t, proto.KindHTTP, hello.GetKind())
	failed := a.deploy(t, "Hello", "package fn\n\nfunc Hello(in string) { undefined() }\n")
	assert.Equal(t, proto.ReasonBuild, failed.GetReason())
	assert.Equal(t, proto.KindTyped, failed.GetKind())
	assert.Equal(t, proto.KindHTTP, a.row(t, "Hello").GetKind(), "of what serves")
	a.deploy(t, "Never", "package fn\n\nfunc Never(in string) { undefined() }\n")
	assert.Equal(t, proto.KindTyped, a.row(t, "Never").GetKind())

	a.end()
	a = start(t, dir)
	now := a.until(t, "Echo", func(r *proto.FunctionJsonRsp) bool { return r.GetInstances() == 1 })
	assert.Equal(t, proto.KindTyped, now.GetKind())
	status, _ = post(now.GetUrl(), `"`+strings.Repeat("x", proto.DefaultBody)+`"`)
	assert.Equal(t, http.StatusRequestEntityTooLarge, status)
	assert.Equal(t, proto.KindTyped, a.row(t, "Never").GetKind())
}

func TestAFailedDeploySaysWhy(t *testing.T) {
	a := start(t, t.TempDir())
	for name, test := range map[string]struct{ code, reason, text string }{
		"SyntaxError": {"package fn\n\nfunc SyntaxError(\n", proto.ReasonCheck, "fn.go:"},
		"TypeError":   {strings.Replace(says("TypeError", ""), "fmt.Fprint", "fmt.Fprit", 1), proto.ReasonBuild, "fn.go:8:"},
		"Panics":      {says("Panics", "") + "\nfunc init() { panic(\"boom\") }\n", proto.ReasonStart, "panic: boom"},
		"Listens":     {"package hello\n\nimport (\n\t\"log\"\n\t\"net/http\"\n\t\"os\"\n)\n\nfunc init() { log.Fatal(http.ListenAndServe(\":\"+os.Getenv(\"PORT\"), nil)) }\n\nfunc Listens(http.ResponseWriter, *http.Request) {}\n", proto.ReasonStart, "the platform serves the function"},
		"Dynamic":     {says("Dynamic", "") + "\n//go:cgo_import_dynamic _ _ \"libc.so.6\"\n", proto.ReasonBuild, "linked dynamically"},
		"Exits":       {says("Exits", "") + "\nfunc init() { println(\"bye\"); panic(nil) }\n", proto.ReasonStart, "exit status 2"},
	} {
		t.Run(name, func(t *testing.T) {
			row := a.deploy(t, name, test.code)
			assert.Equal(t, string(proto.Failed), row.GetStatus())
			assert.Equal(t, test.reason, row.GetReason())
			assert.Contains(t, row.GetError(), test.text)
			assert.Empty(t, row.GetUrl(), "a port that is free again is not advertised")
			assert.Equal(t, row.GetError(), a.row(t, name).GetError())
			entries, err := filepath.Glob(filepath.Join(a.dir, "functions", proto.Path(name), "[0-9]*"))
			require.NoError(t, err)
			assert.Empty(t, entries)
		})
	}
	assert.Empty(t, a.ports.used)
}

func TestAProcessThatIsKilledComesBackOnItsPort(t *testing.T) {
	a := start(t, t.TempDir())
	first := a.deploy(t, "Hello", says("Hello", "hi"))
	require.NoError(t, syscall.Kill(int(first.GetPid()), syscall.SIGKILL))
	// The socket stays open: a caller waits instead of being refused.
	assertSays(t, "hi", first.GetUrl())
	now := a.until(t, "Hello", func(r *proto.FunctionJsonRsp) bool { return r.GetRestarts() == 1 && r.GetInstances() == 1 })
	assert.Equal(t, string(proto.Deployed), now.GetStatus())
	assert.Equal(t, first.GetUrl(), now.GetUrl())
	assert.NotEqual(t, first.GetPid(), now.GetPid())
	assert.Empty(t, now.GetError())
}

func TestACrashLoopIsFailedAndRefusesCallers(t *testing.T) {
	a := start(t, t.TempDir())
	// It serves until it is called once.
	first := a.deploy(t, "Crash", `package fn

import (
	"net/http"
	"os"
)

func Crash(w http.ResponseWriter, r *http.Request) { os.Exit(3) }
`)
	require.Equal(t, string(proto.Deployed), first.GetStatus(), first.GetError())
	row := a.until(t, "Crash", func(r *proto.FunctionJsonRsp) bool {
		if r.GetInstances() == 1 {
			_, _ = get(first.GetUrl()) // breaks off
		}
		return r.GetStatus() == string(proto.Failed)
	})
	assert.Equal(t, proto.ReasonCrash, row.GetReason())
	assert.Contains(t, row.GetError(), "exit status 3")
	_, err := get(first.GetUrl())
	require.ErrorIs(t, err, syscall.ECONNREFUSED)

	// New code takes its place.
	row = a.deploy(t, "Crash", says("Crash", "mended"))
	require.Equal(t, string(proto.Deployed), row.GetStatus(), row.GetError())
	assertSays(t, "mended", row.GetUrl())
}

func TestAStopKeepsTheVersionsAlone(t *testing.T) {
	a := start(t, t.TempDir())
	row := a.deploy(t, "Hello", says("Hello", "hi"))
	gone, err := a.Stop(t.Context(), "Hello")
	require.NoError(t, err)
	assert.Equal(t, string(proto.Stopped), gone.GetStatus())
	assert.Equal(t, syscall.ESRCH, syscall.Kill(int(row.GetPid()), 0))
	assert.Nil(t, a.row(t, "Hello"))
	left, err := filepath.Glob(filepath.Join(a.dir, "functions", "hello", "*"))
	require.NoError(t, err)
	assert.Equal(t, []string{filepath.Join(a.dir, "functions", "hello", "1"), filepath.Join(a.dir, "functions", "hello", "stopped.json")}, left)
	_, err = get(row.GetUrl())
	require.ErrorIs(t, err, syscall.ECONNREFUSED)
	assert.Empty(t, a.ports.used)

	row = a.deploy(t, "Hello", says("Hello", "again"))
	assertSays(t, "again", row.GetUrl())
	assert.NoFileExists(t, filepath.Join(a.dir, "functions", "hello", "stopped.json"))
	_, err = a.Remove(t.Context(), "Hello")
	require.NoError(t, err)
	assert.NoDirExists(t, filepath.Join(a.dir, "functions", "hello"))
	assert.Empty(t, a.ports.used)
}

func TestFunctionsComeBackWithTheNextAgent(t *testing.T) {
	dir := t.TempDir()
	a := start(t, dir)
	hello := a.deploy(t, "Hello", says("Hello", "hi"))
	a.deploy(t, "Broken", "package fn\n\nfunc Broken() {}\n")
	a.end()
	_, err := get(hello.GetUrl())
	require.ErrorIs(t, err, syscall.ECONNREFUSED)

	a = start(t, dir)
	row := a.until(t, "Hello", func(r *proto.FunctionJsonRsp) bool { return r.GetStatus() == string(proto.Deployed) })
	assert.Equal(t, hello.GetUrl(), row.GetUrl())
	assertSays(t, "hi", row.GetUrl())
	broken := a.row(t, "Broken")
	assert.Equal(t, string(proto.Failed), broken.GetStatus())
	assert.Equal(t, proto.ReasonCheck, broken.GetReason())
}

// A deploy that was acknowledged goes on after the agent was killed; what it had half
// made is made anew.
func TestADeployIsContinuedByTheNextAgent(t *testing.T) {
	dir := t.TempDir()
	a := start(t, dir)
	fn, _, err := a.store.Resolve(t.Context(), &proto.FunctionJson{Name: "Hello", Dir: source(t, says("Hello", "hi"))})
	require.NoError(t, err)
	a.end()

	folder, err := disk.Open(dir, nil)
	require.NoError(t, err)
	require.NoError(t, folder.Save(&disk.Record{
		History: disk.History{Name: "Hello", Generation: 1, Last: 1}, Next: &disk.Change{Version: &disk.Version{Number: 1, Spec: disk.Spec{FunctionJson: fn}}},
	}))
	require.NoError(t, os.MkdirAll(filepath.Join(folder.VersionDir("hello", 1), "src"), 0o700))
	require.NoError(t, folder.Close())

	a = start(t, dir)
	row := a.until(t, "Hello", func(r *proto.FunctionJsonRsp) bool { return r.GetStatus() == string(proto.Deployed) })
	assertSays(t, "hi", row.GetUrl())
}

func TestAStopIsContinuedByTheNextAgent(t *testing.T) {
	dir := t.TempDir()
	a := start(t, dir)
	a.deploy(t, "Hello", says("Hello", "hi"))
	a.end()

	folder, err := disk.Open(dir, nil)
	require.NoError(t, err)
	require.NoError(t, folder.Stop("hello", time.Now())) // and then it died
	require.NoError(t, folder.Close())

	a = start(t, dir)
	assert.Nil(t, a.row(t, "Hello"))
	rows, err := a.Stopped(t.Context(), "")
	require.NoError(t, err)
	require.Len(t, rows, 1)
	assert.EqualValues(t, 1, rows[0].GetVersion())
	rows, err = a.Rollback(t.Context(), "Hello", 0)
	require.NoError(t, err)
	assertSays(t, "hi", rows[0].GetUrl())
	a.end()

	a = start(t, dir)
	row := a.until(t, "Hello", func(r *proto.FunctionJsonRsp) bool { return r.GetStatus() == string(proto.Deployed) })
	assertSays(t, "hi", row.GetUrl())
}

// One that would be one too many takes the place of the one that was stopped first.
func TestStoppedFunctionsAreBounded(t *testing.T) {
	dir := t.TempDir()
	folder, err := disk.Open(dir, nil)
	require.NoError(t, err)
	now := time.Now()
	for i := range maxStopped + 2 {
		name := "F" + strconv.Itoa(i)
		fn := &proto.FunctionJson{Name: name, Package: "sha256:" + strings.Repeat("0", 64)}
		require.NoError(t, folder.Save(&disk.Record{
			History: disk.History{Name: name, Generation: 1, Last: 1, Versions: []*disk.Version{{Number: 1, Spec: disk.Spec{FunctionJson: fn}}}}, Main: 1,
		}))
		require.NoError(t, folder.Stop(proto.Path(name), now.Add(time.Duration(i)*time.Second)))
	}
	require.NoError(t, folder.Close())

	a := start(t, dir)
	require.Eventually(t, func() bool { return !exists(folder.FunctionDir("f0")) && !exists(folder.FunctionDir("f1")) }, patience, time.Millisecond)
	rows, err := a.Stopped(t.Context(), "")
	require.NoError(t, err)
	assert.Len(t, rows, maxStopped)
	_, err = a.Versions(t.Context(), "F2")
	require.NoError(t, err)
	_, err = a.Remove(t.Context(), "F2")
	require.NoError(t, err)
	assert.False(t, exists(folder.FunctionDir("f2")))
}

func TestADeployReplacesOneThatIsNotReady(t *testing.T) {
	a := start(t, t.TempDir())
	first := make(chan *proto.FunctionJsonRsp, 1)
	slow := says("Hello", "slow") + "\nfunc init() { select {} }\n" // never ready
	dir := source(t, strings.Replace(slow, "select {}", "c := make(chan int); go func() { for {} }(); <-c", 1))
	go func() {
		rows, err := a.Deploy(context.Background(), &proto.FunctionJson{Name: "Hello", Dir: dir, Wait: true})
		assert.NoError(t, err)
		first <- rows[0]
	}()
	a.until(t, "Hello", func(r *proto.FunctionJsonRsp) bool { return r.GetStage() == proto.StageStarting })
	row := a.deploy(t, "Hello", says("Hello", "quick"))
	require.Equal(t, string(proto.Deployed), row.GetStatus(), row.GetError())
	assertSays(t, "quick", row.GetUrl())
	replaced := <-first
	assert.Equal(t, string(proto.Failed), replaced.GetStatus())
	assert.Contains(t, replaced.GetError(), "replaced by a later deploy")
}

func TestManyDeploysAtOnceShareNoPort(t *testing.T) {
	a := start(t, t.TempDir())
	const n = 12
	var deploys sync.WaitGroup
	urls := make([]string, n)
	for i := range n {
		deploys.Go(func() {
			name := fmt.Sprintf("Fn%d", i)
			row := a.deploy(t, name, says(name, name))
			assert.Equal(t, string(proto.Deployed), row.GetStatus(), row.GetError())
			urls[i] = row.GetUrl()
		})
	}
	deploys.Wait()
	seen := make(map[string]bool)
	for i, url := range urls {
		assert.False(t, seen[url])
		seen[url] = true
		assertSays(t, fmt.Sprintf("Fn%d", i), url)
	}
}

func TestPortsOfOtherProgramsAreLeftAlone(t *testing.T) {
	a := start(t, t.TempDir())
	other, err := a.listen(a.ports.first)
	require.NoError(t, err)
	defer other.Close()
	row := a.deploy(t, "Hello", says("Hello", "hi"))
	assert.NotContains(t, row.GetProxy(), fmt.Sprint(a.ports.first))
	assertSays(t, "hi", row.GetUrl())
}

func TestCallsThatCannotBeServedChangeNothing(t *testing.T) {
	a := start(t, t.TempDir())
	a.deploy(t, "Hello", says("Hello", "hi"))
	good := source(t, says("Other", ""))
	for name, test := range map[string]struct {
		fns  []*proto.FunctionJson
		kind proto.Kind
	}{
		"a name that cannot be": {[]*proto.FunctionJson{{Name: "Other", Dir: good}, {Name: "../../x", Dir: good}}, proto.ErrInvalid},
		"one path twice":        {[]*proto.FunctionJson{{Name: "Other", Dir: good}, {Name: "OTHER", Dir: good}}, proto.ErrConflict},
		"a path that is taken":  {[]*proto.FunctionJson{{Name: "HELLO", Dir: good}}, proto.ErrConflict},
		"another agent":         {[]*proto.FunctionJson{{Name: "Other", Dir: good, ToAgent: []string{"localhost:9999"}}}, proto.ErrInvalid},
		"no package":            {[]*proto.FunctionJson{{Name: "Other"}}, proto.ErrInvalid},
		"a package not stored":  {[]*proto.FunctionJson{{Name: "Other", Package: "sha256:" + strings.Repeat("0", 64)}}, proto.ErrNotFound},
		"nil":                   {[]*proto.FunctionJson{nil}, proto.ErrInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := a.Deploy(t.Context(), test.fns...)
			require.ErrorIs(t, err, test.kind)
			rows, err := a.Details(t.Context())
			require.NoError(t, err)
			assert.Len(t, rows, 1)
		})
	}
}

func TestTwoAgentsCannotShareAFolder(t *testing.T) {
	a := start(t, t.TempDir())
	_, err := New(Config{Dir: a.dir, Port: 9001})
	require.ErrorIs(t, err, proto.ErrConflict)
	assert.ErrorContains(t, err, fmt.Sprint(os.Getpid()))
}

func TestSettingsReachTheProcess(t *testing.T) {
	a := start(t, t.TempDir())
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	rows, err := a.Deploy(ctx, &proto.FunctionJson{
		Name: "Env", Wait: true, Env: map[string]string{"GREETING": "hi there"}, Memory: "256MiB",
		Tags: []string{"extra"}, Ldflags: "-X fn.Version=v7",
		Dir: source(t, `package fn

import (
	"fmt"
	"net/http"
	"os"
	"strings"
)

var Version string

func Env(w http.ResponseWriter, r *http.Request) {
	var ours []string
	for _, kv := range os.Environ() {
		if strings.HasPrefix(kv, "RYO_") || strings.HasPrefix(kv, "GOFLAGS") {
			ours = append(ours, kv)
		}
	}
	fmt.Fprint(w, os.Getenv("GREETING"), " ", os.Getenv("GOMEMLIMIT"), " ", len(ours))
}
`),
	})
	require.NoError(t, err)
	require.Equal(t, string(proto.Deployed), rows[0].GetStatus(), rows[0].GetError())
	assertSays(t, "hi there 241591905 0", rows[0].GetUrl())
}

func TestBackoffGrowsToItsLimit(t *testing.T) {
	assert.Zero(t, backoff(1))
	for failures, want := range map[int]time.Duration{2: backoffFirst, 3: 2 * backoffFirst, 6: 16 * backoffFirst, 12: backoffMost, 1000: backoffMost} {
		got := backoff(failures)
		assert.InDelta(t, want, got, 0.2*float64(want)+1, "after %d failures", failures)
	}
}

func TestParsePorts(t *testing.T) {
	for _, bad := range []string{"", "5000", "x-y", "0-10", "10-9", "1-65536", "5000-"} {
		_, err := parsePorts(bad)
		assert.ErrorIs(t, err, proto.ErrInvalid, bad)
	}
	p, err := parsePorts("7-8")
	require.NoError(t, err)
	first, err := p.take(nil)
	require.NoError(t, err)
	_, err = p.take(map[int]bool{8: true})
	require.ErrorIs(t, err, proto.ErrExhausted)
	second, err := p.take(nil)
	require.NoError(t, err)
	assert.Equal(t, []int{7, 8}, []int{first, second})
	p.release(7)
	assert.True(t, p.claim(7))
	assert.False(t, p.claim(7))
}
