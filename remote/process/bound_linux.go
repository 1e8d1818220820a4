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
	// boundLook is how long a holder waits at least, from a write to its look at the
	// files.
	boundLook = 25 * time.Millisecond
	// boundSoon is how long it waits after a look that has found a file over the limit.
	boundSoon = 5 * time.Millisecond
	// boundPart is a multiple of the block size of common file systems, in bytes: a
	// smaller part would be zeroed, not freed.
	boundPart = 64 << 10
	// boundShare bounds the processor time that looks take: to 1 part in boundShare.
	boundShare = 50
)

// bound keeps the files of a folder, to which processes append, below a limit while
// no agent reads them: it frees what was written first. It looks when something was
// written, and costs nothing otherwise. A nil bound does nothing.
type bound struct {
	dir    int
	limit  int64         // of a file, in bytes on the disk
	notify int           // inotify, which tells once of a write
	rest   time.Duration // from a write to the look
	due    time.Time     // of the next look; zero: rest after the next write
}

// newBound owns the folder's descriptor from now on.
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

// poll is what to wait for besides due; when it is readable, told is called.
func (b *bound) poll() unix.PollFd {
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

// told reads what inotify tells.
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
	// Watched first: so a write during the look is told of.
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

// cut frees a file that is over the limit, but for its last half limit, and says
// whether it was over.
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
	if err != nil { // not on this file system: losing all is better than filling the disk
		_ = unix.Ftruncate(fd, 0)
	}
	return true
}
