package proxy

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"

	"github.com/hashicorp/go-hclog"

	"github.com/Ishan27g/ryo-faas/internal/state"
	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/transport"
	"github.com/Ishan27g/ryo-faas/transport/bundle"
)

// packagesLimit bounds the stored packages in bytes: they are only on their way
// to agents, and clients send one again that was dropped.
const packagesLimit = 2 << 30

// Config is what a proxy needs to know.
type Config struct {
	Dir      string   // its folder, made if need be
	Agents   []string // addresses of agents to connect to at start
	URL      string   // where callers reach it, such as "http://public:9002"; "": the host that each caller addressed
	HTTPPort int      // of its own listeners; HTTPPort is also in the urls for callers over RPC
	RPCPort  int
	Insecure bool         // agents on other machines may be connected to
	Logger   hclog.Logger // default: none
}

// Proxy offers the functions of many agents as if it ran them itself.
type Proxy struct {
	cfg     Config
	dir     *state.Dir
	store   *bundle.Store
	fleet   *fleet
	gateway *gateway
	logger  hclog.Logger
	paths   locks // of functions: deploys and stops of one take turns

	followers sync.WaitGroup // of rollouts and wakes

	mu       sync.Mutex          // guards the below
	rollouts map[string]*rollout // by path
	wakes    map[string]*wake    // by path@number
}

var _ transport.Interface = (*Proxy)(nil)

// New returns the proxy of a folder, which it holds until Close: a folder that
// another process holds is an ErrConflict. Agents are connected to by Run.
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
	dir, err := state.Open(cfg.Dir)
	if err != nil {
		return nil, err
	}
	p := &Proxy{cfg: cfg, dir: dir, logger: cfg.Logger, rollouts: map[string]*rollout{}, wakes: map[string]*wake{}}
	table := &routes{}
	table.update(nil)
	p.fleet = &fleet{
		local: !cfg.Insecure, own: []string{strconv.Itoa(cfg.HTTPPort), strconv.Itoa(cfg.RPCPort)}, dir: dir, routes: table, logger: cfg.Logger,
		agents: map[string]*agent{}, hidden: map[string]bool{}, changed: make(chan struct{}),
	}
	p.gateway = &gateway{
		routes: table, unknown: p.fleet.unknown, wake: p.wake, agentErr: p.fleet.problem, logger: cfg.Logger,
		errorLog: cfg.Logger.StandardLogger(&hclog.StandardLoggerOptions{ForceLevel: hclog.Debug}),
	}
	if p.store, err = bundle.OpenStore(dir.Path("packages"), packagesLimit); err == nil {
		err = p.fleet.load(cfg.Agents)
	}
	if err != nil {
		p.Close()
		return nil, err
	}
	return p, nil
}

// Run keeps the proxy connected to its agents until ctx ends. It is called once.
func (p *Proxy) Run(ctx context.Context) error {
	p.fleet.run(ctx)
	p.followers.Wait() // they end with the connections to agents
	return nil
}

// Close gives the folder up. Nothing may be called afterwards.
func (p *Proxy) Close() error {
	closeIdle(p.fleet.routes.clear())
	return p.dir.Close()
}

// Ready returns nil once every agent that was known at start has been tried, an
// ErrUnavailable before.
func (p *Proxy) Ready() error {
	p.fleet.mu.Lock()
	defer p.fleet.mu.Unlock()
	if list := p.fleet.starting(); len(list) > 0 {
		return proto.Errorf(proto.ErrUnavailable, "still connecting to %s", strings.Join(list, ", "))
	}
	return nil
}

// Functions serves calls of functions, /functions/{name} and below.
func (p *Proxy) Functions() http.Handler { return p.gateway }

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

