package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/Ishan27g/ryo-faas/proto"
)

// idle is the setting of functions whose processes are to stop soon.
const idle = "50ms"

// starts measures the time to the first answer of a function without a process, and
// of a bare start of the same binary.
func (s *stack) starts(ctx context.Context, e effort) ([]*table, error) {
	rollbacks, restarts, err := s.rollbacks(ctx, e.rollbacks)
	if err != nil {
		return nil, err
	}
	const name = "Cold"
	dir := filepath.Join(s.dir, "cold")
	if err := writeFiles(dir, map[string]string{"fn.go": handlers("cold", []string{name})}); err != nil {
		return nil, err
	}
	rows, err := settle(ctx, s.client, &proto.FunctionJson{Name: name, Dir: dir, Idle: idle, ToAgent: []string{s.agent.addr}})
	if err != nil {
		return nil, err
	}
	pid := int(rows[0].GetPid())
	binary, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
	if err != nil {
		return nil, err
	}
	own, err := s.row(ctx, name)
	if err != nil {
		return nil, err
	}
	var bare, proxied, direct []float64
	for range e.starts {
		for _, one := range []struct {
			took *[]float64
			url  string
		}{{&proxied, s.url(name)}, {&direct, own.GetProxy() + "/" + proto.Path(name)}} {
			if err := s.asleep(ctx, name, pid); err != nil {
				return nil, err
			}
			var d time.Duration
			if pid, d, err = s.cold(name, one.url, pid); err != nil {
				return nil, err
			}
			*one.took = append(*one.took, millis(d))
		}
		d, err := s.exec(ctx, binary, name)
		if err != nil {
			return nil, err
		}
		bare = append(bare, millis(d))
	}
	if _, err := s.client.Stop(ctx, name); err != nil {
		return nil, err
	}
	t := &table{head: timesHead("from no process to the first answer")}
	t.times(fmt.Sprintf("scaled to zero, through the proxy, n = %d", e.starts), summarize(proxied), "")
	t.times("the same at the function's own port", summarize(direct), "")
	t.times("bare exec of the same binary on an open socket", summarize(bare), "")
	t.ratio("through the proxy ÷ bare exec", summarize(proxied), summarize(bare), "median ≤ 1.5")
	t.times(fmt.Sprintf("after `kill -9` of the process, n = %d", e.rollbacks), restarts, "")
	t.times(fmt.Sprintf("`Rollback` to a version without a process, n = %d", e.rollbacks), rollbacks, "p95 < 300 ms")
	return []*table{t}, nil
}

// asleep waits until a function has no process. pid is its last one, 0 if it is not
// known: the agent hears of a new process later than its callers.
func (s *stack) asleep(ctx context.Context, name string, pid int) error {
	ctx, cancel := context.WithTimeout(ctx, answerLimit)
	defer cancel()
	if err := exited(ctx, pid); err != nil {
		return err
	}
	return poll(ctx, lookEvery, func() error {
		row, err := s.row(ctx, name)
		if err == nil && row.GetInstances() > 0 {
			err = fmt.Errorf("%s has a process", name)
		}
		return err
	})
}

// exited waits until a process has exited; pid 0 is no process.
func exited(ctx context.Context, pid int) error {
	return poll(ctx, lookEvery, func() error {
		if pid == 0 || errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
			return nil
		}
		return fmt.Errorf("process %d has not exited", pid)
	})
}

// cold calls a function without a process and returns the pid of its new one, which must
// not be before, or 0 if that has exited again.
func (s *stack) cold(name, url string, before int) (pid int, took time.Duration, err error) {
	begun := time.Now()
	_, err = s.fetch(url)
	took = time.Since(begun)
	if err != nil {
		return 0, 0, err
	}
	if pid = s.processOf(name); pid != 0 && pid == before {
		err = fmt.Errorf("GET %s: process %d had not exited", url, pid)
	}
	return pid, took, err
}

