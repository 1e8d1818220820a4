package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"time"

	"golang.org/x/sys/unix"

	"github.com/Ishan27g/ryo-faas/proto"
)

// measureExecs starts the function's binary as the agent does, on sockets that
// are open already, and returns the times from the exec to the first answer.
func (s *stack) measureExecs(ctx context.Context, rounds int) (figure, error) {
	row, err := s.row(ctx)
	if err != nil {
		return figure{}, err
	}
	binary, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", row.GetPid()))
	if err != nil {
		return figure{}, err
	}
	var took []float64
	for range rounds {
		d, err := s.exec(ctx, binary)
		if err != nil {
			return figure{}, fmt.Errorf("exec the function: %w", err)
		}
		took = append(took, millis(d))
	}
	return summarize(took), nil
}

func (s *stack) exec(ctx context.Context, binary string) (time.Duration, error) {
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

	mount := "/" + proto.Path(function)
	cmd := exec.CommandContext(ctx, binary)
	cmd.Dir = s.dir
	cmd.Env = []string{"RYO_FUNCTION=" + function, "RYO_MOUNT=" + mount, "RYO_LISTEN=1", "RYO_DRAIN=1s"}
	cmd.ExtraFiles = []*os.File{socket, theirs}
	begun := time.Now()
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	err = s.get("http://"+listener.Addr().String()+mount, s.says)
	took := time.Since(begun)
	_ = cmd.Process.Kill()
	_ = cmd.Wait() // it was killed
	return took, err
}
