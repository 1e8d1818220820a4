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

	"github.com/hashicorp/go-hclog"

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

// Store keeps programs in a folder of its own, each named by its key and its digest,
// as hard links: to keep one and to take one copies nothing. All methods may be
// called concurrently. An invalid key is an ErrInvalid.
//
// A program that was added is there for all at once. Until it is kept, it is
// removed when the store is opened anew: a loss of power may have damaged it. One
// whose bytes have changed is set aside when it is asked for, and there no more.
//
// A program that is linked elsewhere takes no space of its own here. The others
// may take up to a limit; those that were not taken for the longest go first.
type Store struct {
	dir    string
	max    int64
	logger hclog.Logger
}

const (
	tempPrefix    = "tmp-"     // begins the names of programs that are being received
	damagedPrefix = "damaged-" // begins those of programs that are set aside
	newSuffix     = ".new"     // ends the names of those that were added and not kept yet
)

// OpenStore makes or opens the store in dir, whose programs that nothing else
// needs may take limit bytes.
func OpenStore(dir string, limit int64, logger hclog.Logger) (*Store, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	s := &Store{dir: dir, max: limit, logger: logger}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	for _, e := range entries {
		// Of agents that were killed, or of earlier ones that told no digest.
		if name := e.Name(); strings.HasPrefix(name, tempPrefix) || strings.HasSuffix(name, newSuffix) || len(name) == 2*sha256.Size {
			if err := os.Remove(filepath.Join(dir, name)); err != nil {
				return nil, fmt.Errorf("open store: %w", err)
			}
		}
	}
	if err := s.evict(); err != nil {
		return nil, err
	}
	return s, nil
}

// path is where a program lies, if it is stored.
func (s *Store) path(key, digest string) (string, error) {
	sum, found := strings.CutPrefix(digest, digestPrefix)
	if !hexadecimal(key) {
		return "", proto.Errorf(proto.ErrInvalid, "%.100q is not the key of a program", key).
			WithHint("a key is 64 lower-case hexadecimal digits")
	}
	if !found || !hexadecimal(sum) {
		return "", proto.Errorf(proto.ErrInvalid, "%.100q is not the digest of a program", digest).
			WithHint("a digest is sha256: and 64 lower-case hexadecimal digits")
	}
	return filepath.Join(s.dir, key+"-"+sum), nil
}

func hexadecimal(text string) bool {
	sum, err := hex.DecodeString(text)
	return err == nil && len(sum) == sha256.Size && hex.EncodeToString(sum) == text
}

// find tries the places where the program of a key may lie. One that is moved
// meanwhile is found at the second try.
func (s *Store) find(key string, try func(name, digest string) error) error {
	if !hexadecimal(key) {
		_, err := s.path(key, "")
		return err
	}
	err := fs.ErrNotExist
	for range 2 {
		names, _ := filepath.Glob(filepath.Join(s.dir, key+"-*")) // the key has no pattern
		for _, name := range names {
			sum := strings.TrimSuffix(strings.TrimPrefix(filepath.Base(name), key+"-"), newSuffix)
			if err = try(name, digestPrefix+sum); !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
		if names == nil {
			break
		}
	}
	return err
}

// use counts as a use of a program.
func use(name string) error {
	now := time.Now()
	return os.Chtimes(name, now, now)
}

// Has reports whether a program is stored, and counts as a use of it.
func (s *Store) Has(key string) bool {
	return s.find(key, func(name, _ string) error { return use(name) }) == nil
}

// Open opens a stored program, and counts as a use of it. One that is not there is
// an ErrNotFound.
func (s *Store) Open(key string) (f *os.File, digest string, err error) {
	err = s.find(key, func(name, want string) (err error) {
		_ = use(name)
		if f, err = os.Open(name); err != nil {
			return err
		}
		if digest, err = Digest(f); err == nil {
			_, err = f.Seek(0, io.SeekStart)
		}
		if err == nil && digest != want {
			err = s.setAside(name, want, digest)
		}
		if err != nil {
			err = errors.Join(err, f.Close())
		}
		return err
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil, "", proto.Errorf(proto.ErrNotFound, "program %s is not stored here", key)
	}
	if err != nil {
		return nil, "", fmt.Errorf("open program: %w", err)
	}
	return f, digest, nil
}

// setAside gives a program whose bytes have changed another name. It returns
// fs.ErrNotExist: there is none of its key any more.
func (s *Store) setAside(name, want, got string) error {
	aside := filepath.Join(s.dir, damagedPrefix+filepath.Base(name))
	if err := os.Rename(name, aside); err != nil {
		return err
	}
	s.logger.Error("a stored program is damaged and is set aside", "set aside as", aside, "digest", got, "should be", want)
	return fs.ErrNotExist
}

// Put stores the program that r yields and that was built elsewhere. It reads
// nothing when there is one of the key. One that has another digest, or cannot run
// here, is an ErrInvalid. When Put returns, the program is on the disk, or nothing
// of it is left. A Read of r that blocks is not interrupted by ctx.
func (s *Store) Put(ctx context.Context, key, digest string, r io.Reader) error {
	if s.Has(key) {
		return nil
	}
	name, err := s.path(key, digest)
	if err != nil {
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
	if err := Inspect(f); err != nil {
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

// Take makes the program of a key appear at the path to, on the same file system,
// and returns its digest, "" when there is none.
func (s *Store) Take(key, to string) (digest string, err error) {
	err = s.find(key, func(name, want string) error {
		if err := os.Link(name, to); err != nil {
			return err
		}
		got, err := fileDigest(to)
		if err == nil && got != want {
			err = s.setAside(name, want, got)
		}
		if err != nil {
			return errors.Join(err, os.Remove(to))
		}
		digest = want
		return nil
	})
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("take program: %w", err)
	}
	return digest, use(to)
}

// Add stores a program of the same file system for as long as the machine runs.
func (s *Store) Add(key, program string) error {
	digest, err := fileDigest(program)
	if err != nil {
		return fmt.Errorf("add program: %w", err)
	}
	name, err := s.path(key, digest)
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
	err := s.find(key, func(name, _ string) error { return s.keep(strings.TrimSuffix(name, newSuffix)) })
	if err != nil {
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
		// Another call may have removed it.
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
