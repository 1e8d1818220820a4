//go:build linux

package e2e

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/Ishan27g/ryo-faas/internal/testkit"
)

// engine is three nodes of proxy engine -cluster.
type engine struct {
	t       *testing.T
	secret  string
	cluster []string
	dirs    []string
	nodes   []*server
}

func startEngine(t *testing.T) *engine {
	t.Helper()
	e := &engine{t: t, secret: filepath.Join(t.TempDir(), "secret"), nodes: make([]*server, 3)}
	made := runProxy(t, "engine", "secret", e.secret)
	require.Zero(t, made.code, made.stderr)
	first := testkit.Ports(t)
	for i := range e.nodes {
		e.cluster = append(e.cluster, net.JoinHostPort("127.0.0.1", strconv.Itoa(first+2*i)))
		e.dirs = append(e.dirs, t.TempDir())
	}
	for i := range e.nodes {
		e.start(i)
	}
	for i := range e.nodes {
		e.ready(i)
	}
	return e
}

func (e *engine) start(i int) {
	e.t.Helper()
	cmd := command(context.Background(), "proxy", "engine", "-cluster", strings.Join(e.cluster, ","), "-node", e.cluster[i], "-engine-secret", e.secret, "-dir", e.dirs[i])
	e.nodes[i] = launch(e.t, cmd)
	e.nodes[i].said(`Engine started on (` + regexp.QuoteMeta(e.cluster[i]) + `)`)
}

func (e *engine) ready(i int) {
	e.t.Helper()
	eventually(e.t, func() bool { return strings.Contains(e.nodes[i].String(), "this node is ready") }, "node %d is ready", i)
}

// flags are those of a proxy that uses the engine.
func (e *engine) flags(more ...string) []string {
	return append([]string{"-engine", "nats://" + strings.Join(e.cluster, ","), "-engine-secret", e.secret}, more...)
}

// runProxy runs the proxy's program to its end.
func runProxy(t *testing.T, args ...string) result {
	t.Helper()
	return runProgram(t, "proxy", nil, args...)
}

// Two proxies over an engine of three nodes are one to those who use them, and go on when one of
// each is killed.
func TestTwoProxiesOfOneEngine(t *testing.T) {
	soaked(t)
	t.Parallel()
	e := startEngine(t)
	x, y := newSite(t).start(t), newSite(t).start(t)
	agents := x.addr + "," + y.addr
	a := startProxy(t, "", e.flags("-agents", agents)...)
	b := startProxy(t, "", e.flags("-agents", agents)...)
	deploy := func(p gateway, name, text string) (int, string) {
		return fetch(t, http.MethodPost, "http://"+p.http+"/deploy?wait=true", fmt.Sprintf(`[{"name": %q, "dir": %q, "toAgent": [%q, %q]}]`, name, source(t, testkit.Says(name, text)), x.addr, y.addr))
	}
	says := func(p gateway, name string) string {
		status, answer, err := tryFetch(http.MethodGet, "http://"+p.http+"/functions/"+strings.ToLower(name), "")
		if err != nil || status != http.StatusOK {
			return ""
		}
		return answer
	}
	before := time.Now()
	status, answer := deploy(a, "Hello", "one")
	t.Logf("a deploy took %s", time.Since(before).Round(time.Millisecond))
	require.Equal(t, http.StatusOK, status, answer)
	eventually(t, func() bool { return says(b, "Hello") == "one" }, "it is called through the other proxy")

	made := proxyCli(t, t.TempDir(), "-proxy", a.rpc, "token", "create", "-name", "ci", "-scope", "read")
	require.Zero(t, made.code, made.stderr)
	token := regexp.MustCompile(`ryo_\S+`).FindString(made.stdout)
	require.NotEmpty(t, token, made.stdout)
	eventually(t, func() bool {
		list := proxyCli(t, t.TempDir(), "-proxy", b.rpc, "token", "list")
		return list.code == 0 && strings.Contains(list.stdout, "ci")
	}, "a token of one is known to the other")

	// One of each is killed while functions are called at the other, and deployed.
	stop := make(chan struct{})
	var calls sync.WaitGroup
	var mu sync.Mutex
	answers, failures := 0, []string{}
	for range 4 {
		calls.Go(func() {
			for {
				select {
				case <-stop:
					return
				case <-time.After(2 * time.Millisecond):
				}
				status, answer, err := tryFetch(http.MethodGet, "http://"+b.http+"/functions/hello", "")
				mu.Lock()
				if err == nil && status == http.StatusOK && answer == "one" {
					answers++
				} else {
					failures = append(failures, fmt.Sprint(status, " ", answer, " ", err))
				}
				mu.Unlock()
			}
		})
	}
	a.kill()
	e.nodes[0].kill()
	began := time.Now()
	acknowledged := []string{}
	for i := range often(3, 20) {
		name := fmt.Sprint("After", i)
		status, answer := deploy(b, name, name)
		require.Equal(t, http.StatusOK, status, answer)
		require.NotContains(t, answer, "Failed")
		acknowledged = append(acknowledged, name)
	}
	t.Logf("%d deploys took %s with a node and a proxy killed", len(acknowledged), time.Since(began).Round(time.Millisecond))
	close(stop)
	calls.Wait()
	assert.Empty(t, failures, "of %d calls", answers)
	assert.NotZero(t, answers)

	// A proxy without a folder of its own knows it all.
	c := startProxy(t, "", e.flags("-agents", agents)...)
	for _, name := range acknowledged {
		eventually(t, func() bool { return says(c, name) == name }, "%s", name)
	}
	export := runProxy(t, append([]string{"engine", "check"}, e.flags()...)...)
	require.Zero(t, export.code, export.stderr)
	assert.Contains(t, export.stdout, fmt.Sprintf("functions %d\n", 1+len(acknowledged)))

	// Without a majority functions are called as ever, and what cannot be stored is refused.
	e.nodes[1].kill()
	status, answer = deploy(b, "Refused", "no")
	require.Contains(t, []int{http.StatusServiceUnavailable, http.StatusGatewayTimeout}, status, answer)
	assert.Equal(t, "one", says(b, "Hello"))
	e.start(0)
	e.start(1)
	eventually(t, func() bool {
		status, _ := deploy(b, "Again", "yes")
		return status == http.StatusOK
	}, "it goes on when they are back")
}

