package programs

import (
	"context"
	"io"
	"os"
	"runtime"

	"github.com/hashicorp/go-hclog"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/remote/build"
	"github.com/Ishan27g/ryo-faas/remote/confine"
	"github.com/Ishan27g/ryo-faas/transport/bundle"
)

const (
	// maxWanted is how many programs may be wanted by other agents at one time. Few
	// are built at a time, so most of them wait; a later caller had better ask
	// another agent.
	maxWanted = 64
	// space bounds the programs that are kept beside those that functions need, in
	// bytes: some 250 small ones.
	space = 2 << 30
)

// Config is what a maker of programs needs to know.
type Config struct {
	// Dir is the folder that programs are kept in, on the file system of the folders
	// that Prepare makes.
	Dir string
	// Temp is an existing folder on the same file system for what is being made.
	Temp string
	// Packages has the packages that programs are made of.
	Packages *bundle.Store
	// Build is how programs are built; nil: all come from other agents.
	Build *build.Config
	// Addr is the agent that messages tell of.
	Addr string
	// Logger gets the maker's messages.
	Logger hclog.Logger
}

// Maker turns packages into programs and keeps them. Its methods may be called
// concurrently.
type Maker struct {
	addr     string
	logger   hclog.Logger
	packages *bundle.Store
	store    *build.Store
	builder  *build.Builder // nil: it builds nothing
	builds   builds
	drafts   chan struct{} // has an element for each source that is being checked
	wanted   chan struct{} // has an element for each program that other agents wait for
	checked  checked
}

// New returns a maker, which holds Dir. It starts nothing: Run does.
func New(cfg Config) (*Maker, error) {
	m := &Maker{
		addr: cfg.Addr, logger: cfg.Logger, packages: cfg.Packages,
		builds: builds{tmp: cfg.Temp, running: make(map[string]*shared)}, wanted: make(chan struct{}, maxWanted),
		drafts: make(chan struct{}, runtime.GOMAXPROCS(0)),
	}
	var err error
	if m.store, err = build.OpenStore(cfg.Dir, space, cfg.Logger); err != nil {
		return nil, err
	}
	if cfg.Build == nil {
		return m, nil
	}
	m.builder, err = build.New(*cfg.Build)
	return m, err
}

// Run keeps the toolchain fit for builds until ctx ends.
func (m *Maker) Run(ctx context.Context) error {
	if m.builder == nil {
		return nil
	}
	return m.builder.Run(ctx)
}

// Close cancels the builds that are under way and waits for them; later ones are
// refused.
func (m *Maker) Close() { m.builds.close() }

// Layers says what confines the builds of this machine: nothing, where none are.
func (m *Maker) Layers() []confine.Layer {
	if m.builder == nil {
		return nil
	}
	return m.builder.Layers()
}

// Building says what builds wait for: "" when they do not, "never" when there are none.
func (m *Maker) Building() string {
	if m.builder == nil {
		return "never"
	}
	return m.builder.Filling()
}

// Caches says how large the caches of builds are; nil: there are none, or that is not
// known yet.
func (m *Maker) Caches() *build.Caches {
	if m.builder == nil {
		return nil
	}
	return m.builder.Caches()
}

// Info says for what programs are made here, and by what.
func (m *Maker) Info() *proto.AgentInfo {
	info := &proto.AgentInfo{Platform: build.Platform}
	if m.builder != nil {
		info.GoVersion = m.builder.Platform().GoVersion
	}
	return info
}

// Build builds the program of a function whose package is stored, and stores it.
// What is wrong with the source is an ErrInvalid with the compiler's words, and with
// one of proto's reasons.
func (m *Maker) Build(ctx context.Context, fn *proto.FunctionJson) (*proto.Program, error) {
	if err := fn.Check(); err != nil {
		return nil, err
	}
	if fn.GetPackage() == "" || fn.GetProgram() != "" {
		return nil, proto.Errorf(proto.ErrInvalid, "function %s: a program is built from a package", fn.GetName()).
			WithHint("upload it, then name its digest as package")
	}
	fn, _, err := m.packages.Resolve(ctx, fn)
	if err != nil {
		return nil, err
	}
	select {
	case m.wanted <- struct{}{}:
		defer func() { <-m.wanted }()
	default:
		return nil, proto.Errorf(proto.ErrTooMany, "%d builds wait on the agent %s", maxWanted, m.addr).
			WithHint("ask again later, or another agent")
	}
	dir, err := os.MkdirTemp(m.builds.tmp, "wanted-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	program, reason, err := m.Prepare(ctx, dir, fn, func(Progress) {})
	if err != nil {
		return nil, proto.AsError(err).From("agent", reason)
	}
	return program, m.Keep(program.GetKey())
}

// Keep brings a program that Prepare has built to the disk, for further functions
// of the same source.
func (m *Maker) Keep(key string) error { return m.store.Keep(key) }

// Has reports whether a program is stored.
func (m *Maker) Has(key string) bool { return m.store.Has(key) }

// Open opens a stored program and says what it is, without its kind. It is up to
// the caller to close it.
func (m *Maker) Open(key string) (io.ReadCloser, *proto.Program, error) {
	f, digest, err := m.store.Open(key)
	if err != nil {
		return nil, nil, err
	}
	return f, &proto.Program{Key: key, Digest: digest, Platform: build.Platform}, nil
}

// Put stores a program that another agent has built. One that is damaged, or for
// another platform, is an ErrInvalid.
func (m *Maker) Put(ctx context.Context, p *proto.Program, r io.Reader) error {
	if p.GetPlatform() != build.Platform {
		return proto.Errorf(proto.ErrInvalid, "program %.100q is for %.100q; the agent %s runs on %s", p.GetKey(), p.GetPlatform(), m.addr, build.Platform)
	}
	return m.store.Put(ctx, p.GetKey(), p.GetDigest(), r)
}
