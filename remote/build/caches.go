package build

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/mod/module"

	"github.com/Ishan27g/ryo-faas/remote/funcfw"
)

const (
	// defaultCache is what each cache may take: a few large client libraries with what
	// was compiled of them take 1 GiB.
	defaultCache = 10 << 30
	// trimmed is the part of its limit that a cache has when it was trimmed, in percent, so
	// that not every build makes it be trimmed again.
	trimmed = 90
	// measureEvery is the least time between two looks at the caches.
	measureEvery = time.Minute
)

// Space is what a cache takes, as far as that is known, and what it may take.
type Space struct {
	Used  int64 `json:"usedBytes"`
	Limit int64 `json:"limitBytes"`
}

// Caches are the caches of builds.
type Caches struct {
	Build   Space `json:"build"`
	Modules Space `json:"modules"`
}

// caches keeps the build cache and the module cache in their limits. What was not used
// for the longest goes first, and never what every function is built with. It goes while no
// build runs, also of another agent with the same caches.
type caches struct {
	lock  string        // the file that builds lock together, and who trims alone
	built chan struct{} // has an element after a build

	mu    sync.Mutex // guards the fields below
	space Caches
	known bool             // space is
	sizes map[string]int64 // of modules, which do not change, by their archives
}

// Caches says how large the caches are; nil: that is not known yet.
func (b *Builder) Caches() *Caches {
	b.caches.mu.Lock()
	defer b.caches.mu.Unlock()
	if !b.caches.known {
		return nil
	}
	space := b.caches.space
	return &space
}

// hold keeps the caches from being trimmed until release is called.
func (c *caches) hold() (release func(), err error) {
	file, err := c.flock(syscall.LOCK_SH)
	if err != nil {
		return nil, err
	}
	return func() {
		_ = file.Close()
		select {
		case c.built <- struct{}{}:
		default: // somebody will look anyway
		}
	}, nil
}

func (c *caches) flock(how int) (*os.File, error) {
	file, err := os.OpenFile(c.lock, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	for {
		switch err := syscall.Flock(int(file.Fd()), how); {
		case err == nil:
			return file, nil
		case !errors.Is(err, syscall.EINTR):
			return nil, errors.Join(err, file.Close())
		}
	}
}

// bound keeps the caches in their limits until ctx ends.
func (b *Builder) bound(ctx context.Context) {
	for {
		pause := time.NewTimer(measureEvery) // an agent that starts has other things to do
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
			return
		}
		if err := b.trim(ctx); err != nil && ctx.Err() == nil {
			b.logger.Warn("the caches of builds are not kept in their limits", "error", err)
		}
		select {
		case <-b.caches.built:
		case <-ctx.Done():
			return
		}
	}
}

// cached is something that a cache can do without.
type cached struct {
	name string // the file that tells when it was used
	size int64
	used time.Time
}

// trim removes from caches that are too large, unless a build runs.
func (b *Builder) trim(ctx context.Context) error {
	compiled, err := b.compiled()
	if err != nil {
		return err
	}
	modules, err := b.modules()
	if err != nil {
		return err
	}
	space := b.measured(compiled, modules)
	if space.Build.Used <= space.Build.Limit && space.Modules.Used <= space.Modules.Limit {
		return nil
	}
	file, err := b.caches.flock(syscall.LOCK_EX | syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return nil // it is looked at again after that build
	}
	if err != nil {
		return err
	}
	defer file.Close()
	entries, folders, err := b.shared(ctx)
	if err != nil {
		b.logger.Warn("what every function is built with is not known, and may be compiled again", "error", err)
	}
	compiled, err = evict(compiled, space.Build, entries, os.Remove)
	if err != nil {
		return err
	}
	modules, err = evict(modules, space.Modules, folders, b.removeModule)
	after := b.measured(compiled, modules)
	b.logger.Info("caches of builds trimmed", "build", after.Build.Used, "before", space.Build.Used, "modules", after.Modules.Used, "before", space.Modules.Used)
	return err
}

// measured notes how large the caches are.
func (b *Builder) measured(compiled, modules []cached) Caches {
	sum := func(list []cached) (total int64) {
		for _, one := range list {
			total += one.size
		}
		return total
	}
	b.caches.mu.Lock()
	defer b.caches.mu.Unlock()
	b.caches.space.Build.Used, b.caches.space.Modules.Used, b.caches.known = sum(compiled), sum(modules), true
	return b.caches.space
}

// evict removes what was not used for the longest, but for what is kept, and returns the
// rest.
func evict(list []cached, space Space, keep map[string]bool, remove func(name string) error) (rest []cached, err error) {
	if space.Used <= space.Limit {
		return list, nil
	}
	slices.SortFunc(list, func(a, b cached) int { return a.used.Compare(b.used) })
	for i, one := range list {
		switch {
		case space.Used <= space.Limit/100*trimmed:
			return append(rest, list[i:]...), nil
		case keep[one.name]:
			rest = append(rest, one)
			continue
		}
		if err := remove(one.name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return append(rest, list[i:]...), err
		}
		space.Used -= one.size
	}
	return rest, nil
}

