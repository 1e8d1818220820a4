package transporttest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"maps"
	"runtime"

	protobuf "google.golang.org/protobuf/proto"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/transport/bundle"
)

// program is a stored program. What the fake builds is a text that names the
// package.
type program struct {
	about *proto.Program
	data  []byte
}

// programOf is the program of a function.
func programOf(fn *proto.FunctionJson, pkg *bundle.Package) program {
	data := fmt.Appendf(nil, "%s %s %s %s", pkg.Digest, fn.GetPackagePath(), fn.GetTags(), fn.GetLdflags())
	return program{data: data, about: &proto.Program{
		Key: fmt.Sprintf("%x", sha256.Sum256(data)), Digest: digest(data), Platform: platform, Kind: kind(fn),
	}}
}

const platform = runtime.GOOS + "/" + runtime.GOARCH

func digest(data []byte) string { return fmt.Sprintf("sha256:%x", sha256.Sum256(data)) }

// Build implements transport.Worker.
func (f *Fake) Build(ctx context.Context, fn *proto.FunctionJson) (*proto.Program, error) {
	if err := check(fn); err != nil {
		return nil, err
	}
	resolved, pkg, err := f.store.Resolve(ctx, fn)
	if err != nil {
		return nil, err
	}
	if _, reason, err := compile(resolved, pkg); err != nil {
		return nil, proto.Errorf(proto.ErrInvalid, "%w", err).From("agent", reason)
	}
	p := programOf(resolved, pkg)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.programs[p.about.GetKey()] = p
	return protobuf.CloneOf(p.about), nil
}

// HasProgram implements transport.Worker.
func (f *Fake) HasProgram(key string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	_, has := f.programs[key]
	return has
}

// OpenProgram implements transport.Worker.
func (f *Fake) OpenProgram(key string) (io.ReadCloser, *proto.Program, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	p, has := f.programs[key]
	if !has {
		return nil, nil, proto.Errorf(proto.ErrNotFound, "program %s is not stored", key)
	}
	return io.NopCloser(bytes.NewReader(p.data)), protobuf.CloneOf(p.about), nil
}

// KeepProgram implements transport.Worker.
func (f *Fake) KeepProgram(_ context.Context, p *proto.Program, r io.Reader) error {
	data, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	if got := digest(data); got != p.GetDigest() {
		return proto.Errorf(proto.ErrInvalid, "the program has the digest %s, not %s", got, p.GetDigest())
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.programs[p.GetKey()] = program{protobuf.CloneOf(p), data}
	return nil
}

// Place implements transport.Worker.
func (f *Fake) Place(_ context.Context, fnName, replicas string, placement map[string]string) (*proto.FunctionJsonRsp, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	fn := f.functions[proto.Path(fnName)]
	if fn == nil {
		return nil, proto.Errorf(proto.ErrNotFound, "function %q is not deployed", fnName)
	}
	row := protobuf.CloneOf(fn.row)
	row.Replicas, row.Placement = replicas, maps.Clone(placement)
	fn.row = row
	f.feed.Set(row)
	return protobuf.CloneOf(row), nil
}

// Resize implements transport.Worker.
func (f *Fake) Resize(_ context.Context, fnName string, processes int) (*proto.FunctionJsonRsp, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	fn := f.functions[proto.Path(fnName)]
	if fn == nil {
		return nil, proto.Errorf(proto.ErrNotFound, "function %q is not deployed", fnName)
	}
	row := protobuf.CloneOf(fn.row)
	row.Processes = uint32(processes) //nolint:gosec // few
	fn.row = row
	f.feed.Set(row)
	return protobuf.CloneOf(row), nil
}

// Info implements transport.Worker.
func (f *Fake) Info() *proto.AgentInfo {
	return &proto.AgentInfo{Platform: platform, GoVersion: runtime.Version()}
}
