package remote

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/hashicorp/go-hclog"

	"github.com/Ishan27g/ryo-faas/internal/state"
	"github.com/Ishan27g/ryo-faas/internal/trace"
	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/remote/build"
	"github.com/Ishan27g/ryo-faas/remote/confine"
	"github.com/Ishan27g/ryo-faas/remote/disk"
	"github.com/Ishan27g/ryo-faas/remote/door"
	"github.com/Ishan27g/ryo-faas/remote/isolation"
	"github.com/Ishan27g/ryo-faas/remote/logs"
	"github.com/Ishan27g/ryo-faas/remote/process"
	"github.com/Ishan27g/ryo-faas/remote/programs"
	"github.com/Ishan27g/ryo-faas/transport"
	"github.com/Ishan27g/ryo-faas/transport/auth"
	"github.com/Ishan27g/ryo-faas/transport/bundle"
	"github.com/Ishan27g/ryo-faas/transport/pki"
)

// packageSpace bounds the packages that are kept, in bytes. A package is needed
// until its deploy has settled; after that it saves an upload.
const packageSpace = 1 << 30

// Config is what an agent needs to know. The zero value of a field is its default.
type Config struct {
	// Dir is the agent's own folder; no other agent may use it. Required.
	Dir string
	// Cache is the folder of the build and module caches, which agents of one
	// machine may share. Default: cache in Dir.
	Cache string
	// CacheLimit is what each of the two may take, in bytes. Default: 10 GiB.
	CacheLimit int64
	// Host is the name by which other machines reach this agent. Default: localhost.
	Host string
	// Port is the port that the agent is served on. Required: it is part of the
	// agent's address.
	Port int
	// Ports is the range of the functions' ports. Default: 5000-5999.
	Ports string
	// Expose makes the functions' services listen on every interface instead of
	// loopback alone.
	Expose bool
	// Join is the address of the proxy that the agent is to belong to, its gRPC port.
	// Default: none. Token lets it join; once it has joined it needs none.
	Join, Token string
	// Versions is how many versions of a function are kept, at least. Default: 10.
	Versions int
	// StopFunctions makes Run stop the functions' processes when its context ends.
	// Without it they go on, and the next agent of the folder takes them over.
	StopFunctions bool
	// NoBuild is for an agent without a toolchain: it runs programs that other agents
	// have built.
	NoBuild bool
	// GoProxy, GoSumDB and GoPrivate say where builds get modules from, as the go
	// command's variables of these names do. Default: what go env says.
	GoProxy, GoSumDB, GoPrivate string
	// Labels are by which functions ask for this agent. Default: none.
	Labels map[string]string
	// Isolation is the least that functions run under; New fails where there is less.
	Isolation proto.Isolation
	// Trace says where spans of deploys and starts go. Default: nowhere.
	Trace trace.Config
	// Logger gets the agent's messages. Default: none.
	Logger hclog.Logger
}

// defaultCacheLimit is what each cache of builds may take, in GiB.
const defaultCacheLimit = 10

// defaultVersions is how many versions are kept: each costs the disk a program.
const defaultVersions = 10

// maxStopped bounds the functions that are stopped and keep their versions, each of
// which costs the disk a few programs.
const maxStopped = 100

// DefaultPorts lies outside the range from which systems take the ports of
// outgoing connections.
const DefaultPorts = "5000-5999"

// Agent keeps the functions of one machine.
type Agent struct {
	logger   hclog.Logger
	disk     disk.Folder
	damage   *damages
	id       string // by which proxies know this agent
	identity *pki.Identity
	proxy    string     // to which the agent belongs; "": none
	token    string     // with which it may join
	door     *door.Door // for calls from other machines
	store    *bundle.Store
	tokens   *auth.Keeper
	record   *auth.Record
	programs *programs.Maker
	tracer   *trace.Tracer // nil: nothing is recorded
	walls    *isolation.Walls
	logs     *logs.Store
	ports    *ports
	users    *pool  // of functions
	host     string // by which the functions' services are reached
	addr     string // host:port of the agent
	expose   bool
	versions int // of a function that are kept
	labels   map[string]string
	seal     *disk.Sealer
	waker    *process.Waker
	holder   atomic.Pointer[process.HolderClient] // nil: functions stop with the agent
	stop     bool                                 // functions stop with the agent in any case
	// furniture is the environment through which functions find what the machine lacks.
	furniture  []string
	feed       transport.Feed
	handedOver chan struct{} // closed when the next agent is to take the functions over
	up         chan struct{} // closed when the functions of the folder are known

	work sync.WaitGroup // the functions' goroutines

	mu sync.Mutex // guards the fields below
	// live starts a function's goroutine; nil while the agent does not run.
	live      func(f *function, first func(*function))
	functions map[string]*function    // by path
	stopped   map[string]*disk.Record // functions that were stopped and have versions, by path
}

