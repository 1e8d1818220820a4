package logs

import (
	"bytes"
	"slices"
)

// maxWrites bounds how many writes of a process are told apart between two readings.
const maxWrites = 16 << 10

// order is the order in which a process has written to its two raw files since they
// were last read. The kernel tells of each write, but of several in a row to one file
// only once.
type order struct{ writes []*raw }

func (o *order) note(r *raw) {
	if n := len(o.writes); n < maxWrites && (n == 0 || o.writes[n-1] != r) {
		o.writes = append(o.writes, r)
	}
}

// take returns the writes that were noted, and begins anew.
func (o *order) take() []*raw {
	writes := o.writes
	o.writes = nil
	return writes
}

// piece is a part of what was read of a raw file.
type piece struct {
	*reading
	part []byte
	last bool // of that reading
}

// braid puts what was read of a process's raw files into the order of its writes. The
// reading has all writes of before, which the kernel told of before it, and perhaps
// some of after. Lines that braid cannot place yet stay for the next reading; later
// are the writes that they may be of.
//
// The order is exact where each write was a line. Where the kernel has told of several
// writes once, lines are shared out evenly among the writes to their file.
//
// What is written can be read before the kernel tells of it. So a line more than there
// are writes is of a write of several lines, or of one that the kernel will tell of. If
// the other file was written to in between, the order depends on which: the line is held
// for the next reading, whose writes show it.
func braid(readings []*reading, before, after []*raw) (pieces []piece, later []*raw) {
	strands := make(map[*raw]*strand, len(readings))
	for _, rd := range readings {
		strands[rd.raw] = &strand{reading: rd, lines: bytes.Count(rd.data, []byte("\n"))}
	}
	for _, r := range before {
		if s := strands[r]; s != nil {
			s.writes++
		}
	}
	for _, s := range strands {
		before = s.settle(before)
		s.late = max(0, s.lines-s.writes)
	}
	told := slices.Concat(before, after)
	for later = after; len(later) > 0; later = later[1:] {
		s := strands[later[0]]
		if s == nil || s.late == 0 {
			break
		}
		s.late--
		s.writes++
	}
	for _, s := range strands {
		s.postpone(later, len(told) == 0 || told[len(told)-1] == s.raw)
	}
	for _, r := range told[:len(told)-len(later)] {
		if s := strands[r]; s != nil {
			pieces = append(pieces, s.next())
		}
	}
	for _, rd := range readings {
		if strands[rd.raw].writes == 0 { // the kernel has told of no write
			pieces = append(pieces, piece{rd, rd.data, true})
		}
	}
	return pieces, later
}

// strand is a reading that is shared out among writes.
type strand struct {
	*reading
	lines, writes int
	late          int // lines that may be of writes told of after the reading
	done          int // writes
	given         int // lines
}

// settle lets writes, those told of since the reading before, be as many as their lines
// where that one had a line more than writes. It returns them.
func (s *strand) settle(writes []*raw) []*raw {
	held := s.held
	s.held = false
	switch {
	case held && s.writes < s.lines: // it was of a write told of before, or is still not told of
		s.writes++
		s.early = true
		return slices.Insert(writes, 0, s.raw)
	case s.early && s.writes > s.lines: // the line of the first was stored before
		s.writes--
		i := slices.Index(writes, s.raw)
		writes = slices.Delete(writes, i, i+1)
	}
	s.early = s.early && s.writes == 0
	return writes
}

// postpone takes out, for the next reading, the lines of later writes, or the one that is
// held. last says whether the last write that the kernel told of was to this file.
func (s *strand) postpone(later []*raw, last bool) {
	n := 0
	for _, r := range later {
		if r == s.raw && n < s.late {
			n++
		}
	}
	if n == 0 {
		if s.late == 0 || s.writes == 0 {
			return
		}
		if last || s.flush || s.early {
			s.early = true
			return
		}
		s.held, n = true, 1
	}
	s.lines -= n
	end := 0
	for range s.lines {
		end += bytes.IndexByte(s.data[end:], '\n') + 1
	}
	s.data, s.more, s.flush = s.data[:end], true, false
}

// next is what the next write has written.
func (s *strand) next() piece {
	s.done++
	if s.done == s.writes {
		return piece{s.reading, s.data, true}
	}
	given := s.done // a line per write, while there are lines
	if s.lines > s.writes {
		given = s.lines * s.done / s.writes
	}
	end := 0
	for ; s.given < min(given, s.lines); s.given++ {
		end += bytes.IndexByte(s.data[end:], '\n') + 1
	}
	part := s.data[:end]
	s.data = s.data[end:]
	return piece{s.reading, part, false}
}
