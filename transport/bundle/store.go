package bundle

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	pb "google.golang.org/protobuf/proto"

	"github.com/Ishan27g/ryo-faas/proto"
)

const (
	archiveExt = ".zip"
	tempPrefix = "tmp-"
	// staleAfter is how long after its last write a temporary file is removed: by then
	// its writer must have exited. A pid would not tell: the first process of a
	// container has the same one after each restart.
	staleAfter = time.Hour
	// roomStep is how much an archive may grow before its store makes room for more.
	roomStep = 4 << 20
)

// Store keeps archives in a folder, each named by its digest. When they take more than
// a limit, the least recently used ones are removed. Archives that are being received
// count; when these alone take more, no further one is received.
//
// All methods may be called concurrently, also by several processes that share
// the folder. A file may be removed as soon as newer ones fill the store, so Packages
// are for use at once; an open file can be read on.
type Store struct {
	// Private says where Resolve finds private modules to pack; set it before the first
	// Resolve.
	Private Modules
	// Room is asked before an archive is received that is not stored yet, and may refuse
	// it; set it before. Default: there is room.
	Room func() error

	dir    string
	max    int64
	limits Limits
}

// OpenStore makes or opens the store in dir, which may take limit bytes, or one
// archive when that is larger. It removes unfinished files of processes that
// have exited.
func OpenStore(dir string, limit int64) (*Store, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	s := &Store{dir: dir, max: limit, limits: DefaultLimits}
	temps, err := s.list(isTemp)
	if err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	for _, t := range temps {
		if time.Since(t.ModTime()) < staleAfter {
			continue
		}
		if err := removeFile(filepath.Join(dir, t.Name())); err != nil {
			return nil, fmt.Errorf("open store: %w", err)
		}
	}
	if _, err := s.makeRoom(""); err != nil {
		return nil, err
	}
	return s, nil
}

// Has reports whether an archive is stored.
func (s *Store) Has(digest string) bool {
	_, err := s.Get(digest)
	return err == nil
}

// Get returns a stored archive, and counts as a use of it. One that is not there
// is an ErrNotFound.
func (s *Store) Get(digest string) (*Package, error) {
	if err := checkDigest(digest); err != nil {
		return nil, err
	}
	name := s.path(digest)
	info, err := os.Stat(name)
	if err == nil {
		now := time.Now()
		err = os.Chtimes(name, now, now)
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, proto.Errorf(proto.ErrNotFound, "package %s is not stored here", digest).
			WithHint("upload it first, as PUT /packages/" + digest)
	case err != nil:
		return nil, fmt.Errorf("get package: %w", err)
	}
	return &Package{Digest: digest, Size: info.Size(), Path: name}, nil
}

// Open opens a stored archive, as Get finds it. The caller closes it.
func (s *Store) Open(digest string) (io.ReadCloser, error) {
	p, err := s.Get(digest)
	if err != nil {
		return nil, err
	}
	f, err := os.Open(p.Path)
	if err != nil {
		return nil, fmt.Errorf("open package: %w", err)
	}
	return f, nil
}

// Put stores the archive that r yields and returns it. It reads nothing when
// digest is stored already; an archive that has another digest is an ErrInvalid,
// unless digest is empty. When Put returns, the archive is on disk and its list
// of entries is sound, or nothing of it is kept. ctx does not interrupt a Read of r
// that blocks.
func (s *Store) Put(ctx context.Context, digest string, r io.Reader) (*Package, error) {
	if digest != "" {
		if p, err := s.Get(digest); err == nil || !errors.Is(err, proto.ErrNotFound) {
			return p, err
		}
	}
	return s.store(digest, func(w io.Writer) error {
		if _, err := io.Copy(w, during(ctx, r)); err != nil {
			return fmt.Errorf("receive package: %w", err)
		}
		return nil
	})
}