var _ transport.Interface = (*Agent)(nil)

// New returns the agent of a folder, which it holds from now on. It starts nothing: Run
// does, and releases the folder when it returns.
func New(cfg Config) (*Agent, error) {
	if cfg.Logger == nil {
		cfg.Logger = hclog.NewNullLogger()
	}
	if cfg.Host == "" {
		cfg.Host = "localhost"
	}
	if cfg.Ports == "" {
		cfg.Ports = DefaultPorts
	}
	if cfg.Cache == "" {
		cfg.Cache = filepath.Join(cfg.Dir, "cache")
	}
	if cfg.Versions == 0 {
		cfg.Versions = defaultVersions
	}
	ports, err := parsePorts(cfg.Ports)
	if err != nil {
		return nil, err
	}
	damage := &damages{logger: cfg.Logger}
	folder, err := disk.Open(cfg.Dir, damage.add)
	if err != nil {
		return nil, err
	}
	a := &Agent{
		logger: cfg.Logger, disk: folder, damage: damage, ports: ports, users: newUsers(),
		host: cfg.Host, addr: net.JoinHostPort(cfg.Host, strconv.Itoa(cfg.Port)), expose: cfg.Expose, proxy: cfg.Join, token: cfg.Token, versions: cfg.Versions, labels: cfg.Labels, stop: cfg.StopFunctions,
		handedOver: make(chan struct{}), up: make(chan struct{}), functions: make(map[string]*function), stopped: make(map[string]*disk.Record),
	}
	a.door = door.New(a.socketOf)
	cfg.Trace.Logger = cfg.Logger
	a.tracer = trace.New(cfg.Trace)
	if err := a.equip(cfg); err != nil {
		return nil, errors.Join(err, folder.Close())
	}
	return a, nil
}

// equip gives the agent its packages, its programs and its builder.
func (a *Agent) equip(cfg Config) (err error) {
	if a.store, err = bundle.OpenStore(a.disk.Path("packages"), packageSpace); err != nil {
		return err
	}
	a.store.Room = a.disk.Room
	if a.tokens, a.record, err = auth.OpenFolder(a.disk.Dir); err != nil {
		return err
	}
	if a.id, err = a.disk.ID(); err != nil {
		return err
	}
	if a.identity, err = pki.OpenIdentity(a.disk, a.id); err != nil {
		return err
	}
	if a.seal, err = a.disk.Sealer(); err != nil {
		return err
	}
	if a.logs, err = a.openLogs(); err != nil {
		return err
	}
	if a.waker, err = process.NewWaker(); err != nil {
		return err
	}
	if a.furniture, err = furnish(a.disk.Path("furniture"), "/"); err != nil {
		return err
	}
	launcher := confine.New()
	if a.walls, err = isolation.New(launcher, a.disk.Path(), a.id, cfg.Isolation); err != nil {
		return err
	}
	making := programs.Config{Dir: a.disk.Path("programs"), Temp: a.disk.Tmp(), Packages: a.store, Addr: a.addr, Logger: a.logger}
	if !cfg.NoBuild {
		if err := errors.Join(os.MkdirAll(cfg.Cache, 0o700), state.Check(cfg.Cache)); err != nil {
			return err
		}
		making.Build = &build.Config{
			Dir: cfg.Cache, CacheLimit: cfg.CacheLimit, Temp: a.disk.Tmp(), Logger: a.logger.Named("build"),
			Proxy: cfg.GoProxy, SumDB: cfg.GoSumDB, Private: cfg.GoPrivate, Launcher: launcher,
		}
	}
	a.programs, err = programs.New(making)
	return err
}

