package remote

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/Ishan27g/ryo-faas/proto"
)

// give deploys a function that must come to run.
func (a running) give(t *testing.T, fn *proto.FunctionJson) *proto.FunctionJsonRsp {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	fn.Wait = true
	rows, err := a.Deploy(ctx, fn)
	require.NoError(t, err)
	require.Len(t, rows, 1)
	require.Equal(t, string(proto.Deployed), rows[0].GetStatus(), rows[0].GetError())
	return rows[0]
}

// load calls urls until end, which returns how many answers were none of the texts.
func load(t *testing.T, callers int, urls func() []string, texts ...string) (end func() (calls, failed int64)) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var called, failed atomic.Int64
	var all sync.WaitGroup
	for range callers {
		all.Go(func() {
			for ctx.Err() == nil {
				for _, url := range urls() {
					body, err := get(url)
					called.Add(1)
					if err != nil || !strings.Contains(strings.Join(texts, " "), body) {
						failed.Add(1)
						t.Log(body, err)
					}
				}
			}
		})
	}
	return func() (int64, int64) {
		cancel()
		all.Wait()
		return called.Load(), failed.Load()
	}
}

// alive reports whether a process has not exited.
func alive(pid int32) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && !bytes.Contains(stat, []byte(") Z "))
}

func numbers(list []*proto.Version) (all []uint32) {
	for _, v := range list {
		all = append(all, v.GetVersion())
	}
	return all
}

func TestRollbackServesAKeptVersionWithoutABuild(t *testing.T) {
	a := start(t, t.TempDir())
	a.versions = 3
	for i := range 5 {
		row := a.give(t, &proto.FunctionJson{Name: "Hello", Dir: source(t, says("Hello", fmt.Sprint("number ", i+1))), Note: fmt.Sprint("note ", i+1)})
		assert.EqualValues(t, i+1, row.GetVersion())
	}
	list, err := a.Versions(t.Context(), "hello")
	require.NoError(t, err)
	require.Equal(t, []uint32{5, 4, 3}, numbers(list))
	assert.Equal(t, "note 5", list[0].GetNote())
	assert.EqualValues(t, 100, list[0].GetWeight())
	assert.Zero(t, list[1].GetWeight())
	assert.Equal(t, proto.KindHTTP, list[1].GetKind())
	assert.NotEmpty(t, list[1].GetProgram().GetKey())
	require.Eventually(t, func() bool { return !exists(filepath.Join(a.dir, "functions", "hello", "1")) }, patience, time.Millisecond)

	// Neither package nor program is needed for it.
	for _, store := range []string{"packages", "programs"} {
		require.Eventually(t, func() bool { return os.RemoveAll(filepath.Join(a.dir, store)) == nil }, patience, time.Millisecond)
	}
	end := load(t, 3, func() []string { return []string{a.row(t, "Hello").GetUrl()} }, "number 5", "number 4", "number 3")
	for _, test := range []struct {
		to, serves uint32
	}{{0, 4}, {0, 5}, {3, 3}, {3, 3}, {0, 5}} {
		rows, err := a.Rollback(t.Context(), "Hello", test.to)
		require.NoError(t, err)
		require.Len(t, rows, 1)
		assert.Equal(t, string(proto.Deployed), rows[0].GetStatus(), rows[0].GetError())
		assert.Equal(t, test.serves, rows[0].GetVersion())
		assertSays(t, fmt.Sprint("number ", test.serves), rows[0].GetUrl())
	}
	calls, failed := end()
	assert.Zero(t, failed, "of %d", calls)
	_, err = a.Rollback(t.Context(), "Hello", 1)
	require.ErrorIs(t, err, proto.ErrNotFound)
	assert.Contains(t, proto.AsError(err).Hint, "3, 4, 5")
	_, err = a.Rollback(t.Context(), "Other", 0)
	require.ErrorIs(t, err, proto.ErrNotFound)
}