// compiled is what the build cache has. The go command sets the time of an entry when it
// uses it, once an hour at most.
func (b *Builder) compiled() (list []cached, err error) {
	return list, filepath.WalkDir(b.cache, func(name string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) { // the go command removes old entries too
			return nil
		}
		if err != nil || !strings.HasSuffix(name, "-a") && !strings.HasSuffix(name, "-d") || !entry.Type().IsRegular() {
			return err
		}
		info, err := entry.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err == nil {
			list = append(list, cached{name, info.Size(), info.ModTime()})
		}
		return err
	})
}

// zipSuffix ends the names of modules' archives.
const zipSuffix = ".zip"

// downloads is where the module cache has archives.
func (b *Builder) downloads() string { return filepath.Join(b.modCache, "cache", "download") }

// modules is what the module cache has: archives, with what was unpacked of them.
func (b *Builder) modules() (list []cached, err error) {
	b.caches.mu.Lock()
	known := b.caches.sizes
	b.caches.mu.Unlock()
	sizes := make(map[string]int64)
	err = filepath.WalkDir(b.downloads(), func(name string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || !strings.HasSuffix(name, zipSuffix) || !entry.Type().IsRegular() {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return nil //nolint:nilerr // another agent has removed it
		}
		size, found := known[name]
		if !found {
			size = info.Size() + unpacked(b.folder(name))
		}
		if exists(b.folder(name)) {
			sizes[name] = size // else it may be unpacked later
		}
		list = append(list, cached{name, size, info.ModTime()})
		return nil
	})
	b.caches.mu.Lock()
	b.caches.sizes = sizes
	b.caches.mu.Unlock()
	return list, err
}

// unpacked is the size of the files in a folder.
func unpacked(dir string) (total int64) {
	_ = filepath.WalkDir(dir, func(_ string, entry fs.DirEntry, err error) error {
		if err == nil && entry.Type().IsRegular() {
			if info, err := entry.Info(); err == nil {
				total += info.Size()
			}
		}
		return nil // what cannot be read is not counted
	})
	return total
}

// folder is where the module of an archive is unpacked.
func (b *Builder) folder(archive string) string {
	path, version, _ := strings.Cut(strings.TrimPrefix(archive, b.downloads()), string(filepath.Separator)+"@v"+string(filepath.Separator))
	return filepath.Join(b.modCache, path) + "@" + strings.TrimSuffix(version, zipSuffix)
}

// archive is the archive of a module.
func (b *Builder) archive(m module.Version) (string, error) {
	path, errPath := module.EscapePath(m.Path)
	version, errVersion := module.EscapeVersion(m.Version)
	return filepath.Join(b.downloads(), filepath.FromSlash(path), "@v", version+zipSuffix), errors.Join(errPath, errVersion)
}

// removeModule removes a module. The go command takes a folder for whole, so it goes at once.
func (b *Builder) removeModule(archive string) error {
	aside, err := os.MkdirTemp(b.modCache, "removed-")
	if err != nil {
		return err
	}
	err = os.Rename(b.folder(archive), filepath.Join(aside, "module"))
	if errors.Is(err, fs.ErrNotExist) {
		err = nil // it was not unpacked
	}
	hash := os.Remove(archive + "hash")
	if errors.Is(hash, fs.ErrNotExist) {
		hash = nil
	}
	return errors.Join(err, hash, os.Remove(archive), os.RemoveAll(aside))
}

// use notes that modules are used, those that go.mod requires.
func (b *Builder) use(mod []byte) {
	now := time.Now()
	for _, m := range funcfw.Required(mod) {
		if archive, err := b.archive(m); err == nil {
			_ = os.Chtimes(archive, now, now) // it may need none
		}
	}
}

// shared is what every function is built with: the entries of the build cache, and the
// archives of modules.
func (b *Builder) shared(ctx context.Context) (entries, archives map[string]bool, err error) {
	entries, archives = make(map[string]bool), make(map[string]bool)
	dir, err := os.MkdirTemp(b.temp, "shared-")
	if err != nil {
		return nil, nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	spec, _, err := b.draft(dir)
	if err != nil {
		return nil, nil, err
	}
	if err := write(spec); err != nil {
		return nil, nil, err
	}
	for _, m := range funcfw.Required(spec.Generated.GoMod) {
		if archive, err := b.archive(m); err == nil {
			archives[archive] = true
		}
	}
	var said bytes.Buffer
	if err := b.plan(ctx, b.cache, spec, &pace{prio: low}, building(spec, funcfw.LinkerBase), &said); err != nil {
		return nil, archives, err
	}
	for _, object := range objects(b.cache, &said) {
		if found, err := find(b.cache, object); err == nil {
			entries[filepath.Join(b.cache, object)] = true
			entries[filepath.Join(b.cache, found.action)] = true
		}
	}
	return entries, archives, nil
}
