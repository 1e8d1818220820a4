package e2e

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/Ishan27g/ryo-faas/cli"
	"github.com/Ishan27g/ryo-faas/internal/testkit"
	"github.com/Ishan27g/ryo-faas/proxy"
	"github.com/Ishan27g/ryo-faas/remote"
	"github.com/Ishan27g/ryo-faas/remote/process"
)

// program names the program that a process of this binary shall be.
const program = "E2E_PROGRAM"

var mains = map[string]func([]string, io.Reader, io.Writer, io.Writer) int{
	"agent": remote.Main, "proxy": proxy.Main, "proxyCli": cli.Main,
	"crowd": crowdMain, // not one of ours
}

func TestMain(m *testing.M) {
	guarded := testkit.Guarded(clean{m})
	if code, holder := process.HolderMain(os.Args); holder {
		os.Exit(code)
	}
	if run, ok := mains[os.Getenv(program)]; ok {
		os.Exit(run(append([]string{os.Getenv(program)}, os.Args[1:]...), os.Stdin, os.Stdout, os.Stderr))
	}
	testkit.ShortRun(crowded)
	if most := flag.Lookup("test.parallel"); !testkit.Race && most.Value.String() == most.DefValue {
		_ = most.Value.Set(strconv.Itoa(2 * runtime.GOMAXPROCS(0))) // these wait for processes most of the time
	}
	os.Exit(guarded.Run())
}

// clean removes the programs that tests were given.
type clean struct{ *testing.M }

func (c clean) Run() int {
	defer os.RemoveAll(filepath.Join(os.TempDir(), programFolder))
	return c.M.Run()
}

// crowded are the tests in which much happens at the same time in all programs: those that are
// left of a -short run, for the race detector above all.
const crowded = "LifeUnderLoad|DeploysAtOnce"

const patience = testkit.BuildPatience

// programFolder is below the folder of temporary files that a run of tests has to itself.
const programFolder = "programs"

// built makes the programs as users have them, once. This test could stand in for them, but it
// is so much larger that the start of each process would take three times as long.
var built = sync.OnceValues(func() (string, error) {
	dir := filepath.Join(os.TempDir(), programFolder)
	output, err := exec.CommandContext(context.Background(), "go", "build", "-buildvcs=false", "-ldflags=-w", "-o", dir+string(filepath.Separator), "../agent", "../proxy", "../proxyCli").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("build the programs: %w\n%s", err, output)
	}
	return dir, nil
})

// executable is the file of a program: of what is not ours, and under the race detector, this
// test itself, which is told by the environment what to be.
func executable(name string) (string, error) {
	if testkit.Race || name == "crowd" {
		return os.Args[0], nil
	}
	dir, err := built()
	return filepath.Join(dir, name), err
}

// command is a program that is not started yet, in an environment without the user's
// settings. An agent stops its functions when it stops, unless -stop-functions=false
// says otherwise: nothing outlives a test.
func command(ctx context.Context, name string, args ...string) *exec.Cmd {
	file, err := executable(name)
	cmd := exec.CommandContext(ctx, file, args...)
	if err != nil {
		cmd.Err = err
	}
	for _, kv := range os.Environ() {
		if !strings.HasPrefix(kv, "RYO_") {
			cmd.Env = append(cmd.Env, kv)
		}
	}
	// The race detector would have each process wait a second at its end.
	cmd.Env = append(cmd.Env, program+"="+name, "CI=", "RYO_STOP_FUNCTIONS=true", "GORACE=atexit_sleep_ms=0")
	cmd.WaitDelay = time.Second
	return cmd
}

// server is a running agent or proxy.
type server struct {
	t    *testing.T
	cmd  *exec.Cmd
	done chan struct{}

	mu     sync.Mutex
	output bytes.Buffer // stdout and stderr
	starts int          // how often it has said that it has started
}

func (s *server) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.output.Write(p)
}

func (s *server) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.output.String()
}

// startedLine is the last line that a program prints once it serves.
var startedLine = regexp.MustCompile(`^(GRPC server|Engine) started on `)

// launch starts a server and returns it once it serves. It is stopped with the test.
func launch(t *testing.T, cmd *exec.Cmd) *server {
	t.Helper()
	s := &server{t: t, cmd: cmd, done: make(chan struct{})}
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	cmd.Stderr = s
	require.NoError(t, cmd.Start())
	started := make(chan struct{})
	go func() {
		defer close(s.done)
		lines := bufio.NewScanner(stdout)
		for lines.Scan() {
			_, _ = s.Write(append(lines.Bytes(), '\n'))
			if startedLine.MatchString(lines.Text()) && s.start() == 1 {
				close(started)
			}
		}
		_ = cmd.Wait()
	}()
	t.Cleanup(func() {
		s.end()
		assert.NotContains(t, s.String(), "WARNING: DATA RACE")
		assert.NotContains(t, s.String(), "panic serving")
		if t.Failed() {
			t.Logf("%s said:\n%s", cmd.Args, s)
		}
	})
	select {
	case <-started:
	case <-s.done:
		t.Fatalf("%s ended: %s", cmd.Args, s)
	case <-time.After(patience):
		t.Fatalf("%s did not start: %s", cmd.Args, s)
	}
	return s
}

// start counts the starts: an agent that is upgraded starts again.
func (s *server) start() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.starts++
	return s.starts
}

// started is how often the server has started.
func (s *server) started() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.starts
}

// end asks the server to stop and waits until it has exited.
func (s *server) end() {
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-s.done:
	case <-time.After(patience):
		s.t.Errorf("%s did not end", s.cmd.Args)
		s.kill()
	}
}

// kill kills the server.
func (s *server) kill() {
	_ = s.cmd.Process.Kill()
	<-s.done
}

