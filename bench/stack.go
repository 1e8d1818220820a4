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

	startLimit = 30 * time.Second       // for a program to say that it listens
	stopLimit  = 15 * time.Second       // for a program to end after SIGTERM
	pollEvery  = 200 * time.Microsecond // while waiting for what is not announced
)

// program is one that was started here.
type program struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended
}

// start runs a program in a process group of its own, so that Ctrl-C reaches it
// through close alone. Its stdout is read by the caller, its stderr goes to a file.
func start(log, path string, args ...string) (*program, io.Reader, error) {
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
	p := &program{cmd: cmd, done: make(chan struct{})}
	go func() {
		_ = cmd.Wait() // how it ended is its log's to tell
		close(p.done)
	}()
	return p, stdout, nil
}

func (p *program) pid() int { return p.cmd.Process.Pid }

// close ends the program: SIGTERM, and SIGKILL when that does not help.
func (p *program) close() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(stopLimit):
		_ = p.cmd.Process.Kill()
		<-p.done
	}
}

// stack is an agent, a proxy and what is needed to talk to them.
type stack struct {
	root string // of the repository
	dir  string // temporary; everything lies below it

	agent, proxy         *program
	agentAddr            string
	proxyHTTP, proxyGRPC string
	client               *transport.Client // of the proxy
	atAgent              *transport.Client

	http *http.Client
	says string // what the function answers
}

// newStack builds the three programs and starts agent and proxy. close must be
// called in any case.
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
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-tags", "nomsgpack", "-o", s.dir,
		"./cmd/agent", "./cmd/proxy", "./cmd/proxyCli")
	build.Dir = s.root
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return s, fmt.Errorf("build the programs: %w\n%s", err, out)
	}

	state := filepath.Join(s.dir, "state")
	var addrs []string
	if s.agent, addrs, err = s.serve(ctx, "agent", "-port", "127.0.0.1:0", "-dir", state, "-stop-functions"); err != nil {
		return s, err
	}
	s.agentAddr = addrs[0]
	s.proxy, addrs, err = s.serve(ctx, "proxy", "-http", "127.0.0.1:0", "-rpc", "127.0.0.1:0",
		"-dir", state, "-agents", s.agentAddr)
	if err != nil {
		return s, err
	}
	s.proxyHTTP, s.proxyGRPC = addrs[0], addrs[1]
	s.client = transport.NewAgent(transport.RPC, s.proxyGRPC)
	s.atAgent = transport.NewAgent(transport.RPC, s.agentAddr)

	return s, nil
}

// serve starts a program and returns the addresses that it says it serves: for
// HTTP, then for gRPC.
func (s *stack) serve(ctx context.Context, name string, args ...string) (*program, []string, error) {
	log := filepath.Join(s.dir, name+".log")
	p, stdout, err := start(log, filepath.Join(s.dir, name), args...)
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
		err = errors.New("it ended")
	case <-ctx.Done():
		err = ctx.Err()
	case <-time.After(startLimit):
		err = errors.New("it did not say where it listens")
	}
	p.close()
	text, _ := os.ReadFile(log)
	return nil, nil, fmt.Errorf("start %s: %w\n%s", name, err, text)
}

// close stops the function, ends the programs and removes the folder.
func (s *stack) close(ctx context.Context) error {
	var errs []error
	if s.client != nil {
		ctx, cancel := context.WithTimeout(ctx, stopLimit)
		defer cancel()
		if _, err := s.client.Stop(ctx, function); err != nil && !errors.Is(err, proto.ErrNotFound) {
			errs = append(errs, err)
		}
		errs = append(errs, s.client.Close(), s.atAgent.Close())
	}
	for _, p := range []*program{s.proxy, s.agent} {
		if p != nil {
			p.close()
		}
	}
	if s.dir != "" {
		errs = append(errs, os.RemoveAll(s.dir))
	}
	return errors.Join(errs...)
}

// row is how the function stands on the agent.
func (s *stack) row(ctx context.Context) (*proto.FunctionJsonRsp, error) {
	rows, err := s.atAgent.Details(ctx)
	if err != nil {
		return nil, err
	}
	for _, row := range rows {
		if row.GetName() == function {
			return row, nil
		}
	}
	return nil, fmt.Errorf("%s is not deployed", function)
}

func (s *stack) url() string {
	return "http://" + s.proxyHTTP + "/functions/" + proto.Path(function)
}

// get expects a 200 and, unless want is empty, this body.
func (s *stack) get(url, want string) error {
	rsp, err := s.http.Get(url)
	if err != nil {
		return err
	}
	defer rsp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(rsp.Body, 1<<10))
	if err != nil {
		return err
	}
	if rsp.StatusCode != http.StatusOK || want != "" && string(body) != want {
		return fmt.Errorf("GET %s: %s, %q", url, rsp.Status, body)
	}
	return nil
}

// poll tries until there is no error, or until ctx ends.
func (s *stack) poll(ctx context.Context, every time.Duration, try func() error) error {
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
