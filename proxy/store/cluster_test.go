package store_test

import (
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/require"

	"github.com/Ishan27g/ryo-faas/internal/testkit"
	"github.com/Ishan27g/ryo-faas/proxy/store"
	"github.com/Ishan27g/ryo-faas/proxy/store/storetest"
)

// nodes are the three processes of an engine.
type nodes struct {
	t           *testing.T // with which they end
	dir, secret string
	cluster     []string
	processes   []*process // nil: it does not run
}

// startNodes starts an engine that ends with the test.
func startNodes(t *testing.T) *nodes {
	t.Helper()
	n := &nodes{t: t, dir: t.TempDir(), processes: make([]*process, 3)}
	n.secret = filepath.Join(n.dir, "secret")
	require.NoError(t, store.NewSecret(n.secret))
	first := testkit.Ports(t)
	for i := range n.processes {
		n.cluster = append(n.cluster, net.JoinHostPort("127.0.0.1", strconv.Itoa(first+2*i)))
	}
	for i := range n.processes {
		n.start(t, i)
	}
	for i := range n.processes {
		n.ready(t, i)
	}
	return n
}

// start starts a node that does not run.
func (n *nodes) start(t *testing.T, i int) {
	t.Helper()
	n.processes[i] = spawn(n.t, "node", filepath.Join(n.dir, strconv.Itoa(i)), "CLUSTER="+strings.Join(n.cluster, ","), "SELF="+n.cluster[i], "SECRET="+n.secret)
	require.Equal(t, "started", n.processes[i].line(t))
}

// ready waits until a node is.
func (n *nodes) ready(t *testing.T, i int) {
	t.Helper()
	for n.processes[i].line(t) != "ready" {
	}
}

func (n *nodes) kill(t *testing.T, i int) {
	t.Helper()
	require.NoError(t, n.processes[i].Process.Kill())
	_ = n.processes[i].Wait()
	n.processes[i] = nil
}

func (n *nodes) signal(t *testing.T, i int, signal syscall.Signal) {
	t.Helper()
	require.NoError(t, n.processes[i].Process.Signal(signal))
}

// runNode is the program of a node.
func runNode(cfg store.Config) error {
	secret, err := store.ReadSecret(os.Getenv("SECRET"))
	if err != nil {
		return err
	}
	n, err := store.StartNode(store.NodeConfig{
		Dir: cfg.Dir, Cluster: strings.Split(os.Getenv("CLUSTER"), ","), Self: os.Getenv("SELF"), Secret: secret,
		Logger: hclog.New(&hclog.LoggerOptions{Name: os.Getenv("SELF"), Level: hclog.Off, Output: os.Stderr}),
	})
	if err != nil {
		return err
	}
	fmt.Println("started")
	ctx, stop := terminated()
	defer stop()
	n.Run(ctx, func(err error) {
		if err != nil {
			fmt.Println(err)
		} else {
			fmt.Println("ready")
		}
	})
	return n.Stop()
}

// config is that of a store on the nodes, of which one comes first.
func (n *nodes) config(t *testing.T) store.Config {
	t.Helper()
	// A machine drops what it is about to hand out when a limit is lowered; it comes again after this time.
	cfg := config(t).WithAckWait(2 * time.Second)
	secret, err := store.ReadSecret(n.secret)
	require.NoError(t, err)
	urls, err := store.ParseNodes("nats://" + strings.Join(n.cluster, ","))
	require.NoError(t, err)
	cfg.Cluster = &store.Cluster{URLs: urls, Secret: secret}
	return cfg
}

// empty opens a store that has nothing.
func (n *nodes) empty(t *testing.T) *store.Engine {
	t.Helper()
	return n.with(t, storetest.Backlog)
}

// with is empty with a backlog.
func (n *nodes) with(t *testing.T, backlog int) *store.Engine {
	t.Helper()
	cfg := n.config(t)
	cfg.Backlog = backlog
	require.Eventually(t, func() bool { return store.Empty(t.Context(), cfg) == nil }, 2*patience, 100*time.Millisecond)
	return open(t, cfg)
}

func TestCluster(t *testing.T) {
	if testing.Short() {
		t.Skip("with the race detector three nodes of an engine take minutes")
	}
	n := startNodes(t)
	began := time.Now()
	e, err := store.Open(n.config(t))
	require.NoError(t, err)
	t.Logf("the first store is open after %s", time.Since(began))
	require.NoError(t, e.Stop())
	names := slices.DeleteFunc(storetest.Names(), func(name string) bool { return name == storetest.AnotherLimit })
	if os.Getenv("E2E_SOAK") == "" {
		names = []string{"records", "who is first", "watching", "blobs", "messages", "messages for later", "a limit for all", "leading", "contexts"}
	}
	t.Run("suite", func(t *testing.T) {
		storetest.Suite(t, func(t *testing.T) store.Store { return n.empty(t) }, names...)
	})
	t.Run("failover", func(t *testing.T) { failover(t, n) })
	t.Run("without a majority", func(t *testing.T) { minority(t, n) })
	t.Run("migrate", func(t *testing.T) { migrate(t, n) })
}

// read returns a blob's bytes.
func read(t *testing.T, s store.Store, name string) string {
	t.Helper()
	r, err := s.Blobs().Open(t.Context(), name)
	require.NoError(t, err)
	defer r.Close()
	data, err := io.ReadAll(r)
	require.NoError(t, err)
	return string(data)
}
