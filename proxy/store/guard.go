package store

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/Ishan27g/ryo-faas/internal/state"
	"github.com/Ishan27g/ryo-faas/proto"
)

const (
	// marksFile says how far each stream has been written.
	marksFile = "written.json"
	// guardPause is how often Run looks: what was written in the last second before a loss
	// of power is not missed.
	guardPause = time.Second
	// mendPause is how often an engine is opened anew that cannot write.
	mendPause = 10 * time.Second
)

// marks is the last sequence of each stream that was acknowledged.
type marks map[string]uint64

// written keeps the marks of a session.
type written struct {
	mu      sync.Mutex // guards the fields below:
	at      marks
	changed bool
}

// mark says that a stream was written.
func (w *written) mark(stream string, sequence uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.at == nil {
		w.at = marks{}
	}
	if w.at[stream] < sequence {
		w.at[stream], w.changed = sequence, true
	}
}

// of is how far a stream was written.
func (w *written) of(stream string) uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.at[stream]
}

// take returns the marks if there are new ones.
func (w *written) take() marks {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.changed {
		return nil
	}
	w.changed = false
	return maps.Clone(w.at)
}

// storeMarks writes the marks to the disk if there are new ones.
func (s *session) storeMarks() error {
	at := s.written.take()
	if at == nil {
		return nil
	}
	if err := s.dir.Write(marksFile, at); err != nil {
		s.written.mu.Lock()
		s.written.changed = true
		s.written.mu.Unlock()
		return err
	}
	return nil
}

// compare says which streams end before their marks.
func (s *session) compare(ctx context.Context) error {
	at := marks{}
	_, err := s.dir.Read(marksFile, &at)
	s.written.at = at
	if errors.Is(err, state.ErrDamaged) {
		_, err = s.dir.SetAside(marksFile)
		return err
	}
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(at)) {
		is, err := s.js.Stream(ctx, name)
		switch {
		case errors.Is(err, jetstream.ErrStreamNotFound):
			s.lost = append(s.lost, fmt.Sprintf("%s is missing, of %d changes", what(name), at[name]))
		case err != nil:
			return err
		case is.CachedInfo().State.LastSeq < at[name]:
			s.lost = append(s.lost, fmt.Sprintf("%s ends after %d of %d changes", what(name), is.CachedInfo().State.LastSeq, at[name]))
		}
	}
	return nil
}

// what is the name of a stream for people.
func what(stream string) string {
	if kind, ok := strings.CutPrefix(stream, "KV_ryo_"); ok {
		return kind
	}
	return strings.ToLower(strings.TrimPrefix(stream, "RYO_"))
}

// verify reads all records, whose digests tell whether they are what was stored, and notes
// those that are not, or are missing.
func (s *session) verify(ctx context.Context) error {
	for _, k := range kept {
		if k.age > 0 || k.oldestFirst { // their records go by themselves
			continue
		}
		why, err := s.verifyKind(ctx, k.kind)
		if err != nil {
			return err
		}
		if why != "" {
			s.note(why)
		}
	}
	return nil
}

func (s *session) verifyKind(ctx context.Context, kind Kind) (why string, err error) {
	ctx, cancel := context.WithTimeout(ctx, openLimit)
	defer cancel()
	records := registry{kind: kind, session: s.itself}
	stream, err := s.js.Stream(ctx, "KV_"+bucket(kind))
	if err != nil {
		return "", err
	}
	was := stream.CachedInfo().State
	if _, err := records.List(ctx, ""); err != nil {
		if errors.Is(err, errDamaged) {
			return err.Error(), nil
		}
		return "", err
	}
	_, n, err := s.countRecords(ctx, kind)
	if err != nil {
		return "", err
	}
	after, err := stream.Info(ctx)
	if err != nil {
		return "", err
	}
	// A change meanwhile makes the comparison worthless; the next start compares again.
	if after.State.LastSeq == was.LastSeq && after.State.Msgs > n && after.State.Msgs == was.Msgs {
		return fmt.Sprintf("%d of %d records of %s cannot be read", after.State.Msgs-n, after.State.Msgs, kind), nil
	}
	return "", nil
}

