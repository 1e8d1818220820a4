package process

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// boundLook is how long a holder that is told of output waits before it looks at
	// the files, at least.
	boundLook = 25 * time.Millisecond
	// boundSoon is how long it waits after a look that has found too much.
	boundSoon = 5 * time.Millisecond
	// boundPart is a multiple of the block size of common file systems, in bytes: less
	// would not be given back but zeroed.
	boundPart = 64 << 10
	// boundShare bounds the part of a processor that looks take, to 1 in so many.
	boundShare = 50
)

// bound keeps the files of a folder, to which processes append, from growing over a
// limit while nobody reads them: what was written first is given back to the disk.
// It looks when something was written, and costs nothing otherwise. nil bounds none.
type bound struct {
	dir    int
	limit  int64         // of a file, in bytes on the disk
	notify int           // inotify, which tells once that something was written
	rest   time.Duration // from what it tells to the look
	due    time.Time     // of the next look; zero: when it tells
}

// newBound takes the folder's descriptor over.
func newBound(dir int, limit int64) (*bound, error) {
	var info unix.Stat_t
	err := unix.Fstat(dir, &info)
	if err == nil && (info.Mode&unix.S_IFMT != unix.S_IFDIR || limit <= 0) {
		err = errors.New("a bound is a number of bytes and a folder")
	}
	notify := 0
	if err == nil {
		notify, err = unix.InotifyInit1(unix.IN_NONBLOCK | unix.IN_CLOEXEC)
	}
	if err != nil {
		return nil, errors.Join(err, unix.Close(dir))
	}
	return &bound{dir: dir, limit: limit, notify: notify, due: time.Now()}, nil
}

func (b *bound) close() {
	if b != nil {
		_, _ = unix.Close(b.notify), unix.Close(b.dir)
	}
}

// tells is what to wait for, besides due: told is called when it can be read.
func (b *bound) tells() unix.PollFd {
	if b == nil {
		return unix.PollFd{Fd: -1}
	}
	return unix.PollFd{Fd: int32(b.notify), Events: unix.POLLIN} //nolint:gosec // a descriptor
}

// before is the earlier one of a time and the next look.
func (b *bound) before(t time.Time) time.Time {
	if b == nil || b.due.IsZero() || t.Before(b.due) {
		return t
	}
	return b.due
}

func (b *bound) path() string { return fmt.Sprintf("/proc/self/fd/%d", b.dir) }

// told reads what it tells.
func (b *bound) told() {
	var events [4096]byte
	for {
		n, err := unix.Read(b.notify, events[:])
		if err == unix.EINTR {
			continue
		}
		if err != nil || n <= 0 {
			return
		}
		for rest := events[:n]; len(rest) >= unix.SizeofInotifyEvent; {
			if binary.NativeEndian.Uint32(rest[4:])&unix.IN_MODIFY != 0 && b.due.IsZero() {
				b.due = time.Now().Add(b.rest)
			}
			rest = rest[unix.SizeofInotifyEvent+int(binary.NativeEndian.Uint32(rest[12:])):]
		}
	}
}

// tend looks at the files if it is time to.
func (b *bound) tend() {
	begun := time.Now()
	if b == nil || b.due.IsZero() || begun.Before(b.due) {
		return
	}
	b.due = time.Time{}
	// Asked for first: what is written during the look is told of.
	if _, err := unix.InotifyAddWatch(b.notify, b.path(), unix.IN_MODIFY|unix.IN_ONESHOT); err != nil {
		b.due = begun.Add(time.Minute)
	}
	entries, _ := os.ReadDir(b.path()) // fails for lack of descriptors, perhaps
	flood := false
	for _, e := range entries {
		flood = b.cut(filepath.Join(b.path(), e.Name())) || flood
	}
	if flood {
		b.due = time.Now().Add(boundSoon)
	}
	b.rest = max(time.Since(begun)*boundShare, boundLook)
}

// cut gives back all but the last half of the limit of a file that is over it, and
// says whether it was.
func (b *bound) cut(path string) bool {
	var info unix.Stat_t
	if unix.Lstat(path, &info) != nil || info.Mode&unix.S_IFMT != unix.S_IFREG || info.Blocks*512 <= b.limit {
		return false
	}
	fd, err := unix.Open(path, unix.O_WRONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	end := (info.Size - b.limit/2) / boundPart * boundPart
	err = unix.Fallocate(fd, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 0, end)
	if err != nil { // not on this file system: rather lose all than fill the disk
		_ = unix.Ftruncate(fd, 0)
	}
	return true
}