// processOf finds the process of a function, which does not know its pid itself, by its
// program; 0: there is none.
func (s *stack) processOf(name string) int {
	programs, _ := filepath.Glob("/proc/[0-9]*/exe")
	for _, link := range programs {
		program, err := os.Readlink(link)
		if err == nil && strings.HasPrefix(program, s.dir+"/") && strings.Contains(program, "/functions/"+proto.Path(name)+"/") {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(link)))
			return pid
		}
	}
	return 0
}

// rollbacks goes back and forth between two versions, and each time kills the new
// process. The version that does not serve has none.
func (s *stack) rollbacks(ctx context.Context, rounds int) (rollbacks, restarts figure, err error) {
	var says [2]string
	for i := range says {
		if says[i], err = s.hello.edit(); err != nil {
			return figure{}, figure{}, err
		}
		if _, err := s.deploy(ctx, s.hello); err != nil {
			return figure{}, figure{}, err
		}
	}
	var back, again []float64
	for round := range rounds {
		row, err := s.row(ctx, function)
		if err != nil {
			return figure{}, figure{}, err
		}
		begun := time.Now()
		if _, err := s.client.Rollback(ctx, function, 0); err != nil {
			return figure{}, figure{}, err
		}
		back = append(back, millis(time.Since(begun)))
		s.says = says[round%2]
		if err := s.get(s.url(function), s.says); err != nil {
			return figure{}, figure{}, fmt.Errorf("after the rollback: %w", err)
		}
		if err := exited(ctx, int(row.GetPid())); err != nil {
			return figure{}, figure{}, err
		}
		d, err := s.kill(ctx)
		if err != nil {
			return figure{}, figure{}, err
		}
		again = append(again, millis(d))
	}
	return summarize(back), summarize(again), nil
}

// kill kills the function's process and returns how long callers waited for the next
// one.
func (s *stack) kill(ctx context.Context) (time.Duration, error) {
	row, err := s.row(ctx, function)
	if err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, answerLimit)
	defer cancel()
	begun := time.Now()
	if err := syscall.Kill(int(row.GetPid()), syscall.SIGKILL); err != nil {
		return 0, fmt.Errorf("kill the function: %w", err)
	}
	// The old process may still take a call before it exits.
	if err := poll(ctx, pollEvery, func() error { return s.get(row.GetProxy()+"/"+proto.Path(function), s.says) }); err != nil {
		return 0, fmt.Errorf("after the kill: %w", err)
	}
	took := time.Since(begun)
	return took, poll(ctx, pollEvery, func() error {
		now, err := s.row(ctx, function)
		if err == nil && (now.GetPid() == row.GetPid() || now.GetInstances() == 0) {
			err = errors.New("the agent has not seen the new process")
		}
		return err
	})
}

// exec starts the function's binary as the agent does, on sockets that are open
// already, and returns the time from the exec to the first answer.
func (s *stack) exec(ctx context.Context, binary, name string) (time.Duration, error) {
	listener, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return 0, err
	}
	defer listener.Close()
	socket, err := listener.File()
	if err != nil {
		return 0, err
	}
	defer socket.Close()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	ours, theirs := os.NewFile(uintptr(pair[0]), "control"), os.NewFile(uintptr(pair[1]), "control")
	defer ours.Close()
	defer theirs.Close()

	mount := "/" + proto.Path(name)
	cmd := exec.CommandContext(ctx, binary)
	cmd.Dir = s.dir
	cmd.Env = []string{"RYO_FUNCTION=" + name, "RYO_MOUNT=" + mount, "RYO_LISTEN=1", "RYO_DRAIN=1s"}
	cmd.ExtraFiles = []*os.File{socket, theirs}
	begun := time.Now()
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	_, err = s.fetch("http://" + listener.Addr().String() + mount)
	took := time.Since(begun)
	_ = cmd.Process.Kill()
	_ = cmd.Wait() // an error, since it was killed
	return took, err
}
