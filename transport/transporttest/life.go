package transporttest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"slices"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	protobuf "google.golang.org/protobuf/proto"

	"github.com/Ishan27g/ryo-faas/proto"
)

// Cases: what a function does after its deploy.

// soon is how long a test waits until what a process has done shows.
const soon = 30 * time.Second

// until waits for a claim to become true.
func (t *tester) until(claim func() bool, what string) {
	t.Helper()
	require.Eventually(t, claim, soon, 20*time.Millisecond, what)
}

// call calls a function at one of its services.
func (t *tester) call(service, name, below string) (string, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, service+"/"+proto.Path(name)+below, http.NoBody)
	require.NoError(t, err)
	// A connection of its own: one that is kept would stay with a process that stops.
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: soon}
	rsp, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer func() { _ = rsp.Body.Close() }()
	answer, err := io.ReadAll(rsp.Body)
	return string(answer), err
}

// answers waits until HelloWorld answers with a version at a service.
func (t *tester) answers(service string, version int, word string) {
	t.Helper()
	want, last := fmt.Sprintf("version %d %s\n", version, word), ""
	t.until(func() bool {
		var err error
		last, err = t.call(service, "HelloWorld", "")
		return err == nil && last == want
	}, "the answer "+want)
}

// only returns the one row that an answer must be.
func (t *tester) only(rows []*proto.FunctionJsonRsp, err error) *proto.FunctionJsonRsp {
	t.Helper()
	require.NoError(t, err)
	t.sane(rows)
	require.Len(t, rows, 1)
	return rows[0]
}

// numbers returns the numbers of the versions that are kept.
func (t *tester) numbers() (numbers []uint32) {
	t.Helper()
	versions, err := t.Versions(t.Context(), "HelloWorld")
	require.NoError(t, err)
	for _, v := range versions {
		numbers = append(numbers, v.GetVersion())
	}
	return numbers
}

func badSettings(t *tester) {
	dir := t.source("HelloWorld", 1)
	for name, fn := range map[string]*proto.FunctionJson{
		"canary":    {Canary: 100},
		"instances": {Instances: proto.MaxInstances + 1},
		"min":       {Min: 2},
		"idle":      {Idle: "soon"},
		"drain":     {Drain: "2h"},
		"cpu":       {Cpu: "-1"},
		"secrets":   {Env: map[string]string{"WORD": "a"}, Secrets: map[string]string{"WORD": "b"}},
	} {
		fn.Name, fn.Dir = "HelloWorld", dir
		_, err := t.Deploy(t.Context(), fn)
		require.ErrorIs(t, err, proto.ErrInvalid, name)
		assert.Contains(t, err.Error(), name)
	}
	assert.Empty(t, t.rows())
}

func countVersions(t *tester) {
	first := t.deployed("HelloWorld")
	assert.EqualValues(t, 1, first.GetVersion())
	second := t.only(t.Deploy(t.Context(), &proto.FunctionJson{
		Name: "HelloWorld", Dir: t.source("HelloWorld", 2), Wait: true, Note: "louder", Timeout: "7s",
	}))
	require.Equal(t, string(proto.Deployed), second.GetStatus(), second.GetError())
	assert.EqualValues(t, 2, second.GetVersion())
	assert.EqualValues(t, 2, second.GetLastVersion())
	require.Len(t, second.GetServing(), 1)
	assert.EqualValues(t, 2, second.GetServing()[0].GetVersion())
	assert.EqualValues(t, 100, second.GetServing()[0].GetWeight())

	versions, err := t.Versions(t.Context(), "HelloWorld")
	require.NoError(t, err)
	require.Len(t, versions, 2)
	newest, oldest := versions[0], versions[1]
	assert.EqualValues(t, 2, newest.GetVersion())
	assert.Equal(t, second.GetPackage(), newest.GetPackage())
	assert.Equal(t, "louder", newest.GetNote())
	assert.Equal(t, "7s", newest.GetSettings().GetTimeout())
	assert.Equal(t, proto.KindHTTP, newest.GetKind())
	assert.EqualValues(t, 100, newest.GetWeight())
	assert.Equal(t, second.GetAtAgent(), newest.GetAtAgent())
	assert.EqualValues(t, 1, oldest.GetVersion())
	assert.Equal(t, first.GetPackage(), oldest.GetPackage())
	assert.Zero(t, oldest.GetWeight())
	for _, v := range versions {
		_, err := time.Parse(time.RFC3339, v.GetTime())
		assert.NoError(t, err)
	}

	assert.Equal(t, oldest.GetPackage(), t.sent(1))
	assert.Equal(t, newest.GetPackage(), t.sent(2))
	assert.Equal(t, newest.GetPackage(), t.sent(0), "the newest")
	_, err = t.Source(t.Context(), "HelloWorld", 3)
	require.ErrorIs(t, err, proto.ErrNotFound)
}

