package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/Ishan27g/ryo-faas/internal/flags"
	"github.com/Ishan27g/ryo-faas/proto"
)

// beginLimit is how long a program may take until it serves.
const beginLimit = time.Minute

// companion is a program that this one has started.
type companion struct {
	name  string
	cmd   *exec.Cmd
	ended chan struct{}
	err   error // of the end
	says  chan string
}

// up runs an agent and a proxy that has it until ctx is done or one of them ends.
func (a *app) up(ctx context.Context, dir string) (err error) {
	var running []*companion
	defer func() {
		for i := len(running) - 1; i >= 0; i-- { // the proxy first: it has the callers
			running[i].stop()
		}
	}()
	begin := func(name string, ports map[string]string, args ...string) (*companion, map[string]string, error) {
		path, err := locateProgram(name)
		if err != nil {
			return nil, nil, err
		}
		for flag, addr := range ports {
			if os.Getenv(flags.Env(flag)) == "" {
				args = append(args, "-"+flag, addr)
			}
		}
		if dir != "" {
			args = append(args, "-dir", dir)
		}
		c := a.start(name, exec.Command(path, args...)) //nolint:noctx // it is stopped, and not killed
		running = append(running, c)
		at, err := c.serves(ctx)
		return c, at, err
	}
	agent, agentAt, err := begin("agent", map[string]string{"port": "localhost:9000"}, "-stop-functions")
	if err != nil {
		return err
	}
	proxy, proxyAt, err := begin("proxy", map[string]string{"http": "localhost:9002", "rpc": "localhost:9001"}, "-agents", agentAt["HTTP"])
	if err != nil {
		return err
	}
	if a.output == "json" {
		err = a.printJSON(map[string]string{"agent": agentAt["HTTP"], "proxy": proxyAt["GRPC"], "url": "http://" + proxyAt["HTTP"]})
	} else {
		_, err = fmt.Fprintf(a.stdout, "agent  %s\nproxy  %s\nurl    http://%s\n", agentAt["HTTP"], proxyAt["GRPC"], proxyAt["HTTP"])
	}
	if err != nil {
		return err
	}
	with := ""
	if proxyAt["GRPC"] != defaultProxy {
		with = " -proxy " + proxyAt["GRPC"]
	}
	a.note("next, in another terminal: proxyCli new hello, then proxyCli%s deploy hello; http://%s/ui/ shows what goes on; Ctrl-C here stops both", with, proxyAt["HTTP"])
	select {
	case <-ctx.Done():
		return reported(exitInterrupted) // nothing else stops it
	case <-agent.ended:
		return agent.fault()
	case <-proxy.ended:
		return proxy.fault()
	}
}

// locateProgram finds a program of ours.
func locateProgram(name string) (string, error) {
	if self, err := os.Executable(); err == nil {
		if self, err = filepath.EvalSymlinks(self); err == nil {
			path := filepath.Join(filepath.Dir(self), name)
			if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
				return path, nil
			}
		}
	}
	path, err := exec.LookPath(name)
	if err != nil {
		return "", proto.Errorf(proto.ErrUnavailable, "the program %s lies neither beside this one nor in the PATH", name).
			WithHint("make builds all three into bin/")
	}
	return path, nil
}

// start starts a program in a process group of its own: Ctrl-C in a terminal is for this
// program alone, which stops the others in order. The kernel stops them if it is killed.
func (a *app) start(name string, cmd *exec.Cmd) *companion {
	c := &companion{name: name, cmd: cmd, ended: make(chan struct{}), says: make(chan string)}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	cmd.Stderr = a.stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		c.err = err
		close(c.says)
		close(c.ended)
		return c
	}
	begun := make(chan struct{})
	go func() {
		// The signal comes when this thread ends, not the process.
		runtime.LockOSThread()
		defer close(c.ended)
		c.err = cmd.Start()
		close(begun)
		if c.err != nil {
			close(c.says)
			return
		}
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			c.says <- lines.Text()
		}
		close(c.says)
		_, _ = io.Copy(io.Discard, out) // a line that is too long ends the scan
		c.err = cmd.Wait()
	}()
	<-begun
	return c
}

// serves waits until a program has said where it serves, by kind.
func (c *companion) serves(ctx context.Context) (map[string]string, error) {
	late := time.NewTimer(beginLimit)
	defer late.Stop()
	at := map[string]string{}
	for {
		select {
		case line, more := <-c.says:
			if !more {
				<-c.ended
				return nil, c.fault()
			}
			kind, rest, _ := strings.Cut(line, " ")
			if _, addr, ok := strings.Cut(rest, "started on "); ok {
				at[kind] = reachable(addr)
			}
			if at["HTTP"] != "" && at["GRPC"] != "" {
				go func() {
					for range c.says { // it has no more to say
					}
				}()
				return at, nil
			}
		case <-late.C:
			return nil, proto.Errorf(proto.ErrTimeout, "the %s does not serve after %v", c.name, beginLimit)
		case <-ctx.Done():
			return nil, reported(exitInterrupted)
		}
	}
}

// reachable is an address at which this machine reaches a listener.
func reachable(addr string) string {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return addr
	}
	if ip := net.ParseIP(host); host == "" || ip.IsUnspecified() {
		host = "localhost"
	}
	return net.JoinHostPort(host, port)
}

// fault says how a program has ended that should not have.
func (c *companion) fault() error {
	if c.err == nil {
		c.err = errors.New("exit status 0")
	}
	return proto.Errorf(proto.ErrUnavailable, "the %s has ended: %w", c.name, c.err).
		WithHint("what it said is above; " + c.name + " doctor finds what is wrong on this machine")
}

// stop lets a program end as it does by itself, and waits.
func (c *companion) stop() {
	if c.cmd.Process != nil {
		_ = c.cmd.Process.Signal(syscall.SIGTERM)
	}
	for range c.says { // nobody is interested any more
	}
	<-c.ended
}
