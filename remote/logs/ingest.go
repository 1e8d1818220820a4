package logs

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"slices"
	"time"
)

const (
	// chunkSize is how much of a raw file is read in one turn, in bytes: some
	// milliseconds of work, then comes the next file's turn. With gather it bounds a
	// flood to 25 MiB/s. It is more than the longest line.
	chunkSize = 256 << 10
	// punchSize is a multiple of the block size of common file systems, in bytes: a
	// smaller part of a raw file would be zeroed, not freed.
	punchSize = 64 << 10
)

// raw is what one process prints to one stream. Run owns it once it is added.
type raw struct {
	function string
	version  uint32
	pid      int
	source

	journal *journal
	order   *order    // of its process's writes
	pos     int64     // offset of what has not been read
	freed   int64     // offset up to which it was given back to the disk
	size    int64     // when it was last looked at
	grown   time.Time // when that was last more than before
	closed  bool      // by a process that could write, since it was last looked at
	held    bool      // its last line, until the next reading: see braid
	early   bool      // a line was stored of whose write the kernel may still tell
	busy    bool      // is in Store.busy
	partial bool      // is in Store.partial
	removed bool
}

// add begins to read a raw file, which may not be empty.
func (s *Store) add(r *raw, j *journal) {
	r.journal, r.closed, r.order = j, true, new(order)
	for _, other := range j.raws {
		if other.id == r.id { // the other stream of its process
			r.order = other.order
		}
	}
	j.raws = append(j.raws, r)
	s.raws[r.file()] = r
	s.hasGrown(r)
}

// removeRaw removes a raw file.
func (s *Store) removeRaw(r *raw) {
	r.removed = true
	r.journal.raws = slices.DeleteFunc(r.journal.raws, func(other *raw) bool { return other == r })
	delete(s.raws, r.file())
	if err := os.Remove(s.rawPath(r)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.cfg.Logger.Error("a raw file cannot be removed", "error", err)
	}
}

// look notes which raw files have changed.
func (s *Store) look() error {
	if s.watch == nil {
		return nil // Run has not begun
	}
	return s.watch.changes(func(file string, closed bool) {
		if r := s.raws[file]; r != nil {
			r.closed = r.closed || closed
			if !closed {
				r.order.note(r)
			}
			s.hasGrown(r)
		}
	}, func() {
		for _, r := range s.raws {
			r.closed = true
			s.hasGrown(r)
		}
	})
}

// hasGrown adds a raw file to the next round.
func (s *Store) hasGrown(r *raw) {
	if r.busy {
		return
	}
	s.arm()
	r.busy = true
	s.busy = append(s.busy, r)
}

// read gives each raw file that has grown one turn; the two files of a process that
// wrote to them by turns have one together.
func (s *Store) read() {
	round := s.busy
	s.busy = nil
	for _, r := range round {
		select {
		case do := <-s.work:
			do()
		default:
		}
		if !r.busy {
			continue // its process has had its turn
		}
		for _, grown := range s.turnOf(r, false) {
			s.hasGrown(grown)
		}
	}
}

// turnOf gives a raw file its turn, together with the other one of its process if
// that wrote to them by turns. It returns those of them that have more.
func (s *Store) turnOf(r *raw, flush bool) (more []*raw) {
	writes := r.order.take()
	raws := []*raw{r}
	if len(writes) > 1 {
		raws = writes[:2]
	}
	readings := make([]*reading, 0, 2)
	for i, r := range raws {
		r.busy = false
		if rd := s.begin(r, &s.chunks[i], flush); rd != nil {
			readings = append(readings, rd)
		}
	}
	if len(readings) == 0 {
		return nil
	}
	_ = s.look() // if it fails, the order of lines is lost, but no line
	pieces, later := braid(readings, writes, r.order.take())
	r.order.writes = later
	s.keep(pieces)
	for _, rd := range readings {
		rd.file.Close()
		if s.finish(rd) {
			more = append(more, rd.raw)
		}
	}
	return more
}

// takePartial gives a turn to the raw files that end without a newline.
func (s *Store) takePartial() {
	list := s.partial
	s.partial = nil
	for _, r := range list {
		r.partial = false
		for _, grown := range s.turnOf(r, false) {
			s.hasGrown(grown)
		}
	}
}

// flush reads all that the processes of a function, or only that with a pid, have
// printed until now, with partial lines if partial is set. pid 0 means all.
func (s *Store) flush(j *journal, pid int, partial bool) {
	_ = s.look()
	for _, r := range slices.Clone(j.raws) {
		if pid != 0 && r.pid != pid || r.removed {
			continue
		}
		// In a flood it stops after a journal's size.
		for read := int64(0); len(s.turnOf(r, partial)) > 0 && read < s.cfg.Bytes; {
			read += chunkSize
		}
	}
}

// reading is what is read of a raw file in one turn.
type reading struct {
	*raw
	file  *os.File
	data  []byte
	now   time.Time
	final bool  // no process can write to it any more
	more  bool  // there is more than data
	flush bool  // a partial last line is taken
	kept  int64 // offset behind what is being stored of it
}