func TestAChangeThatProcessesKnowNothingOfKeepsThem(t *testing.T) {
	dir := t.TempDir()
	a := start(t, dir)
	a.versions = 2
	fn := &proto.FunctionJson{Name: "Hello", Dir: source(t, says("Hello", "one")), Instances: 2, Concurrency: 3}
	first := a.give(t, fn)
	folder := func(number string) string { return filepath.Join(a.dir, "functions", "hello", number) }

	fn.Auth, fn.Routes, fn.Timeout = proto.AuthPublic, []string{"own.example"}, "5s"
	fn.Queue, fn.QueueTimeout = 4, "6s"
	row := a.give(t, fn)
	assert.EqualValues(t, 2, row.GetVersion())
	assert.Equal(t, first.GetPid(), row.GetPid())
	assert.True(t, row.Public())
	assert.Equal(t, []string{"own.example"}, row.GetRoutes())
	assert.Equal(t, "5s", row.GetTimeout())
	assert.Equal(t, []any{uint32(3), uint32(4), "6s"}, []any{row.GetServing()[0].GetConcurrency(), row.GetQueue(), row.GetQueueTimeout()})
	usage, err := a.Usage(t.Context(), "Hello")
	require.NoError(t, err)
	require.Len(t, usage, 2)
	assert.EqualValues(t, 2, usage[0].GetVersion(), "its processes are those of the new version")
	rows, err := a.Rollback(t.Context(), "Hello", 0)
	require.NoError(t, err)
	assert.EqualValues(t, 1, rows[0].GetVersion())
	assert.Equal(t, first.GetPid(), rows[0].GetPid())
	assert.False(t, rows[0].Public())

	// More changes than versions are kept leave the folder of the first, which all use.
	for i, auth := range []string{proto.AuthPublic, proto.AuthToken, proto.AuthPublic} {
		fn.Auth, fn.Note = auth, fmt.Sprint("change ", i)
		row = a.give(t, fn)
		assert.Equal(t, first.GetPid(), row.GetPid())
	}
	list, err := a.Versions(t.Context(), "Hello")
	require.NoError(t, err)
	assert.Equal(t, []uint32{row.GetVersion(), row.GetVersion() - 1}, numbers(list))
	assert.True(t, exists(folder("1")) && !exists(folder("2")))
	require.NoError(t, syscall.Kill(int(row.GetPid()), syscall.SIGKILL))
	row = a.until(t, "Hello", func(r *proto.FunctionJsonRsp) bool {
		return r.GetRestarts() > 0 && r.GetInstances() == 2 && r.GetStatus() == string(proto.Deployed)
	})
	assertSays(t, "one", row.GetUrl())
	crashes, err := a.Crashes(t.Context(), "Hello")
	require.NoError(t, err)
	assert.Equal(t, row.GetVersion(), crashes[0].GetVersion())

	// The next agent starts it from there.
	a.end()
	a = start(t, dir)
	a.versions = 2
	row = a.until(t, "Hello", func(r *proto.FunctionJsonRsp) bool { return r.GetStatus() == string(proto.Deployed) })
	assertSays(t, "one", row.GetUrl())

	// What processes know of starts new ones, and the last version with the folder takes it along.
	for i := range 3 {
		fn.Env = map[string]string{"COUNT": fmt.Sprint(i)}
		before := row.GetPid()
		row = a.give(t, fn)
		assert.NotEqual(t, before, row.GetPid())
	}
	require.Eventually(t, func() bool { return !exists(folder("1")) }, patience, time.Millisecond)
	assertSays(t, "one", row.GetUrl())
}

func TestAVersionThatFailedLeavesAGap(t *testing.T) {
	a := start(t, t.TempDir())
	a.give(t, &proto.FunctionJson{Name: "Hello", Dir: source(t, says("Hello", "one"))})
	failed := a.deploy(t, "Hello", "package fn\n\nfunc Hello() {}\n")
	require.Equal(t, string(proto.Failed), failed.GetStatus())
	_, err := a.Rollback(t.Context(), "Hello", 0)
	require.ErrorIs(t, err, proto.ErrNotFound, "none served before")
	row := a.give(t, &proto.FunctionJson{Name: "Hello", Dir: source(t, says("Hello", "three"))})
	assert.EqualValues(t, 3, row.GetVersion())
	assert.EqualValues(t, 3, row.GetLastVersion())
	_, err = a.Deploy(t.Context(), &proto.FunctionJson{Name: "Hello", Dir: source(t, says("Hello", "late")), Version: 2})
	require.ErrorIs(t, err, proto.ErrConflict)
	row = a.give(t, &proto.FunctionJson{Name: "Hello", Dir: source(t, says("Hello", "nine")), Version: 9})
	assert.EqualValues(t, 9, row.GetVersion())
	list, err := a.Versions(t.Context(), "Hello")
	require.NoError(t, err)
	assert.Equal(t, []uint32{9, 3, 1}, numbers(list))
}

