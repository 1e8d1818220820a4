package logs

import (
	"bytes"
	"context"
	"iter"
	"math"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/Ishan27g/ryo-faas/proto"
)

const (
	// Lines are sent in batches of so many lines or bytes.
	batchLines = 1000
	batchBytes = 64 << 10

	// timeFormat is RFC 3339 with all nanoseconds, so that times sort as strings.
	timeFormat = "2006-01-02T15:04:05.000000000Z07:00"
)

// buffers have room for a segment each.
var buffers = sync.Pool{New: func() any { return new([]byte) }}

// everything is a place behind all lines.
var everything = cursor{math.MaxInt64, math.MaxInt64}

// query is what is asked for.
type query struct {
	since    int64 // Unix nanoseconds
	grep, id []byte
	version  uint32
}

func (s *Store) query(req *proto.LogsRequest) (query, error) {
	now := s.cfg.now()
	since := now.Add(-s.cfg.Age)
	if text := req.GetSince(); text != "" {
		from, err := time.Parse(time.RFC3339, text)
		if ago, agoErr := time.ParseDuration(text); agoErr == nil {
			from, err = now.Add(-ago), nil
		}
		if err != nil {
			return query{}, proto.Errorf(proto.ErrInvalid, "since %q is neither a time nor a duration", text).
				WithHint(`give an RFC 3339 time, such as "2006-01-02T15:04:05Z", or a duration before now, such as "10m"`)
		}
		if from.After(since) {
			since = from
		}
	}
	return query{since.UnixNano(), []byte(req.GetGrep()), []byte(req.GetId()), req.GetVersion()}, nil
}

// wants reports whether a block may have lines that are asked for.
func (q *query) wants(b *block) bool {
	return b.last() >= q.since && (q.version == 0 || q.version == b.version)
}

// lines yields those of a block that are asked for.
func (q *query) lines(b *block) iter.Seq2[int64, line] {
	return func(yield func(int64, line) bool) {
		if !q.wants(b) || b.lost.lines == 0 && (!bytes.Contains(b.body, q.grep) || !bytes.Contains(b.body, q.id)) {
			return
		}
		for at, l := range b.all() {
			if at < q.since || len(q.id) > 0 && !bytes.Equal(l.id, q.id) || !bytes.Contains(l.text, q.grep) {
				continue
			}
			if !yield(at, l) {
				return
			}
		}
	}
}

// Lines calls on with batches of the lines that a request asks for, in the order of
// their times, and with how many were lost among them. It returns at the last line, or
// on's error. When the request says follow, it returns with ctx, when the function is
// removed, or at the last line when stop is closed. A slow on holds up no process, but
// may miss lines.
func (s *Store) Lines(ctx context.Context, req *proto.LogsRequest, stop <-chan struct{}, on func(*proto.LogLines) error) error {
	q, err := s.query(req)
	if err != nil {
		return err
	}
	j, err := s.journal(req.GetName())
	if err != nil {
		return err
	}
	if err := s.do(func() { s.flush(j, 0, false) }); err != nil {
		return err
	}
	r := &reader{query: q, journal: j, name: req.GetName(), on: on}
	end := j.end()
	if req.GetTail() > 0 {
		if r.at, r.skip, err = q.last(j, end, int(req.GetTail())); err != nil {
			return err
		}
	} else {
		r.at = j.before(q.since)
	}
	if !req.GetFollow() {
		return r.read(ctx, end)
	}
	for {
		changed, removed := j.changes()
		if err := r.read(ctx, everything); err != nil || removed {
			return err
		}
		select {
		case <-changed:
		case <-stop:
			if err := s.do(func() { s.flush(j, 0, false) }); err != nil {
				return err
			}
			return r.read(ctx, j.end())
		case <-ctx.Done():
			return ctx.Err()
		case <-s.done:
			return errStopped()
		}
	}
}

// last finds the place, and how many lines to skip from there, so that a number of lines
// up to the end follow, or all if they are fewer.
func (q *query) last(j *journal, end cursor, lines int) (from cursor, skip int, err error) {
	from, err = j.back(end, func() bool { return lines > 0 }, func(b *block) {
		for range q.lines(b) {
			lines--
		}
	})
	return from, max(-lines, 0), err
}

// back visits the blocks of each segment that begins before a place, the newest segment
// first, while more returns true. It returns the beginning of the last one.
func (j *journal) back(end cursor, more func() bool, visit func(*block)) (from cursor, err error) {
	for _, start := range slices.Backward(j.starts()) {
		if start > end.start {
			continue
		}
		if !more() {
			break
		}
		from = cursor{start: start}
		to := cursor{start, math.MaxInt64}
		if start == end.start {
			to = end
		}
		if _, err := j.each(from, to, func(b *block) error { visit(b); return nil }); err != nil {
			return from, err
		}
	}
	return from, nil
}

// each visits the blocks between two places. It returns the place behind them,
// or behind those of the segment in which visit returned an error.
func (j *journal) each(from, to cursor, visit func(*block) error) (cursor, error) {
	buffer := buffers.Get().(*[]byte)
	defer buffers.Put(buffer)
	for {
		data, next, err := j.read(from, to, *buffer)
		if err != nil || len(data) == 0 {
			return from, err
		}
		*buffer, from = data, next
		for _, b := range blocks(data) {
			if err := visit(b); err != nil {
				return from, err
			}
		}
	}
}

