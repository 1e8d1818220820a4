package build

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/Ishan27g/ryo-faas/remote/funcfw"
)

// Key names the program that a spec gives: all that enters the build and nothing
// else, so that equal keys mean equal bytes. source is a digest of the files in
// spec.Root; where they lie does not matter.
func (b *Builder) Key(spec Spec, source string) (string, error) {
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

// Store keeps programs in a folder, each named by its key, as hard links: to keep
// one and to take one copies nothing. All methods may be called concurrently.
//
// A program that is linked elsewhere takes no space of its own here. The others
// may take up to a limit; those that were not taken for the longest go first.
type Store struct {
	dir string
	max int64
}

// OpenStore makes or opens the store in dir, whose programs that nothing else
// needs may take limit bytes.
func OpenStore(dir string, limit int64) (*Store, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	s := &Store{dir: dir, max: limit}
	if err := s.evict(); err != nil {
		return nil, err
	}
	return s, nil
}

// Take makes the program of a key appear at the path to, on the same file
// system, and reports whether there is one.
func (s *Store) Take(key, to string) (bool, error) {
	name := filepath.Join(s.dir, key)
	err := os.Link(name, to)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("take program: %w", err)
	}
	now := time.Now()
	return true, os.Chtimes(to, now, now)
}

// Keep stores a program of the same file system. It is brought to the disk
// before it has a name here, so even after a loss of power what is stored is whole.
func (s *Store) Keep(key, program string) error {
	if err := syncFile(program); err != nil {
		return fmt.Errorf("keep program: %w", err)
	}
	if err := os.Link(program, filepath.Join(s.dir, key)); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("keep program: %w", err)
	}
	if err := syncFile(s.dir); err != nil {
		return fmt.Errorf("keep program: %w", err)
	}
	return s.evict()
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
		if err != nil || !info.Mode().IsRegular() || info.Sys().(*syscall.Stat_t).Nlink > 1 {
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