func TestAVersionIsCalledByItsNumber(t *testing.T) {
	a := start(t, t.TempDir())
	for _, text := range []string{"one", "two"} {
		a.give(t, &proto.FunctionJson{Name: "Hello", Dir: source(t, says("Hello", text))})
	}
	at, err := a.Wake(t.Context(), "Hello", 1)
	require.NoError(t, err)
	assertSays(t, "one", at.GetProxy()+"/hello")
	row := a.row(t, "Hello")
	require.Len(t, row.GetServing(), 2)
	assert.EqualValues(t, 2, row.GetServing()[0].GetVersion())
	assert.EqualValues(t, 100, row.GetServing()[0].GetWeight())
	assert.EqualValues(t, 1, row.GetServing()[1].GetVersion())
	assert.Zero(t, row.GetServing()[1].GetWeight())
	assertSays(t, "two", row.GetUrl())
	same, err := a.Wake(t.Context(), "Hello", 1)
	require.NoError(t, err)
	assert.Equal(t, at.GetProxy(), same.GetProxy())
	main, err := a.Wake(t.Context(), "Hello", 2)
	require.NoError(t, err)
	assert.Equal(t, row.GetProxy(), main.GetProxy())
	_, err = a.Wake(t.Context(), "Hello", 7)
	require.ErrorIs(t, err, proto.ErrNotFound)
}

func TestACanaryIsShiftedAndPromotedWithoutALoss(t *testing.T) {
	a := start(t, t.TempDir())
	one := a.give(t, &proto.FunctionJson{Name: "Hello", Dir: source(t, says("Hello", "one"))})
	end := load(t, 4, func() (urls []string) {
		for _, s := range a.row(t, "Hello").GetServing() {
			if s.GetWeight() > 0 {
				urls = append(urls, s.GetProxy()+"/hello")
			}
		}
		return urls
	}, "one", "two")
	_, err := a.Shift(t.Context(), "Hello", 10)
	require.ErrorIs(t, err, proto.ErrConflict, "there is none")

	two := &proto.FunctionJson{Name: "Hello", Dir: source(t, says("Hello", "two")), Canary: 10}
	row := a.give(t, two)
	assert.EqualValues(t, 1, row.GetVersion())
	assert.Equal(t, one.GetPid(), row.GetPid())
	weights := func() (all []uint32) {
		for _, s := range a.row(t, "Hello").GetServing() {
			all = append(all, s.GetVersion(), s.GetWeight())
		}
		return all
	}
	assert.Equal(t, []uint32{1, 90, 2, 10}, weights())
	assertSays(t, "two", row.GetServing()[1].GetProxy()+"/hello")
	rows, err := a.Shift(t.Context(), "Hello", 40)
	require.NoError(t, err)
	assert.Equal(t, string(proto.Deployed), rows[0].GetStatus())
	assert.Equal(t, []uint32{1, 60, 2, 40}, weights())

	// Dropped, it is kept, and can be had again.
	_, err = a.Shift(t.Context(), "Hello", 0)
	require.NoError(t, err)
	assert.Equal(t, []uint32{1, 100}, weights())
	list, err := a.Versions(t.Context(), "Hello")
	require.NoError(t, err)
	assert.Equal(t, []uint32{2, 1}, numbers(list))

	a.give(t, two)
	assert.Equal(t, []uint32{1, 90, 3, 10}, weights())
	rows, err = a.Shift(t.Context(), "Hello", 100)
	require.NoError(t, err)
	assert.Equal(t, string(proto.Deployed), rows[0].GetStatus(), rows[0].GetError())
	assert.EqualValues(t, 3, rows[0].GetVersion())
	assert.Equal(t, []uint32{3, 100}, weights())
	assert.Equal(t, one.GetUrl(), rows[0].GetUrl())
	assertSays(t, "two", rows[0].GetUrl())
	require.Eventually(t, func() bool {
		a.ports.mu.Lock()
		defer a.ports.mu.Unlock()
		return len(a.ports.used) == 1
	}, patience, time.Millisecond, "the canaries' ports are free again")
	calls, failed := end()
	assert.Zero(t, failed, "of %d", calls)
}

