package programs

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"time"

	"github.com/Ishan27g/ryo-faas/internal/state"
	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/remote/build"
	"github.com/Ishan27g/ryo-faas/remote/funcfw"
	"github.com/Ishan27g/ryo-faas/transport/bundle"
)

// Progress is what the making of a program tells on its way: the stage that it has
// come to, the function's kind and types once the source has told them, and what the build
// has just printed.
type Progress struct{ Stage, Kind, Types, Output string }

// Prepare makes the folder of a version: src, the unpacked package; tmp; and fn,
// the program, which appears last. On an error it says the failure's reason.
func (m *Maker) Prepare(ctx context.Context, dir string, fn *proto.FunctionJson, tell func(Progress)) (program *proto.Program, reason string, err error) {
	tell(Progress{Stage: proto.StageChecking})
	if err := errors.Join(state.RemoveAll(dir), os.MkdirAll(filepath.Join(dir, "tmp"), 0o700)); err != nil {
		return nil, proto.ReasonAgent, err
	}
	src, binary := filepath.Join(dir, "src"), filepath.Join(dir, "fn")
	if reason, err := m.unpack(ctx, fn, src); err != nil {
		return nil, reason, err
	}
	if fn.GetProgram() != "" {
		var about Progress
		program, about, reason, err = m.place(ctx, binary, src, fn)
		tell(about)
		return program, reason, err
	}
	if m.builder == nil {
		return nil, proto.ReasonProgram, proto.Errorf(proto.ErrUnavailable, "the agent %s builds no functions", m.addr).
			WithHint("deploy through a proxy that knows an agent of platform " + build.Platform + " that builds, or start this one without -build never")
	}
	about, spec, err := m.draft(ctx, src, fn)
	if ctx.Err() != nil {
		return nil, proto.ReasonAgent, context.Cause(ctx)
	}
	if err != nil {
		return nil, proto.ReasonCheck, err
	}
	tell(about)
	kind := about.Kind
	key, err := m.builder.Key(spec)
	if err != nil {
		return nil, proto.ReasonAgent, err
	}
	digest, err := m.store.Take(key, binary)
	if err != nil {
		m.logger.Warn("the same source is built again", "error", err)
	}
	warnings := spec.Generated.Warnings
	if digest == "" {
		building := Progress{Stage: proto.StageBuilding, Kind: kind}
		tell(building)
		err := m.builds.share(ctx, key, m.recipe(key, fn, spec), func(said string) {
			building.Output = said
			tell(building)
		}, func(made product) error {
			warnings = made.warnings
			return os.Link(made.file, binary)
		})
		if err != nil {
			return nil, reasonOf(err), err
		}
		if digest, err = m.checked.digest(binary); err != nil {
			return nil, proto.ReasonAgent, err
		}
	}
	return &proto.Program{Key: key, Digest: digest, Platform: build.Platform, Kind: kind, Warnings: warnings}, "", nil
}

// reasonOf is the reason of a failed build.
func reasonOf(err error) string {
	if errors.As(err, new(*build.Failure)) {
		return proto.ReasonBuild
	}
	switch proto.AsError(err).Kind {
	case proto.ErrTimeout:
		return proto.ReasonTimeout
	case proto.ErrUnavailable:
		return proto.ReasonUnavailable
	case proto.ErrExhausted:
		return proto.ReasonExhausted
	case proto.ErrConflict:
		return proto.ReasonChecksum
	}
	return proto.ReasonAgent
}

// unpack brings a function's package to the folder src.
func (m *Maker) unpack(ctx context.Context, fn *proto.FunctionJson, src string) (reason string, err error) {
	pkg, err := m.packages.Get(fn.GetPackage())
	if err != nil {
		return proto.ReasonAgent, err
	}
	if err := m.whole(pkg); err != nil {
		return proto.ReasonDamaged, err
	}
	err = bundle.Extract(ctx, pkg.Path, src, bundle.DefaultLimits)
	if kind := proto.AsError(err); err != nil && (kind.Kind == proto.ErrInvalid || kind.Kind == proto.ErrTooLarge) {
		return proto.ReasonCheck, err
	}
	return proto.ReasonAgent, err // such as a full disk, which is no fault of the package
}

// whole sets a package aside if its bytes have changed since it came.
func (m *Maker) whole(pkg *bundle.Package) error {
	f, err := os.Open(pkg.Path)
	if err != nil {
		return err
	}
	defer f.Close()
	digest, err := build.Digest(f)
	if err != nil || digest == pkg.Digest {
		return err
	}
	aside := pkg.Path + state.DamagedSuffix + time.Now().UTC().Format(state.DamagedTime)
	if err := os.Rename(pkg.Path, aside); err != nil {
		return err
	}
	m.logger.Error("a stored package is damaged and is set aside", "set aside as", aside, "digest", digest, "should be", pkg.Digest)
	return proto.Errorf(proto.ErrUnavailable, "package %s is damaged on the agent %s; it is set aside as %s", pkg.Digest, m.addr, aside).
		WithHint("deploy the function again")
}

