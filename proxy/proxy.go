package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/Ishan27g/ryo-faas/internal/flags"
	"github.com/Ishan27g/ryo-faas/internal/state"
	"github.com/Ishan27g/ryo-faas/internal/trace"
	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/proxy/acme"
	"github.com/Ishan27g/ryo-faas/proxy/dashboard"
	"github.com/Ishan27g/ryo-faas/proxy/fleet"
	"github.com/Ishan27g/ryo-faas/proxy/gateway"
	"github.com/Ishan27g/ryo-faas/proxy/gateway/accesslog"
	"github.com/Ishan27g/ryo-faas/proxy/rollout"
	"github.com/Ishan27g/ryo-faas/proxy/shared"
	"github.com/Ishan27g/ryo-faas/proxy/store"
	"github.com/Ishan27g/ryo-faas/proxy/trigger/cron"
	"github.com/Ishan27g/ryo-faas/proxy/trigger/events"
	"github.com/Ishan27g/ryo-faas/proxy/trigger/queue"
	"github.com/Ishan27g/ryo-faas/proxy/wish"
	"github.com/Ishan27g/ryo-faas/transport"
	"github.com/Ishan27g/ryo-faas/transport/auth"
	"github.com/Ishan27g/ryo-faas/transport/bundle"
	"github.com/Ishan27g/ryo-faas/transport/pki"
	"github.com/Ishan27g/ryo-faas/transport/server"
	"github.com/Ishan27g/ryo-faas/transport/wire"
)

// packagesLimit bounds the stored packages in bytes: they are only on their way to
// agents, and clients send a dropped one again.
const packagesLimit = 2 << 30

// Config is what a proxy needs to know.
type Config struct {
	Dir      string   // its folder; created if missing
	Lock     *os.File // of the folder, which another process lends; nil: nobody has it
	Agents   []string // addresses of agents to connect to at start
	Near     string   // address of the agent that is connected to when a deploy names none and none is known; "": none is
	URL      string   // where callers reach it, such as "http://public:9002"; "": the host that each caller addressed
	HTTPPort int      // of its listener; also in the urls for callers over RPC
	RPCPort  int      // of its listener
	FastLane bool     // plain calls are answered past net/http
	Insecure bool     // agents on other machines may be connected to
	Shared   bool     // other proxies deploy to the agents, too
	// LostAfter is how long an agent may not answer before what the proxy has placed there
	// is brought up elsewhere; 0: any time.
	LostAfter time.Duration
	// ScaleWindow is how long a function keeps a size that its calls no longer need;
	// default: a minute.
	ScaleWindow time.Duration
	Trust       server.Trust   // users of this machine that are served like the proxy's own; default: nobody
	Gateways    []netip.Prefix // that are believed who calls public functions through them
	TLS         *tls.Config    // of callers; nil: they are served without, or by ACME
	ACME        acme.Config    // how to get certificates for names, and for routes; without names: not at all
	Logger      hclog.Logger   // default: none

	// Store keeps what must outlive the proxy; default: nothing does. It may open after New,
	// and functions are called as ever while it is not open, or has failed. No other process
	// has it, unless it is Common.
	Store store.Store
	// SecretsKey is the file of the key that seals secrets in Store; default: one in Dir.
	// Proxies that have a store in common need the same.
	SecretsKey string
	// Callbacks are networks where callbacks may go beside the internet; default: none.
	Callbacks []netip.Prefix
	// DeployHooks are urls that are told the end of each deploy, and of what else changes
	// functions; default: none.
	DeployHooks []string
	// Hooks are the webhooks of others that become events; default: none.
	Hooks []events.Hook
	// Unavailable says what a change does if an agent does not answer, as the setting of
	// that name; default, with a Store: continue.
	Unavailable string
	engine      *store.Cluster // where the store is, which other processes have, too; nil: in the folder

	AccessLog accesslog.Config // with neither Path nor To there is none
	Trace     trace.Config     // without an Endpoint no call is recorded

	// Common is a store that other proxies have, too: tokens, the authority, certificates and
	// the audit are theirs as much. Nil: they are this proxy's own, in its folder.
	Common store.Store
}

