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
	// milliseconds of work, after which it is another one's turn. With gather it
	// bounds what a flood costs to 25 MiB/s. It is more than the longest line.
	chunkSize = 256 << 10
	// punchSize is a multiple of the block size of common file systems, in bytes.
	// Raw files are freed in whole ones: less would only be zeroed.
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
	closed  bool      // somebody who could write has closed it since it was looked at
	busy    bool      // is in Store.busy
	unended bool      // is in Store.unended
	gone    bool
}

// add takes on a raw file, which may hold something already.
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

// drop forgets a raw file and removes it.
func (s *Store) drop(r *raw) {
	r.gone = true
	r.journal.raws = slices.DeleteFunc(r.journal.raws, func(other *raw) bool { return other == r })
	delete(s.raws, r.file())
	if err := os.Remove(s.rawPath(r)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.cfg.Logger.Error("a file is left behind", "error", err)
	}
}

// look asks which raw files have changed.
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

// hasGrown has a raw file read with the next round.
func (s *Store) hasGrown(r *raw) {
	if r.busy {
		return
	}
	s.arm()
	r.busy = true
	s.busy = append(s.busy, r)
}

// read gives each raw file that has grown one turn, and both of a process that wrote
// to them by turns one together.
func (s *Store) read() {
	round := s.busy
	s.busy = nil
	for _, r := range round {
		select {
		case order := <-s.orders:
			order()
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
func (s *Store) turnOf(r *raw, unended bool) (more []*raw) {
	writes := r.order.take()
	raws := []*raw{r}
	if len(writes) > 1 {
		raws = writes[:2]
	}
	readings := make([]*reading, 0, 2)
	for i, r := range raws {
		r.busy = false
		if rd := s.begin(r, &s.chunks[i], unended); rd != nil {
			readings = append(readings, rd)
		}
	}
	if len(readings) == 0 {
		return nil
	}
	_ = s.look() // without it the order of lines is lost, no line
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

// takeUnended looks whether what ends without a newline has been so for long.
func (s *Store) takeUnended() {
	list := s.unended
	s.unended = nil
	for _, r := range list {
		r.unended = false
		for _, grown := range s.turnOf(r, false) {
			s.hasGrown(grown)
		}
	}
}

// flush reads all that processes of a function have printed until now, with last
// lines that have not ended if it is told so. A pid other than 0 is that of the
// only process that is meant.
func (s *Store) flush(j *journal, pid int, unended bool) {
	_ = s.look()
	for _, r := range slices.Clone(j.raws) {
		if pid != 0 && r.pid != pid || r.gone {
			continue
		}
		// A flood is not followed: what there is now is enough.
		for read := int64(0); len(s.turnOf(r, unended)) > 0 && read < s.cfg.Bytes; {
			read += chunkSize
		}
	}
}

// reading is what is read of a raw file in one turn.
type reading struct {
	*raw
	file    *os.File
	data    []byte
	now     time.Time
	ended   bool  // nobody can write to it any more
	more    bool  // there is more than data
	unended bool  // a last line whose end is missing is taken
	kept    int64 // offset behind what is being stored of it
}

// begin reads on in a raw file, a chunk at most. A last line whose end is missing is
// taken if unended is set, if its process has ended, or if nothing has followed for
// long. It returns nil when there is nothing to read from.
func (s *Store) begin(r *raw, chunk *[]byte, unended bool) *reading {
	if r.gone {
		return nil
	}
	file, err := os.Open(s.rawPath(r))
	if err != nil {
		s.cfg.Logger.Error("a function's output is lost", "function", r.function, "error", err)
		s.drop(r)
		return nil
	}
	// Asked before the size: nothing follows what is then there.
	rd := &reading{raw: r, file: file, now: s.cfg.now(), ended: r.closed && !written(file, r.pid)}
	r.closed = rd.ended
	if rd.data, err = s.next(r, file, rd.now, chunk); err != nil {
		s.cfg.Logger.Error("a function's output cannot be read", "function", r.function, "error", err)
		file.Close()
		return nil
	}
	rd.kept = r.pos
	rd.more = r.pos+int64(len(rd.data)) < r.size
	rd.unended = !rd.more && (unended || rd.ended || rd.now.Sub(r.grown) >= quiet)
	return rd
}

// finish frees what was kept, and says whether there is more.
func (s *Store) finish(rd *reading) (more bool) {
	r := rd.raw
	s.free(r)
	switch {
	case rd.more:
	case rd.ended:
		s.drop(r)
	case r.pos < r.size && !r.unended:
		if len(s.unended) == 0 {
			s.patience.Reset(quiet)
		}
		r.unended = true
		s.unended = append(s.unended, r)
	}
	return rd.more
}

// next reads the next chunk. If too much waits to be read it first skips what
// would not be kept anyway.
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

// keep stores the lines that pieces begin with, which are of one function, in one
// write.
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
			text, open, size := cut(data, p.unended && p.last)
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
	if err != nil { // the room of what was read may be enough
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

// complain says that lines cannot be stored, unless it has just been said.
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
		// Not on this file system: rather lose a line than fill the disk.
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
