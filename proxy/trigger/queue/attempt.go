package queue

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/proxy/gateway"
	"github.com/Ishan27g/ryo-faas/proxy/store"
)

const (
	// firstBackoff and its doubles are waited before retries, up to lastBackoff, a fifth more
	// or less. With the default of three retries that makes seven seconds.
	firstBackoff = time.Second
	lastBackoff  = 10 * time.Minute
	maxRetryWait = time.Hour // of what a function's Retry-After may say
	// holdLimit is how long a message keeps its place while its function cannot be called:
	// that others are handed out in its stead would be of no use. Then another proxy may try.
	holdLimit = 10 * time.Second
	holdLook  = 100 * time.Millisecond
	holdPause = time.Second // after a call that did not reach its function
	// maxLost is how often a call may end with its proxy: it might be what ends it.
	maxLost = 10
	// watchEvery is how soon it is noticed that another proxy has canceled a call.
	watchEvery = 2 * time.Second
	storePause = 2 * time.Second // after an error of the store
)

func again(after time.Duration) store.Verdict { return store.Verdict{Again: true, After: after} }

// call handles the message of a call. ctx is that of all calls under way.
func (q *Queue) call(ctx context.Context, m store.Message) store.Verdict {
	r, body, err := decode(m.Data)
	if err != nil {
		q.Logger.Error("a message is dropped", "topic", m.Topic, "sequence", m.Sequence, "error", err)
		return store.Verdict{}
	}
	i := r.id(m.Sequence)
	rec, err := q.load(ctx, i)
	if err != nil {
		return q.postpone(ctx, i, err)
	}
	if rec == nil {
		rec = newRecord(i, r)
	} else if i, err = parseID(rec.ID); err != nil {
		q.Logger.Error("a message is dropped", "topic", m.Topic, "sequence", m.Sequence, "error", err)
		return store.Verdict{}
	}
	switch wait := time.Until(rec.Next); {
	case r.Round < rec.Round: // it was put back, and this is the message from before
		return store.Verdict{}
	case rec.over():
		return q.follow(ctx, i, rec, r, body)
	case rec.State == failed && wait > 0: // another proxy has had it
		return again(wait)
	}
	f, verdict, ok := q.callable(ctx, i, rec, r, body)
	if !ok {
		return verdict
	}
	return q.attempt(ctx, i, rec, r, body, m.Sequence, f)
}

// postpone leaves a message to be handled again, since something cannot be stored or read.
// It waits here: a message that waits in the queue gets another sequence, by which its call
// is not found as long as there is no record.
func (q *Queue) postpone(ctx context.Context, i id, err error) store.Verdict {
	if ctx.Err() == nil {
		q.Logger.Warn("a call is made later", "call", i.String(), "function", i.path, "error", err)
	}
	wait(ctx, storePause)
	return again(0)
}

// callable waits until the function of a call can be called, for a while. ok says that it
// can; else the verdict holds.
func (q *Queue) callable(ctx context.Context, i id, rec *record, r *request, body []byte) (f gateway.Function, v store.Verdict, ok bool) {
	for until := time.Now().Add(holdLimit); ; {
		f, known := q.Gateway.Function(i.path)
		age := r.Age
		if known {
			age = f.Age
		}
		switch {
		case time.Since(r.due()) > age:
			return f, q.die(ctx, i, rec, r, body, errTooOld(age, rec)), false
		case rec.Lost >= maxLost && rec.State == running:
			return f, q.die(ctx, i, rec, r, body, errLost), false
		case known && f.Unready == nil:
			return f, v, true
		case time.Now().After(until):
			return f, again(0), false
		}
		if !wait(ctx, holdLook) {
			return f, again(0), false
		}
	}
}

func errTooOld(age time.Duration, rec *record) error {
	err := proto.Errorf(proto.ErrTimeout, "the call is older than %v, its function's maxAge", age)
	if rec.Error != "" {
		return proto.Errorf(proto.ErrTimeout, "%s; before: %s", err.Message, rec.Error)
	}
	return err
}

var errLost = proto.Errorf(proto.ErrInternal, "the proxies that made the call have ended %d times while it ran; it might be why", maxLost)

