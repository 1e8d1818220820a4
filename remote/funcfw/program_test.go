package funcfw_test

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/fstest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/Ishan27g/ryo-faas/internal/testkit"
	"github.com/Ishan27g/ryo-faas/remote/funcfw"
)

// patience is for machines under load; nothing waits for it when all is well.
const patience = testkit.Patience

// here is the platform of the go command that runs the tests.
func here() funcfw.Platform {
	return funcfw.Platform{GOOS: runtime.GOOS, GOARCH: runtime.GOARCH, GoVersion: runtime.Version()}
}

// files is a source tree: path → content.
type files map[string]string

func (f files) fs() fstest.MapFS {
	m := fstest.MapFS{}
	for name, text := range f {
		m[name] = &fstest.MapFile{Data: []byte(text)}
	}
	return m
}

// write puts the tree into a new folder.
func (f files) write(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	for name, text := range f {
		at := filepath.Join(root, filepath.FromSlash(name))
		require.NoError(t, os.MkdirAll(filepath.Dir(at), 0o755))
		require.NoError(t, os.WriteFile(at, []byte(text), 0o644))
	}
	return root
}

// goBuild checks, generates and builds a function as an agent does, and returns
// the program and what the go command said.
func goBuild(t *testing.T, src files, dir, name string) (program, output string, err error) {
	t.Helper()
	if testing.Short() {
		t.Skip("builds programs")
	}
	root, work := src.write(t), t.TempDir()
	target, err := funcfw.Check(os.DirFS(root), funcfw.Spec{Dir: dir, Name: name}, here())
	require.NoError(t, err)
	g, err := funcfw.Generate(os.DirFS(root), target, here())
	require.NoError(t, err)

	layout, err := g.Layout(root, work)
	require.NoError(t, err)
	for name, text := range layout {
		file := filepath.Join(work, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o700))
		require.NoError(t, os.WriteFile(file, text, 0o600))
	}
	program = filepath.Join(work, "fn")
	goCommand := func(mod string) (string, error) {
		cmd := exec.CommandContext(t.Context(), "go", "build", mod, "-modfile="+filepath.Join(work, "go.mod"),
			"-overlay="+filepath.Join(work, "overlay.json"), "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", program, g.Main)
		cmd.Dir = filepath.Join(root, filepath.FromSlash(g.ModuleRoot))
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=", "GOENV=off", "GOWORK=off", "GO111MODULE=on", "GOTOOLCHAIN=local", "GOGC=off")
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	output, err = goCommand("-mod=readonly")
	if err != nil && strings.Contains(output, "updates to go.mod needed") {
		output, err = goCommand("-mod=mod")
	}
	return program, output, err
}

func mustBuild(t *testing.T, src files, dir, name string) string {
	t.Helper()
	program, output, err := goBuild(t, src, dir, name)
	require.NoError(t, err, output)
	return program
}

// process is a program that runs as an agent runs it.
type process struct {
	cmd        *exec.Cmd
	base       string // of the TCP listener and the mount
	addr, unix string
	control    net.Conn
	client     *http.Client
	output     *output
	exit       error
	done       chan struct{}
}

// output collects what a process prints.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// start runs a function of a program on two listeners and a control connection, until it says
// that it is ready.
func start(t *testing.T, program, fn string, env ...string) *process {
	t.Helper()
	p := launch(t, program, fn, env...)
	require.NoError(t, p.control.SetDeadline(time.Now().Add(patience)))
	resp := p.health(t)
	require.Equal(t, http.StatusOK, resp.StatusCode, p.output)
	return p
}

// health asks over the control connection.
func (p *process) health(t *testing.T) *http.Response {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{
		DialContext: func(context.Context, string, string) (net.Conn, error) { return unclosed{p.control}, nil },
	}}
	resp, err := client.Get("http://function/_ryo/healthz")
	require.NoError(t, err, p.output)
	_, err = io.Copy(io.Discard, resp.Body)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	client.CloseIdleConnections()
	return resp
}

// unclosed is a connection that outlives its client.
type unclosed struct{ net.Conn }

func (unclosed) Close() error { return nil }

func launch(t *testing.T, program, fn string, env ...string) *process {
	t.Helper()
	mount := "/" + strings.ToLower(fn)
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = tcp.Close() })
	socket := filepath.Join(t.TempDir(), "s")
	unix, err := net.Listen("unix", socket)
	require.NoError(t, err)
	t.Cleanup(func() { _ = unix.Close() })
	pair, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	require.NoError(t, err)
	syscall.CloseOnExec(pair[0])
	syscall.CloseOnExec(pair[1])
	ours, theirs := os.NewFile(uintptr(pair[0]), "control"), os.NewFile(uintptr(pair[1]), "control")
	tcpFile, err := tcp.(*net.TCPListener).File()
	require.NoError(t, err)
	unixFile, err := unix.(*net.UnixListener).File()
	require.NoError(t, err)
	p := &process{
		addr: tcp.Addr().String(), unix: socket, base: "http://" + tcp.Addr().String() + mount,
		output: new(output), done: make(chan struct{}), client: &http.Client{Transport: &http.Transport{}, Timeout: patience},
	}
	p.control, err = net.FileConn(ours)
	require.NoError(t, err)
	t.Cleanup(func() { _ = p.control.Close() })

	p.cmd = exec.Command(program)
	p.cmd.Env = append([]string{"RYO_FUNCTION=" + fn, "RYO_MOUNT=" + mount, "RYO_LISTEN=2", "RYO_DRAIN=10s"}, env...)
	p.cmd.ExtraFiles = []*os.File{tcpFile, unixFile, theirs}
	p.cmd.Stdout, p.cmd.Stderr = p.output, p.output
	require.NoError(t, p.cmd.Start())
	for _, f := range []*os.File{ours, theirs, tcpFile, unixFile} {
		require.NoError(t, f.Close())
	}
	go func() {
		p.exit = p.cmd.Wait()
		close(p.done)
	}()
	t.Cleanup(func() {
		p.client.CloseIdleConnections()
		_ = p.cmd.Process.Kill()
		<-p.done
	})
	return p
}

// wait waits until the process has exited.
func (p *process) wait(t *testing.T) error {
	t.Helper()
	select {
	case <-p.done:
		return p.exit
	case <-time.After(patience):
		require.FailNow(t, "the process goes on", p.output)
		return nil
	}
}

// get returns the status and the body of an answer.
func (p *process) get(t *testing.T, path string) (int, string) {
	t.Helper()
	resp, err := p.client.Get(p.base + path)
	require.NoError(t, err, p.output)
	defer func() { require.NoError(t, resp.Body.Close()) }()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp.StatusCode, string(body)
}

// raw sends a request line as it stands and returns the body of the answer.
func (p *process) raw(t *testing.T, network, addr, target string) string {
	t.Helper()
	conn, err := net.DialTimeout(network, addr, patience)
	require.NoError(t, err)
	defer func() { require.NoError(t, conn.Close()) }()
	require.NoError(t, conn.SetDeadline(time.Now().Add(patience)))
	_, err = io.WriteString(conn, "GET "+target+" HTTP/1.0\r\n\r\n")
	require.NoError(t, err)
	all, err := io.ReadAll(conn)
	require.NoError(t, err)
	_, body, _ := strings.Cut(string(all), "\r\n\r\n")
	return body
}