// openLogs opens what functions print. What cannot be opened is set aside: functions
// run without what was printed before.
func (a *Agent) openLogs() (*logs.Store, error) {
	open := func() (*logs.Store, error) {
		return logs.Open(a.disk.Path("logs"), logs.Config{Logger: a.logger.Named("logs")})
	}
	store, err := open()
	if err == nil || errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) {
		return store, err
	}
	aside, asideErr := a.disk.SetAside("logs")
	if asideErr != nil {
		return nil, errors.Join(err, asideErr)
	}
	a.damage.add(disk.Damage{File: a.disk.Path("logs"), Why: err.Error(), Aside: aside, Way: "none is needed: it is written anew"})
	return open()
}

// Store is where the agent keeps packages.
func (a *Agent) Store() *bundle.Store { return a.store }

// Layers says what confines the builds of this machine. An agent that builds
// nothing has none.
func (a *Agent) Layers() []confine.Layer { return a.programs.Layers() }

// Isolation says how functions are kept from the rest of this machine.
func (a *Agent) Isolation() isolation.Report { return a.walls.Report() }

// ErrReplaced as the cause of the end of Run's context says that the next agent
// follows at once, so that functions go on even with StopFunctions.
var ErrReplaced = errors.New("the next agent follows")

// Run takes over what an earlier agent left running, brings back what should run, and
// keeps it running until ctx ends. What should run stays on disk for the next Run, and
// what runs goes on: the program should exit, or become the next agent. With
// StopFunctions Run drains and stops the processes first.
func (a *Agent) Run(ctx context.Context) error {
	defer a.disk.Close()
	helpers, cancel := context.WithCancel(context.WithoutCancel(ctx))
	lives, cancelLives := context.WithCancel(helpers)
	defer cancelLives()
	var background sync.WaitGroup
	defer a.closeHolder()
	defer background.Wait()
	defer cancel()
	// What runs is taken over even if the agent is to stop before it has: half of it would
	// be taken for processes that nobody wants.
	a.openHolder(helpers)
	background.Go(func() { a.keepHolder(helpers) })
	background.Go(func() { a.tracer.Run(helpers) })
	background.Go(func() {
		if err := a.logs.Run(helpers); err != nil {
			a.logger.Error("what functions print is not read", "error", err)
		}
	})
	background.Go(func() {
		if err := a.waker.Run(helpers); err != nil {
			a.logger.Error("functions that are idle are not woken", "error", err)
		}
	})
	if err := a.restore(helpers, lives); err != nil {
		return err
	}
	defer a.programs.Close()
	background.Go(func() {
		if err := a.programs.Run(helpers); err != nil {
			a.logger.Error("functions cannot be built", "error", err)
		}
	})
	background.Go(func() { a.renew(helpers) })
	background.Go(func() { a.tokens.Watch(helpers, a.lapsed) })
	close(a.up)
	<-ctx.Done()
	a.mu.Lock()
	a.live = nil
	a.mu.Unlock()
	if a.holder.Load() != nil && (!a.stop || errors.Is(context.Cause(ctx), ErrReplaced)) {
		a.logger.Info("stopping; functions go on")
		close(a.handedOver)
	} else {
		a.logger.Info("stopping; functions finish their calls")
	}
	cancelLives()
	a.work.Wait()
	return nil
}

// restore takes over what runs and starts the goroutines of the functions that are on
// disk, which run until lives is done.
func (a *Agent) restore(ctx, lives context.Context) error {
	records, err := a.disk.Records()
	if err != nil {
		return err
	}
	var functions []*function
	for _, rec := range records {
		if err := a.disk.Sweep(rec); err != nil {
			return err
		}
		if rec.User != 0 && !a.users.claim(int(rec.User)) {
			rec.User = 0 // a copy of another function's folder
		}
		if !rec.Stopped.IsZero() {
			a.stopped[proto.Path(rec.Name)] = rec
			continue
		}
		f := a.newFunction(rec)
		functions = append(functions, f)
		for _, s := range f.services() {
			if s.port != 0 && !a.ports.claim(s.port) {
				a.logger.Error("two functions have one port; this one gets another", "function", rec.Name, "port", s.port)
				s.port = 0
			}
		}
	}
	for _, f := range functions {
		if a.number(f) && len(f.history.Versions) > 0 { // else it is stored with its first change
			f.save() // the next agent takes processes of this user over
		}
	}
	keep := a.adopt(ctx, functions)
	// What was not taken over is in the way.
	killed, err := process.Leftovers(ctx, a.disk.Path(), keep...)
	if err != nil {
		return fmt.Errorf("stop the processes of an earlier agent: %w", err)
	}
	if killed > 0 {
		a.logger.Info("stopped the processes that an earlier agent left", "processes", killed)
	}
	if err := a.disk.EmptyTmp(); err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.live = func(f *function, first func(*function)) { a.work.Go(func() { f.run(lives, first) }) }
	for _, f := range functions {
		a.launch(f, nil)
	}
	a.boundStopped()
	return nil
}

