package transporttest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/transport"
	"github.com/Ishan27g/ryo-faas/transport/bundle"
)

// Run runs the suite on what open returns: an implementation on which nothing is
// deployed. open is called for each case, and registers with t what has to be closed.
// Each case stops what it has deployed, so that open may return one implementation for
// all.
func Run(t *testing.T, open func(t *testing.T) transport.Interface) {
	for _, c := range []struct {
		name string
		run  func(*tester)
	}{
		{"AnEmptyListIsEmpty", emptyList},
		{"DeployThatWaitsIsDeployed", deployWaits},
		{"DeployAnswersAtOnceAndIsDeployedLater", deployAtOnce},
		{"RedeployReplaces", redeploy},
		{"FailedBuildIsARowNotAnError", failedBuild},
		{"FailedRedeployLeavesTheOldOneServing", failedRedeploy},
		{"NamesThatDifferInCaseAreRefused", caseConflict},
		{"BadNamesAreRefused", badNames},
		{"AWrongFunctionKeepsTheOthersFromStarting", allOrNothing},
		{"SourcesAreCheckedFirst", badSources},
		{"UnknownFunctionsAreNotFound", unknown},
		{"StopThenDeployAgain", stopAndAgain},
		{"AStoppedFunctionComesBack", stopped},
		{"ARemovedFunctionLeavesNothing", removed},
		{"ListIsOfOneAgent", listOfAgent},
		{"DetailsAreOrdered", ordered},
		{"LogBeginsWithTheDeploy", logBegins},
		{"UploadStoresOnce", uploadOnce},
		{"UploadOfAnotherDigestIsRefused", uploadWrong},
		{"ConcurrentDeploysAllSucceed", concurrent},
		{"ADoneContextCancelsTheCall", canceled},
		{"RowsBelongToTheCaller", ownRows},
		{"WatchSendsSnapshotChangesAndStops", watchAll},
		{"WatchEndsWithTheErrorOfItsCallback", watchError},
		{"SettingsAreCheckedFirst", badSettings},
		{"VersionsAreCounted", countVersions},
		{"ADeployMayAskForTheVersionThatServes", ifVersion},
		{"DeployOfWhatServesChangesNothing", unchanged},
		{"AFailedDeployMakesNoVersion", failedVersion},
		{"PlanSaysWhatWouldChange", planned},
		{"RollbackServesTheOlderVersion", rollback},
		{"ACanaryServesBesideTheOther", canary},
		{"PausedFunctionsAnswer503", paused},
		{"SecretsAreHandedOverAndNotShown", secrets},
		{"SettingsThatAreKeptStay", keeps},
		{"CrashesAreKept", crashes},
		{"LogsAreLines", logLines},
		{"LogsFollow", logsFollow},
		{"UsageIsOfProcesses", usage},
	} {
		t.Run(c.name, func(t *testing.T) {
			tester := &tester{T: t, Interface: open(t)}
			t.Cleanup(tester.stopAll)
			c.run(tester)
		})
	}
}

// tester is one case and what it is run against.
type tester struct {
	*testing.T
	transport.Interface
}

// stopAll leaves nothing for the next case.
func (t *tester) stopAll() {
	ctx := context.Background() // the test's own is done
	rows, err := t.Details(ctx)
	require.NoError(t, err)
	stopped, err := t.Stopped(ctx, "")
	require.NoError(t, err)
	for _, r := range append(rows, stopped...) {
		_, err := t.Remove(ctx, r.GetName())
		assert.NoError(t, err)
	}
}

// source writes the package of a function and returns its folder. The function
// answers with version and with what WORD holds, and prints to both streams; at
// /exit its process exits.
func (t *tester) source(name string, version int) string {
	return t.folder(fmt.Sprintf(`package sample

import (
	"fmt"
	"net/http"
	"os"
)

func %s(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/exit" {
		fmt.Fprintln(os.Stderr, "last words")
		os.Exit(3)
	}
	fmt.Println("called")
	fmt.Fprintln(os.Stderr, "warned")
	fmt.Fprintln(w, "version %d", os.Getenv("WORD"))
}
`, name, version))
}

// broken is source with an error in its line 3.
func (t *tester) broken() string {
	return t.folder("package sample\n\nfunc (\n")
}

func (t *tester) folder(source string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "sample")
	require.NoError(t, os.Mkdir(dir, 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "sample.go"), []byte(source), 0o644))
	return dir
}

