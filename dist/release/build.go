package main

import (
	"context"
	"debug/buildinfo"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
)

// program is one of the programs of a release.
type program struct {
	name string // agent, proxy or proxyCli
	path string
	info *debug.BuildInfo
}

type programs []program

// version is that of the programs: a tag, or a pseudo-version with the commit. Of a source
// without git, or in a second worktree, the go command says none.
func (ps programs) version() string {
	if v := ps[0].info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	return "v0.0.0-devel"
}

// build makes the programs that a system has.
func build(ctx context.Context, dir, tags, system, processor string) (programs, error) {
	names := []string{"proxyCli"}
	if system == "linux" {
		names = []string{"agent", "proxy", "proxyCli"}
	}
	if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // programs are for everybody
		return nil, err
	}
	// Nothing of the machine's settings is to decide what comes out.
	env := []string{
		"GOOS=" + system, "GOARCH=" + processor, "GOAMD64=v1", "GOARM64=v8.0",
		"CGO_ENABLED=0", "GOFLAGS=", "GOEXPERIMENT=", "GOTOOLCHAIN=local", "GOWORK=off",
	}
	var made programs
	for _, name := range names {
		p := program{name: name, path: filepath.Join(dir, name)}
		if system == "windows" {
			p.path += ".exe"
		}
		if _, err := command(ctx, env, "go", "build", "-trimpath", "-buildvcs=true", "-mod=readonly",
			"-tags="+tags, "-ldflags=-w -buildid=", "-o", p.path, "./cmd/"+name); err != nil {
			return nil, err
		}
		var err error
		if p.info, err = buildinfo.ReadFile(p.path); err != nil {
			return nil, fmt.Errorf("read what is linked into %s: %w", p.path, err)
		}
		made = append(made, p)
	}
	return made, nil
}
