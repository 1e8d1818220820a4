package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/Ishan27g/ryo-faas/internal/testkit"
	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/transport"
	"github.com/Ishan27g/ryo-faas/transport/auth"
	"github.com/Ishan27g/ryo-faas/transport/bundle"
	tserver "github.com/Ishan27g/ryo-faas/transport/server"
	"github.com/Ishan27g/ryo-faas/transport/transporttest"
)

func TestMain(m *testing.M) {
	os.Exit(testkit.Guarded(leakChecked{m}).Run())
}

// leakChecked fails a run of tests that leaves goroutines behind.
type leakChecked struct{ *testing.M }

func (m leakChecked) Run() int {
	code := m.M.Run()
	_ = os.RemoveAll(filepath.Join(os.TempDir(), programFolder))
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

// stage is the fake with functions that can be called, and with functions that fail as
// their names say: no source that passes the check here could do that.
type stage struct {
	*transporttest.Fake
	functions string        // where functions are called
	printed   sync.Map      // how many lines of JSON calls with ?print= have printed, by id
	arrived   chan struct{} // told of each deploy of the function Slow, which never ends
}

var plays = map[string]struct{ reason, text string }{
	"NoBuild": {proto.ReasonBuild, "hello/nobuild.go:6:2: undefined: fmt.Fprit"},
	"NoStart": {proto.ReasonStart, "exit status 2\npanic: no"},
	"Crashes": {proto.ReasonCrash, "exit status 1"},
	"NoAgent": {proto.ReasonAgent, "disk full"},
}

func (s *stage) play(rows []*proto.FunctionJsonRsp) []*proto.FunctionJsonRsp {
	for _, r := range rows {
		r.Url = s.functions + "/functions/" + proto.Path(r.GetName())
		if r.GetName() == "Gone" {
			r.Url = "http://127.0.0.1:1/gone"
		}
		if p, ok := plays[r.GetName()]; ok && r.GetStatus() == string(proto.Deployed) {
			r.Status, r.Reason, r.Error, r.Instances = string(proto.Failed), p.reason, p.text, 0
		}
	}
	return rows
}

func (s *stage) Deploy(ctx context.Context, fns ...*proto.FunctionJson) ([]*proto.FunctionJsonRsp, error) {
	if fns[0].GetName() == "Slow" {
		select {
		case s.arrived <- struct{}{}:
		case <-ctx.Done():
		}
		<-ctx.Done()
		return nil, ctx.Err()
	}
	rows, err := s.Fake.Deploy(ctx, fns...)
	return s.play(rows), err
}

func (s *stage) Details(ctx context.Context) ([]*proto.FunctionJsonRsp, error) {
	rows, err := s.Fake.Details(ctx)
	return s.play(rows), err
}

func (s *stage) List(ctx context.Context, addr string) ([]*proto.FunctionJsonRsp, error) {
	if addr == "denied:1" {
		return nil, proto.Errorf(proto.ErrForbidden, "you may not")
	}
	if addr == "slow:1" {
		return nil, proto.Errorf(proto.ErrTimeout, "too slow")
	}
	rows, err := s.Fake.List(ctx, addr)
	return s.play(rows), err
}

// Logs tells what calls have printed.
func (s *stage) Logs(ctx context.Context, req *proto.LogsRequest, on func(*proto.LogLines) error) error {
	n, ok := s.printed.Load(req.GetId() + req.GetId())
	if !ok || req.GetName() != "HelloWorld" {
		return s.Fake.Logs(ctx, req, on)
	}
	if n.(int) < 0 {
		return proto.Errorf(proto.ErrUnavailable, "agent a:1 does not answer\nfor good")
	}
	batch := new(proto.LogLines)
	for i := range min(n.(int), int(req.GetTail())) {
		batch.Lines = append(batch.Lines, &proto.LogLine{Text: fmt.Sprintf("{\"line\":%d}\x1b[2J", i)})
	}
	return on(batch)
}

// openStage serves a stage and returns its address.
func openStage(t testing.TB) (*stage, string) {
	t.Helper()
	s := &stage{Fake: transporttest.NewFake(t), arrived: make(chan struct{})}
	functions := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if n, err := strconv.Atoi(r.URL.Query().Get("print")); err == nil {
			s.printed.Store(r.Header.Get("X-Request-Id")+r.Header.Get("Function-Execution-Id"), n)
		}
		echo(w, r)
	}))
	t.Cleanup(functions.Close)
	s.functions = functions.URL
	return s, serve(t, s)
}

// server is an Interface that can be served.
type server interface {
	transport.Interface
	Store() *bundle.Store
}

// serve serves until the test ends and returns the address.
func serve(t testing.TB, s server) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	serveOn(t, l, s)
	return l.Addr().String()
}

