package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/transport"
)

const (
	function = "HelloWorld" // of example/hello
	module   = "github.com/Ishan27g/ryo-faas"

	startLimit = 30 * time.Second       // for a process to say that it listens
	stopLimit  = 15 * time.Second       // for a process to exit after SIGTERM
	pollEvery  = 200 * time.Microsecond // while waiting for an answer that is measured
	lookEvery  = 5 * time.Millisecond   // while waiting for anything else

	// functionPorts is enough for some thousand functions, below the ports of outgoing
	// connections.
	functionPorts = "20000-29999"
)

// process is a process of a program that bench has started.
type process struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when it has exited
}

// start runs a program in a process group of its own, which Ctrl-C does not reach: only
// stop stops it. The caller reads its stdout; its stderr goes to a file.
func start(log, path string, args ...string) (*process, io.Reader, error) {
	stderr, err := os.Create(log)
	if err != nil {
		return nil, nil, err
	}
	defer stderr.Close()
	// A pipe of our own: Wait closes the one of StdoutPipe while it is being read.
	stdout, w, err := os.Pipe()
	if err != nil {
		return nil, nil, err
	}
	defer w.Close()
	cmd := exec.Command(path, args...)
	cmd.Stdout, cmd.Stderr = w, stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return nil, nil, err
	}
	p := &process{cmd: cmd, done: make(chan struct{})}
	go func() {
		_ = cmd.Wait() // its log tells why
		close(p.done)
	}()
	return p, stdout, nil
}

func (p *process) pid() int { return p.cmd.Process.Pid }

// stop stops the process: SIGTERM, and SIGKILL after stopLimit.
func (p *process) stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(stopLimit):
		_ = p.cmd.Process.Kill()
		<-p.done
	}
}

// agent is an agent with a client of its own.
type agent struct {
	*process
	addr   string
	client *transport.Client
}

// stack is an agent, a proxy and what is needed to talk to them.
type stack struct {
	root string // of the repository
	dir  string // temporary; everything lies below it

	agent                *agent
	proxy                *process
	proxyHTTP, proxyGRPC string
	client               *transport.Client // of the proxy

	http  *http.Client
	hello *hello // what is deployed
	says  string // what it answers
}

// newStack builds the three programs and starts agent and proxy. Callers must close it,
// even after an error.
func newStack(ctx context.Context, say func(string, ...any)) (s *stack, err error) {
	s = &stack{http: &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}}
	root, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", module).Output()
	if err != nil {
		return s, fmt.Errorf("find the repository: %w; run bench inside it", err)
	}
	s.root = strings.TrimSpace(string(root))
	if s.dir, err = os.MkdirTemp("", "ryo-bench-"); err != nil {
		return s, err
	}
	say("building agent, proxy and proxyCli")
	build := exec.CommandContext(ctx, "make", "BIN="+s.dir)
	build.Dir = s.root
	if out, err := build.CombinedOutput(); err != nil {
		return s, fmt.Errorf("build the programs: %w\n%s", err, out)
	}

	if s.agent, err = s.newAgent(ctx, "agent-first"); err != nil {
		return s, err
	}
	if err := writeCertificate(s.certificate()); err != nil {
		return s, err
	}
	var addrs []string
	s.proxy, addrs, err = s.serve(ctx, "proxy", "proxy", s.proxyArgs(filepath.Join(s.dir, "proxy.state"))...)
	if err != nil {
		return s, err
	}
	s.proxyHTTP, s.proxyGRPC = addrs[0], addrs[1]
	s.client = transport.NewAgent(transport.RPC, s.proxyGRPC)
	return s, nil
}

func (s *stack) certificate() string { return filepath.Join(s.dir, "tls.pem") }

// proxyArgs are the flags of a proxy whose state lies in a folder.
func (s *stack) proxyArgs(dir string) []string {
	return []string{
		"-http", "127.0.0.1:0", "-rpc", "127.0.0.1:0", "-dir", dir, "-agents", s.agent.addr, "-shared",
		"-tls-cert", s.certificate(), "-tls-key", s.certificate(), "-access-log", filepath.Join(dir, "access.log"),
	}
}

