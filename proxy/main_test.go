package proxy

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/Ishan27g/ryo-faas/internal/testkit"
	"github.com/Ishan27g/ryo-faas/transport"
)

// TestMain lets the test binary be the program, so that tests run real processes.
func TestMain(m *testing.M) {
	guarded := testkit.Guarded(m)
	if os.Getenv("PROXY_TEST_MAIN") != "" {
		os.Exit(Main(os.Args, os.Stdin, os.Stdout, os.Stderr))
	}
	goleak.VerifyTestMain(guarded)
}

// process is a proxy in a process of its own.
type process struct {
	*exec.Cmd
	stderr bytes.Buffer // to be read after Wait
	http   string
}

// spawn starts a proxy on free ports and waits until it serves.
func spawn(t *testing.T, args ...string) *process {
	t.Helper()
	p := &process{Cmd: exec.Command(os.Args[0], append([]string{"-http", "127.0.0.1:0", "-rpc", "127.0.0.1:0"}, args...)...)}
	p.Env = append(os.Environ(), "PROXY_TEST_MAIN=1")
	p.Stderr = &p.stderr
	stdout, err := p.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, p.Start())
	t.Cleanup(func() { _ = p.Process.Kill() })
	lines := bufio.NewScanner(stdout)
	require.True(t, lines.Scan(), "it prints its first line")
	addr, ok := strings.CutPrefix(lines.Text(), "HTTP started on ")
	require.True(t, ok, lines.Text())
	p.http = addr
	require.True(t, lines.Scan())
	assert.Regexp(t, `^GRPC server started on 127\.0\.0\.1:\d+$`, lines.Text())
	return p
}

func TestServesUntilSIGTERM(t *testing.T) {
	n := newNode(t)
	p := spawn(t, "-dir", t.TempDir(), "-agents", n.addr)
	c := transport.NewAgent(transport.HTTP, p.http)
	defer c.Close()
	rows, err := c.Deploy(t.Context(), source(t, "Hello"))
	require.NoError(t, err)
	assert.Equal(t, []string{"Hello Deployed " + n.addr}, deployedAt(rows))
	res, err := client(t).Get("http://" + p.http + "/functions/hello")
	require.NoError(t, err)
	assert.Equal(t, n.addr+"/hello", bodyOf(t, res))
	require.Eventually(t, func() bool { // a caller has its answer before the call has ended
		res, err := client(t).Get("http://" + p.http + "/metrics")
		require.NoError(t, err)
		return strings.Contains(bodyOf(t, res), `,function="Hello",reason="",status="2xx",version="1"} 1`)
	}, patience, time.Millisecond)

	require.NoError(t, p.Process.Signal(syscall.SIGTERM))
	require.NoError(t, p.Wait(), "it exits with 0")
	assert.NotContains(t, p.stderr.String(), "INSECURE")
}

// net/http has a logger of its own for functions that speak unasked.
func TestAllThatIsLoggedHasOneForm(t *testing.T) {
	n := newNode(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	n.service = "http://" + l.Addr().String()
	p := spawn(t, "-dir", t.TempDir(), "-agents", n.addr)
	c := transport.NewAgent(transport.HTTP, p.http)
	defer c.Close()
	_, err = c.Deploy(t.Context(), source(t, "Hello"))
	require.NoError(t, err)

	answered := make(chan *http.Response, 1)
	go func() {
		res, err := http.Post("http://"+p.http+"/functions/hello", "", io.MultiReader(strings.NewReader("body"))) // in chunks
		if assert.NoError(t, err) {
			res.Body.Close()
		}
		answered <- res
	}()
	conn, err := l.Accept()
	require.NoError(t, err)
	defer conn.Close()
	in := bufio.NewReader(conn)
	r, err := http.ReadRequest(in)
	require.NoError(t, err)
	_, _ = io.Copy(io.Discard, r.Body)
	fmt.Fprint(conn, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
	<-answered
	fmt.Fprint(conn, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")
	_, err = in.ReadByte()
	require.Error(t, err, "the proxy closes the connection")

	require.NoError(t, p.Process.Signal(syscall.SIGTERM))
	require.NoError(t, p.Wait())
	for line := range strings.Lines(p.stderr.String()) {
		assert.Regexp(t, `^\S+ \[[A-Z]+\] +proxy: `, line)
	}
}

func TestCallsInFlightAreDrained(t *testing.T) {
	n := newNode(t)
	started, release := make(chan struct{}), make(chan struct{})
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		close(started)
		<-release
		fmt.Fprint(w, "done")
	}))
	defer srv.Close()
	n.service = srv.URL
	p := spawn(t, "-dir", t.TempDir(), "-agents", n.addr)
	c := transport.NewAgent(transport.HTTP, p.http)
	defer c.Close()
	_, err := c.Deploy(t.Context(), source(t, "Hello"))
	require.NoError(t, err)

	conn, err := net.Dial("tcp", p.http)
	require.NoError(t, err)
	defer conn.Close()
	require.NoError(t, conn.SetDeadline(time.Now().Add(patience)))
	fmt.Fprint(conn, "GET /functions/hello HTTP/1.1\r\nHost: localhost\r\n\r\n")
	<-started
	require.NoError(t, p.Process.Signal(syscall.SIGINT))
	require.Eventually(t, func() bool { // it takes no further callers
		conn, err := net.Dial("tcp", p.http)
		if err == nil {
			conn.Close()
		}
		return err != nil
	}, patience, time.Millisecond)
	close(release)
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	require.NoError(t, err)
	assert.Equal(t, "done", bodyOf(t, res))
	conn.Close()
	require.NoError(t, p.Wait())
}