// deploy deploys one function and waits.
func (t *tester) deploy(name, dir string) *proto.FunctionJsonRsp {
	t.Helper()
	rows, err := t.Deploy(t.Context(), &proto.FunctionJson{Name: name, Dir: dir, Wait: true})
	require.NoError(t, err)
	t.sane(rows)
	require.Len(t, rows, 1)
	return rows[0]
}

// deployed is deploy of a function that must become Deployed.
func (t *tester) deployed(name string) *proto.FunctionJsonRsp {
	t.Helper()
	row := t.deploy(name, t.source(name, 1))
	require.Equal(t, string(proto.Deployed), row.GetStatus(), row.GetError())
	return row
}

// rows returns Details.
func (t *tester) rows() []*proto.FunctionJsonRsp {
	t.Helper()
	rows, err := t.Details(t.Context())
	require.NoError(t, err)
	t.sane(rows)
	return rows
}

// sane checks what holds for every row that is deployed.
func (t *tester) sane(rows []*proto.FunctionJsonRsp) {
	t.Helper()
	for _, r := range rows {
		require.NotNil(t, r)
		require.NoError(t, proto.CheckName(r.GetName()))
		require.Contains(t, []proto.Status{proto.Deploying, proto.Deployed, proto.Failed}, proto.Status(r.GetStatus()))
		require.NotEmpty(t, r.GetAtAgent())
		if r.GetStatus() == string(proto.Failed) {
			require.NotEmpty(t, r.GetError())
			require.NotEmpty(t, r.GetReason())
			continue // one that never ran holds no port, so it may have no url
		}
		require.True(t, strings.HasPrefix(r.GetUrl(), "http://"), "url %q", r.GetUrl())
		require.True(t, strings.HasSuffix(r.GetUrl(), "/"+proto.Path(r.GetName())), "url %q", r.GetUrl())
		require.True(t, strings.HasPrefix(r.GetProxy(), "http://"), "proxy %q", r.GetProxy())
	}
}

// pack returns a package of a folder and the function that refers to it.
func (t *tester) pack(name, dir string) (*proto.FunctionJson, *bundle.Package) {
	t.Helper()
	store, err := bundle.OpenStore(t.TempDir(), storeLimit)
	require.NoError(t, err)
	fn, pkg, err := store.Resolve(t.Context(), &proto.FunctionJson{Name: name, Dir: dir})
	require.NoError(t, err)
	return fn, pkg
}

