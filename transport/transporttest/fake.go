package transporttest

import (
	"archive/zip"
	"cmp"
	"context"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/scanner"
	"go/token"
	"io/fs"
	"os"
	"path"
	"strings"
	"sync"
	"testing"
	"time"

	protobuf "google.golang.org/protobuf/proto"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/transport"
	"github.com/Ishan27g/ryo-faas/transport/bundle"
)

// The fake's address, and the first port of its functions' services.
const (
	FakeAddr  = "localhost:9000"
	firstPort = 5000
)

// storeLimit is far above what tests store.
const storeLimit = 256 << 20

// Fake is an agent in memory. A function is Deployed when its sources parse and
// declare it, else Failed.
type Fake struct {
	store *bundle.Store
	feed  transport.Feed
	work  sync.WaitGroup // deploys that go on

	mu        sync.Mutex // guards the below
	functions map[string]*function
	ports     int // given out so far
}

var _ transport.Interface = (*Fake)(nil)

// function is one function of a Fake.
type function struct {
	row *proto.FunctionJsonRsp // as published, never changed in place
	log strings.Builder
}

// NewFake returns a Fake that lives as long as the test.
func NewFake(t testing.TB) *Fake {
	t.Helper()
	store, err := bundle.OpenStore(t.TempDir(), storeLimit)
	if err != nil {
		t.Fatal(err)
	}
	f := &Fake{store: store, functions: make(map[string]*function)}
	t.Cleanup(f.work.Wait)
	return f
}

// Store is where the fake takes packages from: the one for transport.Serve.
func (f *Fake) Store() *bundle.Store { return f.store }

// deploy is one deploy of one function on its way.
type deploy struct {
	fn      *proto.FunctionJson // refers to pkg
	pkg     *bundle.Package
	row     *proto.FunctionJsonRsp // as it stood at the start
	settled chan *proto.FunctionJsonRsp
}

// Deploy implements transport.Interface.
func (f *Fake) Deploy(ctx context.Context, fns ...*proto.FunctionJson) ([]*proto.FunctionJsonRsp, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	deploys := make([]*deploy, len(fns))
	for i, fn := range fns {
		if err := check(fn); err != nil {
			return nil, err
		}
		resolved, pkg, err := f.store.Resolve(ctx, fn)
		if err != nil {
			return nil, err
		}
		deploys[i] = &deploy{fn: resolved, pkg: pkg, settled: make(chan *proto.FunctionJsonRsp, 1)}
	}
	if err := f.begin(deploys); err != nil {
		return nil, err
	}
	rows := make([]*proto.FunctionJsonRsp, len(deploys))
	for i, d := range deploys {
		rows[i] = protobuf.CloneOf(d.row)
		if !d.fn.GetWait() {
			continue
		}
		select {
		case rows[i] = <-d.settled:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return rows, nil
}

func check(fn *proto.FunctionJson) error {
	if err := fn.Check(); err != nil {
		return err
	}
	for _, addr := range fn.GetToAgent() {
		if _, err := transport.NormalizeAddr(addr); err != nil {
			return err
		}
	}
	return nil
}

// begin starts all deploys, or none.
func (f *Fake) begin(deploys []*deploy) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	names := make(map[string]string)
	for p, fn := range f.functions {
		names[p] = fn.row.GetName()
	}
	for _, d := range deploys {
		name := d.fn.GetName()
		if other := cmp.Or(names[proto.Path(name)], name); other != name {
			return proto.Errorf(proto.ErrConflict, "function %s has the path of %s, %s", name, other, proto.Path(name)).
				WithHint("stop " + other + " or choose another name")
		}
		names[proto.Path(name)] = name
	}
	for _, d := range deploys {
		fn := f.function(d.fn)
		fmt.Fprintf(&fn.log, "deploying at /%s\n", proto.Path(d.fn.GetName()))
		d.row = f.move(fn, proto.Deploying, func(row *proto.FunctionJsonRsp) {
			row.Generation++
			row.Stage, row.Error, row.Reason = proto.StageBuilding, "", ""
		})
		f.work.Go(func() { d.settled <- f.build(d) })
	}
	return nil
}

// function returns the function that fn names, which is new if there is none.
// f.mu is held.
func (f *Fake) function(fn *proto.FunctionJson) *function {
	key := proto.Path(fn.GetName())
	if f.functions[key] == nil {
		service := fmt.Sprintf("http://localhost:%d", firstPort+f.ports)
		f.functions[key] = &function{row: &proto.FunctionJsonRsp{
			Name: fn.GetName(), AtAgent: FakeAddr, Proxy: service, Url: service + "/" + key,
			Kind: cmp.Or(fn.GetKind(), proto.KindHTTP), Timeout: cmp.Or(fn.GetTimeout(), proto.DefaultTimeout.String()),
		}}
		f.ports++
	}
	return f.functions[key]
}

// move publishes the function in a new state, changed by edit, and returns the
// row. f.mu is held.
func (f *Fake) move(fn *function, to proto.Status, edit func(*proto.FunctionJsonRsp)) *proto.FunctionJsonRsp {
	row := protobuf.CloneOf(fn.row)
	if from := proto.Status(row.GetStatus()); !proto.CanMove(from, to) {
		panic(fmt.Sprintf("the fake moves a function from %s to %s", from, to))
	}
	row.Status, row.Since = string(to), time.Now().UTC().Format(time.RFC3339)
	edit(row)
	fn.row = row
	f.feed.Set(row)
	return row
}

// build brings a deploy to its end and returns the row for who waits. A deploy
// that fails leaves the version before it serving.
func (f *Fake) build(d *deploy) *proto.FunctionJsonRsp {
	reason, failure := compile(d.fn, d.pkg)
	f.mu.Lock()
	defer f.mu.Unlock()
	result := protobuf.CloneOf(d.row)
	result.Stage, result.Status = "", string(proto.Deployed)
	if failure != nil {
		result.Status, result.Reason, result.Error = string(proto.Failed), reason, failure.Error()
	} else {
		result.Instances, result.Package = 1, d.pkg.Digest
	}
	fn := f.functions[proto.Path(d.fn.GetName())]
	if fn == nil || fn.row.GetGeneration() != d.row.GetGeneration() || fn.row.GetStatus() != string(proto.Deploying) {
		return result // stopped or replaced meanwhile
	}
	state := proto.Status(result.GetStatus())
	if fn.row.GetInstances() > 0 {
		state = proto.Deployed
	}
	f.move(fn, state, func(row *proto.FunctionJsonRsp) {
		row.Stage, row.Reason, row.Error = "", result.GetReason(), result.GetError()
		if failure == nil {
			row.Instances, row.Package = result.GetInstances(), result.GetPackage()
		}
	})
	return result
}

// compile reports why a function cannot be, and at which step that shows.
func compile(fn *proto.FunctionJson, pkg *bundle.Package) (reason string, err error) {
	archive, err := zip.OpenReader(pkg.Path)
	if err != nil {
		return proto.ReasonAgent, err
	}
	defer func() { _ = archive.Close() }()
	files, err := fs.Glob(archive, path.Join(fn.GetPackagePath(), "*.go"))
	if err != nil {
		return proto.ReasonAgent, err
	}
	found := false
	for _, name := range files {
		source, err := fs.ReadFile(archive, name)
		if err != nil {
			return proto.ReasonAgent, err
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), name, source, parser.SkipObjectResolution)
		var list scanner.ErrorList
		if errors.As(err, &list) {
			return proto.ReasonCheck, list[0]
		}
		for _, decl := range parsed.Decls {
			f, ok := decl.(*ast.FuncDecl)
			found = found || ok && f.Recv == nil && f.Name.Name == fn.GetName()
		}
	}
	if !found {
		return proto.ReasonCheck, fmt.Errorf("no file of the package declares func %s", fn.GetName())
	}
	return "", nil
}

