package store

import (
	"container/heap"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/Ishan27g/ryo-faas/proto"
)

const (
	// lookPause is how often it is looked for messages of other processes that wait for
	// their time. Their delays are exact to two seconds.
	lookPause = time.Second
	// fullPause is after how long a message is tried again for whose topic there was no room.
	fullPause = time.Second
)

// hasten lets forward look at once.
func (s *session) hasten() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// moment is a message that waits for its time.
type moment struct {
	due      time.Time
	sequence uint64
}

// moments is a heap of them, the next first.
type moments []moment

func (m moments) Len() int { return len(m) }
func (m moments) Less(i, j int) bool {
	return m[i].due.Before(m[j].due) || m[i].due.Equal(m[j].due) && m[i].sequence < m[j].sequence
}
func (m moments) Swap(i, j int) { m[i], m[j] = m[j], m[i] }
func (m *moments) Push(x any)   { *m = append(*m, x.(moment)) }
func (m *moments) Pop() any {
	last := (*m)[len(*m)-1]
	*m = (*m)[:len(*m)-1]
	return last
}

// forward stores messages whose time has come for their topics, until the session ends.
// Every process does so for all; the queue knows by their ids which it has already.
func (e *Engine) forward(s *session) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	s.running.Go(func() {
		<-s.ended
		cancel()
	})
	var waiting moments
	seen := uint64(0)
	for {
		var err error
		seen, err = s.look(ctx, seen, &waiting)
		for err == nil && len(waiting) > 0 && !waiting[0].due.After(time.Now()) {
			next := heap.Pop(&waiting).(moment)
			err = s.bring(ctx, next.sequence)
			if err != nil {
				heap.Push(&waiting, moment{time.Now().Add(fullPause), next.sequence})
				if errors.Is(err, proto.ErrExhausted) {
					err = nil // other topics have room
				}
			}
		}
		if err != nil {
			select {
			case <-s.ended:
				return
			default:
			}
			e.logger.Warn("messages that wait for their time are late", "error", err)
		}
		pause := lookPause
		if len(waiting) > 0 {
			pause = max(0, min(pause, time.Until(waiting[0].due)))
		}
		if err != nil {
			pause = fullPause
		}
		timer := time.NewTimer(pause)
		select {
		case <-s.ended:
			timer.Stop()
			return
		case <-s.wake:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// look adds the messages after a sequence, and returns the last one's.
func (s *session) look(ctx context.Context, after uint64, waiting *moments) (uint64, error) {
	for {
		raw, err := s.get(ctx, queueStream, getRequest{Sequence: after + 1, Next: laterPrefix + ">"})
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			return after, nil
		}
		if err != nil {
			return after, topicFault("of all", err)
		}
		after = raw.Sequence
		heap.Push(waiting, moment{timeOf(first(raw.Header, dueHeader)), raw.Sequence})
	}
}

// bring stores a message for its topic, then removes the one that waited.
func (s *session) bring(ctx context.Context, sequence uint64) error {
	raw, err := s.get(ctx, queueStream, getRequest{Sequence: sequence})
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return nil // withdrawn, or another process was first
	}
	if err != nil {
		return topicFault("of all", err)
	}
	m, attempts := messageOf(headerText(first(raw.Header, topicHeader)), raw.Header, raw.Data, raw.Sequence)
	if CheckKey(m.Topic) == nil {
		if _, err := s.publish(ctx, &m, attempts, false, fmt.Sprintf("@%d", sequence)); err != nil {
			return err
		}
	}
	return topicFault(m.Topic, s.remove(ctx, sequence))
}