func TestADeployDropsTheCanary(t *testing.T) {
	a := start(t, t.TempDir())
	a.give(t, &proto.FunctionJson{Name: "Hello", Dir: source(t, says("Hello", "one"))})
	two := source(t, says("Hello", "two"))
	a.give(t, &proto.FunctionJson{Name: "Hello", Dir: two, Canary: 10})
	row := a.give(t, &proto.FunctionJson{Name: "Hello", Dir: source(t, says("Hello", "three"))})
	assert.Len(t, row.GetServing(), 1)
	assertSays(t, "three", row.GetUrl())

	// What the canary runs, deployed for all, is the canary's promotion.
	a.give(t, &proto.FunctionJson{Name: "Hello", Dir: two, Canary: 10})
	row = a.give(t, &proto.FunctionJson{Name: "Hello", Dir: two})
	assert.EqualValues(t, 4, row.GetVersion())
	assert.Len(t, row.GetServing(), 1)
	assertSays(t, "two", row.GetUrl())

	failed, err := a.Deploy(t.Context(), &proto.FunctionJson{Name: "Hello", Dir: source(t, "package fn"), Canary: 10, Wait: true})
	require.NoError(t, err)
	assert.Equal(t, string(proto.Failed), failed[0].GetStatus())
	assert.Len(t, a.row(t, "Hello").GetServing(), 1)
}

func TestAPlanChangesNothing(t *testing.T) {
	a := start(t, t.TempDir())
	dir := source(t, says("Hello", "one"))
	plan := func(fn *proto.FunctionJson) (string, []string) {
		fn.Plan, fn.Wait = true, true
		rows, err := a.Deploy(t.Context(), fn)
		require.NoError(t, err)
		require.Len(t, rows, 1)
		return rows[0].GetChange(), rows[0].GetChanged()
	}
	change, _ := plan(&proto.FunctionJson{Name: "Hello", Dir: dir})
	assert.Equal(t, "create", change)
	assert.Nil(t, a.row(t, "Hello"))
	before := a.give(t, &proto.FunctionJson{Name: "Hello", Dir: dir, Secrets: map[string]string{"A": "x"}})
	for name, test := range map[string]struct {
		fn      *proto.FunctionJson
		change  string
		changed []string
	}{
		"the same":     {&proto.FunctionJson{Dir: dir, Secrets: map[string]string{"A": "x"}, Note: "y"}, "none", nil},
		"a setting":    {&proto.FunctionJson{Dir: dir, Secrets: map[string]string{"A": "x"}, Memory: "64MiB"}, "settings", []string{"memory"}},
		"a secret":     {&proto.FunctionJson{Dir: dir, Secrets: map[string]string{"A": "y"}}, "settings", []string{"secrets"}},
		"code and env": {&proto.FunctionJson{Dir: source(t, says("Hello", "two")), Env: map[string]string{"B": ""}}, "code", []string{"package", "env", "secrets"}},
	} {
		test.fn.Name = "Hello"
		change, changed := plan(test.fn)
		assert.Equal(t, test.change, change, name)
		assert.Equal(t, test.changed, changed, name)
	}
	assert.Equal(t, before.GetGeneration(), a.row(t, "Hello").GetGeneration())
}

func TestSecretsReachTheProcessAndNothingElse(t *testing.T) {
	dir := t.TempDir()
	a := start(t, dir)
	const secret = "kept to themselves"
	row := a.give(t, &proto.FunctionJson{Name: "Tell", Secrets: map[string]string{"TOKEN": secret}, Dir: source(t, `package fn

import (
	"fmt"
	"net/http"
	"os"
)

func Tell(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, os.Getenv("TOKEN")) }
`)})
	assertSays(t, secret, row.GetUrl())
	list, err := a.Versions(t.Context(), "Tell")
	require.NoError(t, err)
	assert.Equal(t, map[string]string{"TOKEN": ""}, list[0].GetSettings().GetSecrets())
	assert.NotContains(t, row.String(), secret)
	require.NoError(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return nil //nolint:nilerr // removed meanwhile
		}
		data, err := os.ReadFile(path)
		assert.False(t, err == nil && bytes.Contains(data, []byte(secret)), path)
		return nil
	}))
	info, err := os.Stat(filepath.Join(dir, "secrets.key"))
	require.NoError(t, err)
	assert.Equal(t, fs.FileMode(0o600), info.Mode())

	// The next agent has them too, but not with another key.
	a.end()
	a = start(t, dir)
	a.until(t, "Tell", func(r *proto.FunctionJsonRsp) bool { return r.GetInstances() == 1 })
	assertSays(t, secret, a.row(t, "Tell").GetUrl())
	a.end()
	require.NoError(t, os.Remove(filepath.Join(dir, "secrets.key")))
	a = start(t, dir)
	row = a.until(t, "Tell", func(r *proto.FunctionJsonRsp) bool { return r.GetStatus() == string(proto.Failed) })
	assert.Contains(t, row.GetError(), "TOKEN")
}

