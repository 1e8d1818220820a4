package store

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/Ishan27g/ryo-faas/proto"
)

const (
	// idle is after which time without a consumer a topic's is removed: each takes 55 KB
	// of memory. Messages stay.
	idle = 10 * time.Minute
	// pullLimit is how long a request for the next message stands, and so how long it takes
	// to end: one that were given up sooner could be answered with a message that nobody
	// takes.
	pullLimit = 500 * time.Millisecond
)

// The headers of a message as it is stored. Those of its own have ownPrefix.
const (
	idHeader      = "Ryo-Id"
	topicHeader   = "Ryo-Topic"   // of one that waits for its time
	dueHeader     = "Ryo-Due"     // when that is, in milliseconds since 1970
	attemptHeader = "Ryo-Attempt" // how often it was handed out before it was stored
	timeHeader    = "Ryo-Time"    // when it was stored first, in milliseconds since 1970
	ownPrefix     = "Ryo-H-"
)

// queue is the messages that wait, in one stream: one that can be handled has its topic's
// subject, which a consumer hands out; one that waits for its time has a subject of its
// topic and its id, and forward stores it anew when the time has come. So a message that
// waits for its next attempt takes no place among those that are handled.
type queue struct{ *Engine }

// Queue implements Store.
func (e *Engine) Queue() Queue { return queue{e} }

func waitingSubject(topic string) string   { return waitingPrefix + encode(topic) }
func laterSubject(topic, id string) string { return laterPrefix + token(topic) + "." + token(id) }
func allLater(topic string) string         { return laterPrefix + token(topic) + ".*" }
func messageID(topic, id string) string    { return token(topic) + "." + token(id) }

func (q queue) enter(ctx context.Context, topic string) (*session, error) {
	if err := CheckKey(topic); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return q.session(ctx)
}

func topicFault(topic string, err error) error { return fault("topic "+topic, err) }

// Publish implements Queue.
func (q queue) Publish(ctx context.Context, m Message) (Receipt, error) {
	if len(m.Data) > MaxPayload {
		return Receipt{}, proto.Errorf(proto.ErrTooLarge, "a message of %d bytes is larger than %d", len(m.Data), MaxPayload)
	}
	if err := CheckHeader(&m); err != nil {
		return Receipt{}, err
	}
	s, err := q.enter(ctx, m.Topic)
	if err != nil {
		return Receipt{}, err
	}
	m.Time = time.Now()
	later := m.NotBefore.After(m.Time)
	id := ""
	if m.ID != "" {
		id = messageID(m.Topic, m.ID)
	}
	return s.publish(ctx, &m, 0, later, id)
}

// publish stores a message that was handed out so many times before. One that has the same
// id is not stored again, if id is not "".
func (s *session) publish(ctx context.Context, m *Message, attempts int, later bool, id string) (Receipt, error) {
	msg := &nats.Msg{Subject: waitingSubject(m.Topic), Header: nats.Header{}, Data: m.Data}
	for name, value := range m.Header {
		msg.Header[ownPrefix+headerName(name)] = []string{headerValue(value)}
	}
	if m.ID != "" {
		msg.Header[idHeader] = []string{headerValue(m.ID)}
	}
	if attempts > 0 {
		msg.Header[attemptHeader] = []string{strconv.Itoa(attempts)}
	}
	msg.Header[timeHeader] = []string{strconv.FormatInt(m.Time.UnixMilli(), 10)}
	if id != "" {
		msg.Header[jetstream.MsgIDHeader] = []string{id}
	}
	if later {
		name := m.ID
		if name == "" {
			name = rand.Text()
		}
		msg.Subject = laterSubject(m.Topic, name)
		msg.Header[topicHeader] = []string{headerValue(m.Topic)}
		msg.Header[dueHeader] = []string{strconv.FormatInt(m.NotBefore.UnixMilli(), 10)}
	}
	if err := s.sound(); err != nil {
		return Receipt{}, err
	}
	ack, err := s.enqueue(ctx, msg, id != "")
	if err != nil {
		return Receipt{}, topicFault(m.Topic, err)
	}
	s.written.mark(queueStream, ack.Sequence)
	r := Receipt{Sequence: ack.Sequence, Duplicate: ack.Duplicate}
	if later {
		r.Sequence = 0
		s.hasten()
	}
	return r, nil
}