// sent returns the digest of what Source sends of a version of HelloWorld.
func (t *tester) sent(version uint32) string {
	t.Helper()
	r, err := t.Source(t.Context(), "HelloWorld", version)
	require.NoError(t, err)
	sum := sha256.New()
	_, err = io.Copy(sum, r)
	require.NoError(t, err)
	require.NoError(t, r.Close())
	return "sha256:" + hex.EncodeToString(sum.Sum(nil))
}

func unchanged(t *tester) {
	fn := &proto.FunctionJson{Name: "HelloWorld", Dir: t.source("HelloWorld", 1), Wait: true}
	row := t.only(t.Deploy(t.Context(), fn))
	require.Equal(t, string(proto.Deployed), row.GetStatus(), row.GetError())
	fn.Wait = false
	row = t.only(t.Deploy(t.Context(), fn))
	assert.Equal(t, string(proto.Deployed), row.GetStatus(), "it is answered at once")
	assert.EqualValues(t, 1, row.GetVersion())
	assert.Equal(t, []uint32{1}, t.numbers())

	// A default that is given is none the less the default.
	fn.Auth, fn.Timeout, fn.Retries, fn.Network = proto.AuthToken, "1m", protobuf.Uint32(proto.DefaultRetries), []string{proto.NetworkAny}
	row = t.only(t.Deploy(t.Context(), fn))
	assert.Equal(t, string(proto.Deployed), row.GetStatus())
	assert.Equal(t, []uint32{1}, t.numbers())

	fn.Wait, fn.Timeout = true, "9s" // a setting makes a version too
	row = t.only(t.Deploy(t.Context(), fn))
	assert.EqualValues(t, 2, row.GetVersion())
	assert.Equal(t, []uint32{2, 1}, t.numbers())
}

func failedVersion(t *tester) {
	t.deployed("HelloWorld")
	row := t.deploy("HelloWorld", t.broken())
	require.Equal(t, string(proto.Failed), row.GetStatus())
	assert.Equal(t, []uint32{1}, t.numbers())
	row = t.deploy("HelloWorld", t.source("HelloWorld", 3))
	assert.EqualValues(t, 3, row.GetVersion(), "a number is never used again")
	assert.Equal(t, []uint32{3, 1}, t.numbers())
}

func planned(t *tester) {
	dir := t.source("HelloWorld", 1)
	rows, err := t.Deploy(t.Context(), &proto.FunctionJson{Name: "HelloWorld", Dir: dir, Plan: true})
	require.NoError(t, err)
	require.Len(t, rows, 1)
	assert.Equal(t, "create", rows[0].GetChange())
	assert.Empty(t, t.rows())

	t.deploy("HelloWorld", dir)
	before := t.rows()
	for _, c := range []struct {
		fn      *proto.FunctionJson
		change  string
		changed []string
	}{
		{&proto.FunctionJson{Dir: dir}, "none", nil},
		{&proto.FunctionJson{Dir: dir, Wait: true, Note: "x"}, "none", nil},
		{&proto.FunctionJson{Dir: dir, FilePath: filepath.Join(dir, "sample.go")}, "none", nil},
		{&proto.FunctionJson{Dir: dir, Timeout: "9s", Env: map[string]string{"A": "b"}}, "settings", []string{"timeout", "env"}},
		{&proto.FunctionJson{Dir: t.source("HelloWorld", 2)}, "code", nil},
	} {
		c.fn.Name, c.fn.Plan = "HelloWorld", true
		rows, err := t.Deploy(t.Context(), c.fn)
		require.NoError(t, err)
		require.Len(t, rows, 1)
		assert.Equal(t, c.change, rows[0].GetChange(), "%s", c.fn)
		assert.Equal(t, c.change == "code", rows[0].GetPackage() != before[0].GetPackage(), "its package is the one that would run")
		for _, name := range c.changed {
			assert.Contains(t, rows[0].GetChanged(), name)
		}
	}
	after := t.rows()
	assert.Equal(t, before[0].GetGeneration(), after[0].GetGeneration())
	assert.Equal(t, before[0].GetStatus(), after[0].GetStatus())
	assert.Equal(t, []uint32{1}, t.numbers())
}