func TestInstancesShareThePort(t *testing.T) {
	a := start(t, t.TempDir())
	row := a.give(t, &proto.FunctionJson{Name: "Who", Instances: 3, Cpu: "0.5", Dir: source(t, `package fn

import (
	"crypto/rand"
	"fmt"
	"net/http"
	"runtime"
)

var process = rand.Text()

func Who(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, process, " ", runtime.GOMAXPROCS(0)) }
`)})
	assert.EqualValues(t, 3, row.GetInstances())
	seen := make(map[string]bool)
	require.Eventually(t, func() bool {
		body, err := get(row.GetUrl())
		require.NoError(t, err)
		assert.True(t, strings.HasSuffix(body, " 1"), body)
		seen[body] = true
		return len(seen) > 1
	}, patience, time.Millisecond)
	usage, err := a.Usage(t.Context(), "Who")
	require.NoError(t, err)
	require.Len(t, usage, 3)
	require.NoError(t, syscall.Kill(int(usage[1].GetPid()), syscall.SIGKILL))
	a.until(t, "Who", func(r *proto.FunctionJsonRsp) bool { return r.GetRestarts() == 1 && r.GetInstances() == 3 })
	crashes, err := a.Crashes(t.Context(), "Who")
	require.NoError(t, err)
	require.Len(t, crashes, 1)
	assert.Equal(t, usage[1].GetPid(), crashes[0].GetPid())
	assert.Equal(t, "killed", crashes[0].GetSignal())
}

func TestASizeIsWithinItsBoundsAndMakesNoVersion(t *testing.T) {
	a := start(t, t.TempDir())
	row := a.give(t, &proto.FunctionJson{Name: "Hello", Instances: 2, Min: 2, Max: 4, Dir: source(t, says("Hello", "hi"))})
	assert.EqualValues(t, 2, row.GetProcesses())
	for _, step := range []struct{ told, want int }{{3, 3}, {64, 4}, {1, 2}, {4, 4}} {
		_, err := a.Resize(t.Context(), "Hello", step.told)
		require.NoError(t, err)
		now := a.until(t, "Hello", func(r *proto.FunctionJsonRsp) bool { return int(r.GetInstances()) == step.want })
		assert.EqualValues(t, step.want, now.GetProcesses())
		assert.EqualValues(t, 1, now.GetVersion())
	}
	next := a.give(t, &proto.FunctionJson{Name: "Hello", Instances: 2, Min: 2, Max: 4, Dir: source(t, says("Hello", "again"))})
	assert.EqualValues(t, 4, next.GetInstances(), "a new version serves as many calls")
	fixed := a.give(t, &proto.FunctionJson{Name: "Hello", Instances: 1, Dir: source(t, says("Hello", "alone"))})
	assert.EqualValues(t, 1, fixed.GetInstances(), "without max it has its instances")
	_, err := a.Resize(t.Context(), "Nobody", 2)
	require.ErrorIs(t, err, proto.ErrNotFound)
}