// serveOn serves until stop is called, or the test ends.
func serveOn(t testing.TB, l net.Listener, s server) (stop func()) {
	t.Helper()
	record, err := auth.OpenRecord(t.TempDir())
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	registrar, _ := s.(transport.Registrar)
	scheduler, _ := s.(transport.Scheduler)
	dispatcher, _ := s.(transport.Dispatcher)
	go func() {
		served <- tserver.Serve(ctx, s, tserver.Config{Listeners: []net.Listener{l}, Store: s.Store(), Tokens: transporttest.Keeper(t), Record: record, Registrar: registrar, Scheduler: scheduler, Dispatcher: dispatcher})
	}()
	stop = sync.OnceFunc(func() {
		cancel()
		assert.NoError(t, <-served)
	})
	t.Cleanup(stop)
	return stop
}

// echo answers with what it was asked, and with the status that ?status= names.
func echo(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	w.Header().Set("Location", "/elsewhere")
	if status, err := strconv.Atoi(r.URL.Query().Get("status")); err == nil {
		w.WriteHeader(status)
	}
	if r.URL.Query().Has("platform") { // answers for a function that is gone
		w.Header().Set("Ryo-Api", "1")
		w.WriteHeader(http.StatusNotFound)
	}
	if r.URL.Query().Has("cut") {
		w.Header().Set("Content-Length", "9")
		_, _ = io.WriteString(w, "half\n")
		return
	}
	if r.URL.Query().Has("hang") {
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	}
	_, _ = fmt.Fprintf(w, "%s %s host=%s type=%q length=%d x=%q\n%s", r.Method, r.RequestURI, r.Host,
		r.Header.Get("Content-Type"), r.ContentLength, r.Header.Values("X-A"), body)
}

// program is the folder of proxyCli, built as users have it, once. This program could stand
// in for it, but the start of each process would take twice as long.
func program(t *testing.T) string {
	t.Helper()
	dir, err := built()
	require.NoError(t, err)
	return dir
}

var built = sync.OnceValues(func() (string, error) {
	dir := filepath.Join(os.TempDir(), programFolder)
	args := []string{"build", "-o", dir + string(filepath.Separator)}
	if testkit.Race {
		args = append(args, "-race")
	}
	if output, err := exec.CommandContext(context.Background(), "go", append(args, "../cmd/proxyCli")...).CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w\n%s", err, output)
	}
	return dir, nil
})

// programFolder is below the folder of temporary files that a run of tests has to itself.
const programFolder = "proxyCli-built"

func TestScripts(t *testing.T) {
	dir := program(t)
	// Scripts have no home folder, and what they build is built already.
	said, err := exec.CommandContext(t.Context(), "go", "env", "GOCACHE", "GOMODCACHE").Output()
	require.NoError(t, err)
	caches := strings.Fields(string(said))
	kinds := []transport.Kind{transport.RPC, transport.HTTP}
	if testing.Short() { // what they have of their own is raced in package transport
		kinds = kinds[:1]
	}
	for _, kind := range kinds {
		t.Run(string(kind), func(t *testing.T) {
			t.Cleanup(func() {
				// testscript removes its folder after as many scripts as there are, which is never
				// if -run chooses some. One that is not empty stays, and is noticed.
				left, _ := filepath.Glob(filepath.Join(os.TempDir(), "go-test-script*"))
				for _, dir := range left {
					_ = os.Remove(dir)
				}
			})
			testscript.Run(t, testscript.Params{
				Dir: "testdata/script",
				Cmds: map[string]func(*testscript.TestScript, bool, []string){
					"proxyCli": proxyCli,
					"exits":    exits,
					"call":     call,
					"binary":   binary,
				},
				Condition: func(name string) (bool, error) { return name == string(kind), nil },
				Setup: func(env *testscript.Env) error {
					_, addr := openStage(env.T().(testing.TB))
					env.Setenv("XDG_CONFIG_HOME", filepath.Join(env.WorkDir, "config"))
					env.Setenv("RYO_PROXY", addr)
					env.Setenv("RYO_TRANSPORT", string(kind))
					env.Setenv("PATH", dir+string(os.PathListSeparator)+env.Getenv("PATH"))
					env.Setenv("BIN", dir)
					env.Setenv("GOCACHE", caches[0])
					env.Setenv("GOMODCACHE", caches[1])
					env.Setenv("GORACE", "atexit_sleep_ms=0") // a second per command otherwise
					// Else the go command leaves a process of its own behind that writes into
					// this folder while it is removed.
					telemetry := filepath.Join(env.WorkDir, "config", "go", "telemetry")
					if err := os.MkdirAll(telemetry, 0o700); err != nil {
						return err
					}
					return os.WriteFile(filepath.Join(telemetry, "mode"), []byte("off"), 0o600)
				},
			})
		})
	}
}

// proxyCli runs proxyCli, which must succeed, or fail after "!".
func proxyCli(ts *testscript.TestScript, neg bool, args []string) {
	err := ts.Exec("proxyCli", args...)
	switch {
	case neg && err == nil:
		ts.Fatalf("it succeeded")
	case !neg:
		ts.Check(err)
	}
}