// countRecords returns how many records a kind has, and how many messages with those that say
// that there is no record any more. No value is read.
func (s *session) countRecords(ctx context.Context, kind Kind) (records int, messages uint64, err error) {
	ctx, cancel := context.WithTimeout(ctx, openLimit)
	defer cancel()
	w, err := s.buckets[kind].WatchAll(ctx, jetstream.MetaOnly())
	if err != nil {
		return 0, 0, err
	}
	defer func() { _ = w.Stop() }()
	for {
		select {
		case is := <-w.Updates():
			if is == nil { // that were all
				return records, messages, nil
			}
			if messages++; is.Operation() == jetstream.KeyValuePut {
				records++
			}
		case <-ctx.Done():
			return 0, 0, ctx.Err()
		case <-s.ended:
			return 0, 0, errClosed
		}
	}
}

// note remembers that something is lost.
func (s *session) note(why string) {
	s.trouble.Lock()
	defer s.trouble.Unlock()
	s.lost = append(s.lost, why)
}

// mended says why nothing is to be removed: something is lost. A full disk is no reason.
func (s *session) mended() error {
	s.trouble.Lock()
	defer s.trouble.Unlock()
	return s.loss()
}

// loss is mended for those that hold s.trouble.
func (s *session) loss() error {
	if len(s.lost) == 0 {
		return nil
	}
	return proto.Errorf(proto.ErrUnavailable, "the store in %s has lost something, and nothing is changed until you say so: %s", s.dir.Path(), strings.Join(s.lost, "; ")).
		From("store", "lost").
		WithHint("stop the proxy, then: proxy engine restore (goes back to the last export), or proxy engine accept (goes on with what is there)")
}

// sound says why nothing is to be changed; nil: all is well.
func (s *session) sound() error {
	s.trouble.Lock()
	defer s.trouble.Unlock()
	if err := s.loss(); err != nil {
		return err
	}
	if s.failed != "" {
		return proto.Errorf(proto.ErrUnavailable, "the store in %s could not write: %s", s.dir.Path(), s.failed).
			From("store", "failed").WithHint("it is opened anew when the disk has room")
	}
	if s.room == nil {
		return nil
	}
	return s.room()
}

// fail notes that the server could not write.
func (s *session) fail(why string) {
	s.trouble.Lock()
	defer s.trouble.Unlock()
	s.failed = why
}

func (s *session) failure() string {
	s.trouble.Lock()
	defer s.trouble.Unlock()
	return s.failed
}

// Run guards the store until ctx is done: it notes how far it was written, by which the next
// start sees a loss, verifies records once, exports them, removes what killed processes left of blobs, and opens the engine anew that
// could not write, when the disk has room again.
func (e *Engine) Run(ctx context.Context) {
	if e.cfg.Cluster != nil {
		e.keep(ctx)
		return
	}
	tick := time.NewTicker(guardPause)
	defer tick.Stop()
	var verified *session
	var exports exporter
	mended, swept := time.Now(), time.Time{}
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		s, _, _ := e.state()
		if s == nil {
			continue
		}
		if err := s.storeMarks(); err != nil && !errors.Is(err, state.ErrLent) {
			e.logger.Warn("a loss of what was stored last would not be noticed", "error", err)
		}
		if s != verified {
			verified = s
			if err := s.verify(ctx); err != nil && ctx.Err() == nil && !s.over() {
				e.logger.Warn("the store is not verified", "error", err)
			}
			if err := s.sound(); err != nil {
				e.logger.Error("the store is read only", "error", err)
			}
		}
		if s.failure() != "" && s.room() == nil && time.Since(mended) > mendPause {
			mended = time.Now()
			e.mend(s)
			continue
		}
		if s.mended() == nil && time.Since(swept) > sweepPause {
			swept = time.Now()
			if err := s.sweep(ctx, sweepPause); err != nil && ctx.Err() == nil && !s.over() {
				e.logger.Warn("what killed processes left of blobs is not removed", "error", err)
			}
		}
		if s.sound() == nil {
			if err := exports.keep(ctx, s); err != nil && ctx.Err() == nil && !s.over() {
				e.logger.Warn("the store's records are not exported", "error", err)
			}
		}
	}
}

// over says whether a session has ended.
func (s *session) over() bool {
	select {
	case <-s.leaving:
		return true
	default:
		return false
	}
}

// mend opens the engine anew, unless it was closed.
func (e *Engine) mend(s *session) {
	e.turn.Lock()
	defer e.turn.Unlock()
	if now, _, _ := e.state(); now != s {
		return
	}
	e.logger.Warn("the store is opened anew, since it could not write", "reason", s.failure())
	if err := e.stop(); err != nil {
		e.logger.Warn("the store has not closed well", "error", err)
	}
	if err := e.start(); err != nil {
		e.logger.Error("nothing is stored, since the store does not open", "error", err)
	}
}
