package remote

import (
	"context"
	"errors"
	"os"
	"path/filepath"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/remote/build"
	"github.com/Ishan27g/ryo-faas/remote/funcfw"
	"github.com/Ishan27g/ryo-faas/transport/bundle"
)

// prepare makes the folder of a version: the unpacked package and the binary,
// which appears last. On an error it says the failure's reason.
func (a *Agent) prepare(ctx context.Context, dir string, fn *proto.FunctionJson, tell func(progress)) (program *proto.Program, reason string, err error) {
	tell(progress{stage: proto.StageChecking})
	if err := os.RemoveAll(dir); err != nil {
		return nil, proto.ReasonAgent, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, proto.ReasonAgent, err
	}
	pkg, err := a.store.Get(fn.GetPackage())
	if err != nil {
		return nil, proto.ReasonAgent, err
	}
	src := filepath.Join(dir, "src")
	if err := bundle.Extract(ctx, pkg.Path, src, bundle.DefaultLimits); err != nil {
		if kind := proto.AsError(err).Kind; kind == proto.ErrInvalid || kind == proto.ErrTooLarge {
			return nil, proto.ReasonCheck, err
		}
		return nil, proto.ReasonAgent, err // such as a full disk, which is no fault of the package
	}
	platform := a.builder.Platform()
	platform.Tags = fn.GetTags()
	fsys := os.DirFS(src)
	target, err := funcfw.Check(fsys, funcfw.Spec{
		Dir: packagePath(fn), Name: fn.GetName(), File: fn.GetFilePath(), Kind: fn.GetKind(),
	}, platform)
	if err != nil {
		return nil, proto.ReasonCheck, err
	}
	tell(progress{stage: proto.StageChecking, kind: target.Kind})
	generated, err := funcfw.Generate(fsys, target, platform)
	if err != nil {
		return nil, proto.ReasonCheck, err
	}
	if err := os.Mkdir(filepath.Join(dir, "tmp"), 0o700); err != nil {
		return nil, proto.ReasonAgent, err
	}
	key, reason, err := a.build(ctx, dir, build.Spec{
		Root: src, Work: filepath.Join(dir, "work"), Generated: generated, Tags: fn.GetTags(), Ldflags: fn.GetLdflags(),
	}, func(stage string) { tell(progress{stage: stage, kind: target.Kind}) })
	return &proto.Program{Key: key, Kind: target.Kind}, reason, err
}

// build makes the binary of a version, or takes one that was built from the same.
func (a *Agent) build(ctx context.Context, dir string, spec build.Spec, stage func(string)) (key, reason string, err error) {
	source, err := bundle.TreeDigest(os.DirFS(spec.Root))
	if err != nil {
		return "", proto.ReasonAgent, err
	}
	key, err = a.builder.Key(spec, source)
	if err != nil {
		return "", proto.ReasonAgent, err
	}
	program := filepath.Join(dir, "fn")
	found, err := a.programs.Take(key, program)
	if err != nil {
		a.log.Warn("the same source is built again", "error", err)
	}
	if found {
		return key, "", nil
	}
	stage(proto.StageBuilding)
	if err := os.Mkdir(spec.Work, 0o700); err != nil {
		return "", proto.ReasonAgent, err
	}
	spec.Out = filepath.Join(spec.Work, "out")
	err = a.builder.Build(ctx, spec)
	if user := (*build.Failure)(nil); errors.As(err, &user) {
		return "", proto.ReasonBuild, err
	}
	if err != nil {
		return "", proto.ReasonAgent, err
	}
	if err := os.Rename(spec.Out, program); err != nil {
		return "", proto.ReasonAgent, err
	}
	return key, proto.ReasonAgent, os.RemoveAll(spec.Work)
}

// packagePath is the folder of the function's package in its bundle, as io/fs
// names it.
func packagePath(fn *proto.FunctionJson) string {
	if fn.GetPackagePath() == "" {
		return "."
	}
	return fn.GetPackagePath()
}