// place takes the stored program that a function names. Without a kind in fn, the
// source tells it, and in any case the types.
func (m *Maker) place(ctx context.Context, binary, src string, fn *proto.FunctionJson) (program *proto.Program, about Progress, reason string, err error) {
	about = Progress{Stage: proto.StageChecking, Kind: fn.GetKind()}
	if about.Kind == "" || about.Kind == proto.KindTyped || about.Kind == proto.KindEvent {
		done, err := m.drafting(ctx)
		if err != nil {
			return nil, about, proto.ReasonAgent, err
		}
		defer done()
		target, err := m.check(src, fn)
		if err != nil {
			return nil, about, proto.ReasonCheck, err
		}
		about = m.about(target, src, fn)
	}
	digest, err := m.store.Take(fn.GetProgram(), binary)
	if err == nil && digest == "" {
		err = proto.Errorf(proto.ErrUnavailable, "program %s is not stored on the agent %s", fn.GetProgram(), m.addr).
			WithHint("deploy again through a proxy that knows an agent of platform " + build.Platform + " that builds")
	}
	if err != nil {
		return nil, about, proto.ReasonProgram, err
	}
	return &proto.Program{Key: fn.GetProgram(), Digest: digest, Platform: build.Platform, Kind: about.Kind}, about, "", nil
}

// about is what the source tells of a function.
func (m *Maker) about(target *funcfw.Target, src string, fn *proto.FunctionJson) Progress {
	return Progress{Stage: proto.StageChecking, Kind: target.Kind, Types: string(funcfw.Types(os.DirFS(src), target, m.platform(fn)))}
}

// drafting waits until a source may be checked. That takes some MiB of memory, so few checks
// run at a time, and none waits for a build.
func (m *Maker) drafting(ctx context.Context) (done func(), err error) {
	select {
	case m.drafts <- struct{}{}:
		return func() { <-m.drafts }, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// check finds the function in its unpacked package.
func (m *Maker) check(src string, fn *proto.FunctionJson) (*funcfw.Target, error) {
	target, err := funcfw.Check(os.DirFS(src), funcfw.Spec{
		Dir: PackagePath(fn), Name: fn.GetName(), Target: fn.GetTarget(), File: fn.GetFilePath(), Kind: fn.GetKind(),
	}, m.platform(fn))
	if err == nil && fn.GetStrict() && target.Kind != proto.KindTyped {
		return nil, proto.Errorf(proto.ErrInvalid, "%s:%d: strict is for typed functions, and %s is of kind %s", target.File, target.Line, fn.GetName(), target.Kind).
			WithHint("leave strict out, or let the function take a value of the type that its JSON has")
	}
	return target, err
}

// platform is what a function is checked for.
func (m *Maker) platform(fn *proto.FunctionJson) funcfw.Platform {
	p := funcfw.Platform{GOOS: runtime.GOOS, GOARCH: runtime.GOARCH, GoVersion: runtime.Version()}
	if m.builder != nil {
		p = m.builder.Platform()
	}
	p.Tags = fn.GetTags()
	return p
}

// draft checks and completes a function's source.
func (m *Maker) draft(ctx context.Context, src string, fn *proto.FunctionJson) (about Progress, spec build.Spec, err error) {
	done, err := m.drafting(ctx)
	if err != nil {
		return Progress{}, build.Spec{}, err
	}
	defer done()
	target, err := m.check(src, fn)
	if err != nil {
		return Progress{}, build.Spec{}, err
	}
	generated, err := funcfw.Generate(os.DirFS(src), target, m.platform(fn))
	return m.about(target, src, fn), build.Spec{Root: src, Generated: generated, Tags: fn.GetTags(), Ldflags: fn.GetLdflags()}, err
}

// recipe builds a draft in a folder of its own: the first caller may remove its own
// folder before the others have their program. Later callers find it in the store.
func (m *Maker) recipe(key string, fn *proto.FunctionJson, spec build.Spec) recipe {
	return func(ctx context.Context, dir string, said io.Writer) (product, error) {
		spec.Root, spec.Work, spec.Out = filepath.Join(dir, "src"), filepath.Join(dir, "work"), filepath.Join(dir, "fn")
		made := product{spec.Out, slices.Clone(spec.Generated.Warnings)}
		spec.Output = said
		spec.Warn = func(line string) { made.warnings = append(made.warnings, line) }
		if _, err := m.unpack(ctx, fn, spec.Root); err != nil {
			return product{}, err
		}
		if err := os.Mkdir(spec.Work, 0o700); err != nil {
			return product{}, err
		}
		began := time.Now()
		if err := m.builder.Build(ctx, spec); err != nil {
			return product{}, err
		}
		if err := inspect(spec.Out); err != nil {
			return product{}, err
		}
		m.logger.Info("built a program", "key", key, "package", fn.GetPackage(), "took", time.Since(began).Round(time.Millisecond))
		return made, m.store.Add(key, spec.Out)
	}
}

// inspect refuses a program that loads others when it starts: directives of cgo in its
// source cause that.
func inspect(program string) error {
	f, err := os.Open(program)
	if err != nil {
		return err
	}
	defer f.Close()
	if err = build.Inspect(f); errors.Is(err, proto.ErrInvalid) {
		return &build.Failure{Output: err.Error() + "\n" + proto.AsError(err).Hint}
	}
	return nil // also where programs are in a format that Inspect does not know
}

// PackagePath is the folder of the function's package in its bundle, as io/fs
// names it.
func PackagePath(fn *proto.FunctionJson) string {
	if fn.GetPackagePath() == "" {
		return "."
	}
	return fn.GetPackagePath()
}