func rollback(t *tester) {
	fn := &proto.FunctionJson{Name: "HelloWorld", Dir: t.source("HelloWorld", 1), Wait: true, Env: map[string]string{"WORD": "one"}}
	row := t.only(t.Deploy(t.Context(), fn))
	_, err := t.Rollback(t.Context(), "HelloWorld", 0)
	require.Error(t, err, "nothing served before")
	url, service := row.GetUrl(), row.GetProxy()
	t.answers(service, 1, "one")
	t.deploy("HelloWorld", t.source("HelloWorld", 2))
	t.answers(service, 2, "")

	for _, c := range []struct {
		to, version uint32
		word        string
	}{{0, 1, "one"}, {2, 2, ""}, {0, 1, "one"}, {1, 1, "one"}} {
		row := t.only(t.Rollback(t.Context(), "HelloWorld", c.to))
		assert.Equal(t, string(proto.Deployed), row.GetStatus(), row.GetError())
		assert.Equal(t, c.version, row.GetVersion(), "to %d", c.to)
		assert.Equal(t, url, row.GetUrl())
		t.answers(service, int(c.version), c.word)
		assert.Equal(t, []uint32{2, 1}, t.numbers(), "a rollback makes no version")
	}
	_, err = t.Rollback(t.Context(), "HelloWorld", 7)
	require.ErrorIs(t, err, proto.ErrNotFound)
	assert.EqualValues(t, 1, t.rows()[0].GetVersion())

	row = t.deploy("HelloWorld", t.source("HelloWorld", 3))
	assert.EqualValues(t, 3, row.GetVersion())
	t.answers(service, 3, "")
}

func paused(t *tester) {
	row := t.deploy("HelloWorld", t.source("HelloWorld", 1))
	service := row.GetProxy()
	for range 2 { // twice is once
		row = t.only(t.Pause(t.Context(), "HelloWorld"))
		assert.True(t, row.GetPaused())
		assert.Equal(t, string(proto.Deployed), row.GetStatus())
		t.refuses(service + "/helloworld")
		t.refuses(row.GetUrl())
	}
	assert.True(t, t.rows()[0].GetPaused())
	for range 2 {
		row = t.only(t.Resume(t.Context(), "HelloWorld"))
		assert.False(t, row.GetPaused())
		assert.Equal(t, service, row.GetProxy())
		t.answers(service, 1, "")
	}

	// A new version is not paused.
	t.only(t.Pause(t.Context(), "HelloWorld"))
	row = t.deploy("HelloWorld", t.source("HelloWorld", 2))
	assert.False(t, row.GetPaused())
	t.answers(service, 2, "")
	t.only(t.Pause(t.Context(), "HelloWorld"))
	row = t.deploy("HelloWorld", t.source("HelloWorld", 2))
	assert.False(t, row.GetPaused(), "nor what serves already")
	t.answers(service, 2, "")
	t.only(t.Pause(t.Context(), "HelloWorld"))
	assert.False(t, t.only(t.Rollback(t.Context(), "HelloWorld", 1)).GetPaused())
	t.answers(service, 1, "")

	t.only(t.Pause(t.Context(), "HelloWorld"))
	_, err := t.Stop(t.Context(), "HelloWorld")
	require.NoError(t, err)
	assert.Empty(t, t.rows())
}

// refuses calls a paused function.
func (t *tester) refuses(url string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	require.NoError(t, err)
	res, err := (&http.Client{}).Do(req)
	require.NoError(t, err)
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	assert.Equal(t, http.StatusServiceUnavailable, res.StatusCode, "%s", body)
	assert.NotEmpty(t, res.Header.Get("Retry-After"))
	assert.Contains(t, string(body), "paused")
}