// Proxy offers the functions of many agents as if it ran them itself.
type Proxy struct {
	cfg       Config
	dir       *state.Dir
	store     *bundle.Store
	tokens    *auth.Keeper
	authority *pki.Authority
	settings  *shared.Settings // nil: they are in the folder alone
	audit     *shared.Audit    // the same
	certs     *acme.Manager    // nil: there are none to get
	record    *auth.Record
	table     *gateway.Table
	fleet     *fleet.Fleet
	rollouts  *rollout.Rollouts
	gateway   *gateway.Gateway
	queue     *queue.Queue    // of calls that are made later; nil: none are
	accessLog *accesslog.Log  // nil: there is none
	tracer    *trace.Tracer   // the same
	schedules *cron.Scheduler // of functions; nil: there are none
	events    *events.Inlet   // the same
	dashboard *dashboard.Dashboard
	logger    hclog.Logger
	paths     locks // of functions: deploys and stops of one take turns
	claims    claims
	wakes     wakes
	places    places
	sizes     sizes
	loads     loads
	wishes    *wishes // nil: there is no store
	keys      *wish.Keys
	mends     mends
	changes   *server.Changes // under way

	agentsKick chan struct{} // one hint waits at most
	previews   chan struct{} // the same
	agentsTurn locks         // of changes of which agents there are
}

var _ transport.Interface = (*Proxy)(nil)

// New returns the proxy of a folder, which it holds until Close: a folder that another
// process holds is an ErrConflict. Run connects to the agents.
func New(cfg Config) (*Proxy, error) {
	if cfg.Logger == nil {
		cfg.Logger = hclog.NewNullLogger()
	}
	if cfg.URL != "" {
		u, err := url.Parse(cfg.URL)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.RawQuery != "" || u.Fragment != "" {
			return nil, proto.Errorf(proto.ErrInvalid, "%q is not the url of a proxy, such as http://public:9002", cfg.URL)
		}
		cfg.URL = strings.TrimSuffix(cfg.URL, "/")
	}
	open := state.Open
	if cfg.Lock != nil {
		open = func(path string) (*state.Dir, error) { return state.Take(path, cfg.Lock) }
	}
	dir, err := open(cfg.Dir)
	if err != nil {
		return nil, err
	}
	p := &Proxy{cfg: cfg, changes: new(server.Changes), agentsKick: make(chan struct{}, 1), dir: dir, table: gateway.NewTable(), logger: cfg.Logger}
	if len(cfg.ACME.Names) > 0 {
		cfg.ACME.Dir, cfg.ACME.Logger = dir.Path("acme"), cfg.Logger.Named("acme")
		if cfg.Common != nil {
			cfg.ACME.Files = shared.NewFiles(cfg.Common, "acme")
		}
		p.certs = acme.New(cfg.ACME)
	}
	if p.store, err = bundle.OpenStore(dir.Path("packages"), packagesLimit); err == nil {
		p.store.Room = dir.Room
		err = p.openSettings()
	}
	if err == nil && cfg.Store != nil {
		err = p.openKeys()
	}
	if err == nil {
		held, back := p.openWishes()
		p.fleet, err = fleet.New(fleet.Config{
			Held: held, Had: p.had, Meet: p.meet, Back: back,
			Dir: dir, Agents: cfg.Agents, Own: []string{strconv.Itoa(cfg.HTTPPort), strconv.Itoa(cfg.RPCPort)},
			Local: !cfg.Insecure, Shared: cfg.Shared || cfg.Common != nil, Trusts: cfg.Trust.Has,
			Publish: p.publish, Tokens: p.tokens.Share, Authority: p.authority, Logger: cfg.Logger,
		})
	}
	if err == nil && (cfg.AccessLog.Path != "" || cfg.AccessLog.To != nil) {
		cfg.AccessLog.Logger = cfg.Logger
		if p.accessLog, err = accesslog.Open(cfg.AccessLog); err != nil {
			err = fmt.Errorf("-access-log: %w", err)
		}
	}
	if err != nil {
		p.Close()
		return nil, err
	}
	cfg.Trace.Logger = cfg.Logger
	p.tracer = trace.New(cfg.Trace)
	p.rollouts = rollout.New(p.fleet, cfg.Logger)
	p.wakes.open = p.open
	p.gateway = gateway.New(gateway.Config{
		Table: p.table, Admit: server.Admit, Stranger: server.Stranger, Whose: server.Whose, Descriptor: server.Descriptor,
		Unknown: p.noRoute, Public: p.isPublic, Heard: p.fleet.Heard, Wake: p.wakes.wake, AgentErr: p.fleet.Problem, Logger: cfg.Logger,
		AccessLog: p.accessLog, Tracer: p.tracer, Later: p.later, Notices: p.notices,
	})
	p.dashboard = dashboard.New(dashboard.Config{
		Again: server.Again, Usage: func(ctx context.Context) ([]*proto.Usage, error) { return p.Usage(ctx, "") },
		RPCPort: strconv.Itoa(cfg.RPCPort), Version: flags.ThisBuild().Version, Logger: cfg.Logger.Named("dashboard"),
	})
	if cfg.Store != nil {
		p.queue = queue.New(queue.Config{Store: cfg.Store, Gateway: p.gateway, Admit: server.Admit, Callbacks: cfg.Callbacks, Logger: cfg.Logger.Named("queue")})
		p.openTriggers()
		if err := p.checkDeployHooks(); err != nil {
			p.Close()
			return nil, err
		}
	}
	return p, nil
}

