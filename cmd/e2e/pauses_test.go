//go:build linux

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/Ishan27g/ryo-faas/internal/testkit"
)

// deployPause is how long a deploy may take longer than others while a node of the engine is lost.
const deployPause = 10 * time.Second

// far is an engine of three nodes, each on a machine of its own, and a proxy with its agent on
// another one.
type far struct {
	t       *testing.T
	nodes   []machine
	front   machine
	secret  string
	cluster []string
	dirs    []string
	runs    []*server
	client  *http.Client
	dir     string // of a function's source
	count   int    // of deploys
}

func startFar(t *testing.T) *far {
	t.Helper()
	m := newMachines(t, 4)
	f := &far{t: t, nodes: m[:3], front: m[3], runs: make([]*server, 3), secret: filepath.Join(t.TempDir(), "secret"), dir: source(t, testkit.Says("Hello", "hello"))}
	made := runProxy(t, "engine", "secret", f.secret)
	require.Zero(t, made.code, made.stderr)
	for _, m := range f.nodes {
		f.cluster = append(f.cluster, m.addr+":4222")
		f.dirs = append(f.dirs, t.TempDir())
	}
	for i := range f.nodes {
		f.start(i)
	}
	for i := range f.nodes {
		f.ready(i)
	}
	state := t.TempDir()
	launch(t, f.front.command(t, "agent", "-dir", state, "-cache", cache(t), "-stop-functions"))
	launch(t, f.front.command(t, "proxy", "-dir", state, "-agents", "localhost:9000", "-engine", "nats://"+strings.Join(f.cluster, ","), "-engine-secret", f.secret))
	transport := &http.Transport{DialContext: f.front.dial}
	t.Cleanup(transport.CloseIdleConnections)
	f.client = &http.Client{Transport: transport, Timeout: patience}
	return f
}

func (f *far) start(i int) {
	f.t.Helper()
	f.runs[i] = launch(f.t, f.nodes[i].command(f.t, "proxy", "engine", "-cluster", strings.Join(f.cluster, ","), "-node", f.cluster[i], "-engine-secret", f.secret, "-dir", f.dirs[i]))
}

func (f *far) ready(i int) {
	f.t.Helper()
	eventually(f.t, func() bool { return strings.Contains(f.runs[i].String(), "this node is ready") }, "node %d is ready", i)
}

// deploy deploys the function with another setting, for which nothing is built, and returns how
// long that took. What is refused since nothing can be stored is tried again.
func (f *far) deploy() time.Duration {
	f.t.Helper()
	f.count++
	body, err := json.Marshal([]map[string]any{{"name": "Hello", "dir": f.dir, "env": map[string]string{"COUNT": fmt.Sprint(f.count)}}})
	require.NoError(f.t, err)
	for began := time.Now(); ; {
		rsp, err := f.client.Post("http://127.0.0.1:9002/deploy?wait=true", "application/json", strings.NewReader(string(body)))
		require.NoError(f.t, err)
		answer, err := io.ReadAll(rsp.Body)
		_ = rsp.Body.Close()
		require.NoError(f.t, err)
		if rsp.StatusCode == http.StatusOK {
			require.Contains(f.t, string(answer), `"Deployed"`)
			return time.Since(began)
		}
		require.Contains(f.t, []int{http.StatusServiceUnavailable, http.StatusGatewayTimeout}, rsp.StatusCode, "%s", answer)
		require.NotContains(f.t, string(answer), "was changed meanwhile")
		require.Less(f.t, time.Since(began), patience, "%s", answer)
	}
}

// cut lets what a node sends and what is sent to it vanish: frames go to an address that no card
// has. Nobody is told, unlike with a cable that is pulled.
func (f *far) cut(i int) (join func()) {
	f.t.Helper()
	all := append(append([]machine{}, f.nodes...), f.front)
	ip := func(format string, args ...any) {
		words := strings.Fields(fmt.Sprintf(format, args...))
		said, err := exec.CommandContext(context.Background(), "ip", words...).CombinedOutput()
		assert.NoError(f.t, err, "ip %s: %s", words, said)
	}
	each := func(do string) {
		for j, m := range all {
			if j == i {
				continue
			}
			ip("-n %s neigh %s dev to%d", f.nodes[i].name, fmt.Sprintf(do, m.addr), j)
			ip("-n %s neigh %s dev to%d", m.name, fmt.Sprintf(do, f.nodes[i].addr), i)
		}
	}
	each("replace %s lladdr 02:00:00:00:00:99 nud permanent")
	return func() { each("del %s") }
}

// back waits until a node takes part again.
func (f *far) back(i int) {
	f.t.Helper()
	eventually(f.t, func() bool {
		cmd := f.front.command(f.t, "proxy", "engine", "check", "-engine", "nats://"+f.cluster[i], "-engine-secret", f.secret)
		return cmd.Run() == nil
	}, "node %d is back", i)
	f.deploy()
}

// A node that dies, or whose packets vanish, holds a deploy up for ten seconds at most, whatever
// it has led. Two nodes that stand for the same election at the same moment both lose it, and there
// is another one (Raft, 5.2): of the losses here that may happen to one.
func TestDeploysPauseShortlyWhenANodeIsLost(t *testing.T) {
	soaked(t)
	f := startFar(t)
	f.deploy()
	usual := f.deploy()
	t.Logf("usually a deploy takes %s", usual.Round(time.Millisecond))
	var pauses []time.Duration
	lost := func(how string, i int, lose func() (undo func())) {
		undo := lose()
		took := f.deploy()
		t.Logf("node %d %s: %s", i, how, took.Round(time.Millisecond))
		pauses = append(pauses, took-usual)
		undo()
		f.back(i)
	}
	for i := range f.nodes {
		lost("is killed", i, func() func() {
			f.runs[i].kill()
			return func() {
				f.start(i)
				f.ready(i)
			}
		})
	}
	for i := range f.nodes {
		lost("is cut off", i, func() func() { return f.cut(i) })
	}
	slices.Sort(pauses)
	assert.Less(t, pauses[len(pauses)-2], deployPause)
	assert.Less(t, pauses[len(pauses)-1], 2*deployPause)
}
