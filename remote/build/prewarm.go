package build

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/Ishan27g/ryo-faas/remote/funcfw"
)

const (
	// warmEvery keeps entries of the cache from being dropped, which the go command
	// does after five days without use.
	warmEvery = 24 * time.Hour
	// warmRetry is the time to the next try after one that failed, as without a network.
	warmRetry = time.Minute
	// warmLimit bounds the first build, of everything, on a slow machine that also
	// fetches the framework.
	warmLimit = 15 * time.Minute
)

// hello is the function that is built to fill the cache.
const hello = `package hello

import (
	"encoding/json"
	"fmt"
	"net/http"
)

func Hello(w http.ResponseWriter, r *http.Request) {
	if err := json.NewEncoder(w).Encode("hello"); err != nil {
		fmt.Println(err)
	}
}
`

// Run fills the build cache, at low priority, and keeps it filled until ctx ends.
// Builds wait for the first fill, or for its failure, which is only logged.
func (b *Builder) Run(ctx context.Context) error {
	for first, warm := true, false; ; first = false {
		began := time.Now()
		err := b.prewarm(ctx)
		if ctx.Err() != nil {
			return nil //nolint:nilerr // it was interrupted
		}
		next := warmEvery
		switch {
		case err != nil:
			b.log.Warn("the build cache cannot be filled, builds will be slow or fail", "error", err)
			next = warmRetry
		case !warm:
			b.log.Info("ready to build", "took", time.Since(began).Round(time.Millisecond))
			close(b.warm)
			warm = true
		}
		if first {
			close(b.tried)
		}
		timer := time.NewTimer(next)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil
		}
	}
}

// prewarm builds hello by the way that every function takes.
func (b *Builder) prewarm(ctx context.Context) (err error) {
	dir, err := os.MkdirTemp(b.temp, "prewarm-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	root, work := filepath.Join(dir, "root"), filepath.Join(dir, "work")
	if err := errors.Join(os.Mkdir(root, 0o700), os.Mkdir(work, 0o700)); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(root, "hello.go"), []byte(hello), 0o600); err != nil {
		return err
	}
	fsys := os.DirFS(root)
	target, err := funcfw.Check(fsys, funcfw.Spec{Name: "Hello"}, b.platform)
	if err != nil {
		return err
	}
	generated, err := funcfw.Generate(fsys, target, b.platform)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, warmLimit)
	defer cancel()
	if err := b.build(ctx, Spec{Root: root, Work: work, Out: filepath.Join(dir, "fn"), Generated: generated, own: true}, &pace{prio: low}); err != nil {
		return fmt.Errorf("build the first function: %w", err)
	}
	return nil
}
