package remote

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"

	"github.com/hashicorp/go-hclog"

	"github.com/Ishan27g/ryo-faas/internal/doctor"
	"github.com/Ishan27g/ryo-faas/internal/flags"
	"github.com/Ishan27g/ryo-faas/internal/trace"
	"github.com/Ishan27g/ryo-faas/internal/upgrade"
	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/remote/build"
	"github.com/Ishan27g/ryo-faas/remote/confine"
	"github.com/Ishan27g/ryo-faas/remote/isolation"
	"github.com/Ishan27g/ryo-faas/remote/process"
	"github.com/Ishan27g/ryo-faas/transport/server"
	"github.com/Ishan27g/ryo-faas/transport/wire"
)

// Main is the program agent and returns its exit code. The agent also starts it as the
// holder of package process, so call it first of all.
func Main(args []string, _ io.Reader, stdout, stderr io.Writer) int {
	if code, holder := process.HolderMain(args); holder {
		return code
	}
	// A container's functions cannot outlive their agent, so it stops them itself.
	if code, first := process.InitMain(args, stderr, map[string]string{flags.Env("stop-functions"): "true"}); first {
		return code
	}
	set := flags.New("agent", "builds and runs Go functions on this machine", stdout, stderr)
	port := set.String("port", ":9000", "`address` to serve gRPC and HTTP on")
	dir := set.String("dir", flags.StateDir(), "state `folder`, in which the agent's own is agent")
	ports := set.String("ports", DefaultPorts, "`range` of the functions' ports")
	host := set.String("host", "", "`name` by which other machines reach this agent")
	cache := set.String("cache", "", "`folder` of the build cache, which agents may share (default cache in the agent's folder)")
	cacheLimit := set.Int("cache-limit", defaultCacheLimit, "`GiB` that what builds have compiled may take, and as many what they have fetched")
	sourceRoot := set.String("source-root", "", "`folder` below which callers of other machines may name a dir to deploy")
	join := set.String("join", "", "`address` of a proxy (its -rpc) to belong to: it is served by TLS, and reaches functions through this port")
	token := set.String("token", "", "join `token`, which proxyCli agents token prints; needed once")
	set.Variable("token", "RYO_JOIN_TOKEN") // proxyCli takes the token of a caller from RYO_TOKEN
	expose := set.Bool("expose", false, "open the functions' ports to other machines, for trusted networks")
	trust := set.String("trust", "", "`users` of this machine that are served like the agent's own, separated by commas; groups as @GROUP")
	otlp := set.String("otlp-endpoint", "", "`url` of a collector of OpenTelemetry that gets spans of deploys and starts, and which functions are told, such as http://localhost:4318 (default: none)")
	set.Variable("otlp-endpoint", trace.EndpointVariable)
	insecure := set.Bool("insecure", false, "serve all callers, on other machines too, without credentials")
	builds := set.String("build", "auto", "`auto|never`: never runs only what other agents have built, and needs no Go")
	goproxy := set.String("goproxy", "", "`list` of module proxies for builds (default GOPROXY as go env says; direct is left out)")
	gosumdb := set.String("gosumdb", "", "checksum `database` of modules (default GOSUMDB as go env says)")
	goprivate := set.String("goprivate", "", "`patterns` of modules that the database is not asked about (default GOPRIVATE as go env says)")
	unconfined := set.Bool("unconfined-builds", false, "with -insecure: build for others even where this system cannot confine builds")
	least := set.String("isolation", "", "least isolation of functions, `full|strong|basic|none`; none lets -insecure, -host or -join do without any (default what the machine has)")
	labels := set.String("labels", "", "`labels` of this agent, such as zone=a,gpu=yes, by which functions ask for it (setting placement)")
	versions := set.Int("versions", defaultVersions, "`number` of versions of a function that are kept")
	stop := set.Bool("stop-functions", false, "stop the functions when the agent stops, instead of leaving them to the next one")
	examination, rest := doctor.Declare(set, args[1:])
	if code, ok := set.Parse(rest); !ok {
		return code
	}
	if *dir == "" {
		return set.Failf("there is no home folder for the state; give -dir")
	}
	if *builds != "auto" && *builds != "never" {
		return set.Failf("invalid value %q for -build: use auto or never", *builds)
	}
	if *cacheLimit < 1 {
		return set.Failf("invalid value %d for -cache-limit: a cache needs 1 GiB at least", *cacheLimit)
	}
	if *versions < 1 {
		return set.Failf("invalid value %d for -versions: one is kept at least", *versions)
	}
	demanded := proto.IsolationNone
	if *least != "" {
		var err error
		if demanded, err = proto.ParseIsolation(*least); err != nil {
			return set.Failf("invalid value for -isolation: %v", err)
		}
	}
	marks, err := proto.ParseLabels(*labels)
	if err != nil {
		return set.Failf("invalid value for -labels: %v", err)
	}
	trusted, err := server.ParseTrust(*trust)
	if err != nil {
		return set.Fail(fmt.Errorf("-trust: %w", err))
	}
	spans, err := trace.FromEnv(*otlp, "ryo-agent", os.Getenv)
	if err != nil {
		return set.Failf("%v", err)
	}
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer cancel()
	renew := make(chan os.Signal, 1)
	signal.Notify(renew, syscall.SIGHUP) // before anything else takes time: unheard, it would end the agent
	defer signal.Stop(renew)
	asked := options{
		listen: *port, insecure: *insecure, trust: trusted, unconfined: *unconfined, unisolated: *least != "", sourceRoot: *sourceRoot, stdout: stdout,
		agent: Config{
			Dir: filepath.Join(*dir, "agent"), Cache: *cache, CacheLimit: int64(*cacheLimit) << 30, Host: *host, Ports: *ports, Expose: *expose, Join: *join, Token: *token,
			NoBuild: *builds == "never", GoProxy: *goproxy, GoSumDB: *gosumdb, GoPrivate: *goprivate, Versions: *versions, StopFunctions: *stop,
			Isolation: demanded, Labels: marks, Trace: spans,
			Logger: hclog.New(&hclog.LoggerOptions{Name: "agent", Output: stderr, Level: hclog.Info}),
		},
	}
	if examination.Given() {
		return examination.Print(set, stdout, examine(ctx, asked))
	}
	err = serve(ctx, asked, renew)
	if err != nil {
		return set.Fail(err)
	}
	return 0
}