func TestWhereAFunctionIsToBeIsKept(t *testing.T) {
	dir := t.TempDir()
	a := start(t, dir)
	row := a.give(t, &proto.FunctionJson{Name: "Hello", Replicas: "2", Placement: map[string]string{"zone": "a"}, Dir: source(t, says("Hello", "hi"))})
	assert.Equal(t, "2", row.GetReplicas())

	// What cannot be stored does not hold.
	found, err := filepath.Glob(filepath.Join(dir, "functions", "*", "record.json"))
	require.NoError(t, err)
	require.Len(t, found, 1)
	require.NoError(t, os.Rename(found[0], found[0]+".away"))
	require.NoError(t, os.MkdirAll(filepath.Join(found[0], "in the way"), 0o700))
	_, err = a.Place(t.Context(), "Hello", "4", nil)
	require.ErrorIs(t, err, proto.ErrExhausted)
	_, err = a.Deploy(t.Context(), &proto.FunctionJson{Name: "Hello", Replicas: "5", Dir: source(t, says("Hello", "again"))})
	require.ErrorIs(t, err, proto.ErrExhausted)
	versions, err := a.Versions(t.Context(), "Hello")
	require.NoError(t, err)
	assert.Equal(t, "2", versions[0].GetSettings().GetReplicas())
	require.NoError(t, os.RemoveAll(found[0]))
	require.NoError(t, os.Rename(found[0]+".away", found[0]))

	_, err = a.Place(t.Context(), "Hello", "3", map[string]string{"zone": "b"})
	require.NoError(t, err)
	a.end()
	a = start(t, dir)
	row = a.until(t, "Hello", func(r *proto.FunctionJsonRsp) bool { return r.GetStatus() == string(proto.Deployed) })
	assert.Equal(t, "3", row.GetReplicas())
	assert.Equal(t, map[string]string{"zone": "b"}, row.GetPlacement())
	assert.EqualValues(t, 1, row.GetVersion())
	versions, err = a.Versions(t.Context(), "Hello")
	require.NoError(t, err)
	assert.Equal(t, "3", versions[0].GetSettings().GetReplicas(), "a deploy that keeps settings keeps it")
}

// idler sleeps after half a second without a connection, and counts its starts.
func idler(t *testing.T) *proto.FunctionJson {
	return &proto.FunctionJson{Name: "Idle", Idle: "500ms", Dir: source(t, says("Idle", "here")+`
func init() { fmt.Println("started once more") }
`)}
}

func starts(t *testing.T, a running, name string) int {
	t.Helper()
	logs, err := a.Log(t.Context(), name)
	require.NoError(t, err)
	return strings.Count(logs.GetLogs(), "started once more")
}

func asleep(r *proto.FunctionJsonRsp) bool {
	return r.GetInstances() == 0 && r.GetStatus() == string(proto.Deployed)
}

func TestASleepingFunctionIsWokenOnceByManyCallers(t *testing.T) {
	a := start(t, t.TempDir())
	row := a.give(t, idler(t))
	pid := row.GetPid()
	row = a.until(t, "Idle", asleep)
	require.Len(t, row.GetServing(), 1)
	require.Eventually(t, func() bool { return !alive(pid) }, patience, time.Millisecond)
	const callers = 1000
	var failed atomic.Int64
	var all sync.WaitGroup
	for range callers {
		all.Go(func() {
			if body, err := get(row.GetUrl()); err != nil || body != "here" {
				failed.Add(1)
				t.Log(body, err)
			}
		})
	}
	all.Wait()
	assert.Zero(t, failed.Load())
	assert.Equal(t, 2, starts(t, a, "Idle"))
	assert.Zero(t, a.row(t, "Idle").GetRestarts())
	a.until(t, "Idle", asleep)
	assertSays(t, "here", row.GetUrl())
	crashes, err := a.Crashes(t.Context(), "Idle")
	require.NoError(t, err)
	assert.Empty(t, crashes)
}

// Calls come just when the function goes to sleep.
func TestNoCallIsLostAtTheBorderOfSleep(t *testing.T) {
	a := start(t, t.TempDir())
	fn := idler(t)
	fn.Idle = "20ms"
	row := a.give(t, fn)
	var calls, failed atomic.Int64
	var all sync.WaitGroup
	until := time.Now().Add(5 * time.Second)
	for i := range 3 {
		all.Go(func() {
			pause := time.NewTimer(0)
			defer pause.Stop()
			for time.Now().Before(until) {
				<-pause.C
				calls.Add(1)
				if body, err := get(row.GetUrl()); err != nil || body != "here" {
					failed.Add(1)
					t.Log(body, err)
				}
				pause.Reset(time.Duration(15+(calls.Load()*int64(i+1))%30) * time.Millisecond)
			}
		})
	}
	all.Wait()
	assert.Zero(t, failed.Load(), "of %d", calls.Load())
	n := starts(t, a, "Idle")
	t.Log(calls.Load(), "calls", n, "starts")
	assert.Greater(t, n, 2)
}