// One proxy with a store of its own becomes two that share an engine of three nodes, by the
// commands of docs/machines.md, while the function goes on.
func TestGrowthByHand(t *testing.T) {
	t.Parallel()
	x := newSite(t).start(t)
	p := startProxy(t, "", "-agents", x.addr)
	was := mustDeploy(t, p.http, "Hello", source(t, testkit.Says("Hello", "hello")), x.addr)
	made := proxyCli(t, t.TempDir(), "-proxy", p.rpc, "token", "create", "-name", "ci", "-scope", "read")
	require.Zero(t, made.code, made.stderr)

	stop := make(chan struct{})
	var calls sync.WaitGroup
	answers, failures := 0, []string{}
	calls.Go(func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(5 * time.Millisecond):
			}
			if status, answer, err := tryFetch(http.MethodGet, was.Proxy+"/hello", ""); err == nil && status == http.StatusOK && answer == "hello" {
				answers++
			} else {
				failures = append(failures, fmt.Sprint(status, " ", answer, " ", err))
			}
		}
	})

	first := testkit.Ports(t)
	var cluster []string
	for i := range 3 {
		cluster = append(cluster, net.JoinHostPort("127.0.0.1", strconv.Itoa(first+2*i)))
	}
	say := pageCommands(t, "machines.md", "## Proxies that share an engine", strings.NewReplacer(
		"engine.secret", filepath.Join(t.TempDir(), "engine.secret"),
		"10.0.0.1:4222,10.0.0.2:4222,10.0.0.3:4222", strings.Join(cluster, ","),
		"10.0.0.1:4222,10.0.0.2,10.0.0.3", strings.Join(cluster, ","),
		"-node 10.0.0.1:4222", "-node NODE"))
	require.Len(t, say, 4)
	made = runProxy(t, say[0][1:]...)
	require.Zero(t, made.code, made.stderr)
	var nodes []*server
	for _, node := range cluster {
		args := strings.Fields(strings.ReplaceAll(strings.Join(say[1][1:], " "), "NODE", node))
		nodes = append(nodes, launch(t, command(context.Background(), "proxy", append(args, "-dir", t.TempDir())...)))
	}
	for _, n := range nodes {
		eventually(t, func() bool { return strings.Contains(n.String(), "this node is ready") }, "a node is ready")
	}
	p.end()
	moved := runProxy(t, append(say[2][1:], "-dir", p.dir)...)
	require.Zero(t, moved.code, moved.stderr)
	both := []gateway{startProxy(t, p.dir, say[3][1:]...), startProxy(t, "", say[3][1:]...)}

	for _, p := range both {
		eventually(t, func() bool {
			status, answer, err := tryFetch(http.MethodGet, "http://"+p.http+"/functions/hello", "")
			return err == nil && status == http.StatusOK && answer == "hello"
		}, "the function is called")
		list := proxyCli(t, t.TempDir(), "-proxy", p.rpc, "token", "list")
		assert.Contains(t, list.stdout, "ci", list.stderr)
		is := rows(t, http.MethodGet, "http://"+p.http+"/details", "")
		require.Len(t, is, 1)
		assert.Equal(t, was.Pid, is[0].Pid, "its process goes on")
	}
	mustDeploy(t, both[1].http, "Second", source(t, testkit.Says("Second", "second")))
	eventually(t, func() bool {
		status, _, err := tryFetch(http.MethodGet, "http://"+both[0].http+"/functions/second", "")
		return err == nil && status == http.StatusOK
	}, "what one deploys the other calls")
	close(stop)
	calls.Wait()
	assert.Empty(t, failures, "of %d calls", answers)
	assert.NotZero(t, answers)
}