// options are what the command line says.
type options struct {
	agent      Config
	listen     string
	insecure   bool
	trust      server.Trust
	unconfined bool
	unisolated bool // -isolation says how functions may run
	sourceRoot string
	stdout     io.Writer
}

// caches says how large the caches of builds are, at the time of the answer.
type caches func() *build.Caches

// MarshalJSON implements json.Marshaler.
func (c caches) MarshalJSON() ([]byte, error) { return json.Marshal(c()) }

// building says how far the build cache is filled, or "ready", at the time of the answer.
type building func() string

// MarshalJSON implements json.Marshaler.
func (b building) MarshalJSON() ([]byte, error) { return json.Marshal(cmp.Or(b(), "ready")) }

// serve runs an agent until ctx ends. At each signal of renew it becomes the program that
// is now in its place.
func serve(ctx context.Context, s options, renew <-chan os.Signal) error {
	listener, err := listen(ctx, s.listen)
	if err != nil {
		return err
	}
	defer listener.Close()
	s.agent.Port = flags.Port(listener)
	agent, err := New(s.agent)
	if err != nil {
		return err
	}
	logger := s.agent.Logger
	if s.agent.StopFunctions {
		logger.Info("functions end with this agent")
	}
	tell(logger, agent.Layers())
	tellIsolation(logger, agent.Isolation())
	toolchain := tellToolchain(logger, agent.Info().GetGoVersion())
	if err := errors.Join(s.mayBuild(agent.Layers()), s.mayRun(agent.Isolation())); err != nil {
		return err
	}
	if err := agent.join(ctx); err != nil {
		return err
	}
	if s.insecure {
		logger.Warn("INSECURE: anyone who can reach this agent can run code on this machine", "address", listener.Addr())
	} else if s.agent.Host != "" && s.agent.Join == "" {
		logger.Warn("proxies of other machines are refused; -join makes this agent belong to one", "host", s.agent.Host)
	}
	fmt.Fprintf(s.stdout, "HTTP started on %s\n", flags.Shown(s.listen, listener, ""))
	fmt.Fprintf(s.stdout, "GRPC server started on %s\n", flags.Shown(s.listen, listener, "[::]"))

	next, err := newBequest(listener)
	if err != nil {
		return err
	}
	defer next.listener.Close()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	// Whichever of the two returns first cancels the other.
	errs := make(chan error, 2)
	var doors sync.WaitGroup
	doors.Go(func() { agent.door.Run(ctx) })
	go func() { defer cancel(nil); errs <- agent.Run(ctx) }()
	go func() {
		defer cancel(nil)
		errs <- server.Serve(ctx, agent, server.Config{
			Program: "agent", Version: flags.ThisBuild().Version,
			Listeners: []net.Listener{listener}, Store: agent.Store(), Tokens: agent.tokens, Record: agent.record, Insecure: s.insecure, Trust: s.trust, Hosts: hosts(s.agent.Host), Worker: agent, Certificates: agent.certificates(),
			Mounts: []server.Mount{
				{Path: "/metrics", Methods: []string{http.MethodGet, http.MethodHead}, Scope: wire.ScopeRead, Does: "what functions use, for Prometheus", Handler: agent.Metrics()},
				{Path: wire.DoorPrefix, Methods: []string{http.MethodGet}, Scope: wire.ScopeAdmin, Handler: agent.door},
			},
			SourceRoot: s.sourceRoot, Ready: agent.Ready, About: map[string]any{"isolation": agent.Isolation(), "buildIsolation": agent.Layers(), "damaged": agent.damage, "build": building(agent.programs.Building), "caches": caches(agent.programs.Caches), "toolchain": toolchain, "joined": membership{agent}, "silentProxies": silences{agent}}, Logger: logger.Named("transport"),
		})
	}()
	for ctx.Err() == nil {
		select {
		case <-renew:
			if err := next.program.Prove(ctx, "agent", os.Args[1:], upgrade.ProofLimit); err != nil {
				logger.Error("this agent stays, since the program in its place is none that could take over", "error", err)
				continue
			}
			logger.Info("another agent takes this one's place", "program", next.program)
			cancel(ErrReplaced)
		case <-ctx.Done():
		}
	}
	err = errors.Join(<-errs, <-errs)
	doors.Wait()
	if err == nil && errors.Is(context.Cause(ctx), ErrReplaced) {
		return next.execute()
	}
	return err
}