// exits runs a command that must exit with a code: exits CODE COMMAND…
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE COMMAND...")
	}
	code := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		exit, ok := errors.AsType[*exec.ExitError](err)
		if !ok {
			ts.Fatalf("%v", err)
		}
		code = exit.ExitCode()
	}
	if strconv.Itoa(code) != args[0] {
		ts.Fatalf("exit code %d, want %s", code, args[0])
	}
}

// call calls a function's own service and prints its answer, unless its process exits:
// call NAME [PATH]
func call(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 {
		ts.Fatalf("usage: call NAME [PATH]")
	}
	client := transport.NewAgent(transport.HTTP, ts.Getenv("RYO_PROXY"))
	defer func() { _ = client.Close() }()
	ctx, cancel := context.WithTimeout(context.Background(), callLimit)
	defer cancel()
	rows, err := client.Details(ctx)
	ts.Check(err)
	for _, r := range rows {
		if r.GetName() != args[0] {
			continue
		}
		answer, err := get(ctx, r.GetProxy()+"/"+proto.Path(args[0])+strings.Join(args[1:], ""))
		if err == nil {
			_, err = io.WriteString(ts.Stdout(), answer)
			ts.Check(err)
		}
		return
	}
	ts.Fatalf("there is no function %s", args[0])
}

// binary writes a file that is no text: binary FILE
func binary(ts *testscript.TestScript, _ bool, args []string) {
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte("k\xff\xfey"), 0o600))
}

func get(ctx context.Context, url string) (answer string, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return "", err
	}
	rsp, err := plainClient(nil).Do(req)
	if err != nil {
		return "", err
	}
	defer func() { _ = rsp.Body.Close() }()
	body, err := io.ReadAll(rsp.Body)
	return string(body), err
}

// callLimit is how long a call in a script may take on a busy machine.
const callLimit = 30 * time.Second

// What an interrupt does not end is said by commands that change something alone.
func TestInterruptedCommandsSayWhatGoesOn(t *testing.T) {
	_, addr := openStage(t)
	ctx, interrupt := context.WithCancel(t.Context())
	interrupt()
	for args, want := range map[string]string{
		"list":            "error: interrupted\n",
		"log F -f":        "error: interrupted\n",
		"agents rm a1":    "error: interrupted\n",
		"rm F":            "error: interrupted\nhint: an agent that has begun goes on; proxyCli list -all shows what is left\n",
		"invoke F":        "error: interrupted\nhint: the function is told that its caller is gone, and may go on\n",
		"apply f.json":    "error: interrupted\nhint: what has begun goes on; proxyCli details shows how it ends\n",
		"scale F 2":       "error: interrupted\nhint: the proxy goes on; proxyCli details shows which agents have it\n",
		"agents drain a1": "error: interrupted\nhint: the agent stays drained; proxyCli agents shows what is left there, and agents resume ends it\n",
		"promote F":       "error: interrupted\nhint: an agent that has begun goes on; proxyCli versions shows what serves\n",
	} {
		c := newConsole(false)
		assert.Equal(t, exitInterrupted, c.run(ctx, append(strings.Fields(args), "-proxy", addr)), args)
		assert.Equal(t, want, c.stderr.String(), args)
	}
	known := newConsole(false).root()
	for name := range goesOn {
		found, rest, err := known.Find(strings.Fields(name))
		assert.NoError(t, err)
		assert.Empty(t, rest, name)
		assert.Equal(t, "proxyCli "+name, found.CommandPath())
	}
}

func TestInterruptEndsCleanly(t *testing.T) {
	s, addr := openStage(t)
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(dir+"/slow.go", []byte("package slow\n\nimport \"net/http\"\n\nfunc Slow(w http.ResponseWriter, r *http.Request) {}\n"), 0o600))
	for _, kind := range []transport.Kind{transport.RPC, transport.HTTP} {
		var stdout, stderr bytes.Buffer
		cmd := exec.CommandContext(t.Context(), filepath.Join(program(t), "proxyCli"), "deploy", "-q", "-wait", "-proxy", addr, "-transport", string(kind), dir)
		cmd.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0")
		cmd.Stdout, cmd.Stderr = &stdout, &stderr
		require.NoError(t, cmd.Start())
		select {
		case <-s.arrived:
		case <-time.After(callLimit):
			t.Fatal("the deploy did not arrive")
		}
		require.NoError(t, cmd.Process.Signal(syscall.SIGINT))
		_ = cmd.Wait()
		assert.Equal(t, exitInterrupted, cmd.ProcessState.ExitCode())
		assert.Empty(t, stdout.String())
		assert.Equal(t, "error: interrupted\nhint: an agent that has begun the deploy goes on with it; proxyCli details shows how it ends\n", stderr.String())
	}
}