// said returns what a pattern's group matched in the server's output.
func (s *server) said(pattern string) string {
	s.t.Helper()
	m := regexp.MustCompile(pattern).FindStringSubmatch(s.String())
	require.NotNil(s.t, m, "%s in %s", pattern, s)
	return m[1]
}

// cache is the build cache that all tests of this machine share.
func cache(t *testing.T) string {
	t.Helper()
	dir, err := os.UserCacheDir()
	require.NoError(t, err)
	return filepath.Join(dir, "ryo-faas-test")
}

// agent is a running agent.
type agent struct {
	*server
	addr string // localhost:port, for gRPC and HTTP
	dir  string
}

// temp is the path of a temporary file of a function's first version.
func (a agent) temp(function, name string) string {
	return filepath.Join(a.dir, "agent", "functions", strings.ToLower(function), "1", "tmp", name)
}

// startAgent starts an agent; "" for dir gives it a folder, "" for port any port.
func startAgent(t *testing.T, dir, port string, args ...string) agent {
	t.Helper()
	if dir == "" {
		dir = t.TempDir()
	}
	testkit.SharePrograms(t, filepath.Join(dir, "agent", "programs"))
	if port == "" {
		port = "0"
	}
	t.Cleanup(func() { // of an agent that was killed
		_, err := process.Leftovers(context.Background(), dir)
		assert.NoError(t, err)
	})
	args = append([]string{"-port", "127.0.0.1:" + port, "-dir", dir, "-cache", cache(t), "-stop-functions"}, args...)
	cmd := command(context.Background(), "agent", args...)
	cmd.Dir = t.TempDir() // where nothing is
	s := launch(t, cmd)
	return agent{s, "localhost:" + s.said(`HTTP started on \S*:(\d+)`), dir}
}

// gateway is a running proxy.
type gateway struct {
	*server
	http, rpc string // localhost:port
	dir       string
}

func startProxy(t *testing.T, dir string, args ...string) gateway {
	t.Helper()
	if dir == "" {
		dir = t.TempDir()
	}
	args = append([]string{"-http", "127.0.0.1:0", "-rpc", "127.0.0.1:0", "-dir", dir}, args...)
	cmd := command(context.Background(), "proxy", args...)
	cmd.Dir = t.TempDir()
	s := launch(t, cmd)
	return gateway{s, "localhost:" + s.said(`HTTP started on \S*:(\d+)`), "localhost:" + s.said(`GRPC server started on \S*:(\d+)`), dir}
}

// result is what a command printed, and its exit code.
type result struct {
	stdout, stderr string
	code           int
}

// proxyCli runs the command line to its end in a folder.
func proxyCli(t *testing.T, dir string, args ...string) result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := command(ctx, "proxyCli", args...)
	cmd.Dir = dir
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if exit := (*exec.ExitError)(nil); !errors.As(err, &exit) {
		require.NoError(t, err)
	}
	return result{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}

// row is what an answer says about one function.
type row struct {
	Name, Status, URL, Proxy, AtAgent, Error, Reason, Socket string
	Instances, Generation, Restarts, Pid                     int
}

// fetch makes one HTTP call on a connection of its own.
func fetch(t *testing.T, method, url, body string) (status int, answer string) {
	t.Helper()
	status, answer, err := tryFetch(method, url, body)
	require.NoError(t, err)
	return status, answer
}

func tryFetch(method, url, body string) (status int, answer string, err error) {
	req, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		return 0, "", err
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}
	rsp, err := client.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer rsp.Body.Close()
	data, err := io.ReadAll(rsp.Body)
	return rsp.StatusCode, string(data), err
}

// rows calls a management URL and returns its rows.
func rows(t *testing.T, method, url, body string) []row {
	t.Helper()
	status, answer := fetch(t, method, url, body)
	require.Equal(t, http.StatusOK, status, answer)
	var list []row
	require.NoError(t, json.Unmarshal([]byte(answer), &list), answer)
	return list
}

// deploy deploys a folder through an agent or a proxy and waits for the outcome.
func deploy(t *testing.T, at, name, dir string, toAgent ...string) row {
	t.Helper()
	body, err := json.Marshal([]map[string]any{{"name": name, "dir": dir, "toAgent": toAgent}})
	require.NoError(t, err)
	list := rows(t, http.MethodPost, "http://"+at+"/deploy?wait=true", string(body))
	require.NotEmpty(t, list)
	return list[0]
}

// mustDeploy is deploy of a function that must come up.
func mustDeploy(t *testing.T, at, name, dir string, toAgent ...string) row {
	t.Helper()
	r := deploy(t, at, name, dir, toAgent...)
	require.Equal(t, "Deployed", r.Status, r.Error)
	return r
}

// find returns the row of a function, if there is one.
func find(list []row, name string) (row, bool) {
	for _, r := range list {
		if r.Name == name {
			return r, true
		}
	}
	return row{}, false
}

// eventually waits for a condition that nothing announces.
func eventually(t *testing.T, is func() bool, what string, args ...any) {
	t.Helper()
	require.Eventually(t, is, patience, 10*time.Millisecond, append([]any{what}, args...)...)
}

// alive reports whether a process is there.
func alive(pid int) bool { return syscall.Kill(pid, 0) == nil }

// refused asserts that nobody listens at an address.
func refused(t *testing.T, addr string) {
	t.Helper()
	conn, err := net.DialTimeout("tcp", addr, time.Second)
	if err == nil {
		_ = conn.Close()
	}
	assert.ErrorIs(t, err, syscall.ECONNREFUSED)
}

// repository is the root of this module's checkout.
func repository(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs("../..")
	require.NoError(t, err)
	return dir
}
