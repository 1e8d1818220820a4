package build

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
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

// filled is the file in the build cache that says for which toolchain, framework and
// flags it has been filled; when, its time says. It goes with the cache.
const filled = "filled"

// fill is how far the first prewarm has come.
type fill struct {
	mu          sync.Mutex // guards the fields below
	done, total int        // packages
}

func (f *fill) set(done, total int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.done, f.total = done, total
}

func (f *fill) String() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.total == 0 {
		return "filling the build cache, once"
	}
	return fmt.Sprintf("filling the build cache, once: %d of %d packages", f.done, f.total)
}

// Filling says how far the first fill of the cache has come, which builds wait for.
// It is empty once they do not.
func (b *Builder) Filling() string {
	select {
	case <-b.tried:
		return ""
	default:
		return b.fill.String()
	}
}

// await waits for the first fill of the cache, and reports its progress.
func (b *Builder) await(ctx context.Context, to io.Writer) error {
	tick := time.NewTicker(sayEvery)
	defer tick.Stop()
	for said := ""; ; {
		select {
		case <-b.tried:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		default:
		}
		if text := b.fill.String(); text != said && to != nil {
			_, _ = io.WriteString(to, text+"\n") // a reader may have gone
			said = text
		}
		select {
		case <-b.tried:
		case <-ctx.Done():
		case <-tick.C:
		}
	}
}

// Run fills the build cache, at low priority, and keeps it filled and the caches in
// their limits until ctx ends.
// Builds wait for the first fill, or for its failure, which is only logged. A cache
// that an agent before has filled is not filled again before it is due.
func (b *Builder) Run(ctx context.Context) error {
	var bounding sync.WaitGroup
	bounding.Go(func() { b.bound(ctx) })
	defer bounding.Wait()
	next := time.Until(b.due())
	if next > 0 {
		b.logger.Info("ready to build")
		close(b.tried)
		close(b.warm)
	}
	for first, warm := next <= 0, next > 0; ; {
		if next > 0 {
			timer := time.NewTimer(next)
			select {
			case <-timer.C:
			case <-ctx.Done():
				timer.Stop()
				return nil
			}
		}
		began := time.Now()
		err := b.prewarm(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if first {
			close(b.tried)
			first = false
		}
		next = warmEvery
		switch {
		case err != nil:
			b.logger.Warn("the build cache cannot be filled, builds will be slow or fail", "error", err)
			next = warmRetry
		case !warm:
			b.logger.Info("ready to build", "took", time.Since(began).Round(time.Millisecond))
			close(b.warm)
			warm = true
		}
	}
}

// due is when the cache has to be filled: some time ago when it is empty, or was
// filled by another toolchain or for another framework.
func (b *Builder) due() time.Time {
	info, err := os.Stat(b.filled())
	if err != nil || info.Size() > 1<<10 {
		return time.Time{}
	}
	have, err := os.ReadFile(b.filled())
	if err != nil {
		return time.Time{}
	}
	dir, err := os.MkdirTemp(b.temp, "prewarm-")
	if err != nil {
		return time.Time{}
	}
	defer os.RemoveAll(dir)
	if _, key, err := b.draft(dir); err != nil || key != string(have) {
		return time.Time{}
	}
	return info.ModTime().Add(warmEvery)
}

func (b *Builder) filled() string { return filepath.Join(b.cache, filled) }

// draft lays hello out in a folder, and says what names its program.
func (b *Builder) draft(dir string) (spec Spec, key string, err error) {
	spec = Spec{Root: filepath.Join(dir, "root"), Work: filepath.Join(dir, "work"), Out: filepath.Join(dir, "fn"), filling: b.fill.set}
	if err := errors.Join(os.Mkdir(spec.Root, 0o700), os.Mkdir(spec.Work, 0o700)); err != nil {
		return Spec{}, "", err
	}
	if err := os.WriteFile(filepath.Join(spec.Root, "hello.go"), []byte(hello), 0o600); err != nil {
		return Spec{}, "", err
	}
	fsys := os.DirFS(spec.Root)
	target, err := funcfw.Check(fsys, funcfw.Spec{Name: "Hello"}, b.platform)
	if err != nil {
		return Spec{}, "", err
	}
	if spec.Generated, err = funcfw.Generate(fsys, target, b.platform); err != nil {
		return Spec{}, "", err
	}
	key, err = b.Key(spec)
	return spec, key, err
}

// prewarm builds hello by the way that every function takes.
func (b *Builder) prewarm(ctx context.Context) (err error) {
	dir, err := os.MkdirTemp(b.temp, "prewarm-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	spec, key, err := b.draft(dir)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, warmLimit)
	defer cancel()
	if err := b.build(ctx, spec, &pace{prio: low}); err != nil {
		return fmt.Errorf("build the first function: %w", err)
	}
	return replace(b.filled(), []byte(key), 0o600)
}