func TestSecondProxyOnAFolderNamesTheFirst(t *testing.T) {
	dir := t.TempDir()
	p := spawn(t, "-dir", dir)
	code, _, stderr := run("-http", "127.0.0.1:0", "-rpc", "127.0.0.1:0", "-dir", dir)
	assert.Equal(t, 1, code)
	assert.Contains(t, stderr, fmt.Sprint("in use by process ", p.Process.Pid))
	assert.Equal(t, 2, strings.Count(stderr, "\n"))
	require.NoError(t, p.Process.Signal(syscall.SIGTERM))
	require.NoError(t, p.Wait())
}

// A store that does not open is no reason to call no functions.
func TestAProxyWithoutItsStoreServes(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "proxy"), 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "proxy", engineFolder), nil, 0o600))
	p := spawn(t, "-dir", dir)
	about := func() string {
		res, err := client(t).Get("http://" + p.http + "/readyz")
		require.NoError(t, err)
		assert.Equal(t, http.StatusOK, res.StatusCode)
		return bodyOf(t, res)
	}
	assert.Contains(t, about(), `"store":{"status":"failed","error":"`)
	require.NoError(t, p.Process.Signal(syscall.SIGTERM))
	require.NoError(t, p.Wait())
	assert.Contains(t, p.stderr.String(), "nothing is stored, since the store does not open")

	require.NoError(t, os.Remove(filepath.Join(dir, "proxy", engineFolder)))
	p = spawn(t, "-dir", dir)
	assert.Contains(t, about(), `"store":{"status":"ready"}`)
	require.NoError(t, p.Process.Signal(syscall.SIGTERM))
	require.NoError(t, p.Wait())
}

// The store of a proxy that does not run is looked after by commands.
func TestCommandsOfTheStore(t *testing.T) {
	dir, file := t.TempDir(), filepath.Join(t.TempDir(), "records")
	p := spawn(t, "-dir", dir)
	for _, args := range [][]string{{"check"}, {"export", file}, {"export", "-"}, {"accept"}, {"restore"}} {
		code, _, stderr := run(append(append([]string{"engine"}, args...), "-dir", dir)...)
		assert.Equal(t, 1, code, args)
		assert.Contains(t, stderr, fmt.Sprint("in use by process ", p.Process.Pid), args)
	}
	require.NoError(t, p.Process.Signal(syscall.SIGTERM))
	require.NoError(t, p.Wait())

	succeeds := func(args ...string) string {
		t.Helper()
		code, stdout, stderr := run(append([]string{"engine"}, args...)...)
		require.Zero(t, code, stderr)
		return stdout
	}
	assert.Contains(t, succeeds("check", "-dir", dir), "functions 0\n")
	assert.Equal(t, "nothing is lost\n", succeeds("accept", "-dir", dir))
	assert.Empty(t, succeeds("export", file, "-dir", dir))
	info, err := os.Stat(file)
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o600), info.Mode())
	assert.Contains(t, succeeds("export", "-", "-dir", dir), `"format":1`)
	assert.Contains(t, succeeds("import", file, "-dir", t.TempDir()), "0 records are stored")
	assert.Contains(t, succeeds("restore", file, "-dir", dir), "what was there is in "+filepath.Join(dir, "proxy", engineFolder, "data.damaged-"))
	assert.Contains(t, succeeds("-h"), "proxy engine check")
	assert.Contains(t, succeeds("-h"), "proxy engine export FILE [flags] ")
	for says, args := range map[string][]string{
		"say what to do": {}, "needs a file": {"export"}, "is for import": {"check", "-replace"}, "hint: name another file, or remove this one": {"export", file, "-dir", dir},
		"there is no store in": {"check", "-dir", t.TempDir()}, "unexpected argument": {"mend"}, "no export of a store": {"import", os.Args[0], "-dir", dir},
	} {
		code, _, stderr := run(append([]string{"engine"}, args...)...)
		assert.NotZero(t, code, says)
		assert.Contains(t, stderr, says)
	}
}

