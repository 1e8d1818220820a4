package queue

import (
	"context"
	"encoding/json"
	"errors"
	"time"
	"unicode/utf8"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/proxy/store"
)

const (
	// The pauses between two looks at a call that is waited for.
	firstLook = 10 * time.Millisecond
	lastLook  = 500 * time.Millisecond
	// letterLimit is how long the letter of a dead call is waited for.
	letterLimit = 2 * time.Second
	maxQuote    = 64 << 10 // bytes of a request's body that are shown
)

// find returns how a call stands, and the letter that it is, if it is dead.
func (q *Queue) find(ctx context.Context, text string) (i id, rec *record, err error) {
	if i, err = parseID(text); err != nil {
		return i, nil, err
	}
	if rec, err = q.load(ctx, i); rec != nil || err != nil {
		return i, rec, err
	}
	if i.sequence > 0 {
		m, err := q.waits(ctx, i.path, i.sequence)
		if err != nil && !errors.Is(err, proto.ErrNotFound) {
			return i, nil, err
		}
		if r, _, wrong := decode(m.Data); err == nil && wrong == nil && i.same(r.Nonce) {
			rec = newRecord(i, r)
			// It may have begun, and ended, since the first look.
			now, err := q.load(ctx, i)
			if now != nil || err != nil {
				return i, now, err
			}
			return i, rec, nil
		}
	}
	// It may have begun between the two looks, or be older than records are.
	if rec, err = q.load(ctx, i); rec != nil || err != nil {
		return i, rec, err
	}
	l, err := q.letter(ctx, i)
	if errors.Is(err, proto.ErrNotFound) {
		return i, nil, proto.Errorf(proto.ErrNotFound, "there is no call %s", text).
			WithHint("what became of calls is known for a day, and of dead ones for a week; proxyCli calls shows which there are")
	}
	if err != nil {
		return i, nil, err
	}
	return i, l.Record, nil
}

// waits returns the message of a function that waits, of any priority, an ErrNotFound if
// there is none.
func (q *Queue) waits(ctx context.Context, path string, sequence uint64) (m store.Message, err error) {
	for _, topic := range topicsOf(path) {
		if m, err = q.store.Queue().Get(ctx, topic, sequence); !errors.Is(err, proto.ErrNotFound) {
			return m, err
		}
	}
	return m, err
}

// Call returns what became of a call. It waits for the call's end, but no longer than
// limit.
func (q *Queue) Call(ctx context.Context, text string, limit time.Duration) (*proto.Call, error) {
	for end, pause := time.Now().Add(min(limit, proto.MaxWait)), firstLook; ; pause = min(2*pause, lastLook) {
		i, rec, err := q.find(ctx, text)
		if err != nil {
			return nil, err
		}
		left := time.Until(end)
		if left <= 0 || rec.over() {
			c := rec.message()
			if rec.State != dead {
				return c, nil
			}
			// The letter is written after the record; who waits is told when it can be redriven.
			l, err := q.letter(ctx, i)
			if err == nil {
				q.quote(c, l.Request, l.Body)
			}
			if left <= 0 || !errors.Is(err, proto.ErrNotFound) || time.Since(rec.Ended) > letterLimit {
				return c, nil
			}
		}
		if !wait(ctx, min(pause, left)) {
			return nil, ctx.Err()
		}
	}
}

// quote adds the body of a request, if it is short.
func (q *Queue) quote(c *proto.Call, r *request, body []byte) {
	switch {
	case r.Blob != "" || len(body) > maxQuote:
	case utf8.Valid(body):
		c.Request = string(body)
	default:
		c.RequestBase64 = body
	}
}

// CancelCall cancels a call. If it runs, its function is told that the caller is gone. One
// that has ended is an ErrConflict.
func (q *Queue) CancelCall(ctx context.Context, text string) (*proto.Call, error) {
	for {
		i, rec, err := q.find(ctx, text)
		if err != nil {
			return nil, err
		}
		if rec.over() {
			return nil, proto.Errorf(proto.ErrConflict, "call %s has ended: it is %s", text, rec.State).WithHint("proxyCli calls show tells more")
		}
		was := rec.State
		rec.State, rec.Ended, rec.Next = canceled, time.Now(), time.Time{}
		if n := len(rec.Attempts); was == running && n > 0 && rec.Attempts[n-1].Took == 0 {
			rec.Attempts[n-1].Took, rec.Attempts[n-1].Error = max(1, time.Since(rec.Attempts[n-1].Time)), errCanceled.Message
		}
		if err = q.save(ctx, rec); errors.Is(err, proto.ErrConflict) {
			continue // it has begun meanwhile, or ended
		}
		if err != nil {
			return nil, err
		}
		q.mu.Lock()
		cancel := q.under[text]
		q.mu.Unlock()
		if cancel != nil {
			cancel(errCanceled)
		}
		if was != running {
			q.withdraw(ctx, i, rec)
		}
		return rec.message(), nil
	}
}

