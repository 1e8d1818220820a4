package bundle

import (
	"archive/zip"
	"context"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	pb "google.golang.org/protobuf/proto"

	"github.com/Ishan27g/ryo-faas/proto"
)

// Pack writes the archive of a function whose Dir or FilePath lies on this
// machine. It returns a copy of the function that refers to the archive instead:
// Package is its digest, PackagePath the package's folder in it, FilePath a base
// name in that folder, Dir empty. The same files give the same bytes.
//
// A file that is written to meanwhile is an ErrConflict; after any error w holds
// the beginning of an archive.
func Pack(ctx context.Context, fn *proto.FunctionJson, w io.Writer) (*proto.FunctionJson, error) {
	return packWith(ctx, fn, Modules{}, w)
}

// packWith is Pack with private modules.
func packWith(ctx context.Context, fn *proto.FunctionJson, private Modules, w io.Writer) (*proto.FunctionJson, error) {
	s, packagePath, err := choose(fn, private)
	if err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(s.root)
	if err != nil {
		return nil, unreadable(s.root, err)
	}
	defer root.Close()

	m := newMeter(w, DefaultLimits.Archive)
	z := zip.NewWriter(m)
	unpacked := int64(0)
	for _, name := range slices.Sorted(maps.Keys(s.files)) {
		var n int64
		if from := s.files[name]; from != nil {
			n, err = packMounted(ctx, z, name, from, DefaultLimits.Bytes-unpacked)
		} else {
			n, err = packFile(ctx, z, name, root, name, DefaultLimits.Bytes-unpacked)
		}
		if err != nil {
			return nil, err
		}
		unpacked += n
	}
	if s.modulesTxt != nil {
		w, err := newEntry(z, s.modulesName)
		if err != nil {
			return nil, err
		}
		if _, err := w.Write(s.modulesTxt); err != nil {
			return nil, err
		}
	}
	if err := z.Close(); err != nil {
		return nil, err
	}
	if allowed := DefaultLimits.unpacked(m.size); unpacked > allowed {
		return nil, DefaultLimits.tooLarge(s.root, allowed)
	}

	packed := pb.CloneOf(fn)
	packed.Dir, packed.Package, packed.PackagePath = "", m.digest(), packagePath
	if fn.GetFilePath() != "" {
		packed.FilePath = filepath.Base(fn.GetFilePath())
	}
	return packed, nil
}

// newEntry begins a file of an archive.
func newEntry(z *zip.Writer, name string) (io.Writer, error) {
	header := &zip.FileHeader{Name: name, Method: zip.Deflate}
	header.SetMode(0o644)
	return z.CreateHeader(header)
}

// packMounted is packFile for a file of a private module.
func packMounted(ctx context.Context, z *zip.Writer, name string, m *mount, allowed int64) (int64, error) {
	root, err := os.OpenRoot(m.dir)
	if err != nil {
		return 0, unreadable(m.dir, err)
	}
	defer root.Close()
	return packFile(ctx, z, name, root, strings.TrimPrefix(name, m.name+"/"), allowed)
}

// packFile adds the file at, below root, of at most allowed bytes under a name and
// returns its size.
func packFile(ctx context.Context, z *zip.Writer, name string, root *os.Root, at string, allowed int64) (int64, error) {
	file := filepath.Join(root.Name(), filepath.FromSlash(at))
	changed := proto.Errorf(proto.ErrConflict, "%s changed while it was packed", file).
		WithHint("deploy again when nothing writes to the folder")

	before, err := root.Lstat(at)
	if err != nil || !before.Mode().IsRegular() {
		return 0, changed
	}
	f, err := root.Open(at)
	if err != nil {
		return 0, unreadable(file, err)
	}
	defer f.Close()

	w, err := newEntry(z, name)
	if err != nil {
		return 0, err
	}
	n, err := io.Copy(w, during(ctx, io.LimitReader(f, allowed+1)))
	if err != nil {
		return 0, err
	}
	if n > allowed {
		return 0, DefaultLimits.tooLarge(file, DefaultLimits.Bytes)
	}
	after, err := f.Stat()
	if err != nil || !os.SameFile(before, after) || !before.ModTime().Equal(after.ModTime()) || n != before.Size() || n != after.Size() {
		return 0, changed
	}
	return n, nil
}