// openSettings opens who may do what, and the record of what they did: in the folder, or
// in what it has in common with other proxies.
func (p *Proxy) openSettings() (err error) {
	if p.record, err = auth.OpenRecord(p.dir.Path("audit")); err != nil {
		return err
	}
	var files pki.Store = p.dir
	lists := auth.InFolder(p.dir)
	if p.cfg.Common != nil {
		if p.settings, err = shared.New(p.cfg.Common, p.dir, p.logger); err != nil {
			return err
		}
		files, lists = p.settings, p.settings.Tokens()
		p.audit = shared.NewAudit(p.cfg.Common, p.logger)
		p.record.Share(p.audit)
	}
	if p.tokens, err = auth.Open(lists); err != nil {
		return err
	}
	if p.authority, err = pki.OpenAuthority(files); err != nil {
		return err
	}
	if p.settings != nil {
		return p.settings.Meet()
	}
	return nil
}

// reload takes over what other proxies have changed of the settings.
func (p *Proxy) reload() {
	err := errors.Join(p.tokens.Reload(), p.authority.Reload())
	if err == nil {
		err = p.settings.Meet()
	}
	if err != nil && !errors.Is(err, state.ErrLent) {
		p.logger.Warn("what other proxies have changed is not known", "error", err)
	}
	p.fleet.Rejoin()
}

// publish turns replicas into routes.
func (p *Proxy) publish(changes map[string][]fleet.Replica) {
	routes := make(map[string][]gateway.Replica, len(changes))
	for path, replicas := range changes {
		routes[path] = nil
		for _, r := range replicas {
			to := gateway.Replica{Row: r.Row, Local: r.Local && r.User != fleet.NoUser, User: r.User}
			if r.Door != nil {
				to.Door = r.Door
			}
			routes[path] = append(routes[path], to)
		}
	}
	p.table.Update(routes)
	if p.certs != nil {
		p.certs.Want(p.table.Hosts()...)
	}
}

// Run keeps the proxy connected to its agents until ctx is done. It is called once.
func (p *Proxy) Run(ctx context.Context) error {
	var others sync.WaitGroup
	if p.certs != nil {
		others.Go(func() { p.certs.Run(ctx) })
	}
	if p.accessLog != nil {
		others.Go(func() { p.accessLog.Run(ctx) })
	}
	others.Go(func() { p.tracer.Run(ctx) })
	others.Go(func() { p.dashboard.Run(ctx) })
	if p.settings != nil {
		others.Go(func() { p.settings.Watch(ctx, p.reload) })
		others.Go(func() { p.audit.Run(ctx) })
	}
	others.Go(func() { p.tendAgents(ctx) })
	others.Go(func() { p.shareLoads(ctx) })
	others.Go(func() { p.lead(ctx, p.leadMends, p.tendPlaces, p.tendSizes, p.tendPreviews, p.tendNotices) })
	if p.queue != nil {
		others.Go(func() { p.queue.Run(ctx) })
		others.Go(func() { p.schedules.Run(ctx) })
		others.Go(func() { p.events.Run(ctx) })
	}
	others.Go(func() { p.keepWishes(ctx) })
	defer others.Wait()
	p.loadWishes(ctx)
	p.fleet.Run(ctx)
	p.rollouts.Wait() // without connections to agents they fail
	p.wakes.running.Wait()
	return nil
}