// newAgent starts an agent with a folder of its own. All agents share a build cache.
func (s *stack) newAgent(ctx context.Context, name string, args ...string) (*agent, error) {
	p, addrs, err := s.serve(ctx, "agent", name, append([]string{
		"-port", "127.0.0.1:0", "-dir", filepath.Join(s.dir, name), "-cache", filepath.Join(s.dir, "cache"),
		"-ports", functionPorts, "-stop-functions",
	}, args...)...)
	if err != nil {
		return nil, err
	}
	return &agent{process: p, addr: addrs[0], client: transport.NewAgent(transport.RPC, addrs[0])}, nil
}

func (a *agent) close() error {
	err := a.client.Close()
	a.stop()
	return err
}

// serve starts a program, with name for its log, and returns the addresses that it
// prints: for HTTP, then for gRPC.
func (s *stack) serve(ctx context.Context, path, name string, args ...string) (*process, []string, error) {
	log := filepath.Join(s.dir, name+".log")
	p, stdout, err := start(log, filepath.Join(s.dir, path), args...)
	if err != nil {
		return nil, nil, err
	}
	addrs := make(chan []string, 1)
	go func() {
		defer close(addrs)
		var found []string
		for lines := bufio.NewScanner(stdout); lines.Scan(); {
			if _, addr, ok := strings.Cut(lines.Text(), " started on "); ok {
				if found = append(found, addr); len(found) == 2 {
					addrs <- found
				}
			}
		}
	}()
	select {
	case found, ok := <-addrs:
		if ok {
			return p, found, nil
		}
		err = errors.New("it exited")
	case <-ctx.Done():
		err = ctx.Err()
	case <-time.After(startLimit):
		err = errors.New("it did not say where it listens")
	}
	p.stop()
	text, _ := os.ReadFile(log)
	return nil, nil, fmt.Errorf("start %s: %w\n%s", name, err, text)
}

// close stops the processes, and functions with them, and removes the folder.
func (s *stack) close() error {
	var errs []error
	if s.client != nil {
		errs = append(errs, s.client.Close())
	}
	if s.proxy != nil {
		s.proxy.stop()
	}
	if s.agent != nil {
		errs = append(errs, s.agent.close())
	}
	if s.dir != "" {
		errs = append(errs, os.RemoveAll(s.dir))
	}
	return errors.Join(errs...)
}

// row is the row of a function on the first agent.
func (s *stack) row(ctx context.Context, name string) (*proto.FunctionJsonRsp, error) {
	rows, err := s.agent.client.Details(ctx)
	if err != nil {
		return nil, err
	}
	for _, row := range rows {
		if row.GetName() == name {
			return row, nil
		}
	}
	return nil, fmt.Errorf("%s is not deployed", name)
}

// settle deploys functions and waits until all are Deployed.
func settle(ctx context.Context, at *transport.Client, fns ...*proto.FunctionJson) ([]*proto.FunctionJsonRsp, error) {
	for _, fn := range fns {
		fn.Wait = true
	}
	rows, err := at.Deploy(ctx, fns...)
	if err != nil {
		return nil, err
	}
	var errs []error
	for _, row := range rows {
		if proto.Status(row.GetStatus()) != proto.Deployed {
			errs = append(errs, fmt.Errorf("%s at %s is %s: %s", row.GetName(), row.GetAtAgent(), row.GetStatus(), row.GetError()))
		}
	}
	return rows, errors.Join(errs...)
}

// url is a function's url at the proxy.
func (s *stack) url(name string) string {
	return "http://" + s.proxyHTTP + "/functions/" + proto.Path(name)
}

// get expects a 200 and, unless want is empty, this body.
func (s *stack) get(url, want string) error {
	body, err := s.fetch(url)
	if err == nil && want != "" && body != want {
		err = fmt.Errorf("GET %s: %q, want %q", url, body, want)
	}
	return err
}

// fetch expects a 200 and returns the body.
func (s *stack) fetch(url string) (string, error) {
	rsp, err := s.http.Get(url)
	if err != nil {
		return "", err
	}
	defer rsp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(rsp.Body, 1<<10))
	if err == nil && rsp.StatusCode != http.StatusOK {
		err = fmt.Errorf("GET %s: %s, %q", url, rsp.Status, body)
	}
	return string(body), err
}

// poll tries until there is no error or ctx is canceled.
func poll(ctx context.Context, every time.Duration, try func() error) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		err := try()
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", ctx.Err(), err)
		}
	}
}

// freeAddr is a loopback address on which nobody listened a moment ago.
func freeAddr() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}
