package build

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"

	"github.com/Ishan27g/ryo-faas/remote/confine"
)

// launcherOf is the file of the program that this source of the launcher becomes under
// a toolchain, in the folder of caches.
func launcherOf(dir, goVersion string) (string, error) {
	files, err := confine.Source()
	if err != nil {
		return "", err
	}
	sum := sha256.New()
	fmt.Fprintf(sum, "%q", goVersion)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		fmt.Fprintf(sum, "%q%q", name, files[name])
	}
	return filepath.Join(dir, fmt.Sprintf("launcher-%x", sum.Sum(nil)[:8])), nil
}

// equipLauncher makes the launcher's own program, unless an agent before has, and has it
// used. Until then, or when it fails, the agent itself is the launcher. A program that was
// damaged, as by a loss of power, is made again.
func (b *Builder) equipLauncher(ctx context.Context) {
	if b.launcher.Use(b.launch) == nil {
		return
	}
	err := b.buildLauncher(ctx)
	if err == nil {
		err = b.launcher.Use(b.launch)
	}
	if err != nil && ctx.Err() == nil {
		b.logger.Warn("the launcher has no program of its own, so that functions start some milliseconds later", "error", err)
	}
}

func (b *Builder) buildLauncher(ctx context.Context) (err error) {
	dir, err := os.MkdirTemp(b.temp, "launcher-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	root, tmp := filepath.Join(dir, "root"), filepath.Join(dir, "tmp")
	if err := errors.Join(confine.WriteSource(root), os.Mkdir(tmp, 0o700)); err != nil {
		return err
	}
	made := filepath.Join(dir, "launcher")
	cmd := exec.CommandContext(ctx, b.goCommand, "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", made, ".") //nolint:gosec // ours
	cmd.Dir = root
	cmd.Env = slices.Concat(b.env, unreachable, []string{"GOTMPDIR=" + tmp, "TMPDIR=" + tmp, "PWD=" + root})
	output, err := b.runGroup(cmd, with(b.sandbox.compile, Spec{Root: root, Work: dir}), &pace{prio: low}, io.Discard)
	if err != nil {
		return fmt.Errorf("build the launcher: %w\n%s", err, output)
	}
	err = os.Rename(made, b.launch)
	if !errors.Is(err, syscall.EXDEV) {
		return err
	}
	content, err := os.ReadFile(made)
	if err != nil {
		return err
	}
	return replace(b.launch, content, 0o700)
}