func TestMinIsKeptWhenIdle(t *testing.T) {
	a := start(t, t.TempDir())
	fn := idler(t)
	fn.Min, fn.Instances = 1, 3
	a.give(t, fn)
	row := a.until(t, "Idle", func(r *proto.FunctionJsonRsp) bool { return r.GetInstances() == 1 })
	assertSays(t, "here", row.GetUrl())
}

func TestANewVersionOfASleepingFunction(t *testing.T) {
	a := start(t, t.TempDir())
	fn := idler(t)
	a.give(t, fn)
	a.until(t, "Idle", asleep)
	fn.Env = map[string]string{"A": "b"}
	row := a.give(t, fn)
	assert.EqualValues(t, 1, row.GetInstances())
	assertSays(t, "here", row.GetUrl())
	a.until(t, "Idle", asleep)
	stopped, err := a.Stop(t.Context(), "Idle")
	require.NoError(t, err)
	assert.Equal(t, string(proto.Stopped), stopped.GetStatus())
	logs, err := a.Log(t.Context(), "Idle")
	require.NoError(t, err)
	assert.Contains(t, logs.GetLogs(), "started once more", "kept after the stop")
	assert.Equal(t, string(proto.Stopped), logs.GetFunction().GetStatus())
}

func TestACrashIsRemembered(t *testing.T) {
	dir := t.TempDir()
	a := start(t, dir)
	row := a.give(t, &proto.FunctionJson{Name: "Boom", Dir: source(t, `package fn

import "net/http"

func Boom(w http.ResponseWriter, r *http.Request) { go explode() }

func explode() { panic("the pressure was too high") }
`)})
	_, _ = get(row.GetUrl())
	a.until(t, "Boom", func(r *proto.FunctionJsonRsp) bool { return r.GetRestarts() == 1 && r.GetInstances() == 1 })
	check := func() {
		t.Helper()
		crashes, err := a.Crashes(t.Context(), "boom")
		require.NoError(t, err)
		require.Len(t, crashes, 1)
		assert.Equal(t, "exit status 2", crashes[0].GetCause())
		assert.EqualValues(t, 2, crashes[0].GetExitCode())
		assert.EqualValues(t, 1, crashes[0].GetVersion())
		assert.Equal(t, row.GetPid(), crashes[0].GetPid())
		assert.Contains(t, crashes[0].GetOutput(), "panic: the pressure was too high")
		assert.Contains(t, crashes[0].GetOutput(), "explode()")
		assert.NotEmpty(t, crashes[0].GetLived())
	}
	check()
	a.end()
	a = start(t, dir)
	check()
}

func TestALackOfMemoryIsNamed(t *testing.T) {
	a := start(t, t.TempDir())
	row := a.give(t, &proto.FunctionJson{Name: "Eat", Memory: "64MiB", Dir: source(t, `package fn

import "net/http"

var kept [][]byte

func Eat(w http.ResponseWriter, r *http.Request) {
	for {
		kept = append(kept, make([]byte, 16<<20))
	}
}
`)})
	_, _ = get(row.GetUrl())
	now := a.until(t, "Eat", func(r *proto.FunctionJsonRsp) bool { return r.GetRestarts() == 1 })
	assert.Equal(t, string(proto.Deployed), now.GetStatus())
	crashes, err := a.Crashes(t.Context(), "Eat")
	require.NoError(t, err)
	require.Len(t, crashes, 1)
	assert.True(t, crashes[0].GetOutOfMemory(), crashes[0])
	assert.Contains(t, crashes[0].GetCause(), "limit 64 MiB")
}

func TestAProcessThatHangsIsReplaced(t *testing.T) {
	a := start(t, t.TempDir())
	row := a.give(t, &proto.FunctionJson{Name: "Hello", Liveness: "1s", Dir: source(t, says("Hello", "hi"))})
	require.NoError(t, syscall.Kill(int(row.GetPid()), syscall.SIGSTOP))
	now := a.until(t, "Hello", func(r *proto.FunctionJsonRsp) bool { return r.GetRestarts() == 1 && r.GetInstances() == 1 })
	assert.NotEqual(t, row.GetPid(), now.GetPid())
	crashes, err := a.Crashes(t.Context(), "Hello")
	require.NoError(t, err)
	require.Len(t, crashes, 1)
	assert.Contains(t, crashes[0].GetCause(), "unanswered for 1s")
	assert.Contains(t, crashes[0].GetOutput(), "goroutine")
}