// Resolve makes sure that a function's package is stored. It returns a copy that
// refers to it as Pack's result does, and the package.
//
// A function with Dir or FilePath alone is packed; one with Package must have been
// uploaded before, else it is an ErrNotFound; for a Plan, which needs no more than
// the digest, the package is nil then. Its FilePath, when it has folders,
// counts from the archive's root, and stands in for an empty PackagePath. Both Dir
// and Package, or no source at all, is an ErrInvalid. Name and settings are not
// checked.
func (s *Store) Resolve(ctx context.Context, fn *proto.FunctionJson) (*proto.FunctionJson, *Package, error) {
	switch {
	case fn.GetPackage() == "":
		var packed *proto.FunctionJson
		p, err := s.store("", func(w io.Writer) (err error) {
			packed, err = packWith(ctx, fn, s.Private, w)
			return err
		})
		if err != nil {
			return nil, nil, err
		}
		return packed, p, nil
	case fn.GetDir() != "":
		return nil, nil, proto.Errorf(proto.ErrInvalid, "function %s has both a dir and a package", fn.GetName()).
			WithHint("give dir (the package's folder) or package (the digest of an uploaded archive)")
	}
	resolved, err := normalize(fn)
	if err != nil {
		return nil, nil, err
	}
	p, err := s.Get(fn.GetPackage())
	if fn.GetPlan() && errors.Is(err, proto.ErrNotFound) {
		return resolved, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	return resolved, p, nil
}

// normalize returns a copy whose PackagePath is set and whose FilePath is a base name.
func normalize(fn *proto.FunctionJson) (*proto.FunctionJson, error) {
	n := pb.CloneOf(fn)
	folder, file := path.Split(fn.GetFilePath())
	n.PackagePath, n.FilePath = path.Clean(cmp.Or(fn.GetPackagePath(), folder)), file
	for _, name := range []string{n.PackagePath, cmp.Or(file, ".")} {
		if name == "." {
			continue
		}
		if err := checkName(name); err != nil {
			return nil, err
		}
	}
	if folder != "" && path.Clean(folder) != n.PackagePath {
		return nil, proto.Errorf(proto.ErrInvalid, "filePath %s is not inside packagePath %s", fn.GetFilePath(), n.PackagePath).
			WithHint("filePath counts from the archive's root; its base name is enough")
	}
	return n, nil
}

// store keeps what fill writes, if it has the digest that is wanted.
func (s *Store) store(want string, fill func(io.Writer) error) (_ *Package, err error) {
	if s.Room != nil {
		if err := s.Room(); err != nil {
			return nil, err
		}
	}
	f, err := os.CreateTemp(s.dir, tempPrefix)
	if err != nil {
		return nil, fmt.Errorf("store package: %w", err)
	}
	defer func() {
		// After success the file has another name.
		err = errors.Join(err, f.Close(), removeFile(f.Name()))
	}()
	m := newMeter(f, s.limits.Archive)
	if err := fill(&growing{Writer: m, store: s}); err != nil {
		return nil, err
	}
	digest := m.digest()
	if want != "" && digest != want {
		return nil, proto.Errorf(proto.ErrInvalid, "the archive's digest is %s, not %s", digest, want).
			WithHint("it was damaged on the way or is another one; send it again")
	}
	if p, err := s.Get(digest); err == nil {
		return p, nil
	}
	if _, _, err := inspect(f, s.limits); err != nil {
		return nil, err
	}
	if err := f.Sync(); err != nil {
		return nil, fmt.Errorf("store package: %w", err)
	}
	if err := os.Rename(f.Name(), s.path(digest)); err != nil {
		return nil, fmt.Errorf("store package: %w", err)
	}
	if err := syncFolder(s.dir); err != nil {
		return nil, fmt.Errorf("store package: %w", err)
	}
	if _, err := s.makeRoom(filepath.Base(s.path(digest))); err != nil {
		return nil, err
	}
	return &Package{Digest: digest, Size: m.size, Path: s.path(digest)}, nil
}

func (s *Store) path(digest string) string {
	return filepath.Join(s.dir, strings.TrimPrefix(digest, digestPrefix)+archiveExt)
}

// growing makes room for an archive as it grows.
type growing struct {
	io.Writer
	store *Store
	grown int // since room was made
}

func (r *growing) Write(p []byte) (int, error) {
	if r.grown += len(p); r.grown >= roomStep {
		r.grown = 0
		coming, err := r.store.makeRoom("")
		if err != nil {
			return 0, err
		}
		if limit := max(r.store.max, r.store.limits.Archive); coming > limit {
			return 0, proto.Errorf(proto.ErrTooMany, "the packages that are being received take more than %d bytes", limit).
				WithHint("send it again later")
		}
	}
	return r.Writer.Write(p)
}

// makeRoom removes the least recently used archives until the rest fits, but never the
// file keep. It returns the size of what is being received.
func (s *Store) makeRoom(keep string) (coming int64, err error) {
	files, err := s.list(func(name string) bool { return path.Ext(name) == archiveExt || isTemp(name) })
	if err != nil {
		return 0, fmt.Errorf("make room for packages: %w", err)
	}
	total := int64(0)
	for _, f := range files {
		total += f.Size()
		if isTemp(f.Name()) {
			coming += f.Size()
		}
	}
	slices.SortFunc(files, func(a, b fs.FileInfo) int { return a.ModTime().Compare(b.ModTime()) })
	for _, f := range files {
		if total <= s.max {
			break
		}
		if f.Name() == keep || isTemp(f.Name()) {
			continue
		}
		if err := removeFile(filepath.Join(s.dir, f.Name())); err != nil {
			return 0, fmt.Errorf("make room for packages: %w", err)
		}
		total -= f.Size()
	}
	return coming, nil
}

func isTemp(name string) bool { return strings.HasPrefix(name, tempPrefix) }

// list returns the files of the folder whose names match.
func (s *Store) list(match func(name string) bool) ([]fs.FileInfo, error) {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return nil, err
	}
	var files []fs.FileInfo
	for _, e := range entries {
		// Another call may have removed it by now.
		if info, err := e.Info(); err == nil && info.Mode().IsRegular() && match(e.Name()) {
			files = append(files, info)
		}
	}
	return files, nil
}

// removeFile removes a file, which may be missing.
func removeFile(name string) error {
	if err := os.Remove(name); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// syncFolder brings a rename in dir to the disk.
func syncFolder(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