// Stop implements transport.Interface.
func (f *Fake) Stop(ctx context.Context, fnName string) (*proto.FunctionJsonRsp, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	fn, err := f.find(ctx, fnName)
	if err != nil {
		return nil, err
	}
	row := f.move(fn, proto.Stopped, func(row *proto.FunctionJsonRsp) { row.Instances, row.Stage = 0, "" })
	delete(f.functions, proto.Path(fnName))
	return protobuf.CloneOf(row), nil
}

// find returns the function of a name. f.mu is held.
func (f *Fake) find(ctx context.Context, name string) (*function, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if fn := f.functions[proto.Path(name)]; fn != nil {
		return fn, nil
	}
	return nil, proto.Errorf(proto.ErrNotFound, "function %.40q not found", name).
		WithHint("proxyCli details shows what is deployed")
}

// List implements transport.Interface.
func (f *Fake) List(ctx context.Context, atAgent string) ([]*proto.FunctionJsonRsp, error) {
	addr, err := transport.NormalizeAddr(atAgent)
	if err != nil {
		return nil, err
	}
	if addr != FakeAddr {
		return nil, proto.Errorf(proto.ErrNotFound, "agent %s is not known here; this is %s", addr, FakeAddr)
	}
	return f.Details(ctx)
}

// Log implements transport.Interface.
func (f *Fake) Log(ctx context.Context, fnName string) (*proto.FunctionLogs, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	fn, err := f.find(ctx, fnName)
	if err != nil {
		return nil, err
	}
	return &proto.FunctionLogs{Function: protobuf.CloneOf(fn.row), Logs: fn.log.String()}, nil
}

// Details implements transport.Interface.
func (f *Fake) Details(ctx context.Context) ([]*proto.FunctionJsonRsp, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return f.feed.Rows(), nil
}

// Watch implements transport.Interface.
func (f *Fake) Watch(ctx context.Context, on func(*proto.WatchEvent) error) error {
	return f.feed.Watch(ctx, on)
}

// Upload implements transport.Interface.
func (f *Fake) Upload(ctx context.Context, pkg *bundle.Package) error {
	if f.store.Has(pkg.Digest) {
		return nil
	}
	file, err := os.Open(pkg.Path)
	if err != nil {
		return proto.Errorf(proto.ErrInvalid, "open the package: %w", err)
	}
	defer func() { _ = file.Close() }()
	_, err = f.store.Put(ctx, pkg.Digest, file)
	return err
}
