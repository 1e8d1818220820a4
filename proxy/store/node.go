package store

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/nats-io/nats-server/v2/server"

	"github.com/Ishan27g/ryo-faas/internal/state"
	"github.com/Ishan27g/ryo-faas/proto"
)

const (
	// nodePing is how often a node asks the others and its callers whether they are there: one
	// that was stopped, or cut off, is left out after three times as long.
	nodePing = 2 * time.Second
	// nodeConnections is how many callers a node serves: proxies, and people's commands.
	nodeConnections = 1024
	// nodePending is how many bytes wait for a caller that does not read, or for one of the
	// other nodes.
	nodePending = 32 * mib
	// handover is how long a node that ends gives its callers to find another.
	handover = time.Second
	// unreadyAfter is how often in a row, each guardPause, a node is not ready before that is
	// said: while much is new, it is behind for a moment.
	unreadyAfter = 3
	// nodeFile says whose the folder of a node is.
	nodeFile = "node.json"
	// nodesLeast and nodesMost are how many nodes an engine has: with one lost, three still
	// have a majority, and five with two.
	nodesLeast, nodesMost = 3, 5
)

// NodeConfig is what a Node needs to know.
type NodeConfig struct {
	Dir     string       // its folder; created if missing
	Cluster []string     // the addresses, HOST:PORT, of all nodes: three or five; each listens at the next port, too, for the others
	Self    string       // which of them it is
	Secret  *Secret      // of all nodes and those that use them
	Logger  hclog.Logger // default: none
}

// Node is a part of an engine that has several machines. What it acknowledges, a majority
// of them has.
type Node struct {
	server *embedded
	dir    *state.Dir
}

// identity is whose a folder is.
type identity struct {
	Node    string   `json:"node"`
	Cluster []string `json:"cluster"`
}

// CheckCluster returns an ErrInvalid for what is no list of nodes, or if self is none of them.
func CheckCluster(cluster []string, self string) error {
	ports := map[string]bool{}
	for _, addr := range cluster {
		host, text, err := net.SplitHostPort(addr)
		port, bad := strconv.Atoi(text)
		if err != nil || bad != nil || host == "" || port < 1 || port > 65534 {
			return proto.Errorf(proto.ErrInvalid, "%q is not the address of a node, such as 10.0.0.1:4222", addr)
		}
		for _, p := range []int{port, port + 1} {
			at := net.JoinHostPort(host, strconv.Itoa(p))
			if ports[at] {
				return proto.Errorf(proto.ErrInvalid, "%s is two nodes', each of which takes the next port, too", at)
			}
			ports[at] = true
		}
	}
	if n := len(cluster); n != nodesLeast && n != nodesMost {
		return proto.Errorf(proto.ErrInvalid, "an engine has three nodes or five, and not %d: only with an odd number one more that is lost costs nothing", n)
	}
	if !slices.Contains(cluster, self) {
		return proto.Errorf(proto.ErrInvalid, "%q is none of the nodes %s", self, strings.Join(cluster, ", "))
	}
	return nil
}

// StartNode starts a node. A folder that another process has, or that is another node's, is
// an ErrConflict. It is ready once Err says so, for which it needs the others.
func StartNode(cfg NodeConfig) (*Node, error) {
	if cfg.Logger == nil {
		cfg.Logger = hclog.NewNullLogger()
	}
	if err := CheckCluster(cfg.Cluster, cfg.Self); err != nil {
		return nil, err
	}
	dir, err := state.Open(cfg.Dir)
	if err != nil {
		return nil, err
	}
	n := &Node{dir: dir}
	if err = n.identify(cfg); err == nil {
		n.server, err = runServer(nodeOptions(cfg, dir.Path(dataFolder)), cfg.Logger, func(string) {})
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start the node %s: %w", cfg.Self, err), dir.Close())
	}
	return n, nil
}

// identify refuses a folder that is another node's: who takes part in decisions is known by
// name, and one that came back under another would count twice.
func (n *Node) identify(cfg NodeConfig) error {
	is := identity{Node: cfg.Self, Cluster: slices.Sorted(slices.Values(cfg.Cluster))}
	var was identity
	found, err := n.dir.Read(nodeFile, &was)
	if err != nil {
		return err
	}
	if !found {
		return n.dir.Write(nodeFile, is)
	}
	if was.Node != is.Node || !slices.Equal(was.Cluster, is.Cluster) {
		return proto.Errorf(proto.ErrConflict, "the folder %s is of node %s of %s", cfg.Dir, was.Node, strings.Join(was.Cluster, ", ")).
			WithHint("start it with the same addresses; other ones are another engine: proxy engine migrate moves what is stored")
	}
	return nil
}

func nodeOptions(cfg NodeConfig, data string) *server.Options {
	host, text, _ := net.SplitHostPort(cfg.Self)
	port, _ := strconv.Atoi(text)
	o := options(data)
	o.DontListen = false
	// Each stream has a limit of its own. A node counts one that was removed for a while longer.
	o.JetStreamMaxStore *= 2
	o.ServerName = nodePrefix + cfg.Self
	o.Host, o.Port = host, port
	o.TLS, o.TLSVerify, o.TLSHandshakeFirst = true, true, true
	o.TLSConfig, o.TLSTimeout = cfg.Secret.tls, answerLimit.Seconds()
	o.MaxConn, o.MaxPending = nodeConnections, nodePending
	o.PingInterval, o.MaxPingsOut = nodePing, 2
	o.WriteDeadline = answerLimit
	o.LameDuckDuration, o.LameDuckGracePeriod = handover, handover/10
	o.Cluster = server.ClusterOpts{
		Name: "ryo", Host: host, Port: port + 1, NoAdvertise: true,
		TLSConfig: cfg.Secret.tls, TLSTimeout: answerLimit.Seconds(), PingInterval: nodePing, MaxPingsOut: 2, WriteDeadline: answerLimit,
	}
	for _, addr := range cfg.Cluster {
		if addr != cfg.Self {
			host, text, _ := net.SplitHostPort(addr)
			port, _ := strconv.Atoi(text)
			o.Routes = append(o.Routes, &url.URL{Scheme: "tls", Host: net.JoinHostPort(host, strconv.Itoa(port+1))})
		}
	}
	return o
}

// Err says why the node cannot store anything now: most often, that it does not reach a
// majority of the others. Nil: it can.
func (n *Node) Err() error {
	if is := n.server.Healthz(&server.HealthzOptions{JSMetaOnly: true}); is.StatusCode != http.StatusOK {
		return proto.Errorf(proto.ErrUnavailable, "%s", is.Error)
	}
	return nil
}

// Run waits until ctx is done, and calls changed whenever the node gets ready, or has not
// been for some seconds, with what Err says.
func (n *Node) Run(ctx context.Context, changed func(error)) {
	ready, told := false, false
	bad := 0 // how often it was not ready in a row
	tick := time.NewTicker(guardPause)
	defer tick.Stop()
	for {
		err := n.Err()
		if bad++; err == nil {
			bad = 0
		}
		if now := err == nil; (now || bad >= unreadyAfter) && (now != ready || !told) {
			ready, told = now, true
			changed(err)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// Stop hands over what the node leads, and ends it: within stopLimit, since what it has
// acknowledged is on the disk anyway. An error says that it has not ended; the process has to.
func (n *Node) Stop() error {
	if err := bounded(stopLimit, func() {
		n.server.LameDuckShutdown()
		n.server.WaitForShutdown()
	}); err != nil {
		return fmt.Errorf("stop the node: %w", err) // its folder stays locked
	}
	return n.dir.Close()
}