// enqueue stores a message. One that has an id may be stored twice, and is there once.
func (s *session) enqueue(ctx context.Context, msg *nats.Msg, named bool) (ack *jetstream.PubAck, err error) {
	mark := ""
	if s.many && named {
		mark = rand.Text()
		msg.Header[markHeader] = []string{mark}
	}
	unsure := false
	err = s.insist(ctx, func(ctx context.Context) (err error) {
		ack, err = s.publisher.publish(ctx, msg)
		if _, maybe := silence(err); maybe {
			if unsure = true; s.many && !named {
				return s.unanswered(false, err)
			}
		}
		if err == nil && unsure && ack.Duplicate { // of itself, most likely
			is, err := s.leader(ctx, queueStream, getRequest{Sequence: ack.Sequence})
			if err == nil && first(is.Header, markHeader) == mark {
				ack.Duplicate = false
			}
		}
		return err
	})
	return ack, err
}

// headerName and headerValue are texts of any bytes as a header can have them.
func headerName(text string) string  { return hex.EncodeToString([]byte(text)) }
func headerValue(text string) string { return strconv.Quote(text) }

// headerText is the text of a value.
func headerText(value string) string {
	text, err := strconv.Unquote(value)
	if err != nil {
		return value
	}
	return text
}

// messageOf reads a message, and how often it was handed out before it was stored.
func messageOf(topic string, header nats.Header, data []byte, sequence uint64) (m Message, attempts int) {
	m = Message{Topic: topic, Data: data, Sequence: sequence, ID: headerText(first(header, idHeader))}
	for name := range header {
		if own, ok := strings.CutPrefix(name, ownPrefix); ok {
			if text, err := hex.DecodeString(own); err == nil {
				if m.Header == nil {
					m.Header = map[string]string{}
				}
				m.Header[string(text)] = headerText(first(header, name))
			}
		}
	}
	m.Time = timeOf(first(header, timeHeader))
	m.NotBefore = timeOf(first(header, dueHeader))
	attempts, _ = strconv.Atoi(first(header, attemptHeader))
	return m, attempts
}

func timeOf(milliseconds string) time.Time {
	if n, err := strconv.ParseInt(milliseconds, 10, 64); err == nil {
		return time.UnixMilli(n)
	}
	return time.Time{}
}

// first is a header's value; names count as they are written.
func first(header nats.Header, name string) string {
	if values := header[name]; len(values) > 0 {
		return values[0]
	}
	return ""
}