func canary(t *tester) {
	t.deployed("HelloWorld")
	beside := func(version int) *proto.FunctionJsonRsp {
		t.Helper()
		row := t.only(t.Deploy(t.Context(), &proto.FunctionJson{
			Name: "HelloWorld", Dir: t.source("HelloWorld", version), Wait: true, Canary: 20,
		}))
		require.Equal(t, string(proto.Deployed), row.GetStatus(), row.GetError())
		return row
	}
	weights := func(row *proto.FunctionJsonRsp) (weights []uint32) {
		for _, s := range row.GetServing() {
			weights = append(weights, s.GetVersion(), s.GetWeight())
		}
		return weights
	}
	_, err := t.Shift(t.Context(), "HelloWorld", 50)
	require.ErrorIs(t, err, proto.ErrConflict, "there is no canary")

	row := beside(2)
	assert.EqualValues(t, 1, row.GetVersion())
	require.Equal(t, []uint32{1, 80, 2, 20}, weights(row))
	t.answers(row.GetServing()[0].GetProxy(), 1, "")
	t.answers(row.GetServing()[1].GetProxy(), 2, "")
	row = t.only(t.Shift(t.Context(), "HelloWorld", 50))
	assert.Equal(t, []uint32{1, 50, 2, 50}, weights(row))
	row = t.only(t.Shift(t.Context(), "HelloWorld", 100))
	assert.EqualValues(t, 2, row.GetVersion())
	assert.Equal(t, []uint32{2, 100}, weights(row))
	t.answers(row.GetProxy(), 2, "")

	row = beside(3)
	require.Equal(t, []uint32{2, 80, 3, 20}, weights(row))
	row = t.only(t.Shift(t.Context(), "HelloWorld", 0))
	assert.Equal(t, []uint32{2, 100}, weights(row))
	t.answers(row.GetProxy(), 2, "")
	_, err = t.Shift(t.Context(), "HelloWorld", 101)
	require.ErrorIs(t, err, proto.ErrInvalid)
}

func secrets(t *tester) {
	const value = "open-sesame"
	row := t.only(t.Deploy(t.Context(), &proto.FunctionJson{
		Name: "HelloWorld", Dir: t.source("HelloWorld", 1), Wait: true, Secrets: map[string]string{"WORD": value},
	}))
	t.answers(row.GetProxy(), 1, value)
	versions, err := t.Versions(t.Context(), "HelloWorld")
	require.NoError(t, err)
	require.Len(t, versions, 1)
	assert.Equal(t, map[string]string{"WORD": ""}, versions[0].GetSettings().GetSecrets())
	assert.NotContains(t, fmt.Sprint(row, t.rows(), versions), value)
}

func crashes(t *tester) {
	row := t.deployed("HelloWorld")
	list, err := t.Crashes(t.Context(), "HelloWorld")
	require.NoError(t, err)
	assert.Empty(t, list)

	_, err = t.call(row.GetProxy(), "HelloWorld", "/exit")
	require.Error(t, err)
	t.until(func() bool {
		list, err = t.Crashes(t.Context(), "HelloWorld")
		return err == nil && len(list) > 0
	}, "a crash")
	require.Len(t, list, 1)
	c := list[0]
	assert.EqualValues(t, 1, c.GetVersion())
	assert.EqualValues(t, 3, c.GetExitCode())
	assert.Contains(t, c.GetCause(), "3")
	assert.Contains(t, c.GetOutput(), "last words")
	assert.NotZero(t, c.GetPid())
	assert.Equal(t, row.GetAtAgent(), c.GetAtAgent())
	_, err = time.Parse(time.RFC3339, c.GetTime())
	require.NoError(t, err)
	_, err = time.ParseDuration(c.GetLived())
	require.NoError(t, err)
	t.answers(row.GetProxy(), 1, "") // another process took its place
}

// printer is a function of logLines alone: its lines are kept when it is stopped.
const printer = "Printer"

// lines returns the lines that a request asks for.
func (t *tester) lines(req *proto.LogsRequest) (lines []*proto.LogLine) {
	t.Helper()
	req.Name = printer
	require.NoError(t, t.Logs(t.Context(), req, func(l *proto.LogLines) error {
		lines = append(lines, l.GetLines()...)
		return nil
	}))
	return lines
}

func texts(lines []*proto.LogLine) (texts []string) {
	for _, l := range lines {
		texts = append(texts, l.GetStream()+": "+l.GetText())
	}
	return texts
}