// attempt makes a call once, and writes down what came of it.
func (q *Queue) attempt(ctx context.Context, i id, rec *record, r *request, body []byte, sequence uint64, f gateway.Function) store.Verdict {
	rec.began(sequence, time.Now())
	if err := q.save(ctx, rec); errors.Is(err, proto.ErrConflict) {
		return again(holdLook) // it was canceled, or another proxy has begun
	} else if err != nil {
		return q.postpone(ctx, i, err)
	}
	payload, err := q.open(ctx, r, body)
	if err != nil && !errors.Is(err, proto.ErrNotFound) {
		rec.undo()
		_ = q.save(ctx, rec)
		return q.postpone(ctx, i, err)
	}
	defer payload.Close()
	if err != nil {
		rec.tried(time.Now(), new(answer), err)
		return q.die(ctx, i, rec, r, body, proto.Errorf(proto.ErrNotFound, "the body of the call is gone"))
	}
	one, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer q.running(i, cancel)()
	defer q.watch(one, cancel, i, rec.revision)()
	defer q.counts.begin(i.path)()
	// What the function has answered is stored also when the call is canceled meanwhile.
	a := &answer{ctx: context.WithoutCancel(ctx), blobs: q.store.Blobs(), name: i.blob(results), header: http.Header{}}
	o := q.Gateway.Dispatch(one, a, &gateway.Dispatch{
		Segment: r.Segment, Target: r.Target, Method: r.Method, Header: r.Header.Clone(), Host: r.Host, Remote: r.Remote, Scheme: r.Scheme,
		Body: payload, Length: r.Size, ID: rec.ID, Attempt: rec.Tried, Depth: r.Depth,
	})
	unkept := a.close(o.Err)

	// What follows is written down also when the queue stops.
	ctx = context.WithoutCancel(ctx)
	switch cause := context.Cause(one); {
	case errors.Is(cause, errCanceled), errors.Is(cause, errTaken):
		return again(holdLook) // the record says what becomes of it
	case errors.Is(cause, errStopped):
		rec.tried(time.Now(), a, errStopped)
		rec.State = failed
		return q.settle(ctx, i, rec, again(0))
	case !o.Reached:
		rec.undo()
		rec.Error = clip(o.Err.Error())
		wait(one, max(holdPause, min(o.Wait, holdLimit)))
		return q.settle(ctx, i, rec, again(holdPause))
	}
	err = verdictOf(a, o.Err)
	q.counts.attempt(i.path, err == nil)
	rec.tried(time.Now(), a, err)
	switch {
	case err == nil:
		if unkept != nil {
			rec.Error = clip(unkept.Error())
		}
		rec.State, rec.Ended = done, time.Now()
		v := q.settle(ctx, i, rec, store.Verdict{})
		if !v.Again {
			v = q.follow(ctx, i, rec, r, body)
		}
		return v
	case final(a, o.Err):
		return q.die(ctx, i, rec, r, body, err)
	}
	if rec.Counted++; rec.Counted >= f.Tries {
		return q.die(ctx, i, rec, r, body, err)
	}
	pause := q.backoff(rec.Counted)
	if asked := retryAfter(a.header, time.Now()); asked > 0 {
		pause = min(asked, maxRetryWait)
	}
	rec.State, rec.Next = failed, time.Now().Add(pause)
	return q.settle(ctx, i, rec, again(pause))
}

// settle writes down how a call stands, and returns what becomes of its message. If the
// record was changed meanwhile, that decides.
func (q *Queue) settle(ctx context.Context, i id, rec *record, v store.Verdict) store.Verdict {
	ctx, stop := context.WithTimeout(ctx, storeLimit)
	defer stop()
	for {
		err := q.save(ctx, rec)
		switch {
		case err == nil:
			return v
		case errors.Is(err, proto.ErrConflict):
			return again(holdLook)
		case !wait(ctx, holdLook): // the call is made again: nobody knows that it was
			q.Logger.Error("what became of a call cannot be stored; it is made again", "call", rec.ID, "function", i.path, "error", err)
			return again(storePause)
		}
	}
}

// open returns the body of a call, an ErrNotFound if it is gone. Close it in any case.
func (q *Queue) open(ctx context.Context, r *request, body []byte) (io.ReadCloser, error) {
	none := io.NopCloser(bytes.NewReader(body))
	if r.Blob == "" {
		return none, nil
	}
	stored, err := q.store.Blobs().Open(ctx, r.Blob)
	if err != nil {
		return none, err
	}
	return stored, nil
}

// verdictOf returns why an attempt failed; nil: it did not.
func verdictOf(a *answer, err error) error {
	switch {
	case err != nil:
		return err
	case a.status >= http.StatusBadRequest:
		return proto.Errorf(proto.ErrBadGateway, "the function answered %d %s", a.status, http.StatusText(a.status))
	}
	return nil
}

// final reports whether a failed attempt is the last one, whatever the settings: the
// function has refused the call itself.
func final(a *answer, err error) bool {
	switch a.status {
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests:
		return false
	}
	return err == nil && a.status < http.StatusInternalServerError
}

// backoff is how long to wait after so many failures.
func (q *Queue) backoff(failures int) time.Duration {
	d := min(q.Backoff<<min(failures-1, 20), lastBackoff)
	return d*4/5 + rand.N(d*2/5+1)
}

// retryAfter reads the header of that name, in seconds or as a time (RFC 9110 section
// 10.2.3); 0: there is none.
func retryAfter(h http.Header, now time.Time) time.Duration {
	text := h.Get("Retry-After")
	if seconds, err := strconv.ParseUint(text, 10, 31); err == nil {
		return time.Duration(seconds) * time.Second
	}
	if at, err := http.ParseTime(text); err == nil {
		return max(0, at.Sub(now))
	}
	return 0
}

// running notes that a call runs here, so that it can be canceled, until the function that
// it returns is called.
func (q *Queue) running(i id, cancel context.CancelCauseFunc) func() {
	key := i.String()
	q.mu.Lock()
	q.under[key] = cancel
	q.mu.Unlock()
	return func() {
		q.mu.Lock()
		delete(q.under, key)
		q.mu.Unlock()
	}
}

// errTaken is why a call is given up that another proxy makes as well.
var errTaken = errors.New("another proxy makes the call")

// watch cancels a call when its record says that it was canceled, or is made by another
// proxy, until the function that it returns is called.
func (q *Queue) watch(ctx context.Context, cancel context.CancelCauseFunc, i id, revision uint64) func() {
	ctx, stop := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for wait(ctx, watchEvery) {
			switch now, err := q.load(ctx, i); {
			case err != nil || now == nil || now.revision == revision:
			case now.State == canceled:
				cancel(errCanceled)
			default:
				cancel(errTaken)
			}
		}
	}()
	return func() {
		stop()
		<-ended
	}
}