// Stop implements transport.Interface. Calls are no longer routed to the function
// before its agents are asked.
func (p *Proxy) Stop(ctx context.Context, fnName string) (*proto.FunctionJsonRsp, error) {
	if err := p.fleet.started(ctx); err != nil {
		return nil, err
	}
	path := proto.Path(fnName)
	unlock, err := p.paths.lock(ctx, path)
	if err != nil {
		return nil, err
	}
	defer unlock()
	drafts := p.fleet.drafts(path)
	p.halt(path, errStopped)
	for _, row := range drafts {
		p.fleet.rows.Set(stopped(row))
	}
	replicas, err := p.replicas(fnName)
	if err != nil && len(drafts) > 0 { // no agent has been given it
		return p.present(ctx, []*proto.FunctionJsonRsp{stopped(drafts[0])})[0], nil
	}
	if err != nil {
		return nil, err
	}
	short, cancel := context.WithTimeout(ctx, lastCalls)
	defer cancel()
	p.fleet.hide(short, path)
	defer p.fleet.show(path)

	rows := make([]*proto.FunctionJsonRsp, len(replicas))
	errs := make([]error, len(replicas))
	var wg sync.WaitGroup
	for i, l := range replicas {
		wg.Go(func() { rows[i], errs[i] = p.stopAt(ctx, l.agent.addr, l.row.GetName()) })
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return p.present(ctx, rows)[0], nil
}

// known returns the rows of a function, at least one, once all agents were tried.
func (p *Proxy) known(ctx context.Context, name string) ([]located, error) {
	if err := p.fleet.started(ctx); err != nil {
		return nil, err
	}
	return p.replicas(name)
}

// replicas returns the rows of a function, at least one.
func (p *Proxy) replicas(name string) ([]located, error) {
	if list := p.fleet.find(proto.Path(name)); len(list) > 0 {
		return list, nil
	}
	return nil, notFound(name)
}

// stopAt stops a function on one agent, and waits until the watch has told so.
func (p *Proxy) stopAt(ctx context.Context, addr, name string) (*proto.FunctionJsonRsp, error) {
	a, client, err := p.fleet.connect(ctx, addr)
	if err != nil {
		return nil, err
	}
	var row *proto.FunctionJsonRsp
	if err := ask(ctx, a, stopLimit, func(ctx context.Context) error {
		row, err = client.Stop(ctx, name)
		return err
	}); err != nil {
		return nil, err
	}
	row.AtAgent = a.addr
	p.fleet.echo(ctx, a, client, proto.Path(name), func(told *proto.FunctionJsonRsp) bool { return told == nil })
	return row, nil
}

// List implements transport.Interface. An agent that was not known is connected to.
func (p *Proxy) List(ctx context.Context, atAgent string) ([]*proto.FunctionJsonRsp, error) {
	if err := p.fleet.started(ctx); err != nil {
		return nil, err
	}
	addr, err := transport.NormalizeAddr(atAgent)
	if err != nil {
		return nil, err
	}
	if !p.fleet.knows(addr) {
		if _, _, err := p.fleet.connect(ctx, addr); err != nil {
			return nil, err
		}
	}
	rows := []*proto.FunctionJsonRsp{}
	for _, row := range p.fleet.rows.Rows() {
		if row.GetAtAgent() == addr {
			rows = append(rows, row)
		}
	}
	return p.present(ctx, rows), nil
}

// Details implements transport.Interface. The rows of an agent that does not
// answer are as they were, with an error that says since when.
func (p *Proxy) Details(ctx context.Context) ([]*proto.FunctionJsonRsp, error) {
	if err := p.fleet.started(ctx); err != nil {
		return nil, err
	}
	return p.present(ctx, p.fleet.rows.Rows()), nil
}

// Watch implements transport.Interface.
func (p *Proxy) Watch(ctx context.Context, on func(*proto.WatchEvent) error) error {
	if err := p.fleet.started(ctx); err != nil {
		return err
	}
	return p.fleet.rows.Watch(ctx, func(ev *proto.WatchEvent) error {
		p.present(ctx, ev.GetFunctions())
		return on(ev)
	})
}

// present gives rows the url by which the caller reaches their functions.
func (p *Proxy) present(ctx context.Context, rows []*proto.FunctionJsonRsp) []*proto.FunctionJsonRsp {
	base := p.base(transport.CallerFrom(ctx))
	for _, row := range rows {
		row.Url = base + prefix + url.PathEscape(proto.Path(row.GetName()))
	}
	return rows
}

// base is the beginning of urls for a caller: by the host that it addressed
// itself, with the HTTP port if it came to the other.
func (p *Proxy) base(caller transport.Caller) string {
	if p.cfg.URL != "" {
		return p.cfg.URL
	}
	if caller.Kind == transport.HTTP && caller.Host != "" {
		return "http://" + caller.Host
	}
	host := (&url.URL{Host: caller.Host}).Hostname()
	if host == "" {
		host = "localhost"
	}
	return "http://" + net.JoinHostPort(host, strconv.Itoa(p.cfg.HTTPPort))
}