// begin reads on in a raw file, a chunk at most. A partial last line is taken if flush
// is set, if no process can write to the file, or if nothing has followed for long. It
// returns nil when the file cannot be read.
func (s *Store) begin(r *raw, chunk *[]byte, flush bool) *reading {
	if r.removed {
		return nil
	}
	file, err := os.Open(s.rawPath(r))
	if err != nil {
		s.cfg.Logger.Error("a function's output is lost", "function", r.function, "error", err)
		s.removeRaw(r)
		return nil
	}
	// Asked before the size: if no process can write, that is all there will be.
	rd := &reading{raw: r, file: file, now: s.cfg.now(), final: r.closed && !written(file, r.pid)}
	r.closed = rd.final
	if rd.data, err = s.next(r, file, rd.now, chunk); err != nil {
		s.cfg.Logger.Error("a function's output cannot be read", "function", r.function, "error", err)
		file.Close()
		return nil
	}
	rd.kept = r.pos
	rd.more = r.pos+int64(len(rd.data)) < r.size
	rd.flush = !rd.more && (flush || rd.final || rd.now.Sub(r.grown) >= quiet)
	return rd
}

// finish frees what was kept, and reports whether there is more to read.
func (s *Store) finish(rd *reading) (more bool) {
	r := rd.raw
	s.free(r)
	switch {
	case rd.more:
	case rd.final:
		s.removeRaw(r)
	case r.pos < r.size && !r.partial:
		if len(s.partial) == 0 {
			s.patience.Reset(quiet)
		}
		r.partial = true
		s.partial = append(s.partial, r)
	}
	return rd.more
}

// next reads the next chunk. If too much waits, it first skips what would not be kept
// anyway.
func (s *Store) next(r *raw, file *os.File, now time.Time, chunk *[]byte) ([]byte, error) {
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	size := info.Size()
	if size < r.pos {
		r.pos, r.freed = 0, 0 // its process has truncated it
	}
	if size != r.size {
		r.size, r.grown = size, now
	}
	if *chunk == nil {
		*chunk = make([]byte, chunkSize)
	}
	skipped := int64(0)
	if waiting := r.size - r.pos; waiting > s.cfg.Bytes {
		skipped = waiting - s.cfg.Bytes/2
	}
	n, err := file.ReadAt((*chunk)[:min(chunkSize, r.size-r.pos-skipped)], r.pos+skipped)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	data := (*chunk)[:n]
	if skipped == 0 {
		return data, nil
	}
	lines := int64(bytes.Count(data, []byte("\n"))) * skipped / int64(max(n, 1))
	if i := bytes.IndexByte(data[:min(n, maxLine)], '\n'); i >= 0 {
		data = data[i+1:]
		skipped += int64(i + 1)
	}
	r.pos += skipped
	r.journal.lose(loss{lines: uint64(max(lines, 1)), bytes: uint64(skipped), why: tooFast})
	return data, nil
}

// keep stores the complete lines of pieces, which are of one function, in one write.
func (s *Store) keep(pieces []piece) {
	j, now := pieces[0].journal, pieces[0].now
	lines, taken := uint64(0), int64(0)
	first := max(now.UnixNano(), j.last+1)
	b := &block{first: j.next, time: first, lost: j.owed}
	s.encoded = s.encoded[:0]
	for _, p := range pieces {
		b.version, b.pid, b.source = p.version, p.pid, p.source
		seal := func() {
			b.end = p.kept
			s.encoded = b.appendTo(s.encoded)
			lines += uint64(b.count)
			*b = block{
				first: b.next(), time: b.last() + 1, version: p.version, pid: p.pid, source: p.source,
				body: b.body[:0],
			}
		}
		for data := p.part; ; {
			text, open, size := cut(data, p.flush && p.last)
			if size == 0 {
				break
			}
			l := parseLine(text)
			l.open = open
			b.add(l)
			data, p.kept, taken = data[size:], p.kept+int64(size), taken+int64(size)
			if len(b.body) >= blockSize {
				seal()
			}
		}
		if b.count > 0 {
			seal()
		}
	}
	if lines == 0 {
		return
	}
	fresh, err := j.append(s.encoded, first, s.cfg.Age)
	for _, p := range pieces {
		p.pos = p.kept
	}
	if err != nil { // freeing what was read may make enough room
		for _, p := range pieces {
			s.free(p.raw)
		}
		fresh, err = j.append(s.encoded, first, s.cfg.Age)
	}
	s.complain(err, now)
	if err != nil {
		j.lose(loss{lines: lines, bytes: uint64(taken), why: diskFull})
		return
	}
	j.next, j.last, j.owed = b.first, b.time-1, loss{}
	if fresh {
		s.boundOne(j)
	}
}

// complain logs that lines cannot be stored, once a minute.
func (s *Store) complain(err error, now time.Time) {
	if err != nil && now.Sub(s.complained) >= time.Minute {
		s.complained = now
		s.cfg.Logger.Error("what functions print is lost", "error", err)
	}
}

// free gives what was read of a raw file back to the disk.
func (s *Store) free(r *raw) {
	head := r.pos / punchSize * punchSize
	if head <= r.freed {
		return
	}
	file, err := os.OpenFile(s.rawPath(r), os.O_WRONLY, 0)
	if err != nil {
		return // it will be found missing when it is read
	}
	defer file.Close()
	if err := punch(file, r.freed, head); err != nil {
		// Not on this file system: losing a line is better than filling the disk.
		if r.pos < s.cfg.Bytes {
			return
		}
		if err := file.Truncate(0); err != nil {
			s.cfg.Logger.Error("a function's output is no longer bounded", "function", r.function, "error", err)
			return
		}
		r.pos, head = 0, 0
	}
	r.freed = head
}
