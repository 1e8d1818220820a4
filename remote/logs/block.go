package logs

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"iter"
)

const (
	// blockSize is when a block is full, in bytes: large enough that its head costs
	// little per line, small enough that a query skips much of what it does not want.
	blockSize = 64 << 10
	// blockMost bounds a block: a full one, and the longest line with each byte replaced
	// by the three of U+FFFD.
	blockMost = blockSize + 4*maxLine
	// headSize is a mark, the length of what follows and its checksum.
	headSize = 12
)

// blockMark begins each block: reading goes on at the next one behind damage.
var blockMark = []byte("\xf1ryo")

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// source is one stream of one process.
type source struct {
	id     int64 // when the raw file was made, Unix nanoseconds; unique within an agent
	stream int   // a file descriptor's number: 1 or 2
}

func (s source) String() string {
	if s.stream == 1 {
		return "stdout"
	}
	return "stderr"
}

// Why lines were lost.
const (
	tooFast = iota + 1
	diskFull
	unread
)

// loss says how much was lost at a place in a journal.
type loss struct {
	lines, bytes uint64
	why          uint64
}

func (l loss) add(m loss) loss {
	if m.lines > 0 {
		l.why = m.why
	}
	return loss{l.lines + m.lines, l.bytes + m.bytes, l.why}
}

// String is the line that stands for those that were lost.
func (l loss) String() string {
	why, about := "the disk was full", ""
	switch l.why {
	case tooFast:
		why, about = "they came too fast", "about "
	case unread:
		why, about = "no agent read them", "at least "
	}
	return fmt.Sprintf("[%s%d lines, %d bytes, were lost here: %s]", about, l.lines, l.bytes, why)
}

// line is a line that was printed, or a piece of one.
type line struct {
	open            bool // no newline followed
	level, id, text []byte
}

// block is lines of one source that were read together. A block without lines only
// says how far its source was read.
type block struct {
	first   uint64 // the number of its first line; lost lines have numbers too
	time    int64  // of the first line, Unix nanoseconds; each further one is 1 later
	version uint32
	pid     int
	source
	end   int64 // offset in the raw file behind the last line
	lost  loss  // just before the first line, whose time is 1 later then
	count int
	body  []byte
}

// next is the number of the line after the block.
func (b *block) next() uint64 { return b.first + uint64(b.count) }

// last is the time of the block's last line.
func (b *block) last() int64 { return b.time + int64(b.count) }

func (b *block) add(l line) {
	open := byte(0)
	if l.open {
		open = 1
	}
	b.body = append(b.body, open)
	for _, s := range [][]byte{l.level, l.id, l.text} {
		b.body = binary.AppendUvarint(b.body, uint64(len(s)))
		b.body = append(b.body, s...)
	}
	b.count++
}

// all yields the block's lines with their times.
func (b *block) all() iter.Seq2[int64, line] {
	return func(yield func(int64, line) bool) {
		body, at := b.body, b.time
		if b.lost.lines > 0 {
			if !yield(at, line{text: []byte(b.lost.String())}) {
				return
			}
			at++
		}
		for range b.count {
			if len(body) == 0 {
				return
			}
			l := line{open: body[0] == 1}
			body = body[1:]
			for _, s := range []*[]byte{&l.level, &l.id, &l.text} {
				size, n := binary.Uvarint(body)
				if n <= 0 || size > uint64(len(body)-n) {
					return
				}
				*s, body = body[n:n+int(size)], body[n+int(size):]
			}
			if !yield(at, l) {
				return
			}
			at++
		}
	}
}

// appendTo appends the block as it is stored.
func (b *block) appendTo(data []byte) []byte {
	start := len(data)
	data = append(data, make([]byte, headSize)...)
	for _, n := range []uint64{
		b.first, uint64(b.time), uint64(b.version), uint64(b.pid), uint64(b.id), uint64(b.stream),
		uint64(b.end), b.lost.lines, b.lost.bytes, b.lost.why, uint64(b.count),
	} {
		data = binary.AppendUvarint(data, n)
	}
	data = append(data, b.body...)
	head, payload := data[start:], data[start+headSize:]
	copy(head, blockMark)
	binary.LittleEndian.PutUint32(head[4:], uint32(len(payload)))
	binary.LittleEndian.PutUint32(head[8:], crc32.Checksum(payload, castagnoli))
	return data
}

// blocks yields the whole blocks in data, with the offset behind each, and skips all
// else. They refer to data.
func blocks(data []byte) iter.Seq2[int, *block] {
	return func(yield func(int, *block) bool) {
		for at := 0; ; {
			mark := bytes.Index(data[at:], blockMark)
			if mark < 0 {
				return
			}
			at += mark
			b, size := parseBlock(data[at:])
			if b == nil {
				at++
				continue
			}
			at += size
			if !yield(at, b) {
				return
			}
		}
	}
}

// parseBlock returns the block at the beginning of data and its size; nil: there is no
// whole block.
func parseBlock(data []byte) (b *block, size int) {
	if len(data) < headSize {
		return nil, 0
	}
	length := binary.LittleEndian.Uint32(data[4:])
	if length > blockMost || int(length) > len(data)-headSize {
		return nil, 0
	}
	size = headSize + int(length)
	payload := data[headSize:size]
	if crc32.Checksum(payload, castagnoli) != binary.LittleEndian.Uint32(data[8:]) {
		return nil, 0
	}
	var fields [11]uint64
	for i := range fields {
		value, n := binary.Uvarint(payload)
		if n <= 0 {
			return nil, 0
		}
		fields[i], payload = value, payload[n:]
	}
	return &block{
		first: fields[0], time: int64(fields[1]), version: uint32(fields[2]), pid: int(fields[3]),
		source: source{id: int64(fields[4]), stream: int(fields[5])},
		end:    int64(fields[6]), lost: loss{fields[7], fields[8], fields[9]},
		count: int(min(fields[10], blockMost)), body: payload,
	}, size
}