// withdraw takes the message of a canceled call out of the queue, to make room: if it
// stays, it is dropped when its turn comes.
func (q *Queue) withdraw(ctx context.Context, i id, rec *record) {
	m, err := store.Message{}, error(nil)
	if rec.Sequence > 0 {
		m, err = q.waits(ctx, i.path, rec.Sequence)
	}
	if err == nil && rec.Sequence > 0 {
		r, _, wrong := decode(m.Data)
		if wrong != nil || !i.same(r.Nonce) {
			return
		}
		if err = q.store.Queue().Delete(ctx, m.Topic, rec.Sequence); err == nil {
			q.discard(ctx, r.Blob)
		}
	} else if i.sequence == 0 {
		if err = q.store.Queue().Withdraw(ctx, topicOf(i.path, rec.Priority), nonceText(i.nonce)); err == nil {
			q.discard(ctx, rec.Payload)
		}
	}
	if err != nil {
		q.Logger.Debug("a canceled call stays in the queue for now", "call", rec.ID, "error", err)
	}
}

// letter returns the dead letter of a call, an ErrNotFound if there is none.
func (q *Queue) letter(ctx context.Context, i id) (*letter, error) {
	e, err := q.store.Registry(store.Dead).Get(ctx, i.key())
	if err != nil {
		return nil, err
	}
	return decodeLetter(e)
}

func decodeLetter(e store.Entry) (*letter, error) {
	l := new(letter)
	if err := json.Unmarshal(e.Value, l); err != nil || l.Record == nil || l.Request == nil {
		return nil, proto.Errorf(proto.ErrInternal, "the dead call %s cannot be read: %w", e.Key, err)
	}
	l.key, l.revision = e.Key, e.Revision
	return l, nil
}

// letters calls do for each dead letter of a function, or of all.
func (q *Queue) letters(ctx context.Context, path string, do func(*letter) error) error {
	entries, err := q.store.Registry(store.Dead).List(ctx, path)
	if err != nil {
		return err
	}
	for _, e := range entries {
		l, err := decodeLetter(e)
		if err == nil {
			err = do(l)
		} else {
			q.Logger.Error("a dead call is passed over", "error", err)
			err = nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// named calls do for the dead letters that are meant: one, those of a function, or all.
func (q *Queue) named(ctx context.Context, which *proto.DeadCalls, do func(*letter) error) error {
	path := proto.Path(which.GetFunction())
	switch {
	case which.GetId() != "":
		i, err := parseID(which.GetId())
		if err != nil {
			return err
		}
		if path != "" && i.path != path {
			return proto.Errorf(proto.ErrNotFound, "call %s is none of function %q", which.GetId(), which.GetFunction())
		}
		l, err := q.letter(ctx, i)
		if errors.Is(err, proto.ErrNotFound) {
			return proto.Errorf(proto.ErrNotFound, "call %s is not among the dead ones", which.GetId()).WithHint("proxyCli calls -state dead shows them")
		}
		if err != nil {
			return err
		}
		return do(l)
	case path != "" && !isPath(path):
		return proto.CheckName(which.GetFunction())
	}
	return q.letters(ctx, path, do)
}

// RedriveCalls puts dead calls back into the queue, with all their attempts before them,
// and returns how many.
func (q *Queue) RedriveCalls(ctx context.Context, which *proto.DeadCalls) (n int, err error) {
	err = q.named(ctx, which, func(l *letter) error {
		if err := q.redrive(ctx, l); err != nil {
			return err
		}
		n++
		return nil
	})
	return n, err
}

func (q *Queue) redrive(ctx context.Context, l *letter) error {
	i, err := parseID(l.Record.ID)
	if err != nil {
		return err
	}
	rec, err := q.load(ctx, i)
	if err != nil {
		return err
	}
	r := l.Request
	r.ID, r.Round, r.Accepted, r.NotBefore = l.Record.ID, l.Request.Round+1, time.Now(), time.Time{}
	if rec == nil { // it is older than records are
		rec = l.Record
		rec.revision = 0
	}
	if rec.Round < r.Round { // else it was begun before
		rec.State, rec.Round, rec.Counted, rec.Lost, rec.Ended, rec.Sequence = queued, r.Round, 0, 0, time.Time{}, 0
		rec.NotBefore = time.Time{}
		if rec.Callback != nil {
			rec.Callback = &callback{URL: rec.Callback.URL, State: "waiting"}
		}
		if err := q.save(ctx, rec); err != nil {
			return err
		}
	}
	if _, _, err := q.publish(ctx, r, l.Body, i.once("again"+roundText(r.Round))); err != nil {
		return err
	}
	return q.store.Registry(store.Dead).Delete(ctx, l.key, l.revision)
}

// PurgeCalls removes dead calls, and returns how many.
func (q *Queue) PurgeCalls(ctx context.Context, which *proto.DeadCalls) (n int, err error) {
	err = q.named(ctx, which, func(l *letter) error {
		if err := q.store.Registry(store.Dead).Delete(ctx, l.key, l.revision); err != nil {
			return err
		}
		n++
		q.discard(ctx, l.Request.Blob)
		return q.forget(ctx, l)
	})
	return n, err
}

// forget removes what is known of a dead call that was purged.
func (q *Queue) forget(ctx context.Context, l *letter) error {
	i, err := parseID(l.Record.ID)
	if err != nil {
		return err
	}
	rec, err := q.load(ctx, i)
	if err != nil || rec == nil || rec.State != dead {
		return err
	}
	q.discard(ctx, rec.Result)
	if err = q.store.Registry(store.Calls).Delete(ctx, i.key(), rec.revision); errors.Is(err, proto.ErrConflict) {
		return nil // another one purges it, or has redriven it before
	}
	return err
}