func TestInsecureIsSaidLoudly(t *testing.T) {
	p := spawn(t, "-dir", t.TempDir(), "-insecure")
	require.NoError(t, p.Process.Signal(syscall.SIGTERM))
	require.NoError(t, p.Wait())
	assert.Contains(t, p.stderr.String(), "INSECURE")
}

// run calls Main for a command line that does not come to serve.
func run(args ...string) (code int, stdout, stderr string) {
	var out, errs bytes.Buffer
	code = Main(append([]string{"proxy"}, args...), strings.NewReader(""), &out, &errs)
	return code, out.String(), errs.String()
}

func TestWrongCommandLines(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer taken.Close()
	free := []string{"-http", "127.0.0.1:0", "-rpc", "127.0.0.1:0", "-dir", t.TempDir()}
	for _, tt := range []struct {
		args []string
		code int
		says string
	}{
		{[]string{"-htpp", ":1"}, 2, "-http"},
		{[]string{"-dir", t.TempDir(), "-http", taken.Addr().String()}, 1, "in use"},
		{[]string{"-dir", t.TempDir(), "-http", "127.0.0.1:0", "-rpc", taken.Addr().String()}, 1, "-rpc"},
		{[]string{"-dir", t.TempDir(), "-http", "nonsense"}, 2, "-http"},
		{[]string{"-dir", t.TempDir(), "-http", ":9002", "-rpc", "9002"}, 2, "-http and -rpc are the same address"},
		{append([]string{"-functions", ":9042,localhost:9042"}, free...), 2, "two of -functions are the same address"},
		{append([]string{"-url", "public:9002"}, free...), 2, "url"},
		{append([]string{"-functions", "nonsense"}, free...), 2, "-functions"},
		{append([]string{"-functions", "127.0.0.1:0," + taken.Addr().String()}, free...), 1, "-functions"},
		{append([]string{"-tls-cert", "cert.pem"}, free...), 2, "-tls-key"},
		{append([]string{"-tls-cert", "missing.pem", "-tls-key", "missing.pem"}, free...), 2, "missing.pem"},
		{append([]string{"-domain", "a.example"}, free...), 2, "-functions"},
		{append([]string{"-domain", "https://a.example", "-functions", ":0"}, free...), 2, "-domain"},
		{append([]string{"-trusted-proxies", "127.0.0.1"}, free...), 2, "-functions"},
		{append([]string{"-trusted-proxies", "localhost"}, free...), 2, "-trusted-proxies"},
		{append([]string{"-agents", "nowhere"}, free...), 2, "nowhere"},
		{append([]string{"-agents", "10.0.0.1:9000"}, free...), 1, "-insecure"},
	} {
		code, stdout, stderr := run(tt.args...)
		assert.Equal(t, tt.code, code, tt.args)
		assert.Empty(t, stdout)
		assert.Contains(t, stderr, tt.says)
		fault, hint, _ := strings.Cut(stderr, "\n")
		assert.True(t, strings.HasPrefix(fault, "proxy: "), stderr)
		assert.True(t, hint == "" || strings.HasPrefix(hint, "hint: ") && strings.Count(hint, "\n") == 1, stderr)
	}
}

func TestHelpAndVersion(t *testing.T) {
	code, stdout, _ := run("-help")
	assert.Equal(t, 0, code)
	for _, name := range []string{"-http", "-rpc", "-agents", "-dir", "-url", "-insecure", "-version", "RYO_AGENTS", ":9002", ":9001"} {
		assert.Contains(t, stdout, name)
	}
	code, stdout, _ = run("-version")
	assert.Equal(t, 0, code)
	assert.True(t, strings.HasPrefix(stdout, "proxy "))
}

// What a flag says wrongly is named with the flag, and is a usage error.
func TestWrongFlagsAreNamed(t *testing.T) {
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "")
	for flag, value := range map[string]string{
		"-agents": "nowhere", "-otlp-endpoint": "nowhere", "-access-log-sample": "2", "-trusted-proxies": "nowhere", "-allow-callbacks": "nowhere", "-trust": "nobody-of-this-name",
		"-deploy-hooks": "nowhere", "-unavailable": "perhaps", "-lost-after": "-1s", "-http": "nowhere",
	} {
		var stdout, stderr bytes.Buffer
		args := []string{"proxy", "-rpc", "127.0.0.1:0", "-functions", "127.0.0.1:0", "-dir", t.TempDir(), flag, value}
		if flag != "-http" {
			args = append(args, "-http", "127.0.0.1:0")
		}
		assert.Equal(t, 2, Main(args, nil, &stdout, &stderr), "%s: %s", flag, &stderr)
		assert.Contains(t, stderr.String(), flag, flag)
		assert.Empty(t, stdout.String(), flag)
	}
}