// Consume implements Queue.
func (q queue) Consume(ctx context.Context, topic string, limit int, handle func(context.Context, Message, int) Verdict) error {
	if err := CheckKey(topic); err != nil {
		return err
	}
	if limit < 1 {
		return proto.Errorf(proto.ErrInvalid, "%d is not a number of messages to handle at the same time", limit)
	}
	var handled sync.WaitGroup
	defer handled.Wait()
	configured := (*session)(nil)
	for pause := firstPause; ; pause = min(2*pause, lastPause) {
		s, err := q.enter(ctx, topic)
		if err == nil {
			configured, err = q.consume(ctx, s, configured, topic, limit, &handled, handle)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err == nil {
			pause = firstPause
		} else if pause == 2*firstPause { // one that was just made may not answer yet
			q.logger.Warn("messages are not handed out; it is tried again", "topic", topic, "error", err)
		}
		again(ctx, jittered(pause))
	}
}

// consume hands out messages until ctx is done or the engine is closed. It sets the limit
// once in each session; later that of another caller may hold.
func (q queue) consume(
	ctx context.Context, s, configured *session, topic string, limit int, handled *sync.WaitGroup,
	handle func(context.Context, Message, int) Verdict,
) (*session, error) {
	consumer, err := s.queue.Consumer(ctx, token(topic))
	if errors.Is(err, jetstream.ErrConsumerNotFound) || configured != s {
		consumer, err = s.queue.CreateOrUpdateConsumer(ctx, jetstream.ConsumerConfig{
			Durable: token(topic), FilterSubject: waitingSubject(topic), AckPolicy: jetstream.AckExplicitPolicy,
			AckWait: q.cfg.ackWait, MaxAckPending: limit, MaxDeliver: -1, InactiveThreshold: idle, MaxWaiting: 512,
			MemoryStorage: !s.many, // who opens a folder begins anew anyway: see release
		})
	}
	if err != nil {
		return configured, topicFault(topic, err)
	}
	s.handling.add(1)
	defer s.handling.add(-1)
	places := make(chan struct{}, limit)
	for {
		select {
		case places <- struct{}{}:
		case <-s.leaving:
			return s, nil
		case <-ctx.Done():
			return s, nil
		}
		// Each message is asked for by itself, once there is a place for it. An iterator that
		// asks for one at a time (jetstream.PullMaxMessages(1)) sometimes does not ask for the
		// next, until its last request expires: the message came before it had noted that it
		// asked.
		msg, err := consumer.Next(jetstream.FetchMaxWait(pullLimit))
		if err != nil {
			<-places
		}
		switch {
		case errors.Is(err, nats.ErrTimeout):
			continue
		case err != nil:
			return s, topicFault(topic, err)
		}
		s.handling.add(1)
		handled.Go(func() {
			defer s.handling.add(-1)
			defer func() { <-places }()
			q.handle(ctx, s, topic, msg, handle)
		})
	}
}

// handle lets a message be handled, and does what the verdict says.
func (q queue) handle(ctx context.Context, s *session, topic string, msg jetstream.Msg, handle func(context.Context, Message, int) Verdict) {
	select {
	case <-ctx.Done():
		_ = msg.Nak()
		return
	case <-s.leaving:
		_ = msg.Nak()
		return
	default:
	}
	meta, err := msg.Metadata()
	if err != nil {
		q.logger.Error("a message that the queue has handed out says nothing of itself", "topic", topic, "error", err)
		return
	}
	m, before := messageOf(topic, msg.Headers(), msg.Data(), meta.Sequence.Stream)
	attempt := before + int(meta.NumDelivered) //nolint:gosec // it counts attempts
	done := make(chan struct{})
	var alive sync.WaitGroup
	alive.Go(func() {
		tick := time.NewTicker(q.cfg.ackWait / 3)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				_ = msg.InProgress()
			case <-done:
				return
			}
		}
	})
	verdict := handle(ctx, m, attempt)
	close(done)
	alive.Wait()
	if err := q.settle(ctx, s, msg, &m, attempt, verdict); err != nil {
		q.logger.Warn("a message that was handled is handed out again", "topic", topic, "sequence", m.Sequence, "error", err)
	}
}

// settle removes a message, or stores it for its next attempt. If that fails it is handed
// out again.
func (q queue) settle(ctx context.Context, s *session, msg jetstream.Msg, m *Message, attempt int, verdict Verdict) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.settleLimit())
	defer cancel()
	switch {
	case verdict.Again && verdict.After <= 0:
		return msg.Nak()
	case verdict.Again:
		m.NotBefore = time.Now().Add(verdict.After)
		if _, err := s.publish(ctx, m, attempt, true, fmt.Sprintf("%d@%d", m.Sequence, attempt)); err != nil {
			q.logger.Warn("a message takes a place while it waits for its next attempt", "topic", m.Topic, "error", err)
			return msg.NakWithDelay(verdict.After)
		}
	}
	return s.insist(ctx, msg.DoubleAck)
}

// settleLimit bounds how long a message that was handled waits to be removed: it is handed out
// again if that fails.
func (s *session) settleLimit() time.Duration {
	if s.many {
		return electionLimit
	}
	return answerLimit
}

// Get implements Queue.
func (q queue) Get(ctx context.Context, topic string, sequence uint64) (Message, error) {
	s, err := q.enter(ctx, topic)
	if err != nil {
		return Message{}, err
	}
	m, err := s.message(ctx, topic, sequence)
	if err == nil && m.Sequence != sequence {
		err = jetstream.ErrMsgNotFound
	}
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return Message{}, proto.Errorf(proto.ErrNotFound, "no message %d waits for %s", sequence, topic)
	}
	return m, topicFault(topic, err)
}

// message returns the first message of a topic from a sequence on.
func (s *session) message(ctx context.Context, topic string, sequence uint64) (Message, error) {
	raw, err := s.get(ctx, queueStream, getRequest{Sequence: max(1, sequence), Next: waitingSubject(topic)})
	if err != nil {
		return Message{}, err
	}
	m, _ := messageOf(topic, raw.Header, raw.Data, raw.Sequence)
	return m, nil
}

