package bundle

import (
	"archive/zip"
	"cmp"
	"context"
	"errors"
	"io"
	"io/fs"
	"math"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/Ishan27g/ryo-faas/proto"
)

// Extract unpacks the archive, a file, into the folder dst, which must not exist
// or be empty. Files are made with mode 0644 and folders with 0755 before umask.
// When unpacking fails, or ctx is done first, dst is removed.
//
// An archive that is malformed or hostile is an ErrInvalid, one over a limit an
// ErrTooLarge.
func Extract(ctx context.Context, archive, dst string, limits Limits) (err error) {
	f, err := os.Open(archive)
	if errors.Is(err, fs.ErrNotExist) {
		return proto.Errorf(proto.ErrNotFound, "package: %w", err).WithHint("upload the package again")
	}
	if err != nil {
		return err
	}
	defer f.Close()
	z, allowed, err := inspect(f, limits)
	if err != nil {
		return err
	}
	if err := freshFolder(dst); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(dst))
		}
	}()
	root, err := os.OpenRoot(dst)
	if err != nil {
		return err
	}
	defer root.Close()

	left := allowed
	for _, e := range z.File {
		n, err := extractEntry(ctx, root, e, left)
		if err != nil {
			return err
		}
		if left -= n; left < 0 {
			return limits.tooLarge(e.Name, allowed)
		}
	}
	return nil
}

// extractEntry writes at most one byte more than allowed and returns how many
// bytes it wrote.
func extractEntry(ctx context.Context, root *os.Root, e *zip.File, allowed int64) (int64, error) {
	if err := contextError(ctx); err != nil {
		return 0, err
	}
	name, folder := strings.CutSuffix(e.Name, "/")
	if folder {
		return 0, root.MkdirAll(name, 0o755)
	}
	if err := root.MkdirAll(path.Dir(name), 0o755); err != nil {
		return 0, err
	}
	r, err := e.Open()
	if err != nil {
		return 0, damaged(name, err)
	}
	defer r.Close()
	w, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return 0, err
	}
	n, err := io.Copy(w, during(ctx, io.LimitReader(undamaged(name, r), allowed+1)))
	return n, errors.Join(err, w.Close())
}

// undamaged marks errors of r as faults of the archive, to tell them from those of the
// disk that is written.
func undamaged(name string, r io.Reader) io.Reader {
	return readerFunc(func(p []byte) (int, error) {
		n, err := r.Read(p)
		if err != nil && !errors.Is(err, io.EOF) {
			err = damaged(name, err)
		}
		return n, err
	})
}

func damaged(name string, err error) error {
	return proto.Errorf(proto.ErrInvalid, "%s is damaged in the archive: %w", name, err).WithHint("make the archive anew")
}

// freshFolder makes dst, or finds it empty.
func freshFolder(dst string) error {
	if err := os.MkdirAll(dst, 0o755); err != nil {
		return err
	}
	entries, err := os.ReadDir(dst)
	if err != nil {
		return err
	}
	if len(entries) > 0 {
		return proto.Errorf(proto.ErrConflict, "%s is not empty", dst).WithHint("extract into a new folder")
	}
	return nil
}

// inspect reads the list of entries of an archive and refuses what can be refused
// without unpacking. It also returns how many bytes may come out.
func inspect(f *os.File, limits Limits) (*zip.Reader, int64, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, 0, err
	}
	if info.Size() > limits.Archive {
		return nil, 0, archiveTooLarge(limits.Archive)
	}
	list := &listReader{r: f, left: listOverhead + int64(limits.Files)*listPerFile}
	z, err := zip.NewReader(list, info.Size())
	switch {
	case errors.Is(err, proto.ErrTooLarge):
		return nil, 0, err
	case err != nil:
		return nil, 0, proto.Errorf(proto.ErrInvalid, "not a zip archive: %w", err).WithHint("send a zip of the function's folder")
	case len(z.File) == 0:
		return nil, 0, proto.Errorf(proto.ErrInvalid, "the archive is empty").WithHint("send a zip of the function's folder")
	}
	list.left = math.MaxInt64

	allowed := limits.unpacked(info.Size())
	if err := checkEntries(z.File, limits, allowed); err != nil {
		return nil, 0, err
	}
	return z, allowed, nil
}

// checkEntries checks names, types, claimed sizes and places of entries.
func checkEntries(entries []*zip.File, limits Limits, allowed int64) error {
	names := newTree(limits.Files)
	type span struct {
		name       string
		begin, end int64
	}
	spans := make([]span, 0, len(entries))
	left := uint64(allowed)
	for _, e := range entries {
		name, folder := strings.CutSuffix(e.Name, "/")
		if err := names.add(name, folder); err != nil {
			return err
		}
		if mode := e.Mode(); mode.IsDir() != folder || mode&^(fs.ModePerm|fs.ModeDir) != 0 {
			return proto.Errorf(proto.ErrInvalid, "%s has the mode %v; an archive holds plain files and folders alone", name, mode).
				WithHint("leave out symbolic links, devices and set-user-id files")
		}
		if e.UncompressedSize64 > left {
			return limits.tooLarge(name, allowed)
		}
		left -= e.UncompressedSize64
		begin, err := e.DataOffset()
		if err != nil {
			return damaged(name, err)
		}
		if e.CompressedSize64 > uint64(limits.Archive) {
			return damaged(name, errors.New("it claims to be longer than the archive"))
		}
		spans = append(spans, span{name, begin, begin + int64(e.CompressedSize64)})
	}
	// One compressed block that many entries point to is the cheapest bomb.
	slices.SortFunc(spans, func(a, b span) int { return cmp.Or(cmp.Compare(a.begin, b.begin), cmp.Compare(a.end, b.end)) })
	for i := 1; i < len(spans); i++ {
		if a, b := spans[i-1], spans[i]; b.begin < a.end {
			return proto.Errorf(proto.ErrInvalid, "%s and %s share bytes of the archive", a.name, b.name).WithHint("make the archive anew")
		}
	}
	return nil
}

const (
	// listPerFile is what an archive's list of entries may take per file, on average:
	// its name, 46 fixed bytes, and a few that other tools add.
	listPerFile = maxName + 64
	// listOverhead leaves room for the end of the list and its comment (64 KiB at
	// most), which are read twice.
	listOverhead = 256 << 10
)

// listReader bounds how much of an archive is read before its entries are
// counted: each takes five times its length in memory.
type listReader struct {
	r    io.ReaderAt
	left int64
}

// ReadAt implements io.ReaderAt.
func (l *listReader) ReadAt(p []byte, off int64) (int, error) {
	if l.left -= int64(len(p)); l.left < 0 {
		return 0, proto.Errorf(proto.ErrTooLarge, "the archive lists too many files").
			WithHint("give the function a folder of its own, or include fewer files")
	}
	return l.r.ReadAt(p, off)
}
