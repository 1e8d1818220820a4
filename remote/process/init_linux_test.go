package process

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

const roleSecond = "ryo-test-second"

// second is what the first process of a container starts. It leaves a process
// without a parent and waits until that is reaped, and another one that lives, whose
// output ends once it waits for SIGTERM.
func second() int {
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	for _, script := range []string{"sleep 0 & echo $!", "(trap 'sleep 0.1; echo orphan ends >&2; exit' TERM; echo 0; exec >&2; while :; do sleep 0.01; done) &"} {
		cmd := exec.Command("sh", "-c", script)
		cmd.Stderr = os.Stderr
		out, err := cmd.Output()
		var pid int
		if _, scanErr := fmt.Sscan(string(out), &pid); err != nil || scanErr != nil {
			fmt.Println(err, scanErr)
			return 1
		}
		for look := time.Tick(time.Millisecond); pid != 0 && unix.Kill(pid, 0) == nil; <-look { // which a zombie takes, too
			continue
		}
	}
	fmt.Println("reaped", os.Getpid() != 1, os.Getenv("FIRST"))
	<-stop
	return 7
}

func TestFirstProcessOfAContainer(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root makes a container by this alone")
	}
	cmd := exec.Command(self, "", "", "")
	cmd.Args[0] = roleSecond
	cmd.Env = append(os.Environ(), "FIRST=yes")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWPID}
	var said strings.Builder
	cmd.Stderr = &said
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	late := time.AfterFunc(patience, func() { _ = cmd.Process.Kill() })
	defer late.Stop()
	line, _ := bufio.NewReader(out).ReadString('\n')
	assert.Equal(t, "reaped true no\n", line)
	require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
	_ = cmd.Wait()
	assert.Equal(t, 7, cmd.ProcessState.ExitCode(), "the program's")
	assert.Contains(t, said.String(), "orphan ends", "it was told and waited for")
}
