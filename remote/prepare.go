package remote

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/remote/build"
	"github.com/Ishan27g/ryo-faas/remote/funcfw"
	"github.com/Ishan27g/ryo-faas/transport/bundle"
)

// prepare makes the folder of a version: src, the unpacked package; tmp; and fn,
// the program, which appears last. On an error it says the failure's reason.
func (a *Agent) prepare(ctx context.Context, dir string, fn *proto.FunctionJson, tell func(progress)) (program *proto.Program, reason string, err error) {
	tell(progress{stage: proto.StageChecking})
	if err := errors.Join(os.RemoveAll(dir), os.MkdirAll(filepath.Join(dir, "tmp"), 0o700)); err != nil {
		return nil, proto.ReasonAgent, err
	}
	src, binary := filepath.Join(dir, "src"), filepath.Join(dir, "fn")
	if reason, err := a.unpack(ctx, fn, src); err != nil {
		return nil, reason, err
	}
	if fn.GetProgram() != "" {
		program, reason, err = a.place(binary, src, fn)
		tell(progress{stage: proto.StageChecking, kind: program.GetKind()})
		return program, reason, err
	}
	if a.builder == nil {
		return nil, proto.ReasonProgram, proto.Errorf(proto.ErrUnavailable, "the agent %s builds no functions", a.addr).
			WithHint("deploy through a proxy that knows an agent of platform " + build.Platform + " that builds, or start this one without -build never")
	}
	target, spec, err := a.draft(src, fn)
	if err != nil {
		return nil, proto.ReasonCheck, err
	}
	tell(progress{stage: proto.StageChecking, kind: target.Kind})
	key, err := a.builder.Key(spec)
	if err != nil {
		return nil, proto.ReasonAgent, err
	}
	found, err := a.programs.Take(key, binary)
	if err != nil {
		a.log.Warn("the same source is built again", "error", err)
	}
	if !found {
		building := progress{stage: proto.StageBuilding, kind: target.Kind}
		tell(building)
		err := a.builds.share(ctx, key, a.recipe(key, fn, spec), func(said string) {
			building.output = said
			tell(building)
		}, func(built string) error { return os.Link(built, binary) })
		if user := (*build.Failure)(nil); errors.As(err, &user) {
			return nil, proto.ReasonBuild, err
		}
		if err != nil {
			return nil, proto.ReasonAgent, err
		}
	}
	program, err = describe(key, target.Kind, binary)
	return program, proto.ReasonAgent, err
}

// unpack brings a function's package to the folder src.
func (a *Agent) unpack(ctx context.Context, fn *proto.FunctionJson, src string) (reason string, err error) {
	pkg, err := a.store.Get(fn.GetPackage())
	if err != nil {
		return proto.ReasonAgent, err
	}
	err = bundle.Extract(ctx, pkg.Path, src, bundle.DefaultLimits)
	if kind := proto.AsError(err); err != nil && (kind.Kind == proto.ErrInvalid || kind.Kind == proto.ErrTooLarge) {
		return proto.ReasonCheck, err
	}
	return proto.ReasonAgent, err // such as a full disk, which is no fault of the package
}

// place takes the stored program that a function names. What the function's kind
// is, its source says if nobody else does.
func (a *Agent) place(binary, src string, fn *proto.FunctionJson) (program *proto.Program, reason string, err error) {
	kind := fn.GetKind()
	if kind == "" {
		target, err := a.check(src, fn)
		if err != nil {
			return nil, proto.ReasonCheck, err
		}
		kind = target.Kind
	}
	found, err := a.programs.Take(fn.GetProgram(), binary)
	if err == nil && !found {
		err = proto.Errorf(proto.ErrUnavailable, "program %s is not stored on the agent %s", fn.GetProgram(), a.addr).
			WithHint("deploy again through a proxy that knows an agent of platform " + build.Platform + " that builds")
	}
	if err != nil {
		return nil, proto.ReasonProgram, err
	}
	program, err = describe(fn.GetProgram(), kind, binary)
	return program, proto.ReasonAgent, err
}

// check finds the function in its unpacked package.
func (a *Agent) check(src string, fn *proto.FunctionJson) (*funcfw.Target, error) {
	return funcfw.Check(os.DirFS(src), funcfw.Spec{
		Dir: packagePath(fn), Name: fn.GetName(), File: fn.GetFilePath(), Kind: fn.GetKind(),
	}, a.platform(fn))
}

// platform is what a function is checked for.
func (a *Agent) platform(fn *proto.FunctionJson) funcfw.Platform {
	p := funcfw.Platform{GOOS: runtime.GOOS, GOARCH: runtime.GOARCH, GoVersion: runtime.Version()}
	if a.builder != nil {
		p = a.builder.Platform()
	}
	p.Tags = fn.GetTags()
	return p
}

// draft checks and completes a function's source.
func (a *Agent) draft(src string, fn *proto.FunctionJson) (*funcfw.Target, build.Spec, error) {
	target, err := a.check(src, fn)
	if err != nil {
		return nil, build.Spec{}, err
	}
	generated, err := funcfw.Generate(os.DirFS(src), target, a.platform(fn))
	return target, build.Spec{Root: src, Generated: generated, Tags: fn.GetTags(), Ldflags: fn.GetLdflags()}, err
}

// recipe builds a draft in a folder of the build's own: that of who asked first
// may be gone before the others have their program. Who comes later finds that
// stored.
func (a *Agent) recipe(key string, fn *proto.FunctionJson, spec build.Spec) recipe {
	return func(ctx context.Context, dir string, said io.Writer) (program string, err error) {
		spec.Root, spec.Work, spec.Out = filepath.Join(dir, "src"), filepath.Join(dir, "work"), filepath.Join(dir, "fn")
		spec.Output = said
		if _, err := a.unpack(ctx, fn, spec.Root); err != nil {
			return "", err
		}
		if err := os.Mkdir(spec.Work, 0o700); err != nil {
			return "", err
		}
		began := time.Now()
		if err := a.builder.Build(ctx, spec); err != nil {
			return "", err
		}
		a.log.Info("built a program", "key", key, "package", fn.GetPackage(), "took", time.Since(began).Round(time.Millisecond))
		return spec.Out, a.programs.Add(key, spec.Out)
	}
}

// describe is what others need to know of a program in a file.
func describe(key, kind, file string) (*proto.Program, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	digest, err := build.Digest(f)
	return &proto.Program{Key: key, Digest: digest, Platform: build.Platform, Kind: kind}, err
}

// packagePath is the folder of the function's package in its bundle, as io/fs
// names it.
func packagePath(fn *proto.FunctionJson) string {
	if fn.GetPackagePath() == "" {
		return "."
	}
	return fn.GetPackagePath()
}
