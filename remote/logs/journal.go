package logs

import (
	"cmp"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"time"
)

const (
	// parts is how many segments a journal and its age are divided into at least: the
	// oldest one is removed as a whole.
	parts = 8
	// segmentMost bounds a segment, in bytes: queries hold one in memory.
	segmentMost = 1 << 20
)

// journal is the lines of one function, in segments, the oldest of which are removed.
// Only the Store's Run appends; queries read at the same time.
type journal struct {
	dir   string
	bytes int64
	load  func() error // to be called first; it does its work once

	// Run owns the fields below:
	raws   []*raw
	next   uint64           // number of the next line
	last   int64            // time of the last line
	readTo map[source]int64 // how far an earlier agent had read raw files
	owed   loss             // is stored with the next block

	// mu guards the fields below:
	mu       sync.Mutex
	segments []segment
	changed  chan struct{} // closed when there is more to read
	removed  bool
	lost     uint64
}

// segment is one file of a journal.
type segment struct {
	start int64 // time of its first line, and its name
	size  int64 // of its whole blocks
}

func newJournal(dir string, size int64) *journal {
	j := &journal{dir: dir, bytes: size, changed: make(chan struct{}), readTo: make(map[source]int64)}
	j.load = sync.OnceValue(j.recover)
	return j
}

// recover finds the segments and where an earlier agent stopped, and cuts off a block
// that it had written in part.
func (j *journal) recover() error {
	entries, err := os.ReadDir(j.dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, e := range entries { // in the order of their names, which is that of time
		start, err := strconv.ParseInt(e.Name(), 10, 64)
		if err != nil {
			continue
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		j.segments = append(j.segments, segment{start, info.Size()})
	}
	for i := len(j.segments) - 1; i >= 0 && j.last == 0; i-- {
		path := j.path(j.segments[i].start)
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		whole := 0
		for end, b := range blocks(data) {
			whole = end
			j.next, j.last = b.next(), b.last()
			j.readTo[b.source] = b.end
		}
		if err := os.Truncate(path, int64(whole)); err != nil {
			return err
		}
		j.segments[i].size = int64(whole)
	}
	return nil
}

func (j *journal) path(start int64) string {
	return filepath.Join(j.dir, strconv.FormatInt(start, 10))
}

// full is when a segment is full, in bytes.
func (j *journal) full() int64 { return min(j.bytes/parts, segmentMost) }

// append stores encoded blocks, all or none; first is the time of their first line. It
// reports whether it began a segment.
func (j *journal) append(data []byte, first int64, age time.Duration) (fresh bool, err error) {
	var at segment
	if n := len(j.segments); n > 0 {
		at = j.segments[n-1]
	}
	fresh = at.start == 0 || at.size+int64(len(data)) > j.full() || first-at.start > int64(age/parts)
	if fresh {
		if err := os.MkdirAll(j.dir, 0o700); err != nil {
			return false, err
		}
		at = segment{start: first}
		data = append(j.positions(first), data...)
	}
	file, err := os.OpenFile(j.path(at.start), os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return false, err
	}
	defer file.Close()
	if _, err := file.WriteAt(data, at.size); err != nil {
		if fresh {
			return false, errors.Join(err, os.Remove(file.Name()))
		}
		return false, errors.Join(err, file.Truncate(at.size))
	}
	at.size += int64(len(data))

	j.mu.Lock()
	defer j.mu.Unlock()
	if fresh {
		j.segments = append(j.segments, at)
	} else {
		j.segments[len(j.segments)-1] = at
	}
	j.wake()
	return fresh, nil
}

// positions are blocks that say how far each raw file was read: a segment begins with
// them, so that a later agent reads the newest one alone.
func (j *journal) positions(now int64) []byte {
	var data []byte
	for _, r := range j.raws {
		if r.pos > 0 {
			b := block{first: j.next, time: now, version: r.version, pid: r.pid, source: r.source, end: r.pos}
			data = b.appendTo(data)
		}
	}
	return data
}

// wake wakes the followers. The caller holds mu.
func (j *journal) wake() {
	close(j.changed)
	j.changed = make(chan struct{})
}

// bound removes the oldest segments until one more fits in the journal's size, and
// those that were last written to before a time.
func (j *journal) bound(before time.Time) error {
	total := int64(0)
	for _, s := range j.segments {
		total += s.size
	}
	n := 0
	for i, s := range j.segments {
		if total <= j.bytes-j.full() {
			info, err := os.Stat(j.path(s.start))
			if err != nil || !info.ModTime().Before(before) {
				break
			}
		}
		total -= s.size
		n = i + 1
	}
	if n == 0 {
		return nil
	}
	j.mu.Lock()
	oldest := j.segments[:n]
	j.segments = slices.Clone(j.segments[n:])
	j.mu.Unlock()
	var err error
	for _, s := range oldest {
		err = cmp.Or(err, os.Remove(j.path(s.start)))
	}
	return err
}

// lose counts lost lines; the next block says so.
func (j *journal) lose(l loss) {
	j.owed = j.owed.add(l)
	j.next += l.lines
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lost += l.lines
}

// cursor is a place in a journal.
type cursor struct{ start, offset int64 }

// end is the place behind the last line.
func (j *journal) end() cursor {
	j.mu.Lock()
	defer j.mu.Unlock()
	if len(j.segments) == 0 {
		return cursor{}
	}
	s := j.segments[len(j.segments)-1]
	return cursor{s.start, s.size}
}

// changes returns a channel that is closed when there is more to read, and whether the
// journal was removed.
func (j *journal) changes() (changed <-chan struct{}, removed bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.changed, j.removed
}

// starts are the names of the segments, oldest first.
func (j *journal) starts() []int64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	starts := make([]int64, len(j.segments))
	for i, s := range j.segments {
		starts[i] = s.start
	}
	return starts
}

// read returns the lines between from and to in the first segment that has any, and the
// place behind them. Empty data means that there are no more lines. data lies in
// buffer.
func (j *journal) read(from, to cursor, buffer []byte) (data []byte, next cursor, err error) {
	for {
		s, ok := j.after(from)
		if !ok || s.start > to.start {
			return nil, from, nil
		}
		if s.start != from.start {
			from = cursor{start: s.start}
		}
		if s.start == to.start {
			s.size = min(s.size, to.offset)
		}
		if s.size <= from.offset {
			return nil, from, nil
		}
		data, err = readPart(j.path(s.start), from.offset, s.size, buffer)
		if errors.Is(err, fs.ErrNotExist) {
			from = cursor{start: s.start + 1} // it was just removed
			continue
		}
		return data, cursor{s.start, s.size}, err
	}
}

// after returns the first segment that has something behind a place.
func (j *journal) after(c cursor) (segment, bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, s := range j.segments {
		if s.start > c.start || s.start == c.start && s.size > c.offset {
			return s, true
		}
	}
	return segment{}, false
}

func readPart(path string, from, to int64, buffer []byte) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	data := slices.Grow(buffer[:0], int(to-from))[:to-from]
	if n, err := file.ReadAt(data, from); err != nil {
		return data[:n], err
	}
	return data, nil
}