// Close closes the folder. No method may be called afterwards.
func (p *Proxy) Close() error {
	p.table.Clear()
	if p.gateway != nil {
		p.gateway.Close()
	}
	if p.accessLog != nil {
		p.accessLog.Close()
	}
	return p.dir.Close()
}

// Ready returns nil once every agent that was known at start has been tried, an
// ErrUnavailable before.
func (p *Proxy) Ready() error { return p.fleet.Ready() }

// mounts returns the handlers of calls of functions, at /functions/{name} and below, and,
// on public listeners, at the functions' own routes; of calls that are made later; and of
// what is known of calls.
func (p *Proxy) mounts() []server.Mount {
	return append(append(p.laterMounts(), p.eventMounts()...), []server.Mount{
		{Path: gateway.Prefix, Scope: wire.ScopeInvoke, Does: "calls a function", Handler: p.callHandler()},
		{Path: "/", Scope: wire.ScopeInvoke, Public: true, Handler: p.gateway.Sites()},
		{Path: "/metrics", Methods: []string{http.MethodGet, http.MethodHead}, Scope: wire.ScopeRead, Does: "what became of calls, for Prometheus", Handler: p.gateway.Metrics()},
		{Path: strings.TrimSuffix(dashboard.Path, "/"), Scope: wire.ScopeOpen, Asks: true, Does: "the dashboard, for browsers", Handler: p.dashboard},
		{Path: dashboard.Path, Scope: wire.ScopeOpen, Asks: true, Handler: p.dashboard},
		p.discoveryMount(),
	}...)
}

// Upload implements transport.Interface.
func (p *Proxy) Upload(ctx context.Context, pkg *bundle.Package) error {
	if p.store.Has(pkg.Digest) {
		return nil
	}
	f, err := os.Open(pkg.Path)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = p.store.Put(ctx, pkg.Digest, f)
	return err
}

// known waits until all agents were tried, then is replicas.
func (p *Proxy) known(ctx context.Context, name string) ([]fleet.Replica, error) {
	if err := p.fleet.Started(ctx); err != nil {
		return nil, err
	}
	return p.replicas(name)
}

// replicas returns the rows of a function, at least one.
func (p *Proxy) replicas(name string) ([]fleet.Replica, error) {
	if list := p.fleet.Find(proto.Path(name)); len(list) > 0 {
		return list, nil
	}
	return nil, p.nowhere(name)
}

// everywhere returns the rows of a function, at least one: those of agents that run it,
// then those of agents where it is stopped.
func (p *Proxy) everywhere(ctx context.Context, name string) ([]fleet.Replica, error) {
	if err := p.fleet.Started(ctx); err != nil {
		return nil, err
	}
	if list := p.wherever(ctx, proto.Path(name)); len(list) > 0 {
		return list, nil
	}
	return nil, p.nowhere(name)
}

// nowhere is the error for a function that no agent has that answers. It names those that
// do not: functions that are stopped there are known to them alone.
func (p *Proxy) nowhere(name string) *proto.Error {
	var silent []string
	for _, r := range p.fleet.All() {
		if p.fleet.Problem(r.Agent) != nil {
			silent = append(silent, r.Agent)
		}
	}
	if silent == nil {
		return fleet.NotFound(name)
	}
	return fleet.NotFound(name).WithHint("agents that do not answer may have it: " + strings.Join(silent, ", "))
}

func (p *Proxy) wherever(ctx context.Context, path string) []fleet.Replica {
	return p.with(p.fleet.Find(path), p.fleet.Dormant(ctx, path))
}

// anywhere is wherever, and asks all agents: some may have been asked past the proxy.
func (p *Proxy) anywhere(ctx context.Context, path string) []fleet.Replica {
	return p.with(p.fleet.Find(path), p.fleet.DormantAt(ctx, path, p.fleet.Connected()))
}