// before is a place before all lines since a time.
func (j *journal) before(since int64) cursor {
	at := cursor{}
	for _, start := range j.starts() {
		if start > since {
			break
		}
		at.start = start
	}
	return at
}

// reader is one call of Lines.
type reader struct {
	query
	journal *journal
	name    string
	on      func(*proto.LogLines) error

	at    cursor
	skip  int    // lines that are not wanted
	next  uint64 // number of the next line; 0: any
	batch proto.LogLines
	size  int // of batch, in bytes
}

// read sends what there is up to a place.
func (r *reader) read(ctx context.Context, to cursor) (err error) {
	r.at, err = r.journal.each(r.at, to, func(b *block) error { return r.take(ctx, b) })
	if err != nil {
		return err
	}
	return r.send(ctx)
}

func (r *reader) take(ctx context.Context, b *block) error {
	if b.count == 0 {
		return nil // it only says how far its source was read
	}
	if before := b.first - b.lost.lines; r.next != 0 && before > r.next {
		r.batch.Lost += before - r.next // they were removed, since this reader was slow
	}
	r.next = b.next()
	if r.skip == 0 && r.wants(b) {
		r.batch.Lost += b.lost.lines
	}
	for at, l := range r.lines(b) {
		if r.skip > 0 {
			r.skip--
			continue
		}
		text := strings.TrimSuffix(string(l.text), "\r")
		if l.open && len(text) >= maxLine-utf8.UTFMax { // a piece, not a line without its newline
			text += "…"
		}
		r.batch.Lines = append(r.batch.Lines, &proto.LogLine{
			Time: time.Unix(0, at).UTC().Format(timeFormat), Function: r.name, Version: b.version,
			Instance: int32(b.pid), Stream: b.String(), Level: string(l.level), Id: string(l.id), Text: text,
		})
		if r.size += len(text); r.size >= batchBytes || len(r.batch.Lines) >= batchLines {
			if err := r.send(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

// send hands the batch over.
func (r *reader) send(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if len(r.batch.Lines) == 0 && r.batch.Lost == 0 {
		return nil
	}
	batch := &proto.LogLines{Lines: r.batch.Lines, Lost: r.batch.Lost}
	r.batch.Lines, r.batch.Lost, r.size = nil, 0, 0
	return r.on(batch)
}

// Tail returns the last n bytes of what a function's processes printed, both
// streams in the order in which they were read, and whether there was more before
// them. It then starts at the beginning of a line, unless one line fills it. Each
// run of bytes that are not UTF-8 reads as U+FFFD.
func (s *Store) Tail(function string, n int64) (text string, truncated bool, err error) {
	j, err := s.journal(function)
	if err != nil {
		return "", false, err
	}
	if err := s.do(func() { s.flush(j, 0, false) }); err != nil {
		return "", false, err
	}
	return j.tail(max(n, 0), func(*block) bool { return true })
}

// Last returns the last n bytes that one process of a function printed, also when it
// has only just exited, with a partial last line. Of several with the same pid it means
// the last. It is "" when they cannot be read.
func (s *Store) Last(function string, pid, n int) string {
	j, err := s.journal(function)
	if err != nil {
		return ""
	}
	if err := s.do(func() { s.flush(j, pid, true) }); err != nil {
		return ""
	}
	id, err := j.process(pid)
	if err != nil || id == 0 {
		return ""
	}
	text, _, _ := j.tail(int64(n), func(b *block) bool { return b.id == id })
	return text
}

// process returns the source id of the last process with a pid.
func (j *journal) process(pid int) (id int64, err error) {
	_, err = j.back(everything, func() bool { return id == 0 }, func(b *block) {
		if b.pid == pid && b.count > 0 {
			id = max(id, b.id)
		}
	})
	return id, err
}

// tail returns the end of the blocks that want chooses, as Tail does.
func (j *journal) tail(n int64, want func(*block) bool) (text string, truncated bool, err error) {
	size := int64(0)
	from, err := j.back(everything, func() bool { return size <= n }, func(b *block) {
		if want(b) {
			for _, l := range b.all() {
				size += int64(len(l.text)) + 1
			}
		}
	})
	if err != nil {
		return "", false, err
	}
	var (
		said []byte
		open source // of the partial line at the end of said; zero: there is none
	)
	_, err = j.each(from, everything, func(b *block) error {
		if !want(b) {
			return nil
		}
		truncated = truncated || len(said) == 0 && b.first > b.lost.lines
		for _, l := range b.all() {
			if open != b.source && open != (source{}) {
				said = append(said, '\n')
			}
			said = append(said, l.text...)
			if open = b.source; !l.open {
				said, open = append(said, '\n'), source{}
			}
		}
		if surplus := int64(len(said)) - n - 1; surplus > n+blockMost {
			said, truncated = slices.Delete(said, 0, int(surplus)), true
		}
		return nil
	})
	if err != nil {
		return "", false, err
	}
	begin := max(int64(len(said))-n, 0)
	// The byte before begin tells whether a line begins there.
	return tailText(said[max(begin-1, 0):], begin > 0), truncated || begin > 0, nil
}

// tailText makes text of the end of some lines. If it was cut, it begins with the end of
// a line, or with the newline of the line before, which is omitted unless it is all.
func tailText(data []byte, cut bool) string {
	if cut {
		_, lines, _ := bytes.Cut(data, []byte("\n"))
		if len(lines) == 0 {
			lines = data[min(1, len(data)):]
		}
		data = lines
	}
	return strings.ToValidUTF8(string(data), "\uFFFD")
}