// List implements Queue.
func (q queue) List(ctx context.Context, topic string, after uint64, limit int) ([]Message, error) {
	s, err := q.enter(ctx, topic)
	if err != nil {
		return nil, err
	}
	list := []Message{}
	for len(list) < limit {
		m, err := s.message(ctx, topic, after+1)
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			break
		}
		if err != nil {
			return nil, topicFault(topic, err)
		}
		after = m.Sequence
		list = append(list, m)
	}
	return list, nil
}

// Delete implements Queue.
func (q queue) Delete(ctx context.Context, topic string, sequence uint64) error {
	s, err := q.enter(ctx, topic)
	if err != nil {
		return err
	}
	if _, err := q.Get(ctx, topic, sequence); err != nil {
		if errors.Is(err, proto.ErrNotFound) {
			return nil
		}
		return err
	}
	return topicFault(topic, s.remove(ctx, sequence))
}

// remove removes a message, if it is there.
func (s *session) remove(ctx context.Context, sequence uint64) error {
	err := s.insist(ctx, func(ctx context.Context) error { return s.queue.DeleteMsg(ctx, sequence) })
	if errors.Is(err, jetstream.ErrMsgNotFound) || errors.Is(err, jetstream.ErrMsgDeleteUnsuccessful) {
		return nil
	}
	return err
}

// Withdraw implements Queue.
func (q queue) Withdraw(ctx context.Context, topic, id string) error {
	s, err := q.enter(ctx, topic)
	if err != nil {
		return err
	}
	if id == "" {
		return nil
	}
	return topicFault(topic, s.purge(ctx, s.queue, laterSubject(topic, id)))
}

// purge removes the messages of subjects.
func (s *session) purge(ctx context.Context, stream jetstream.Stream, subjects string) error {
	return s.insist(ctx, func(ctx context.Context) error { return stream.Purge(ctx, jetstream.WithPurgeSubject(subjects)) })
}

// info returns what a stream has, with how many messages of each of some subjects.
func (s *session) info(ctx context.Context, stream jetstream.Stream, subjects string) (is *jetstream.StreamInfo, err error) {
	err = s.insist(ctx, func(ctx context.Context) error {
		is, err = stream.Info(ctx, jetstream.WithSubjectFilter(subjects))
		return err
	})
	return is, err
}

// Pending implements Queue.
func (q queue) Pending(ctx context.Context, topic string) (int, error) {
	s, err := q.enter(ctx, topic)
	if err != nil {
		return 0, err
	}
	n, err := s.count(ctx, waitingSubject(topic))
	return n, topicFault(topic, err)
}

// count counts the messages of subjects.
func (s *session) count(ctx context.Context, subjects string) (n int, err error) {
	info, err := s.info(ctx, s.queue, subjects)
	if err != nil {
		return 0, err
	}
	for _, of := range info.State.Subjects {
		n += int(of) //nolint:gosec // it counts messages
	}
	return n, nil
}

// Topics implements Queue.
func (q queue) Topics(ctx context.Context, prefix string) ([]string, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s, err := q.session(ctx)
	if err != nil {
		return nil, err
	}
	names := []string{}
	for _, filter := range filters(prefix) {
		info, err := s.info(ctx, s.queue, waitingPrefix+filter)
		if err != nil {
			return nil, topicFault(prefix, err)
		}
		for subject := range info.State.Subjects {
			if name, ok := decode(strings.TrimPrefix(subject, waitingPrefix)); ok {
				names = append(names, name)
			}
		}
	}
	slices.Sort(names)
	return names, nil
}

// Purge implements Queue.
func (q queue) Purge(ctx context.Context, topic string) (int, error) {
	s, err := q.enter(ctx, topic)
	if err != nil {
		return 0, err
	}
	removed := 0
	for _, subjects := range []string{allLater(topic), waitingSubject(topic)} {
		n, err := s.count(ctx, subjects)
		if err == nil {
			err = s.purge(ctx, s.queue, subjects)
		}
		if err != nil {
			return removed, topicFault(topic, err)
		}
		removed += n
	}
	return removed, nil
}