func TestAFrozenProcessIsTold(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux tells")
	}
	a := start(t, t.TempDir())
	row := a.deploy(t, "Hello", says("Hello", "hi"))
	require.True(t, row.Available(row.GetServing()[0]))
	require.NoError(t, syscall.Kill(int(row.GetPid()), syscall.SIGSTOP))
	now := a.until(t, "Hello", func(r *proto.FunctionJsonRsp) bool { return r.GetReason() == proto.ReasonFrozen })
	assert.EqualValues(t, proto.Deployed, now.GetStatus())
	assert.Zero(t, now.GetInstances())
	assert.Contains(t, now.GetError(), fmt.Sprintf("kill -CONT %d", row.GetPid()))
	assert.False(t, now.Available(now.GetServing()[0]))
	require.NoError(t, syscall.Kill(int(row.GetPid()), syscall.SIGCONT))
	now = a.until(t, "Hello", func(r *proto.FunctionJsonRsp) bool { return r.GetReason() == "" })
	assert.EqualValues(t, 1, now.GetInstances())
	assert.Zero(t, now.GetRestarts())
}

func TestMetricsNeverCountBackwards(t *testing.T) {
	a := start(t, t.TempDir())
	row := a.give(t, &proto.FunctionJson{Name: "Hello", Dir: source(t, says("Hello", "hi"))})
	scrape := func() string {
		rec := httptest.NewRecorder()
		a.Metrics().ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/metrics", http.NoBody))
		require.Equal(t, http.StatusOK, rec.Code, rec.Body)
		return rec.Body.String()
	}
	for range 3 {
		assertSays(t, "hi", row.GetUrl())
	}
	const counted = "ryo_function_requests_total{function=\"Hello\",version=\"1\"} 3\n"
	assert.Contains(t, scrape(), counted)
	require.NoError(t, syscall.Kill(int(row.GetPid()), syscall.SIGKILL))
	a.until(t, "Hello", func(r *proto.FunctionJsonRsp) bool { return r.GetRestarts() == 1 && r.GetInstances() == 1 })
	assert.Contains(t, scrape(), counted)
	a.give(t, &proto.FunctionJson{Name: "Hello", Dir: source(t, says("Hello", "two"))})
	require.Eventually(t, func() bool { return strings.Contains(scrape(), counted) }, patience, time.Millisecond)
	assert.Contains(t, scrape(), "ryo_function_processes{function=\"Hello\",version=\"2\"} 1\n")
}

func TestAStopThatTakesLongHoldsUpNoQuestionAboutOthers(t *testing.T) {
	a := start(t, t.TempDir())
	a.give(t, &proto.FunctionJson{Name: "Hello", Dir: source(t, says("Hello", "hi"))})
	slow := a.give(t, &proto.FunctionJson{Name: "Slow", Dir: source(t, `package fn

import "net/http"

var release = make(chan struct{})

func Slow(w http.ResponseWriter, r *http.Request) {
	w.(http.Flusher).Flush()
	<-release
}
`)})
	held, err := net.Dial("tcp", strings.TrimPrefix(slow.GetProxy(), "http://"))
	require.NoError(t, err)
	defer held.Close()
	_, err = fmt.Fprint(held, "GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
	require.NoError(t, err)
	_, err = held.Read(make([]byte, 1))
	require.NoError(t, err)
	stopped := make(chan error, 1)
	go func() {
		_, err := a.Stop(context.Background(), "Slow")
		stopped <- err
	}()
	require.Eventually(t, func() bool {
		conn, err := net.Dial("tcp", strings.TrimPrefix(slow.GetProxy(), "http://"))
		if err == nil {
			conn.Close()
		}
		return err != nil
	}, patience, 5*time.Millisecond)
	usage, err := a.Usage(t.Context(), "")
	require.NoError(t, err)
	require.Len(t, usage, 1)
	assert.Equal(t, "Hello", usage[0].GetFunction())
	_, err = a.Crashes(t.Context(), "Slow")
	require.ErrorIs(t, err, proto.ErrUnavailable)
	require.Empty(t, stopped)
	require.NoError(t, syscall.Kill(int(slow.GetPid()), syscall.SIGKILL))
	require.NoError(t, <-stopped)
}
