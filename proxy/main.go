package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/Ishan27g/ryo-faas/internal/doctor"
	"github.com/Ishan27g/ryo-faas/internal/flags"
	"github.com/Ishan27g/ryo-faas/internal/trace"
	"github.com/Ishan27g/ryo-faas/internal/upgrade"
	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/proxy/acme"
	"github.com/Ishan27g/ryo-faas/proxy/gateway/accesslog"
	"github.com/Ishan27g/ryo-faas/proxy/scale"
	"github.com/Ishan27g/ryo-faas/proxy/store"
	"github.com/Ishan27g/ryo-faas/transport/server"
)

// Main is the program: it serves until SIGTERM or SIGINT and returns the exit code. At
// SIGHUP the program that is now in its place takes over.
func Main(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	set := flags.New("proxy", "offers the functions of many agents at one address", stdout, stderr)
	httpAddr := set.String("http", ":9002", "`address` to serve HTTP on")
	rpcAddr := set.String("rpc", ":9001", "`address` to serve gRPC on")
	agents := set.String("agents", "", "`addresses` of agents to connect to, separated by commas; none: none but those that deploys name or that join (default: when a deploy names none and none is known, localhost:9000)")
	dir := set.String("dir", flags.StateDir(), "`folder` for what it must remember")
	public := set.String("url", "", "`url` by which callers reach it, such as http://public:9002 (default: the host that they addressed)")
	functions := set.String("functions", "", "`addresses` at which everybody may call public functions, and do nothing else, separated by commas")
	trusted := set.String("trusted-proxies", "", "`networks` of the gateways in front of -functions, such as 10.0.0.0/8, that are believed about their callers, separated by commas")
	cert := set.String("tls-cert", "", "`file` of the certificate, with those up to the authority, to serve callers by TLS with, on every port; read again when it changes")
	key := set.String("tls-key", "", "`file` of the certificate's private key")
	domains := set.String("domain", "", "`names` of this proxy, separated by commas, to get certificates for by ACME, and for the hosts of routes; you agree to the authority's terms. It must reach -functions at port 443 or 80 of each name")
	authority := set.String("acme", acme.LetsEncrypt, "`url` of the ACME authority's directory")
	email := set.String("acme-email", "", "`address` at which the authority may write to you")
	trust := set.String("trust", "", "`users` of this machine that are served like the proxy's own, separated by commas; groups as @GROUP")
	fastLane := set.Bool("fast-lane", true, "answer plain calls past net/http, for 60 to 80 % of what they cost")
	shared := set.Bool("shared", false, "other proxies deploy to the same agents: a function is called at every agent that has it, whichever proxy deployed it")
	unavailable := set.String("unavailable", proto.UnavailableContinue, "`what` a deploy or another change does if an agent does not answer: continue changes the others, and that one when it is back; stop changes none")
	accessLog := set.String("access-log", "", "`file` that gets a line of JSON of each call, - for stdout; rotated by size (default: none)")
	sample := set.Float64("access-log-sample", 1, "`part` of the calls that get a line, such as 0.01; those that fail get one always")
	size := set.Int("access-log-size", 100, "`MiB` that the file of -access-log may have")
	keep := set.Int("access-log-keep", 5, "`number` of rotated files of -access-log that are kept")
	otlp := set.String("otlp-endpoint", "", "`url` of a collector of OpenTelemetry that gets spans of calls, such as http://localhost:4318 (default: none)")
	set.Variable("otlp-endpoint", trace.EndpointVariable)
	callbacks := set.String("allow-callbacks", "", "`networks` beside the internet where callbacks of calls may go, such as 10.0.0.0/8 or 127.0.0.1, separated by commas")
	hooks := set.String("hooks", "", "`webhooks` of others that are events, signed with a secret, as NAME=FORM:env:VARIABLE or NAME=FORM:file:PATH, separated by commas, such as github=github:file:/etc/ryo/github; POST /hooks/NAME takes them")
	deployHooks := set.String("deploy-hooks", "", "`urls` that are told the end of each deploy, rollback, stop and removal, separated by commas; or env:VARIABLE or file:PATH that has them, one a line (default: none)")
	insecure := set.Bool("insecure", false, "serve all callers, and connect to agents, on other machines, without any credentials")
	secretsKey := set.String("secrets-key", "", "`file` of the key that seals values of secrets in the store, the same for all proxies of one; those of further lines open what they sealed (default: secrets.key in the folder)")
	shareEngine := declareEngine(set)
	lostAfter := set.Duration("lost-after", time.Minute, "`time` that an agent may not answer before functions whose agents the proxy has chosen are brought up on others; 0: any")
	scaleWindow := set.Duration("scale-window", scale.Stable, "`time` that functions with the setting max keep processes that their calls no longer need")
	drain := set.Duration("drain", time.Minute, "`time` that calls and tunnels under way may take when the program is replaced (SIGHUP)")
	if rest, given := set.Command(args[1:], "engine", "runs a node of an engine that proxies share, or looks after a store; proxy engine -h"); given {
		return runEngine(rest, stdin, stdout, stderr)
	}
	examination, rest := doctor.Declare(set, args[1:])
	if code, ok := set.Parse(rest); !ok {
		return code
	}
	if *lostAfter < 0 {
		return set.Failf("invalid value %s for -lost-after: time does not run backwards", *lostAfter)
	}
	if *scaleWindow < time.Second {
		return set.Failf("invalid value %s for -scale-window: a second is the least", *scaleWindow)
	}
	if *drain < 0 {
		return set.Failf("invalid value %s for -drain: time does not run backwards", *drain)
	}
	if *dir == "" {
		return set.Failf("there is no home folder: give -dir")
	}
	if err := proto.CheckUnavailable(*unavailable); err != nil || *unavailable == "" {
		return set.Failf("-unavailable %q is neither continue nor stop", *unavailable)
	}
	addresses := []flags.Address{{Flag: "http", Value: *httpAddr}, {Flag: "rpc", Value: *rpcAddr}}
	for _, addr := range words(*functions) {
		addresses = append(addresses, flags.Address{Flag: "functions", Value: addr})
	}
	if err := flags.Distinct(addresses...); err != nil {
		return set.Fail(err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	renew := make(chan os.Signal, 1)
	signal.Notify(renew, syscall.SIGHUP) // before anything else takes time: unheard, it would end the proxy
	defer signal.Stop(renew)
	logger := hclog.New(&hclog.LoggerOptions{Name: "proxy", Output: stderr})
	// net/http logs some things through package log alone.
	log.SetFlags(0)
	log.SetOutput(logger.StandardWriter(&hclog.StandardLoggerOptions{ForceLevel: hclog.Debug}))
	if *insecure && !examination.Given() {
		logger.Warn("INSECURE: whoever reaches this machine may deploy and run code on it")
	}
	gateways, err := networks("trusted-proxies", words(*trusted))
	if err != nil {
		return set.Fail(err)
	}
	told, err := networks("allow-callbacks", words(*callbacks))
	if err != nil {
		return set.Fail(err)
	}
	signed, err := parseHooks(words(*hooks), os.Getenv)
	if err != nil {
		return set.Fail(err)
	}
	deployed, err := parseDeployHooks(words(*deployHooks), os.Getenv)
	if err != nil {
		return set.Fail(err)
	}
	engine, err := shareEngine.cluster()
	if err != nil {
		return set.Fail(err)
	}
	certs, err := openCert(*cert, *key, logger)
	if err != nil {
		return set.Fail(err)
	}
	believed, err := server.ParseTrust(*trust)
	if err != nil {
		return set.Fail(fmt.Errorf("-trust: %w", err))
	}
	names, err := hosts(words(*domains))
	switch {
	case err != nil:
		return set.Fail(err)
	case len(names) > 0 && *cert != "":
		return set.Failf("-domain gets a certificate, -tls-cert names one: give one of them")
	case len(names) > 0 && *functions == "":
		return set.Failf("-domain needs -functions, which the authority must reach")
	case len(gateways) > 0 && *functions == "":
		return set.Failf("-trusted-proxies names gateways before -functions, which is not given")
	}
	lines, err := accessLogConfig(*accessLog, *sample, *size, *keep, stdout)
	if err != nil {
		return set.Failf("%v", err)
	}
	spans, err := trace.FromEnv(*otlp, "ryo-proxy", os.Getenv)
	if err != nil {
		return set.Failf("%v", err)
	}
	cfg := Config{
		ACME: acme.Config{Names: names, URL: *authority, Email: *email},
		Dir:  filepath.Join(*dir, "proxy"), Agents: words(*agents), Near: nearAgent,
		SecretsKey: *secretsKey, URL: *public, FastLane: *fastLane, Insecure: *insecure, Shared: *shared || engine != nil, Unavailable: *unavailable, LostAfter: *lostAfter, ScaleWindow: *scaleWindow, Trust: believed, Gateways: gateways, Callbacks: told, Hooks: signed, DeployHooks: deployed, TLS: certs.config(),
		engine:    engine,
		AccessLog: lines, Trace: spans, Logger: logger,
	}
	if *agents == "none" {
		cfg.Agents, cfg.Near = nil, ""
	}
	if examination.Given() {
		return examination.Print(set, stdout, examine(ctx, *httpAddr, *rpcAddr, cfg))
	}
	err = serve(ctx, *httpAddr, *rpcAddr, words(*functions), cfg, succession{renew: renew, drain: *drain, stdout: stdout})
	if err != nil {
		return set.Fail(err)
	}
	return 0
}

// nearAgent is where an agent on this machine listens, unless it is told otherwise.
const nearAgent = "localhost:9000"

// accessLogConfig returns what flags say of an access log.
func accessLogConfig(path string, sample float64, size, keep int, stdout io.Writer) (cfg accesslog.Config, err error) {
	const most = 1 << 20 // of MiB, and of files
	switch {
	case !(sample >= 0 && sample <= 1):
		return cfg, fmt.Errorf("-access-log-sample: %v is not a part, from 0 to 1", sample)
	case size < 1 || size > most:
		return cfg, fmt.Errorf("-access-log-size: %d is not a number of MiB, from 1", size)
	case keep < 0 || keep > most:
		return cfg, fmt.Errorf("-access-log-keep: %d is not a number of files", keep)
	}
	cfg = accesslog.Config{Path: path, Sample: sample, Size: int64(size) << 20, Keep: keep}
	if path == "-" {
		cfg.Path, cfg.To = "", stdout
	}
	return cfg, nil
}

// engineFolder is where in the proxy's folder its store lies.
const engineFolder = "engine"

// serve runs a proxy on its two addresses, and on those for public functions, until ctx
// is done, or another process has taken over.
func serve(ctx context.Context, httpAddr, rpcAddr string, functions []string, cfg Config, next succession) error {
	heir, err := upgrade.Inherit()
	if err != nil {
		return err
	}
	listeners, err := listen(heir, httpAddr, rpcAddr, functions)
	if err != nil {
		return err
	}
	defer closeAll(listeners)
	web, rpc, public := listeners[0], listeners[1], listeners[2:]
	if next.place, err = upgrade.NewPlace(listeners); err != nil {
		return err
	}
	defer next.place.Close()
	if err := dropCapabilities(); err != nil {
		cfg.Logger.Warn("capabilities are kept; an agent of the same user may refuse this proxy", "error", err)
	}
	cfg.HTTPPort, cfg.RPCPort = flags.Port(web), flags.Port(rpc)
	if len(public) > 0 {
		cfg.ACME.Host, _, _ = net.SplitHostPort(functions[0])
		cfg.ACME.Port = flags.Port(public[0])
	}
	if next.heir = heir; heir != nil {
		defer heir.Close()
		if cfg.Lock, err = heir.Take(ctx); err != nil {
			return fmt.Errorf("take over from the process before: %w", err)
		}
	}
	engine := store.New(store.Config{Dir: filepath.Join(cfg.Dir, engineFolder), Cluster: cfg.engine, Logger: cfg.Logger.Named("store")})
	cfg.Store = engine
	var p *Proxy
	if cfg.engine != nil {
		cfg.Common = engine
		p, err = meet(ctx, cfg, engine)
	} else {
		p, err = New(cfg)
	}
	if err != nil {
		return errors.Join(err, engine.Stop())
	}
	defer p.Close()
	next.proxy, next.engine = p, engine
	if cfg.engine == nil {
		next.open() // the folder is this process's now
	}
	defer next.shut()

	var challenge func(http.ResponseWriter, *http.Request) bool
	if p.certs != nil {
		cfg.TLS, challenge = p.certs.TLS(), p.certs.Challenge
	}
	var early func(*server.Early) server.EarlyReader
	if cfg.FastLane {
		early = func(e *server.Early) server.EarlyReader { return p.gateway.Fast(e) }
	}
	// The connections to agents close after the last request.
	running, cancel := context.WithCancel(context.WithoutCancel(ctx))
	result := make(chan error, 1)
	go func() {
		guarded := make(chan struct{})
		go func() {
			defer close(guarded)
			engine.Run(running)
		}()
		err := p.Run(running)
		<-guarded
		result <- err
	}()
	if err := next.begin(ctx); err != nil {
		cancel()
		return errors.Join(err, <-result)
	}
	if !next.standsIn() {
		fmt.Fprintf(next.stdout, "HTTP started on %s\n", flags.Shown(httpAddr, web, ""))
		for i, l := range public {
			fmt.Fprintf(next.stdout, "Functions started on %s\n", flags.Shown(functions[i], l, ""))
		}
		fmt.Fprintf(next.stdout, "GRPC server started on %s\n", flags.Shown(rpcAddr, rpc, "[::]"))
	}
	serving, stop := context.WithCancel(ctx)
	defer stop()
	next.start(serving, stop)
	err = server.Serve(serving, p, server.Config{
		Program: "proxy", Version: flags.ThisBuild().Version,
		Listeners: []net.Listener{web, rpc}, Public: public, Gateways: cfg.Gateways,
		Insecure: cfg.Insecure, Trust: cfg.Trust, Hosts: ownNames(cfg.URL), Tokens: p.tokens, Record: p.record,
		TLS: cfg.TLS, Challenge: challenge, Early: early, Certificates: p.authority, Registrar: p, Dispatcher: p.dispatcher(), Scheduler: p,
		Leave: next.leave, LeaveLimit: next.drain, Changes: p.changes,
		Store: p.store, Mounts: p.mounts(), Ready: p.Ready, About: map[string]any{"agents": p.fleet, "store": storeState{p.cfg.Store}}, Logger: cfg.Logger,
	})
	cancel()
	err = errors.Join(err, <-result)
	return next.end(ctx, stop, err)
}

// ownNames returns the host of the public url, which callers may address.
func ownNames(public string) []string {
	if u, err := url.Parse(public); err == nil && u.Hostname() != "" {
		return []string{u.Hostname()}
	}
	return nil
}