// number gives a function a number for its user, if it has none, before it is launched.
func (a *Agent) number(f *function) (given bool) {
	if f.history.User == 0 {
		f.history.User, given = uint32(a.users.free(nil)), true //nolint:gosec // at most isolation.MaxUsers
	}
	f.user = f.history.User
	return given
}

// launch starts a function's goroutine. The caller holds mu.
func (a *Agent) launch(f *function, first func(*function)) {
	a.number(f)
	a.functions[f.path] = f
	delete(a.stopped, f.path)
	if first == nil {
		f.publish() // what is there must be known before anybody can ask
	}
	a.live(f, first)
}

// removeFunction removes a function that has stopped; kept is what stays of it, or nil.
func (a *Agent) removeFunction(f *function, kept *disk.Record) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.functions[f.path] != f {
		return
	}
	delete(a.functions, f.path)
	a.walls.Forget(f.history.User)
	if kept == nil {
		a.users.release(int(f.history.User))
		return
	}
	a.stopped[f.path] = kept
	a.boundStopped()
}

// boundStopped removes the functions that were stopped first when there are more than
// are kept. The caller holds mu.
func (a *Agent) boundStopped() {
	for a.live != nil && len(a.stopped) > maxStopped {
		var oldest *disk.Record
		for _, rec := range a.stopped {
			if oldest == nil || rec.Stopped.Before(oldest.Stopped) {
				oldest = rec
			}
		}
		a.logger.Warn("removing the function that was stopped first, since too many are kept", "function", oldest.Name, "kept", maxStopped)
		a.launch(a.newFunction(oldest), func(f *function) { _, _ = f.erase() })
	}
}

// Ready says why the agent cannot be used yet, or nil.
func (a *Agent) Ready() error {
	select {
	case <-a.up:
		return nil
	default:
		return proto.Errorf(proto.ErrUnavailable, "the agent %s is starting", a.addr)
	}
}

// ready waits until the functions that should run are known: before that every
// answer about them would be wrong.
func (a *Agent) ready(ctx context.Context) error {
	select {
	case <-a.up:
	case <-ctx.Done():
	}
	if ctx.Err() != nil {
		return contextError(ctx, "the caller's time for agent %s is over", a.addr)
	}
	return nil
}

// contextError is the error of a caller whose context is done.
func contextError(ctx context.Context, format string, args ...any) *proto.Error {
	kind := proto.ErrCanceled
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		kind = proto.ErrTimeout
	}
	return proto.Errorf(kind, format, args...)
}

// is reports whether addr means this agent.
func (a *Agent) is(addr string) bool {
	addr, err := transport.NormalizeAddr(addr)
	if err != nil {
		return false
	}
	if addr == a.addr {
		return true
	}
	host, port, _ := net.SplitHostPort(addr)
	_, own, _ := net.SplitHostPort(a.addr)
	ip := net.ParseIP(strings.Trim(host, "[]"))
	return port == own && (host == "localhost" || ip != nil && ip.IsLoopback())
}

// listen opens the sockets of a function on a port. The unix socket is an extra:
// where the folder's name is too long for one there is none.
func (a *Agent) listen(port int) (*process.Sockets, error) {
	host := "127.0.0.1"
	if a.expose {
		host = "" // every interface
	}
	addr := net.JoinHostPort(host, strconv.Itoa(port))
	sockets, err := process.Listen(addr, a.disk.Path("run", strconv.Itoa(port)+".sock"))
	if errors.Is(err, process.ErrPathTooLong) {
		return process.Listen(addr, "")
	}
	return sockets, err
}
