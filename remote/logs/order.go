package logs

import (
	"bytes"
	"slices"
)

// maxWrites bounds how many writes of a process are told apart between two readings.
const maxWrites = 16 << 10

// order is the order in which a process has written to its two raw files since they
// were last read. The kernel tells of each write, and of several to one file that
// follow each other once.
type order struct{ writes []*raw }

func (o *order) note(r *raw) {
	if n := len(o.writes); n < maxWrites && (n == 0 || o.writes[n-1] != r) {
		o.writes = append(o.writes, r)
	}
}

// take returns the writes that were noted and forgets them.
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

// braid puts what was read of a process's raw files into the order of its writes:
// those that were told of before the reading, all of which it has, and those that
// were told of after it, of which it may have some. What it cannot place yet is left
// to the next reading, and the writes that this belongs to are returned.
//
// The order is exact where each write was a line. Where the kernel has told of
// several as one, lines are shared out evenly among those of their file.
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
		s.late = max(0, s.lines-s.writes)
	}
	for later = after; len(later) > 0; later = later[1:] {
		s := strands[later[0]]
		if s == nil || s.late == 0 {
			break
		}
		s.late--
		s.writes++
	}
	for _, s := range strands {
		s.leave(later)
	}
	for _, r := range slices.Concat(before, after[:len(after)-len(later)]) {
		if s := strands[r]; s != nil {
			pieces = append(pieces, s.next())
		}
	}
	for _, rd := range readings {
		if strands[rd.raw].writes == 0 { // the kernel has told of none of them
			pieces = append(pieces, piece{rd, rd.data, true})
		}
	}
	return pieces, later
}

// strand is a reading that is shared out.
type strand struct {
	*reading
	lines, writes int
	late          int // lines that may be of writes told of after the reading
	done          int // writes
	given         int // lines
}

// leave leaves lines of later writes to the next reading.
func (s *strand) leave(later []*raw) {
	left := 0
	for _, r := range later {
		if r == s.raw && left < s.late {
			left++
		}
	}
	if left == 0 {
		return
	}
	s.lines -= left
	end := 0
	for range s.lines {
		end += bytes.IndexByte(s.data[end:], '\n') + 1
	}
	s.data, s.more, s.unended = s.data[:end], true, false
}

// next is the part of the next write.
func (s *strand) next() piece {
	s.done++
	if s.done == s.writes {
		return piece{s.reading, s.data, true}
	}
	given := s.done // each a line, as far as there are any
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
