package proxy

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/Ishan27g/ryo-faas/internal/flags"
	"github.com/Ishan27g/ryo-faas/internal/upgrade"
	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/proxy/store"
)

const (
	// nodeFolder is where in the folder of -dir a node of an engine has its own.
	nodeFolder = "engine"
	// enginePause is how often a proxy that knows nothing yet asks for its engine.
	enginePause = 2 * time.Second
)

// engineFlags say where an engine is that several processes use.
type engineFlags struct{ urls, secret, creds, authority *string }

func declareEngine(set *flags.Set) engineFlags {
	return engineFlags{
		urls:      set.String("engine", "", "`urls` of the nodes of an engine that proxies share, such as nats://10.0.0.1:4222,10.0.0.2,10.0.0.3 (default: a store of its own, in the folder)"),
		secret:    set.String("engine-secret", "", "`file` of the secret by which the nodes of proxy engine -cluster and those who use them know each other; proxy engine secret FILE makes one"),
		creds:     set.String("engine-creds", "", "`file` of credentials for an engine of other NATS servers"),
		authority: set.String("engine-ca", "", "`file` of the certificates by which nodes of other NATS servers are known (default: the system's)"),
	}
}

// cluster returns the engine, nil if none is named.
func (f engineFlags) cluster() (*store.Cluster, error) {
	if *f.urls == "" {
		for name, value := range map[string]string{"engine-secret": *f.secret, "engine-creds": *f.creds, "engine-ca": *f.authority} {
			if value != "" {
				return nil, fmt.Errorf("-%s is for -engine, which is not given", name)
			}
		}
		return nil, nil //nolint:nilnil // there is none
	}
	urls, err := store.ParseNodes(*f.urls)
	if err != nil {
		return nil, fmt.Errorf("-engine: %w", err)
	}
	c := &store.Cluster{URLs: urls, Creds: *f.creds}
	if *f.secret != "" {
		if *f.creds != "" || *f.authority != "" {
			return nil, errors.New("-engine-secret is for nodes of proxy engine -cluster, -engine-creds and -engine-ca are for other servers: give one kind")
		}
		if c.Secret, err = store.ReadSecret(*f.secret); err != nil {
			return nil, fmt.Errorf("-engine-secret: %w", err)
		}
	}
	if *f.creds != "" {
		data, err := os.ReadFile(*f.creds)
		if err != nil {
			return nil, fmt.Errorf("-engine-creds: %w", err)
		}
		if !bytes.Contains(data, []byte("BEGIN NATS USER JWT")) || !bytes.Contains(data, []byte("BEGIN USER NKEY SEED")) {
			return nil, fmt.Errorf("-engine-creds: %s has no credentials: the JWT of a user and its seed, as nsc generate creds writes them", *f.creds)
		}
	}
	if *f.authority != "" {
		data, err := os.ReadFile(*f.authority)
		if err != nil {
			return nil, fmt.Errorf("-engine-ca: %w", err)
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(data) {
			return nil, fmt.Errorf("-engine-ca: %s has no certificate", *f.authority)
		}
		c.TLS = &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: pool}
	}
	return c, nil
}

// meet returns the proxy of an engine elsewhere. One that has met it before begins with what
// its folder has, whether the engine answers or not; one that has not waits for it, since
// it does not know who may do what.
func meet(ctx context.Context, cfg Config, engine *store.Engine) (*Proxy, error) {
	for said := false; ; said = true {
		if err := engine.Start(); err != nil && !said {
			cfg.Logger.Error("nothing is stored, since the engine does not answer", "error", err)
		}
		p, err := New(cfg)
		if err == nil || cfg.Lock != nil || !errors.Is(err, proto.ErrUnavailable) && !errors.Is(err, proto.ErrTimeout) {
			return p, err
		}
		if !said {
			cfg.Logger.Error("this proxy waits for its engine, which it has not met before", "engine", engine, "error", err)
		}
		timer := time.NewTimer(enginePause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil, err
		case <-timer.C:
		}
	}
}

// runNode runs a node of an engine until it is to end.
func runNode(set *flags.Set, dir, cluster, self, secret string, stdout, stderr io.Writer) int {
	nodes := words(cluster)
	if self == "" {
		return set.Failf("-node says which of -cluster this node is")
	}
	if err := store.CheckCluster(nodes, self); err != nil {
		return set.Failf("-cluster: %v", err)
	}
	if secret == "" {
		return set.Failf("-engine-secret names the secret of all nodes and proxies; proxy engine secret FILE makes one")
	}
	known, err := store.ReadSecret(secret)
	if err != nil {
		return set.Fail(fmt.Errorf("-engine-secret: %w", err))
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	logger := hclog.New(&hclog.LoggerOptions{Name: "engine", Output: stderr})
	n, err := store.StartNode(store.NodeConfig{Dir: filepath.Join(dir, nodeFolder), Cluster: nodes, Self: self, Secret: known, Logger: logger})
	if err != nil {
		return set.Fail(err)
	}
	fmt.Fprintf(stdout, "Engine started on %s\n", self)
	// It has started, though it stores nothing before it reaches another node: those that are
	// started one after the other would wait for each other.
	if err := upgrade.Notify("READY=1"); err != nil {
		logger.Warn("the service manager is not told", "error", err)
	}
	n.Run(ctx, func(err error) {
		if err != nil {
			logger.Warn("this node stores nothing now", "reason", err)
			return
		}
		logger.Info("this node is ready: a majority of the nodes reach each other")
	})
	if err := n.Stop(); err != nil {
		return set.Fail(err)
	}
	return 0
}