// mayBuild refuses -insecure where builds reach every file of the agent's user, unless
// -unconfined-builds is given.
func (s options) mayBuild(layers []confine.Layer) error {
	for _, layer := range layers {
		if layer.Name == confine.Files && layer.State == confine.Off && s.insecure && !s.unconfined {
			return proto.Errorf(proto.ErrForbidden, "nothing keeps builds from the files of this machine (%s), and -insecure lets everyone build", layer.Reason).
				WithHint("it takes " + layer.Remedy + "; or give -build never, or -unconfined-builds")
		}
	}
	return nil
}

// mayRun refuses callers of other machines where nothing isolates functions, unless
// -isolation is given.
func (s options) mayRun(walls isolation.Report) error {
	if walls.Tier != proto.IsolationNone.String() || s.unisolated || !s.insecure && s.agent.Host == "" && s.agent.Join == "" {
		return nil
	}
	return proto.Errorf(proto.ErrForbidden, "nothing keeps functions from the files of this machine (%s), and other machines may deploy them", walls.Why).
		WithHint("give -isolation none if that is meant, or none of -insecure, -host and -join")
}

// toolchain is what /readyz says of the Go that functions are built with.
type toolchain struct {
	Version  string `json:"version,omitempty"`
	MendedIn string `json:"mendedIn,omitempty"` // of faults that are known of Version
}

// tellToolchain logs that the Go that functions are built with has known faults.
func tellToolchain(logger hclog.Logger, goVersion string) toolchain {
	t := toolchain{goVersion, build.Mended(goVersion)}
	if t.MendedIn != "" {
		logger.Warn("functions are built with a Go that has known faults", "toolchain", t.Version, "mended", t.MendedIn, "remedy", "install "+t.MendedIn+" or later, and deploy again")
	}
	return t
}

// tell logs what confines builds on this machine, what is missing, and its remedy.
func tell(logger hclog.Logger, layers []confine.Layer) {
	if layers == nil {
		logger.Info("builds no functions; others build what it runs")
		return
	}
	var states []any
	for _, layer := range layers {
		states = append(states, layer.Name, layer.State)
	}
	logger.Info("builds are confined by", states...)
	for _, layer := range layers {
		if layer.State != confine.On {
			logger.Warn("builds are confined less than they could be", "layer", layer.Name, "state", layer.State, "reason", layer.Reason, "remedy", layer.Remedy)
		}
	}
}

// tellIsolation logs how functions are isolated on this machine.
func tellIsolation(logger hclog.Logger, walls isolation.Report) {
	states := []any{"tier", walls.Tier}
	for _, layer := range walls.Layers {
		states = append(states, layer.Name, layer.State)
	}
	if walls.Tier == proto.IsolationNone.String() {
		logger.Warn("functions are NOT isolated: they can do all that the agent's user can", append(states, "reason", walls.Why)...)
		return
	}
	logger.Info("functions are isolated by", states...)
}

func hosts(host string) []string {
	if host == "" {
		return nil
	}
	return []string{host}
}