func (p *Proxy) with(list, dormant []fleet.Replica) []fleet.Replica {
	for _, r := range dormant {
		if !slices.ContainsFunc(list, func(other fleet.Replica) bool { return other.Agent == r.Agent }) {
			list = append(list, r)
		}
	}
	return list
}

// List implements transport.Interface. An agent that is not known is an ErrNotFound:
// reading adds none.
func (p *Proxy) List(ctx context.Context, atAgent string) ([]*proto.FunctionJsonRsp, error) {
	if err := p.fleet.Started(ctx); err != nil {
		return nil, err
	}
	addr, err := p.fleet.Known(atAgent)
	if err != nil {
		return nil, err
	}
	rows := []*proto.FunctionJsonRsp{}
	for _, row := range p.fleet.Rows() {
		if row.GetAtAgent() == addr {
			rows = append(rows, row)
		}
	}
	if problem := p.fleet.Problem(addr); problem != nil && len(rows) == 0 {
		return nil, problem // what it runs is not known
	}
	return p.present(ctx, rows), nil
}

// Details implements transport.Interface. The rows of an agent that does not answer are
// its last ones, with an error that says since when.
func (p *Proxy) Details(ctx context.Context) ([]*proto.FunctionJsonRsp, error) {
	if err := p.fleet.Started(ctx); err != nil {
		return nil, err
	}
	return p.present(ctx, p.fleet.Rows()), nil
}

// Stopped implements transport.Interface. Agents that do not answer are left out.
func (p *Proxy) Stopped(ctx context.Context, atAgent string) ([]*proto.FunctionJsonRsp, error) {
	if err := p.fleet.Started(ctx); err != nil {
		return nil, err
	}
	addr := ""
	if atAgent != "" {
		var err error
		if addr, err = p.fleet.Known(atAgent); err != nil {
			return nil, err
		}
	}
	rows := []*proto.FunctionJsonRsp{}
	for _, r := range p.fleet.AllStopped(ctx) {
		if addr == "" || r.Agent == addr {
			rows = append(rows, r.Row)
		}
	}
	return p.present(ctx, rows), nil
}

// Watch implements transport.Interface.
func (p *Proxy) Watch(ctx context.Context, on func(*proto.WatchEvent) error) error {
	if err := p.fleet.Started(ctx); err != nil {
		return err
	}
	return p.fleet.Watch(ctx, func(ev *proto.WatchEvent) error {
		p.present(ctx, ev.GetFunctions())
		return on(ev)
	})
}

// present sets in rows the url by which the caller reaches their functions, and which of
// them calls do not reach.
func (p *Proxy) present(ctx context.Context, rows []*proto.FunctionJsonRsp) []*proto.FunctionJsonRsp {
	base := p.base(server.CallerFrom(ctx))
	for _, row := range rows {
		row.Size = p.whySize(row)
		row.Url = base + gateway.Prefix + url.PathEscape(proto.Path(row.GetName()))
		row.Drift = p.drift(row)
		if at := p.expires(row); !at.IsZero() {
			row.Expires = at.UTC().Format(time.RFC3339)
		}
		if row.GetError() == "" && proto.Status(row.GetStatus()) == proto.Deployed {
			if why := p.table.Trouble(row); why != nil {
				row.Error, row.Reason = why.Error(), proto.ReasonAside
			} else if why := p.fleet.Misplaced(row); why != "" {
				row.Error, row.Reason = why, proto.ReasonPlacement
			}
		}
	}
	return rows
}

// base returns the beginning of urls for a caller: the host that it addressed, with
// the HTTP port if it came by RPC.
func (p *Proxy) base(caller server.Caller) string {
	if p.cfg.URL != "" {
		return p.cfg.URL
	}
	scheme := "http://"
	if caller.Secure {
		scheme = "https://"
	}
	if caller.Kind == transport.HTTP && caller.Host != "" {
		return scheme + caller.Host
	}
	host := (&url.URL{Host: caller.Host}).Hostname()
	if host == "" {
		host = "localhost"
	}
	return scheme + net.JoinHostPort(host, strconv.Itoa(p.cfg.HTTPPort))
}
