package bundle

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"hash"
	"io"

	"github.com/Ishan27g/ryo-faas/proto"
)

// Package is a packed archive in a file.
type Package struct {
	Digest string // of the archive's bytes: "sha256:" and 64 hexadecimal digits
	Size   int64  // bytes
	Path   string // the file that holds it
}

// Limits bound an archive and what comes out of it. A zero field allows nothing.
type Limits struct {
	Files   int   // files and folders, also folders that only names imply
	Bytes   int64 // of all files, unpacked
	Archive int64 // bytes of the archive
	Ratio   int   // unpacked bytes per byte of the archive, above ratioFloor
}

// DefaultLimits fit a module with generous assets; source seldom compresses 10:1,
// a known bomb 1028:1.
var DefaultLimits = Limits{Files: 10_000, Bytes: 64 << 20, Archive: 64 << 20, Ratio: 100}

// ratioFloor is the unpacked size below which no ratio matters: that much is
// harmless, and a few repetitive files compress very well.
const ratioFloor = 1 << 20

// unpacked is how many bytes an archive of the given size may unpack to.
func (l Limits) unpacked(archive int64) int64 {
	return min(l.Bytes, max(ratioFloor, archive*int64(l.Ratio)))
}

// tooLarge says which limit on unpacked bytes a file exceeds.
func (l Limits) tooLarge(name string, allowed int64) error {
	if allowed < l.Bytes {
		return proto.Errorf(proto.ErrTooLarge, "%s: the files are more than %d times as large as their archive", name, l.Ratio).
			WithHint("leave out files that hold little but repetition")
	}
	return proto.Errorf(proto.ErrTooLarge, "%s: the files are larger than %d bytes", name, l.Bytes).WithHint(tooLargeHint)
}

const tooLargeHint = "leave out large files; a function can fetch them when it starts"

// archiveTooLarge is the error of an archive over a limit in bytes.
func archiveTooLarge(limit int64) error {
	return proto.Errorf(proto.ErrTooLarge, "the archive is larger than %d bytes", limit).WithHint(tooLargeHint)
}

// digestPrefix names a digest's hash.
const digestPrefix = "sha256:"

// checkDigest guards every use of a digest as a file's name.
func checkDigest(digest string) error {
	if len(digest) == len(digestPrefix)+2*sha256.Size && digest[:len(digestPrefix)] == digestPrefix {
		sum := digest[len(digestPrefix):]
		if b, err := hex.DecodeString(sum); err == nil && hex.EncodeToString(b) == sum {
			return nil
		}
	}
	return proto.Errorf(proto.ErrInvalid, "%.100q is not the digest of a package", digest).
		WithHint("a digest is sha256: and 64 lower-case hexadecimal digits")
}

// meter passes an archive's bytes on to w, hashes and bounds them.
type meter struct {
	w    io.Writer
	max  int64
	size int64
	hash hash.Hash
}

func newMeter(w io.Writer, limit int64) *meter {
	return &meter{w: w, max: limit, hash: sha256.New()}
}

func (m *meter) Write(p []byte) (int, error) {
	if int64(len(p)) > m.max-m.size {
		return 0, archiveTooLarge(m.max)
	}
	n, err := m.w.Write(p)
	m.size += int64(n)
	m.hash.Write(p[:n])
	return n, err
}

func (m *meter) digest() string { return digestPrefix + hex.EncodeToString(m.hash.Sum(nil)) }

// readerFunc is an io.Reader that is one function.
type readerFunc func(p []byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// during is r until ctx is done: it checks before each read.
func during(ctx context.Context, r io.Reader) io.Reader {
	return readerFunc(func(p []byte) (int, error) {
		if err := contextError(ctx); err != nil {
			return 0, err
		}
		return r.Read(p)
	})
}

// contextError is ctx.Err as an error with a kind.
func contextError(ctx context.Context) error {
	switch err := ctx.Err(); {
	case err == nil:
		return nil
	case errors.Is(err, context.DeadlineExceeded):
		return proto.Errorf(proto.ErrTimeout, "package: %w", err)
	default:
		return proto.Errorf(proto.ErrCanceled, "package: %w", err)
	}
}