func logLines(t *tester) {
	row := t.deployed(printer)
	_, err := t.call(row.GetProxy(), printer, "")
	require.NoError(t, err)
	var all []*proto.LogLine
	t.until(func() bool {
		all = t.lines(&proto.LogsRequest{})
		return slices.Contains(texts(all), "stdout: called") && slices.Contains(texts(all), "stderr: warned")
	}, "what was printed")
	assert.Equal(t, "deploying at /printer", all[0].GetText())
	var last time.Time
	for _, l := range all {
		assert.Equal(t, printer, l.GetFunction())
		assert.EqualValues(t, 1, l.GetVersion())
		assert.Equal(t, row.GetAtAgent(), l.GetAtAgent())
		at, err := time.Parse(time.RFC3339Nano, l.GetTime())
		require.NoError(t, err)
		assert.False(t, at.Before(last), "lines are in the order of their time")
		last = at
	}
	assert.Equal(t, texts(all[len(all)-1:]), texts(t.lines(&proto.LogsRequest{Tail: 1})))
	assert.Equal(t, []string{"stderr: warned"}, texts(t.lines(&proto.LogsRequest{Grep: "warn"})))
	assert.Len(t, t.lines(&proto.LogsRequest{Version: 1, Since: "1h"}), len(all))
	assert.Empty(t, t.lines(&proto.LogsRequest{Version: 2}))
	assert.Empty(t, t.lines(&proto.LogsRequest{Since: time.Now().Add(time.Hour).UTC().Format(time.RFC3339)}))
	err = t.Logs(t.Context(), &proto.LogsRequest{Name: printer, Since: "then"}, func(*proto.LogLines) error { return nil })
	require.ErrorIs(t, err, proto.ErrInvalid)
	enough := errors.New("seen enough")
	err = t.Logs(t.Context(), &proto.LogsRequest{Name: printer}, func(*proto.LogLines) error { return enough })
	require.ErrorIs(t, err, enough)

	_, err = t.Stop(t.Context(), printer)
	require.NoError(t, err)
	assert.GreaterOrEqual(t, len(t.lines(&proto.LogsRequest{})), len(all), "they outlive the function")
	logs, err := t.Log(t.Context(), printer)
	require.NoError(t, err)
	assert.Contains(t, logs.GetLogs(), "called\n")
}

func logsFollow(t *tester) {
	row := t.deployed("HelloWorld")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	lines, done := make(chan string), make(chan error, 1)
	go func() {
		done <- t.Logs(ctx, &proto.LogsRequest{Name: "HelloWorld", Follow: true}, func(l *proto.LogLines) error {
			for _, l := range l.GetLines() {
				select {
				case lines <- l.GetText():
				case <-ctx.Done():
					return ctx.Err()
				}
			}
			return nil
		})
	}()
	next := func(want string) {
		t.Helper()
		for {
			select {
			case text := <-lines:
				if text == want {
					return
				}
			case err := <-done:
				require.FailNow(t, "it returned", "%v", err)
			case <-time.After(soon):
				require.FailNow(t, "not seen", "%s", want)
			}
		}
	}
	next("deploying at /helloworld")
	for range 2 {
		t.answers(row.GetProxy(), 1, "")
		next("warned")
	}
	cancel()
	err := <-done
	assert.True(t, canceledCall(err), "%v", err)

	// It returns when the function is stopped, after its last line.
	var last string
	begun := make(chan struct{}, 1)
	go func() {
		done <- t.Logs(t.Context(), &proto.LogsRequest{Name: "HelloWorld", Follow: true}, func(l *proto.LogLines) error {
			last = l.GetLines()[len(l.GetLines())-1].GetText()
			select {
			case begun <- struct{}{}:
			default:
			}
			return nil
		})
	}()
	<-begun
	t.answers(row.GetProxy(), 1, "")
	_, err = t.Stop(t.Context(), "HelloWorld")
	require.NoError(t, err)
	select {
	case err := <-done:
		require.NoError(t, err)
		assert.Equal(t, "warned", last)
	case <-time.After(soon):
		require.FailNow(t, "it goes on after the function was stopped")
	}
}

func usage(t *tester) {
	list, err := t.Usage(t.Context(), "")
	require.NoError(t, err)
	assert.Empty(t, list)
	row := t.deployed("HelloWorld")
	t.deployed("Other")
	t.answers(row.GetProxy(), 1, "")
	t.until(func() bool {
		list, err = t.Usage(t.Context(), "HelloWorld")
		list = processes(list)
		return err == nil && len(list) == 1 && list[0].GetRequests() > 0
	}, "the call is counted")
	u := list[0]
	assert.Equal(t, "HelloWorld", u.GetFunction())
	assert.EqualValues(t, 1, u.GetVersion())
	assert.NotZero(t, u.GetPid())
	assert.NotZero(t, u.GetResident())
	assert.Equal(t, row.GetAtAgent(), u.GetAtAgent())
	_, err = time.Parse(time.RFC3339, u.GetSince())
	require.NoError(t, err)

	list, err = t.Usage(t.Context(), "")
	require.NoError(t, err)
	var names []string
	for _, u := range processes(list) {
		names = append(names, u.GetFunction())
	}
	slices.Sort(names)
	assert.Equal(t, []string{"HelloWorld", "Other"}, names)
}