// watching calls Watch until stop, which returns its error.
func (t *tester) watching() (events <-chan *proto.WatchEvent, stop func() error) {
	ctx, cancel := context.WithCancel(t.Context())
	all := make(chan *proto.WatchEvent)
	done := make(chan error, 1)
	go func() {
		done <- t.Watch(ctx, func(e *proto.WatchEvent) error {
			select {
			case all <- e:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
	}()
	var once sync.Once
	var err error
	stop = func() error {
		once.Do(func() { cancel(); err = <-done })
		return err
	}
	t.Cleanup(func() { _ = stop() })
	return all, stop
}

// await returns the next row of a name with a status.
func (t *tester) await(events <-chan *proto.WatchEvent, name string, status proto.Status) *proto.FunctionJsonRsp {
	t.Helper()
	var last *proto.FunctionJsonRsp
	for {
		select {
		case e := <-events:
			for _, r := range e.GetFunctions() {
				if r.GetName() != name {
					continue
				}
				if last = r; r.GetStatus() == string(status) {
					return r
				}
			}
		case <-t.Context().Done():
			require.FailNow(t, "not seen", "%s of %s; last was %s", status, name, last)
		}
	}
}

func canceledCall(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, proto.ErrCanceled)
}

func emptyList(t *tester) {
	assert.Empty(t, t.rows())
}

func deployWaits(t *tester) {
	row := t.deployed("HelloWorld")
	assert.Equal(t, "HelloWorld", row.GetName())
	assert.Empty(t, row.GetError())
	rows := t.rows()
	require.Len(t, rows, 1)
	assert.Equal(t, string(proto.Deployed), rows[0].GetStatus())
	assert.NotZero(t, rows[0].GetInstances())
}

func deployAtOnce(t *tester) {
	events, _ := t.watching()
	rows, err := t.Deploy(t.Context(), &proto.FunctionJson{Name: "HelloWorld", Dir: t.source("HelloWorld", 1)})
	require.NoError(t, err)
	t.sane(rows)
	require.Len(t, rows, 1)
	assert.Equal(t, string(proto.Deploying), rows[0].GetStatus())
	t.await(events, "HelloWorld", proto.Deployed)
}

func redeploy(t *tester) {
	first := t.deployed("HelloWorld")
	second := t.deploy("HelloWorld", t.source("HelloWorld", 2))
	assert.Equal(t, string(proto.Deployed), second.GetStatus())
	assert.NotEqual(t, first.GetPackage(), second.GetPackage())
	assert.Greater(t, second.GetGeneration(), first.GetGeneration())
	assert.Equal(t, first.GetUrl(), second.GetUrl())
	rows := t.rows()
	require.Len(t, rows, 1)
	assert.Equal(t, second.GetPackage(), rows[0].GetPackage())
}

func failedBuild(t *tester) {
	row := t.deploy("HelloWorld", t.broken())
	assert.Equal(t, string(proto.Failed), row.GetStatus())
	assert.Contains(t, []string{proto.ReasonCheck, proto.ReasonBuild}, row.GetReason())
	assert.Contains(t, row.GetError(), "sample.go:3:")
	rows := t.rows()
	require.Len(t, rows, 1)
	assert.Equal(t, string(proto.Failed), rows[0].GetStatus())

	row = t.deployed("HelloWorld")
	assert.Empty(t, row.GetError())
	assert.Empty(t, row.GetReason())
}

func failedRedeploy(t *tester) {
	first := t.deployed("HelloWorld")
	row := t.deploy("HelloWorld", t.broken())
	assert.Equal(t, string(proto.Failed), row.GetStatus())

	events, _ := t.watching()
	row = t.await(events, "HelloWorld", proto.Deployed)
	assert.Contains(t, row.GetError(), "sample.go:3:")
	assert.Equal(t, first.GetPackage(), row.GetPackage())
	assert.NotZero(t, row.GetInstances())
}

func caseConflict(t *tester) {
	t.deployed("HelloWorld")
	_, err := t.Deploy(t.Context(), &proto.FunctionJson{Name: "Helloworld", Dir: t.source("Helloworld", 1), Wait: true})
	require.ErrorIs(t, err, proto.ErrConflict)
	rows := t.rows()
	require.Len(t, rows, 1)
	assert.Equal(t, "HelloWorld", rows[0].GetName())
}

func badNames(t *tester) {
	dir := t.source("HelloWorld", 1)
	for _, name := range []string{"", "helloWorld", "Hello;rm", "../../x", "Hello World", "Hello\n", "1Hello", strings.Repeat("H", proto.MaxName+1)} {
		_, err := t.Deploy(t.Context(), &proto.FunctionJson{Name: name, Dir: dir})
		require.ErrorIs(t, err, proto.ErrInvalid, "name %.20q", name)
		_, err = t.Stop(t.Context(), name)
		require.Error(t, err, "stop of %.20q", name)
		_, err = t.Log(t.Context(), name)
		require.Error(t, err, "log of %.20q", name)
	}
	_, err := t.Deploy(t.Context(), nil)
	require.ErrorIs(t, err, proto.ErrInvalid)
	assert.Empty(t, t.rows())
}

func allOrNothing(t *tester) {
	_, err := t.Deploy(t.Context(),
		&proto.FunctionJson{Name: "HelloWorld", Dir: t.source("HelloWorld", 1)},
		&proto.FunctionJson{Name: "Other", Dir: t.source("Other", 1), Timeout: "soon"})
	require.ErrorIs(t, err, proto.ErrInvalid)
	assert.Empty(t, t.rows())
}

func badSources(t *tester) {
	dir := t.source("HelloWorld", 1)
	missing := "sha256:" + strings.Repeat("0", 64)
	for _, c := range []struct {
		name string
		fn   *proto.FunctionJson
		kind proto.Kind
	}{
		{"none", &proto.FunctionJson{Name: "HelloWorld"}, proto.ErrInvalid},
		{"both", &proto.FunctionJson{Name: "HelloWorld", Dir: dir, Package: missing}, proto.ErrInvalid},
		{"no such package", &proto.FunctionJson{Name: "HelloWorld", Package: missing}, proto.ErrNotFound},
		{"no such folder", &proto.FunctionJson{Name: "HelloWorld", Dir: filepath.Join(dir, "gone")}, proto.ErrInvalid},
		{"a file for a folder", &proto.FunctionJson{Name: "HelloWorld", Dir: filepath.Join(dir, "sample.go")}, proto.ErrInvalid},
	} {
		_, err := t.Deploy(t.Context(), c.fn)
		assert.ErrorIs(t, err, c.kind, c.name)
	}
	assert.Empty(t, t.rows())
}

func unknown(t *tester) {
	_, err := t.Stop(t.Context(), "Missing")
	require.ErrorIs(t, err, proto.ErrNotFound)
	assert.Contains(t, err.Error(), "Missing")
	_, err = t.Remove(t.Context(), "Missing")
	require.ErrorIs(t, err, proto.ErrNotFound)
	_, err = t.Log(t.Context(), "Missing")
	require.ErrorIs(t, err, proto.ErrNotFound)
	assert.Contains(t, err.Error(), "Missing")
	_, err = t.Versions(t.Context(), "Missing")
	require.ErrorIs(t, err, proto.ErrNotFound)
	_, err = t.Source(t.Context(), "Missing", 0)
	require.ErrorIs(t, err, proto.ErrNotFound)
	_, err = t.Rollback(t.Context(), "Missing", 0)
	require.ErrorIs(t, err, proto.ErrNotFound)
	_, err = t.Shift(t.Context(), "Missing", 0)
	require.ErrorIs(t, err, proto.ErrNotFound)
	_, err = t.Pause(t.Context(), "Missing")
	require.ErrorIs(t, err, proto.ErrNotFound)
	_, err = t.Resume(t.Context(), "Missing")
	require.ErrorIs(t, err, proto.ErrNotFound)
	_, err = t.Crashes(t.Context(), "Missing")
	require.ErrorIs(t, err, proto.ErrNotFound)
	_, err = t.Usage(t.Context(), "Missing")
	require.ErrorIs(t, err, proto.ErrNotFound)
	err = t.Logs(t.Context(), &proto.LogsRequest{Name: "Missing"}, func(*proto.LogLines) error { return nil })
	require.ErrorIs(t, err, proto.ErrNotFound)
}

func stopAndAgain(t *tester) {
	t.deployed("HelloWorld")
	row, err := t.Stop(t.Context(), "HelloWorld")
	require.NoError(t, err)
	assert.Equal(t, "HelloWorld", row.GetName())
	assert.Equal(t, string(proto.Stopped), row.GetStatus())
	assert.Empty(t, t.rows())
	_, err = t.Stop(t.Context(), "HelloWorld")
	require.ErrorIs(t, err, proto.ErrNotFound)
	t.deployed("HelloWorld")
}

func stopped(t *tester) {
	first := t.only(t.Deploy(t.Context(), &proto.FunctionJson{
		Name: "HelloWorld", Dir: t.source("HelloWorld", 1), Wait: true, Timeout: "7s", Secrets: map[string]string{"WORD": "kept"},
	}))
	t.deploy("HelloWorld", t.source("HelloWorld", 2))
	_, err := t.Stop(t.Context(), "HelloWorld")
	require.NoError(t, err)

	assert.Empty(t, t.rows())
	rows, err := t.Stopped(t.Context(), "")
	require.NoError(t, err)
	require.Len(t, rows, 1)
	assert.Equal(t, "HelloWorld", rows[0].GetName())
	assert.Equal(t, string(proto.Stopped), rows[0].GetStatus())
	assert.EqualValues(t, 2, rows[0].GetVersion())
	assert.EqualValues(t, 2, rows[0].GetLastVersion())
	ofAgent, err := t.Stopped(t.Context(), first.GetAtAgent())
	require.NoError(t, err)
	assert.Len(t, ofAgent, 1)
	list, err := t.Versions(t.Context(), "HelloWorld")
	require.NoError(t, err)
	require.Len(t, list, 2)
	assert.Zero(t, list[0].GetWeight())
	assert.True(t, list[0].GetPrevious() && !list[1].GetPrevious(), "where a rollback without a number goes")
	assert.Equal(t, list[1].GetPackage(), t.sent(1), "its source can be read")
	printed, err := t.Log(t.Context(), "HelloWorld")
	require.NoError(t, err)
	assert.NotEmpty(t, printed.GetLogs())
	_, err = t.Rollback(t.Context(), "HelloWorld", 7)
	require.ErrorIs(t, err, proto.ErrNotFound)
	assert.Empty(t, t.rows(), "it is stopped as before")

	row := t.only(t.Rollback(t.Context(), "HelloWorld", 1))
	assert.Equal(t, string(proto.Deployed), row.GetStatus())
	assert.EqualValues(t, 1, row.GetVersion())
	t.answers(row.GetProxy(), 1, "kept")
	rows, err = t.Stopped(t.Context(), "")
	require.NoError(t, err)
	assert.Empty(t, rows)

	_, err = t.Stop(t.Context(), "HelloWorld")
	require.NoError(t, err)
	row = t.only(t.Rollback(t.Context(), "HelloWorld", 0))
	assert.EqualValues(t, 1, row.GetVersion(), "the one that served last")
	for _, before := range []uint32{2, 1} { // those that served before the stop, to and fro
		assert.Equal(t, before, t.only(t.Rollback(t.Context(), "HelloWorld", 0)).GetVersion())
	}

	_, err = t.Stop(t.Context(), "HelloWorld")
	require.NoError(t, err)
	row = t.only(t.Deploy(t.Context(), &proto.FunctionJson{
		Name: "HelloWorld", Dir: t.source("HelloWorld", 3), Wait: true, Keep: []string{"timeout", "secrets"},
	}))
	require.Equal(t, string(proto.Deployed), row.GetStatus(), row.GetError())
	assert.EqualValues(t, 3, row.GetVersion())
	assert.Equal(t, "7s", row.GetTimeout())
	t.answers(row.GetProxy(), 3, "kept")
}

func removed(t *tester) {
	for _, running := range []bool{true, false} {
		t.deployed("HelloWorld")
		if !running {
			_, err := t.Stop(t.Context(), "HelloWorld")
			require.NoError(t, err)
		}
		row, err := t.Remove(t.Context(), "HelloWorld")
		require.NoError(t, err)
		assert.Equal(t, "HelloWorld", row.GetName())
		assert.Equal(t, string(proto.Stopped), row.GetStatus())
		assert.Empty(t, t.rows())
		rows, err := t.Stopped(t.Context(), "")
		require.NoError(t, err)
		assert.Empty(t, rows)
		_, err = t.Versions(t.Context(), "HelloWorld")
		require.ErrorIs(t, err, proto.ErrNotFound)
		_, err = t.Log(t.Context(), "HelloWorld")
		require.ErrorIs(t, err, proto.ErrNotFound)
		_, err = t.Remove(t.Context(), "HelloWorld")
		require.ErrorIs(t, err, proto.ErrNotFound)
	}
	assert.EqualValues(t, 1, t.deployed("HelloWorld").GetVersion())
}

func listOfAgent(t *tester) {
	row := t.deployed("HelloWorld")
	rows, err := t.List(t.Context(), row.GetAtAgent())
	require.NoError(t, err)
	require.Len(t, rows, 1)
	assert.Equal(t, "HelloWorld", rows[0].GetName())
	_, err = t.List(t.Context(), "no address")
	require.ErrorIs(t, err, proto.ErrInvalid)
}

func ordered(t *tester) {
	rows, err := t.Deploy(t.Context(),
		&proto.FunctionJson{Name: "Beta", Dir: t.source("Beta", 1), Wait: true},
		&proto.FunctionJson{Name: "Gamma", Dir: t.source("Gamma", 1), Wait: true},
		&proto.FunctionJson{Name: "Alpha", Dir: t.source("Alpha", 1), Wait: true})
	require.NoError(t, err)
	require.Len(t, rows, 3)
	var names []string
	for _, r := range t.rows() {
		names = append(names, r.GetName())
	}
	assert.Equal(t, []string{"Alpha", "Beta", "Gamma"}, names)
}

func logBegins(t *tester) {
	t.deployed("HelloWorld")
	logs, err := t.Log(t.Context(), "HelloWorld")
	require.NoError(t, err)
	line, _, _ := strings.Cut(logs.GetLogs(), "\n")
	assert.Equal(t, "deploying at /helloworld", line)
	assert.Equal(t, "HelloWorld", logs.GetFunction().GetName())
	assert.Equal(t, string(proto.Deployed), logs.GetFunction().GetStatus())
}

func uploadOnce(t *tester) {
	fn, pkg := t.pack("HelloWorld", t.source("HelloWorld", 1))
	require.NoError(t, t.Upload(t.Context(), pkg))
	require.NoError(t, os.Remove(pkg.Path))
	require.NoError(t, t.Upload(t.Context(), pkg), "a package that is stored is not read again")

	fn.Wait = true
	rows, err := t.Deploy(t.Context(), fn)
	require.NoError(t, err)
	require.Len(t, rows, 1)
	assert.Equal(t, string(proto.Deployed), rows[0].GetStatus(), rows[0].GetError())
	assert.Equal(t, pkg.Digest, rows[0].GetPackage())
}

func uploadWrong(t *tester) {
	fn, pkg := t.pack("HelloWorld", t.source("HelloWorld", 1))
	fn.Package = "sha256:" + strings.Repeat("ab", 32)
	for _, digest := range []string{fn.GetPackage(), "../../x", "sha256:../../x"} {
		err := t.Upload(t.Context(), &bundle.Package{Digest: digest, Size: pkg.Size, Path: pkg.Path})
		require.ErrorIs(t, err, proto.ErrInvalid, "digest %q", digest)
	}
	_, err := t.Deploy(t.Context(), fn)
	require.ErrorIs(t, err, proto.ErrNotFound)
}

func concurrent(t *tester) {
	const n = 10
	var deploys sync.WaitGroup
	for i := range n {
		name := fmt.Sprintf("Function%d", i)
		dir := t.source(name, i)
		deploys.Go(func() {
			rows, err := t.Deploy(t.Context(), &proto.FunctionJson{Name: name, Dir: dir, Wait: true})
			if assert.NoError(t, err) && assert.Len(t, rows, 1) {
				assert.Equal(t, string(proto.Deployed), rows[0].GetStatus(), rows[0].GetError())
				assert.Equal(t, name, rows[0].GetName())
			}
		})
	}
	deploys.Wait()
	urls := make(map[string]bool)
	for _, r := range t.rows() {
		urls[r.GetUrl()] = true
	}
	assert.Len(t, urls, n)
}

func canceled(t *tester) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := t.Deploy(ctx, &proto.FunctionJson{Name: "HelloWorld", Dir: t.source("HelloWorld", 1), Wait: true})
	assert.True(t, canceledCall(err), "deploy: %v", err)
	_, err = t.Details(ctx)
	assert.True(t, canceledCall(err), "details: %v", err)
	err = t.Watch(ctx, func(*proto.WatchEvent) error { return nil })
	assert.True(t, canceledCall(err), "watch: %v", err)
	_, err = t.Usage(ctx, "")
	assert.True(t, canceledCall(err), "usage: %v", err)
}

func ownRows(t *tester) {
	dir := t.source("HelloWorld", 1)
	fn := &proto.FunctionJson{Name: "HelloWorld", Dir: dir, Wait: true}
	rows, err := t.Deploy(t.Context(), fn)
	require.NoError(t, err)
	assert.Equal(t, dir, fn.GetDir(), "what is handed in is not changed")
	rows[0].Name = "changed"
	t.rows()[0].Name = "changed"
	rows = t.rows()
	require.Len(t, rows, 1)
	assert.Equal(t, "HelloWorld", rows[0].GetName())
}

func watchAll(t *tester) {
	t.deployed("HelloWorld")
	events, stop := t.watching()
	var first *proto.WatchEvent
	select {
	case first = <-events:
	case <-t.Context().Done():
		require.FailNow(t, "no snapshot")
	}
	assert.True(t, first.GetSnapshot())
	t.sane(first.GetFunctions())
	require.Len(t, first.GetFunctions(), 1)
	assert.Equal(t, string(proto.Deployed), first.GetFunctions()[0].GetStatus())

	t.deployed("Other")
	t.await(events, "Other", proto.Deployed)
	_, err := t.Stop(t.Context(), "HelloWorld")
	require.NoError(t, err)
	t.await(events, "HelloWorld", proto.Stopped)
	err = stop()
	assert.True(t, canceledCall(err), "%v", err)
}

func watchError(t *tester) {
	enough := errors.New("seen enough")
	require.ErrorIs(t, t.Watch(t.Context(), func(*proto.WatchEvent) error { return enough }), enough)
}
