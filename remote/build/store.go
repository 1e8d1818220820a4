package build

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/remote/funcfw"
)

// Key names the program that a spec gives: all that enters the build and nothing
// else, so that equal keys mean equal bytes. Where the files of spec.Root lie does
// not matter, nor does what is data of the function alone.
func (b *Builder) Key(spec Spec) (string, error) {
	source, err := source(os.DirFS(spec.Root))
	if err != nil {
		return "", fmt.Errorf("read the source: %w", err)
	}
	recipe, err := json.Marshal(struct {
		Source    string
		Generated *funcfw.Generated
		GoVersion string
		Target    []string
		Flags     []string
		Linker    []string
		Tags      []string
	}{source, spec.Generated, b.platform.GoVersion, b.target, funcfw.BuildFlags, []string{funcfw.LinkerBase, spec.Ldflags}, spec.Tags})
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(recipe)
	return hex.EncodeToString(sum[:]), nil
}

// Store keeps programs in a folder of its own, each named by its key, as hard
// links: to keep one and to take one copies nothing. All methods may be called
// concurrently. A key that none can be is an ErrInvalid.
//
// A program that was added is there for all at once. Until it is kept, it is
// forgotten when the store is opened anew: a loss of power may have damaged it.
//
// A program that is linked elsewhere takes no space of its own here. The others
// may take up to a limit; those that were not taken for the longest go first.
type Store struct {
	dir string
	max int64
}

const (
	tempPrefix = "tmp-" // begins the names of programs that are being received
	newSuffix  = ".new" // ends the names of those that were added and not kept yet
)

// OpenStore makes or opens the store in dir, whose programs that nothing else
// needs may take limit bytes.
func OpenStore(dir string, limit int64) (*Store, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	s := &Store{dir: dir, max: limit}
	for _, unfinished := range []string{tempPrefix + "*", "*" + newSuffix} { // of who was killed
		names, err := filepath.Glob(filepath.Join(dir, unfinished))
		for _, name := range names {
			err = errors.Join(err, os.Remove(name))
		}
		if err != nil {
			return nil, fmt.Errorf("open store: %w", err)
		}
	}
	if err := s.evict(); err != nil {
		return nil, err
	}
	return s, nil
}

// path is where the program of a key lies, if it is stored.
func (s *Store) path(key string) (string, error) {
	if sum, err := hex.DecodeString(key); err != nil || len(sum) != sha256.Size || hex.EncodeToString(sum) != key {
		return "", proto.Errorf(proto.ErrInvalid, "%.100q is not the key of a program", key).
			WithHint("a key is 64 lower-case hexadecimal digits")
	}
	return filepath.Join(s.dir, key), nil
}

// find tries the places where the program of a key may lie: the one that it moves
// away from, then the one that it moves to.
func (s *Store) find(key string, try func(name string) error) error {
	name, err := s.path(key)
	if err != nil {
		return err
	}
	if err := try(name + newSuffix); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return try(name)
}

// use counts as a use of a program.
func use(name string) error {
	now := time.Now()
	return os.Chtimes(name, now, now)
}

// Has reports whether a program is stored, and counts as a use of it.
func (s *Store) Has(key string) bool { return s.find(key, use) == nil }

// Open opens a stored program, and counts as a use of it. One that is not there is
// an ErrNotFound.
func (s *Store) Open(key string) (f *os.File, err error) {
	err = s.find(key, func(name string) (err error) {
		_ = use(name)
		f, err = os.Open(name)
		return err
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil, proto.Errorf(proto.ErrNotFound, "program %s is not stored here", key)
	}
	if err != nil {
		return nil, fmt.Errorf("open program: %w", err)
	}
	return f, nil
}

// Put stores the program that r yields and that was built elsewhere. It reads
// nothing when there is one of the key. One that has another digest, or cannot run
// here, is an ErrInvalid. When Put returns, the program is on the disk, or nothing
// of it is left. A Read of r that blocks is not interrupted by ctx.
func (s *Store) Put(ctx context.Context, key, digest string, r io.Reader) error {
	name, err := s.path(key)
	if err != nil || use(name) == nil {
		return err
	}
	f, err := os.CreateTemp(s.dir, tempPrefix)
	if err != nil {
		return fmt.Errorf("store program: %w", err)
	}
	defer os.Remove(f.Name()) // has another name then, if all goes well
	defer f.Close()
	if err := receive(ctx, f, digest, r); err != nil {
		return err
	}
	if err := native(f); err != nil {
		return err
	}
	err = errors.Join(f.Chmod(0o700), f.Sync())
	if err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err == nil {
		err = syncFile(s.dir)
	}
	if err != nil {
		return fmt.Errorf("store program: %w", err)
	}
	return s.evict()
}

// Take makes the program of a key appear at the path to, on the same file
// system, and reports whether there is one.
func (s *Store) Take(key, to string) (bool, error) {
	err := s.find(key, func(name string) error { return os.Link(name, to) })
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("take program: %w", err)
	}
	return true, use(to)
}

// Add stores a program of the same file system for as long as the machine runs.
func (s *Store) Add(key, program string) error {
	name, err := s.path(key)
	if err != nil {
		return err
	}
	if err := os.Link(program, name+newSuffix); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("add program: %w", err)
	}
	return nil
}

// Keep brings a program that was added to the disk, so that it is stored, and
// whole, even after a loss of power.
func (s *Store) Keep(key string) error {
	name, err := s.path(key)
	if err != nil {
		return err
	}
	if err := s.keep(name); err != nil {
		return fmt.Errorf("keep program: %w", err)
	}
	return s.evict()
}

func (s *Store) keep(name string) error {
	added := name + newSuffix
	err := syncFile(added)
	if err == nil {
		err = os.Rename(added, name)
	}
	if errors.Is(err, fs.ErrNotExist) { // it may have been kept before
		_, err = os.Stat(name)
	}
	if err == nil {
		err = syncFile(s.dir)
	}
	if err != nil {
		return err
	}
	// Rename leaves it where both names are those of one file already.
	if err := os.Remove(added); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// syncFile brings a file or folder to the disk.
func syncFile(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// evict removes what is linked nowhere else, until the rest of it fits.
func (s *Store) evict() error {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return fmt.Errorf("evict programs: %w", err)
	}
	var idle []fs.FileInfo
	total := int64(0)
	for _, e := range entries {
		// One that is gone by now was removed by another call.
		info, err := e.Info()
		if err != nil || strings.HasPrefix(e.Name(), tempPrefix) || info.Sys().(*syscall.Stat_t).Nlink > 1 {
			continue
		}
		idle = append(idle, info)
		total += info.Size()
	}
	slices.SortFunc(idle, func(a, b fs.FileInfo) int { return a.ModTime().Compare(b.ModTime()) })
	for _, info := range idle {
		if total <= s.max {
			break
		}
		if err := os.Remove(filepath.Join(s.dir, info.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("evict programs: %w", err)
		}
		total -= info.Size()
	}
	return nil
}
