package remote

import (
	"context"
	"errors"
	"io"
	"os"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/remote/build"
)

// maxBuilds is how many programs may be wanted by others at one time. Few are
// built at a time, so most of them wait; who comes later had better ask another
// agent.
const maxBuilds = 64

// Build builds the program of a function whose package is stored, and stores it,
// without deploying the function. What is wrong with the source is an ErrInvalid
// with the compiler's words, and with one of proto's reasons.
func (a *Agent) Build(ctx context.Context, fn *proto.FunctionJson) (*proto.Program, error) {
	if err := a.ready(ctx); err != nil {
		return nil, err
	}
	if err := fn.Check(); err != nil {
		return nil, err
	}
	if fn.GetPackage() == "" || fn.GetProgram() != "" {
		return nil, proto.Errorf(proto.ErrInvalid, "function %s: a program is built from a package", fn.GetName()).
			WithHint("upload it, then name its digest as package")
	}
	fn, _, err := a.store.Resolve(ctx, fn)
	if err != nil {
		return nil, err
	}
	select {
	case a.wanted <- struct{}{}:
		defer func() { <-a.wanted }()
	default:
		return nil, proto.Errorf(proto.ErrExhausted, "%d builds wait on the agent %s", maxBuilds, a.addr).
			WithHint("ask again later, or another agent")
	}
	dir, err := os.MkdirTemp(a.ws.tmp(), "wanted-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	program, reason, err := a.prepare(ctx, dir, fn, func(progress) {})
	if err != nil {
		return nil, proto.AsError(err).From("agent", reason)
	}
	return program, a.programs.Keep(program.GetKey())
}

// HasProgram reports whether a program is stored.
func (a *Agent) HasProgram(key string) bool { return a.programs.Has(key) }

// OpenProgram opens a stored program and says what it is, without its kind. It is
// up to the caller to close it.
func (a *Agent) OpenProgram(key string) (io.ReadCloser, *proto.Program, error) {
	f, err := a.programs.Open(key)
	if err != nil {
		return nil, nil, err
	}
	digest, err := build.Digest(f)
	if err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err != nil {
		return nil, nil, errors.Join(err, f.Close())
	}
	return f, &proto.Program{Key: key, Digest: digest, Platform: build.Platform}, nil
}

// KeepProgram stores a program that another agent has built. One that is damaged,
// or for another platform, is an ErrInvalid.
func (a *Agent) KeepProgram(ctx context.Context, p *proto.Program, r io.Reader) error {
	if p.GetPlatform() != build.Platform {
		return proto.Errorf(proto.ErrInvalid, "program %.100q is for %.100q; the agent %s runs on %s", p.GetKey(), p.GetPlatform(), a.addr, build.Platform)
	}
	return a.programs.Put(ctx, p.GetKey(), p.GetDigest(), r)
}

// Info says what proxies need to know of this agent.
func (a *Agent) Info() *proto.AgentInfo {
	info := &proto.AgentInfo{Platform: build.Platform}
	if a.builder != nil {
		info.GoVersion = a.builder.Platform().GoVersion
	}
	return info
}