// processes are the rows of processes. Proxies add those of calls.
func processes(list []*proto.Usage) []*proto.Usage {
	return slices.DeleteFunc(list, func(u *proto.Usage) bool { return u.GetTraffic() != nil })
}

// keeps deploys again with a few settings: the settings to keep stay, each variable by
// itself, and secrets too, which no caller could give again.
func keeps(t *tester) {
	dir := t.source("HelloWorld", 1)
	row := t.only(t.Deploy(t.Context(), &proto.FunctionJson{
		Name: "HelloWorld", Dir: dir, Wait: true, Timeout: "7s", Idle: "5m", Auth: proto.AuthPublic,
		Env: map[string]string{"A": "1", "B": "2"}, Secrets: map[string]string{"WORD": "open-sesame"},
	}))
	t.answers(row.GetProxy(), 1, "open-sesame")
	assert.True(t, row.Public())
	again := &proto.FunctionJson{
		Name: "HelloWorld", Dir: dir, Wait: true, Env: map[string]string{"B": "3"}, Keep: []string{"env", "secrets", "timeout"},
	}
	row = t.only(t.Deploy(t.Context(), again))
	t.answers(row.GetProxy(), 1, "open-sesame")
	versions, err := t.Versions(t.Context(), "HelloWorld")
	require.NoError(t, err)
	got := versions[0].GetSettings()
	assert.Equal(t, map[string]string{"A": "1", "B": "3"}, got.GetEnv())
	assert.Equal(t, map[string]string{"WORD": ""}, got.GetSecrets())
	assert.Equal(t, "7s", got.GetTimeout())
	assert.Empty(t, got.GetIdle(), "it was neither given nor kept")

	again.Plan, again.Wait = true, false
	row = t.only(t.Deploy(t.Context(), again))
	assert.Equal(t, changeNone, row.GetChange(), row.GetChanged())

	_, err = t.Deploy(t.Context(), &proto.FunctionJson{
		Name: "HelloWorld", Dir: dir, Plan: true, Env: map[string]string{"WORD": "plain"}, Keep: []string{"secrets"},
	})
	require.NoError(t, err, "what is given goes before what is kept")
	_, err = t.Deploy(t.Context(), &proto.FunctionJson{Name: "HelloWorld", Dir: dir, Keep: []string{"timeuot"}})
	require.ErrorIs(t, err, proto.ErrInvalid)
	assert.Contains(t, proto.AsError(err).Hint, "timeout")
}

// A deploy that names the version which it replaces is refused where another one serves.
func ifVersion(t *tester) {
	deploy := func(words int, version uint32) error {
		rows, err := t.Deploy(t.Context(), &proto.FunctionJson{Name: "HelloWorld", Dir: t.source("HelloWorld", words), Wait: true, IfVersion: &version})
		if err == nil {
			require.Equal(t, string(proto.Deployed), rows[0].GetStatus(), rows[0].GetError())
		}
		return err
	}
	err := deploy(1, 3)
	require.ErrorIs(t, err, proto.ErrConflict, "there is none")
	assert.Contains(t, err.Error(), "ifVersion is 3")
	require.NoError(t, deploy(1, 0), "there is none yet")
	require.ErrorIs(t, deploy(2, 0), proto.ErrConflict, "there is one")
	require.NoError(t, deploy(2, 1))
	err = deploy(3, 1)
	require.ErrorIs(t, err, proto.ErrConflict)
	assert.Contains(t, err.Error(), "version 2 of function HelloWorld serves, and ifVersion is 1")
	assert.NotEmpty(t, proto.AsError(err).Hint)
	versions, err := t.Versions(t.Context(), "HelloWorld")
	require.NoError(t, err)
	assert.Len(t, versions, 2)
	_, err = t.Rollback(t.Context(), "HelloWorld", 1)
	require.NoError(t, err)
	require.ErrorIs(t, deploy(3, 2), proto.ErrConflict, "it serves no longer")
	require.NoError(t, deploy(3, 1))
}
