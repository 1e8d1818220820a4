package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/Ishan27g/ryo-faas/internal/testkit"
	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/transport"
)

// site is where an agent can be killed and started again: a folder, and ports.
type site struct{ dir, port, ports string }

// newSite returns a site on which no process may be left when the test ends.
func newSite(t *testing.T) site {
	t.Helper()
	return siteIn(t, t.TempDir())
}

func siteIn(t *testing.T, dir string) site {
	t.Helper()
	first := testkit.Ports(t)
	t.Cleanup(func() {
		left := programs(t, dir)
		for _, pid := range processes(t, dir) { // the holder of an agent that was killed
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		assert.Empty(t, left, "processes that outlived the agent's end")
	})
	return site{dir, strconv.Itoa(first), fmt.Sprintf("%d-%d", first+1, first+98)}
}

// free reports whether nobody listens on a port.
func free(port string) bool {
	l, err := net.Listen("tcp", "127.0.0.1:"+port)
	if err == nil {
		_ = l.Close()
	}
	return err == nil
}

func (s site) start(t *testing.T, args ...string) agent {
	t.Helper()
	// A process that an agent was starting when it was killed has the agent's sockets
	// for a moment.
	eventually(t, func() bool { return free(s.port) }, "port %s is free", s.port)
	return startAgent(t, s.dir, s.port, append([]string{"-ports", s.ports}, args...)...)
}

// programs returns the processes of functions whose agent has the folder dir, and
// of what builds them.
func programs(t *testing.T, dir string) []int {
	t.Helper()
	return slices.DeleteFunc(processes(t, dir), func(pid int) bool { return holds(pid, dir) })
}

// holds reports whether a process holds the sockets of an agent that has the
// folder dir.
func holds(pid int, dir string) bool {
	name, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	return err == nil && bytes.HasPrefix(name, []byte("ryo-holder\x00"+dir+"/"))
}

// processes returns the processes of an agent that has the folder dir, but for its
// own: those whose program, or whose working folder, lies below it, and its holder.
func processes(t *testing.T, dir string) (pids []int) {
	t.Helper()
	entries, err := os.ReadDir("/proc")
	require.NoError(t, err)
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		exe, _ := os.Readlink("/proc/" + e.Name() + "/exe")
		cwd, _ := os.Readlink("/proc/" + e.Name() + "/cwd")
		if strings.HasPrefix(exe, dir+"/") || strings.HasPrefix(cwd, dir+"/") || holds(pid, dir) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// order asks for a deploy without waiting for its outcome.
func order(t *testing.T, at, name, dir string) row {
	t.Helper()
	r, err := tryOrder(at, name, dir)
	require.NoError(t, err)
	return r
}

func tryOrder(at, name, dir string) (row, error) {
	body, err := json.Marshal([]map[string]any{{"name": name, "dir": dir}})
	if err != nil {
		return row{}, err
	}
	status, answer, err := tryFetch(http.MethodPost, "http://"+at+"/deploy", string(body))
	if err != nil {
		return row{}, err
	}
	var list []row
	if err := json.Unmarshal([]byte(answer), &list); status != http.StatusOK || err != nil || len(list) != 1 {
		return row{}, fmt.Errorf("status %d: %s", status, answer)
	}
	return list[0], nil
}

// now is what an agent or a proxy says about a function; it is zero for nothing.
func now(t *testing.T, at, name string) row {
	t.Helper()
	r, _ := find(rows(t, http.MethodGet, "http://"+at+"/details", ""), name)
	return r
}

// until waits until a function's row is as wanted.
func until(t *testing.T, at, name string, is func(row) bool) (r row) {
	t.Helper()
	require.Eventually(t, func() bool {
		status, answer, err := tryFetch(http.MethodGet, "http://"+at+"/details", "")
		var list []row
		if err != nil || status != http.StatusOK || json.Unmarshal([]byte(answer), &list) != nil {
			return false // such as a proxy that has not found the next agent yet
		}
		r, _ = find(list, name)
		return is(r)
	}, patience, 10*time.Millisecond)
	return r
}

func deployed(generation int) func(row) bool {
	return func(r row) bool { return r.Status == "Deployed" && r.Generation == generation && r.Instances == 1 }
}

// answers asserts what a function says.
func answers(t *testing.T, want, url string) {
	t.Helper()
	status, body, err := tryFetch(http.MethodGet, url, "")
	if assert.NoError(t, err) {
		assert.Equal(t, want, body)
		assert.Equal(t, http.StatusOK, status)
	}
}

// comesToAnswer waits until a function says a text.
func comesToAnswer(t *testing.T, want, url string) {
	t.Helper()
	eventually(t, func() bool {
		status, body, err := tryFetch(http.MethodGet, url, "")
		return err == nil && status == http.StatusOK && body == want
	}, "%s says %s", url, want)
}

var stages = []string{proto.StageQueued, proto.StageChecking, proto.StageBuilding, proto.StageStarting}

// stage returns a channel that is closed when a deploy has come to a stage, or
// past it. It is called before the deploy.
func stage(t *testing.T, rpc, name string, generation int, stage string) <-chan struct{} {
	t.Helper()
	client := transport.NewAgent(transport.RPC, rpc)
	watching, reached := make(chan struct{}), make(chan struct{})
	there := errors.New("reached")
	go func() {
		defer client.Close()
		err := client.Watch(t.Context(), func(ev *proto.WatchEvent) error {
			if ev.GetSnapshot() {
				close(watching)
			}
			for _, r := range ev.GetFunctions() {
				at := slices.Index(stages, r.GetStage())
				if r.GetName() == name && int(r.GetGeneration()) == generation && (at < 0 || at >= slices.Index(stages, stage)) {
					return there
				}
			}
			return nil
		})
		if errors.Is(err, there) {
			close(reached)
		}
	}()
	wait(t, watching, "the watch")
	return reached
}

func wait(t *testing.T, done <-chan struct{}, what string) {
	t.Helper()
	select {
	case <-done:
	case <-time.After(patience):
		t.Fatal("no end of waiting for " + what)
	}
}

// running is alive without processes that nobody has reaped.
func running(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && !bytes.Contains(stat, []byte(") Z "))
}
