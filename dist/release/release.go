package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// files that every archive has, by patterns of their paths in the repository: texts lead to
// each other.
var files = []string{"LICENSE", "*.md", "docs/*.md"}

// release makes what doc.go says, in the folder out.
func release(ctx context.Context, stdout io.Writer, out, tags, nfpm string, platforms []string) error {
	epoch, err := sourceDate(ctx)
	if err != nil {
		return err
	}
	if err := empty(out); err != nil {
		return err
	}
	work, err := os.MkdirTemp("", "ryo-release-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)

	// Help and completions come from programs that run here.
	here, err := build(ctx, filepath.Join(work, "here"), tags, runtime.GOOS, runtime.GOARCH)
	if err != nil {
		return err
	}
	texts, err := describe(ctx, here, epoch)
	if err != nil {
		return err
	}
	for _, platform := range platforms {
		system, processor, _ := strings.Cut(platform, "/")
		stage := filepath.Join(work, system+"_"+processor)
		programs := here
		if system != runtime.GOOS || processor != runtime.GOARCH {
			if programs, err = build(ctx, filepath.Join(stage, "bin"), tags, system, processor); err != nil {
				return err
			}
		}
		version := programs.version()
		name := fmt.Sprintf("ryo-faas_%s_%s_%s", strings.TrimPrefix(version, "v"), system, processor)
		content, err := gather(programs, system, texts)
		if err != nil {
			return err
		}
		if err := archive(filepath.Join(out, name), name, system == "windows", content, epoch); err != nil {
			return err
		}
		list, err := billOfMaterials(programs, version, epoch)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(out, name+".cdx.json"), list, 0o644); err != nil { //nolint:gosec // it is for everybody
			return err
		}
		if nfpm != "" && system == "linux" {
			if err := packages(ctx, nfpm, out, stage, version, processor, content, epoch); err != nil {
				return err
			}
		}
		fmt.Fprintln(stdout, name)
	}
	return sums(out)
}

// empty makes a folder, or removes what a release has made there. One that has anything else
// is refused: it is no release's.
func empty(out string) error {
	had, err := os.ReadDir(out)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	for _, e := range had {
		if name := e.Name(); e.IsDir() || name != sumsFile && !strings.HasPrefix(name, "ryo-faas") {
			return fmt.Errorf("%s has %s, which no release makes: empty it, or give another -out", out, name)
		}
	}
	return errors.Join(os.RemoveAll(out), os.MkdirAll(out, 0o755))
}

// sourceDate is the time of everything in a release: SOURCE_DATE_EPOCH, as
// https://reproducible-builds.org/specs/source-date-epoch/ has it, or the commit's.
func sourceDate(ctx context.Context) (time.Time, error) {
	given := os.Getenv("SOURCE_DATE_EPOCH")
	if given == "" {
		said, err := command(ctx, nil, "git", "log", "-1", "--format=%ct")
		if err != nil {
			return time.Time{}, fmt.Errorf("ask for the commit's time (SOURCE_DATE_EPOCH names another): %w", err)
		}
		given = strings.TrimSpace(string(said))
	}
	seconds, err := strconv.ParseInt(given, 10, 64)
	if err != nil {
		return time.Time{}, fmt.Errorf("SOURCE_DATE_EPOCH: %q is no number of seconds", given)
	}
	return time.Unix(seconds, 0).UTC(), nil
}

// command runs a program with more variables and returns what it prints.
func command(ctx context.Context, env []string, name string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(os.Environ(), env...)
	said, err := cmd.Output()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return nil, fmt.Errorf("%s: %w\n%s", strings.Join(cmd.Args, " "), err, exit.Stderr)
	}
	return said, err
}

const sumsFile = "SHA256SUMS"

// sums writes the SHA-256 of each file of a folder, as sha256sum -c reads them.
func sums(dir string) error {
	made, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	var list strings.Builder
	for _, file := range made {
		content, err := os.ReadFile(filepath.Join(dir, file.Name()))
		if err != nil {
			return err
		}
		fmt.Fprintf(&list, "%x  %s\n", sha256.Sum256(content), file.Name())
	}
	return os.WriteFile(filepath.Join(dir, sumsFile), []byte(list.String()), 0o644) //nolint:gosec // it is for everybody
}
