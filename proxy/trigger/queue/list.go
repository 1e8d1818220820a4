package queue

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/proxy/store"
)

const (
	usualList = 100  // calls in a list, unless the caller says
	maxList   = 1000 // calls in a list
	// stretch is how many messages are read at a time while a queue is read backwards.
	stretch = 128
	// skew is by how much the time of a message may differ from that at which its call was
	// accepted: by the way to the disk, and by the clocks of two proxies.
	skew = time.Second
)

// place is where a call stands in a list, which has the newest first.
type place struct {
	accepted time.Time
	id       string
}

func (p place) compare(other place) int {
	return cmp.Or(other.accepted.Compare(p.accepted), cmp.Compare(other.id, p.id))
}

func (r *record) place() place { return place{r.Accepted, r.ID} }

// Calls returns calls, the newest first, without their bodies.
func (q *Queue) Calls(ctx context.Context, req *proto.CallsRequest) ([]*proto.Call, error) {
	path, state := proto.Path(req.GetFunction()), req.GetState()
	if path != "" && !isPath(path) {
		return nil, proto.CheckName(req.GetFunction())
	}
	if state != "" && !slices.Contains(states, state) {
		return nil, proto.Errorf(proto.ErrInvalid, "%.40q is no state of a call", state).WithHint("one of " + strings.Join(states, ", "))
	}
	limit := cmp.Or(int(req.GetLimit()), usualList)
	if limit > maxList {
		return nil, proto.Errorf(proto.ErrInvalid, "%d calls are too many for one list; at most %d", limit, maxList).
			WithHint("the id of the last call of one list, as after, asks for the next")
	}
	var after *place
	if req.GetAfter() != "" {
		_, rec, err := q.find(ctx, req.GetAfter())
		if errors.Is(err, proto.ErrNotFound) {
			return nil, proto.Errorf(proto.ErrNotFound, "after: %w", err)
		}
		if err != nil {
			return nil, err
		}
		at := rec.place()
		after = &at
	}
	known := make(map[string]*record)
	listed := func(rec *record) bool {
		return (state == "" || rec.now() == state) && (after == nil || after.compare(rec.place()) < 0)
	}
	if err := q.recorded(ctx, path, known); err != nil {
		return nil, err
	}
	if state == "" || state == queued {
		if err := q.waiting(ctx, path, limit, after, known, listed); err != nil {
			return nil, err
		}
	}
	all := make([]*record, 0, len(known))
	for _, rec := range known {
		if listed(rec) {
			all = append(all, rec)
		}
	}
	slices.SortFunc(all, func(a, b *record) int { return a.place().compare(b.place()) })
	list := make([]*proto.Call, 0, min(len(all), limit))
	for _, rec := range all[:min(len(all), limit)] {
		c := rec.message()
		c.Headers = nil
		list = append(list, c)
	}
	return list, nil
}

// recorded adds the calls that have begun, wait for their time, or have ended.
func (q *Queue) recorded(ctx context.Context, path string, known map[string]*record) error {
	add := func(rec *record) {
		rec.Body, rec.Header = nil, nil
		known[rec.ID] = rec
	}
	if err := q.letters(ctx, path, func(l *letter) error {
		add(l.Record)
		return nil
	}); err != nil {
		return err
	}
	entries, err := q.store.Registry(store.Calls).List(ctx, path)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Key, keys) {
			continue
		}
		if rec, err := decodeRecord(e); err == nil {
			add(rec)
		}
	}
	return nil
}

// waiting adds the calls that have no record yet, the newest of each topic, up to a number.
func (q *Queue) waiting(ctx context.Context, path string, limit int, after *place, known map[string]*record, listed func(*record) bool) error {
	topics := topicsOf(path)
	if path == "" {
		var err error
		if topics, err = q.store.Queue().Topics(ctx, callTopics); err != nil {
			return err
		}
	}
	for _, topic := range topics {
		left := limit
		if err := q.backwards(ctx, topic, after, func(m store.Message) bool {
			r, _, err := decode(m.Data)
			if err != nil {
				return true
			}
			i := r.id(m.Sequence)
			if text := i.String(); known[text] == nil {
				if rec := newRecord(i, r); listed(rec) {
					known[text] = rec
					left--
				}
			}
			return left > 0
		}); err != nil {
			return err
		}
	}
	return nil
}

// backwards calls do for the messages of a topic, the newest first, until it returns false.
// It leaves out those that are much newer than after, if that is given. The queue itself is
// read forwards alone.
func (q *Queue) backwards(ctx context.Context, topic string, after *place, do func(store.Message) bool) error {
	messages := q.store.Queue()
	// past reports whether no message after a sequence is to be read.
	past := func(sequence uint64) (bool, error) {
		list, err := messages.List(ctx, topic, sequence, 1)
		return len(list) == 0 || after != nil && list[0].Time.After(after.accepted.Add(skew)), err
	}
	begin, end := uint64(0), uint64(1)
	for {
		over, err := past(end)
		if err != nil {
			return err
		}
		if over {
			break
		}
		begin, end = end, 2*end
	}
	for begin+1 < end {
		middle := begin + (end-begin)/2
		over, err := past(middle)
		if err != nil {
			return err
		}
		if over {
			end = middle
		} else {
			begin = middle
		}
	}
	for width := uint64(stretch); end > 0; {
		begin = end - min(width, end)
		list, err := messages.List(ctx, topic, begin, stretch+1)
		if err != nil {
			return err
		}
		list = slices.DeleteFunc(list, func(m store.Message) bool { return m.Sequence > end })
		if len(list) > stretch { // topics share their sequences: so many of one are rarely so close
			width = max(stretch, width/2)
			continue
		}
		for _, m := range slices.Backward(list) {
			if !do(m) {
				return nil
			}
		}
		if end = begin; len(list) < stretch/4 {
			width *= 2
		}
	}
	return nil
}
