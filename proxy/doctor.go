package proxy

import (
	"context"
	"slices"
	"sync"

	"github.com/Ishan27g/ryo-faas/internal/doctor"
	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/proxy/fleet"
	"github.com/Ishan27g/ryo-faas/transport"
)

// examine says what is not well for a proxy with these flags, whether it runs or not.
func examine(ctx context.Context, httpAddr, rpcAddr string, cfg Config) doctor.Report {
	report := doctor.Report{doctor.Version("proxy"), doctor.Folder("folder", cfg.Dir), doctor.Disk("disk", cfg.Dir)}
	if cfg.TLS != nil {
		if pair, err := cfg.TLS.GetCertificate(nil); err == nil && pair.Leaf != nil {
			report = append(report, doctor.Certificate(pair.Leaf))
		}
	}
	web, rpc := doctor.Port(ctx, "http", httpAddr, "proxy"), doctor.Port(ctx, "rpc", rpcAddr, "proxy")
	if len(web) > 1 { // it runs, and has said the rest itself; its other port says the same
		return append(append(report, web...), rpc[0])
	}
	report = append(append(report, web...), rpc...)
	addrs, err := fleet.Remembered(cfg.Dir)
	if err != nil {
		report = append(report, doctor.Badly("agents", "remove or mend the file", "the agents that are remembered: %v", err))
	}
	for _, given := range cfg.Agents {
		addr, err := transport.NormalizeAddr(given)
		if err != nil {
			report = append(report, doctor.Badly("agents", "give -agents host:port,…", "%v", err))
		} else if !slices.Contains(addrs, addr) {
			addrs = append(addrs, addr)
		}
	}
	if len(addrs) == 0 {
		return append(report, doctor.Found("agents", "none is known yet; a deploy that names one, or -agents, adds it"))
	}
	found := make([][]doctor.Finding, len(addrs))
	var asked sync.WaitGroup
	for i, addr := range addrs {
		asked.Go(func() { found[i] = examineAgent(ctx, addr) })
	}
	asked.Wait()
	return append(report, slices.Concat(found...)...)
}

func examineAgent(ctx context.Context, addr string) []doctor.Finding {
	client := transport.NewAgent(transport.HTTP, addr)
	defer func() { _ = client.Close() }()
	about, err := client.About(ctx)
	if err != nil {
		e := proto.AsError(err)
		return []doctor.Finding{doctor.Badly("agent", "start it; agent doctor on its machine says what is wrong there", "%s", e.Message)}
	}
	return doctor.Server("agent", addr, about)
}
