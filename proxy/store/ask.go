package store

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// How an engine is asked. One in this process answers, or has failed. One elsewhere may have
// no leader for some seconds, and each of its machines may be behind the others: so a change
// is tried until it is known what became of it, and what is decided on is asked of the leader.

const (
	// electionLimit is how long a change is tried while nobody answers: an election takes up to
	// nine seconds.
	electionLimit = 12 * time.Second
	// tryLimit bounds each try, and each question to a leader.
	tryLimit = 2 * time.Second
	// soon is tryLimit once somebody has not answered: what was sent to a leader that is gone is
	// sent again as soon as there may be another one.
	soon = 500 * time.Millisecond
	// tryPause is the longest between two tries. A change asks several streams, one after the
	// other, and each of these pauses comes on top of the election.
	tryPause = 250 * time.Millisecond
	// settlePause is how often it is looked what becomes of a change that is under way.
	settlePause = 5 * time.Millisecond
	// batch is how many records are asked for at a time, and batchBytes how many bytes.
	batch, batchBytes = 500, 4 * mib
	// remembers is how long it is known what this process has written or heard of. It is
	// shorter than what leases last.
	remembers = 8 * time.Second
	// doubt is how long after a loss it is asked twice for what is not there.
	doubt = 30 * time.Second
)

// markHeader tells a change of this process from others that say the same.
const markHeader = "Ryo-Mark"

// code is the number of an engine's error, 0 for another one's.
func code(err error) jetstream.ErrorCode {
	var js jetstream.JetStreamError
	var api *jetstream.APIError
	if errors.As(err, &js) {
		api = js.APIError()
	}
	if api == nil && !errors.As(err, &api) {
		return 0
	}
	return api.ErrorCode
}

// errUnsettled says that a change is still under way.
var errUnsettled = fmt.Errorf("it is under way: %w", nats.ErrTimeout)

// silence reports whether an error says that nobody has answered, and whether what was asked
// for may be done all the same.
func silence(err error) (silent, unsure bool) {
	switch {
	case err == nil:
		return false, false
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, nats.ErrTimeout):
		return true, true
	case errors.Is(err, nats.ErrNoResponders), errors.Is(err, jetstream.ErrNoStreamResponse), errors.Is(err, nats.ErrReconnectBufExceeded),
		errors.Is(err, nats.ErrDisconnected), errors.Is(err, nats.ErrConnectionReconnecting):
		return true, false
	}
	switch code(err) {
	case codeInProcess: // another process stores the same
		return true, true
	case codeNotAvailable, codeNotLeader, codeStreamOffline, codeConsumerOffline, codeTooManyRequests:
		return true, false
	}
	return false, false
}

// insist makes a change: it calls do until somebody has answered, for as long as an election
// takes, or ctx lasts. What do does may be done twice.
func (s *session) insist(ctx context.Context, do func(context.Context) error) error {
	return s.try(ctx, true, do)
}

// try is insist for what is a change, or is not.
func (s *session) try(ctx context.Context, change bool, do func(context.Context) error) error {
	if !s.many {
		return do(ctx)
	}
	limited, cancel := context.WithTimeout(ctx, s.links.patience(change))
	defer cancel()
	sure := true
	for pause := firstPause; ; pause = min(2*pause, tryPause) {
		try, end := context.WithTimeout(limited, tryLimit)
		err := do(try)
		end()
		silent, unsure := silence(err)
		if !silent || errors.Is(ctx.Err(), context.Canceled) {
			if change && !silent && !errors.Is(err, context.Canceled) {
				s.links.heard()
			}
			return err
		}
		if change {
			s.links.unheard(err)
		}
		sure = sure && !unsure
		if s.conn.IsClosed() {
			return errClosed
		}
		if !again(limited, jittered(pause)) {
			if errors.Is(ctx.Err(), context.Canceled) {
				return ctx.Err()
			}
			return s.unanswered(sure || !change, err)
		}
	}
}

// change stores a message on the last one of its subject, whose sequence is given, 0 for
// none; if the last one is another it is an error for which changed is true.
func (s *session) change(ctx context.Context, stream string, msg *nats.Msg, on uint64) (sequence uint64, err error) {
	if msg.Header == nil {
		msg.Header = nats.Header{}
	}
	msg.Header[jetstream.ExpectedLastSubjSeqHeader] = []string{strconv.FormatUint(on, 10)}
	mark := ""
	if s.many {
		mark = rand.Text()
		msg.Header[markHeader] = []string{mark}
	}
	err = s.insist(ctx, func(ctx context.Context) error {
		for {
			ack, err := s.send(ctx, msg)
			if err == nil {
				sequence = ack.Sequence
				return nil
			}
			if !s.many || !changed(err) {
				return err
			}
			is, missing := s.leader(ctx, stream, getRequest{Last: msg.Subject})
			none := errors.Is(missing, jetstream.ErrMsgNotFound)
			switch {
			case missing != nil && !none:
				return missing
			case !none && first(is.Header, markHeader) == mark: // who refused it is the leader no longer, or it was sent twice
				sequence = is.Sequence
				return nil
			case none && on != 0 && !s.fresh.old(msg.Subject, 0), !none && is.Sequence != on && !s.fresh.old(msg.Subject, is.Sequence):
				return err
			}
			// Somebody's change is under way, maybe this one, or who answers is not the leader any more.
			if !again(ctx, settlePause) {
				return errUnsettled
			}
		}
	})
	if err == nil {
		s.written.mark(stream, sequence)
		s.saw(msg.Subject, sequence)
	}
	return sequence, err
}

// send sends a change once.
func (s *session) send(ctx context.Context, msg *nats.Msg) (*jetstream.PubAck, error) {
	if !s.many {
		return s.js.PublishMsg(ctx, msg)
	}
	ctx, cancel := context.WithTimeout(ctx, s.links.limit())
	defer cancel()
	return s.js.PublishMsg(ctx, msg, jetstream.WithRetryAttempts(0)) // insist does that
}

// changed reports whether a change was refused since it was made on another message than the
// last one.
func changed(err error) bool {
	c := code(err)
	return c == jetstream.JSErrCodeStreamWrongLastSequence || c == jetstream.JSErrCodeStreamWrongLastSequenceConstant
}

// getRequest asks for a message: that of a sequence, the last one of a subject, or the next
// one of a subject from a sequence on; or for the last ones of several subjects.
type getRequest struct {
	Sequence uint64   `json:"seq,omitempty"`
	Last     string   `json:"last_by_subj,omitempty"`
	Next     string   `json:"next_by_subj,omitempty"`
	Lasts    []string `json:"multi_last,omitempty"`
	Batch    int      `json:"batch,omitempty"`
	MaxBytes int      `json:"max_bytes,omitempty"`
}

// get returns a message as the stream's leader has it, or, while there is none, as one of its
// machines does. It is a jetstream.ErrMsgNotFound if there is none. That is asked for twice
// after a loss: see fresh.
func (s *session) get(ctx context.Context, stream string, req getRequest) (m *jetstream.RawStreamMsg, err error) {
	if !s.many {
		return s.replica(ctx, stream, req)
	}
	until, asked := time.Now().Add(electionLimit), 0
	for s.links.led(stream) {
		m, err = s.leader(ctx, stream, req)
		if silent, _ := silence(err); silent && ctx.Err() == nil {
			s.links.silentLeader(stream)
			break
		}
		sequence := uint64(0)
		if err == nil {
			if sequence = m.Sequence; req.Last != "" {
				s.saw(req.Last, sequence)
			}
		}
		asked++
		none := errors.Is(err, jetstream.ErrMsgNotFound)
		doubtful := none && asked == 1 && s.links.troubled() || (err == nil || none) && s.fresh.old(req.Last, sequence)
		if !doubtful || time.Now().After(until) || !again(ctx, firstPause) {
			return m, err
		}
	}
	err = s.try(ctx, false, func(ctx context.Context) error {
		m, err = s.replica(ctx, stream, req)
		return err
	})
	return m, err
}

// leader asks the leader alone.
func (s *session) leader(ctx context.Context, stream string, req getRequest) (*jetstream.RawStreamMsg, error) {
	answer, err := s.ask(ctx, "$JS.API.STREAM.MSG.GET."+stream, req)
	if err != nil {
		return nil, err
	}
	var rsp struct {
		Error   *jetstream.APIError `json:"error"`
		Message *struct {
			Subject  string    `json:"subject"`
			Sequence uint64    `json:"seq"`
			Header   []byte    `json:"hdrs"`
			Data     []byte    `json:"data"`
			Time     time.Time `json:"time"`
		} `json:"message"`
	}
	if err := json.Unmarshal(answer.Data, &rsp); err != nil {
		return nil, err
	}
	switch {
	case rsp.Error != nil && rsp.Error.ErrorCode == jetstream.JSErrCodeMessageNotFound:
		return nil, jetstream.ErrMsgNotFound
	case rsp.Error != nil:
		return nil, rsp.Error
	case rsp.Message == nil:
		return nil, errNoAnswer
	}
	is := &jetstream.RawStreamMsg{Subject: rsp.Message.Subject, Sequence: rsp.Message.Sequence, Data: rsp.Message.Data, Time: rsp.Message.Time}
	if len(rsp.Message.Header) > 0 {
		is.Header, err = nats.DecodeHeadersMsg(rsp.Message.Header)
	}
	return is, err
}

// replica asks any machine of a stream.
func (s *session) replica(ctx context.Context, stream string, req getRequest) (*jetstream.RawStreamMsg, error) {
	answer, err := s.ask(ctx, "$JS.API.DIRECT.GET."+stream, req)
	if err != nil {
		return nil, err
	}
	return rawOf(answer)
}

// rawOf reads a message that a machine has sent as it is.
func rawOf(m *nats.Msg) (*jetstream.RawStreamMsg, error) {
	switch status := first(m.Header, "Status"); status {
	case "":
	case "404":
		return nil, jetstream.ErrMsgNotFound
	default:
		return nil, fmt.Errorf("the engine says %s %s", status, first(m.Header, "Description"))
	}
	sequence, err := strconv.ParseUint(first(m.Header, jetstream.SequenceHeader), 10, 64)
	if err != nil {
		return nil, fmt.Errorf("the engine sends a message without a number: %w", err)
	}
	at, err := time.Parse(time.RFC3339Nano, first(m.Header, jetstream.TimeStampHeaer))
	if err != nil {
		return nil, fmt.Errorf("the engine sends a message without a time: %w", err)
	}
	return &jetstream.RawStreamMsg{Subject: first(m.Header, jetstream.SubjectHeader), Sequence: sequence, Header: m.Header, Data: m.Data, Time: at}, nil
}

func (s *session) ask(ctx context.Context, subject string, req getRequest) (*nats.Msg, error) {
	limit := answerLimit
	if s.many {
		limit = s.links.limit()
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	data, err := json.Marshal(req)
	if err != nil {
		return nil, err
	}
	answer, err := s.conn.RequestWithContext(ctx, subject, data)
	if errors.Is(err, nats.ErrConnectionClosed) {
		err = errClosed
	}
	return answer, err
}

// list returns the last message of each subject of filters, which may have wildcards. Any
// machine of the stream is asked: one that does not have yet what the leader and this
// process know is asked again.
func (s *session) list(ctx context.Context, stream string, filters []string) (got []*jetstream.RawStreamMsg, err error) {
	if !s.many {
		got, _, err = s.pages(ctx, stream, filters)
		return got, err
	}
	least := s.written.of(stream)
	if s.links.led(stream) {
		least = max(least, s.lastOf(ctx, stream))
	}
	for until := time.Now().Add(tryLimit); ; {
		upTo := uint64(0)
		err = s.try(ctx, false, func(ctx context.Context) (err error) {
			got, upTo, err = s.some(ctx, stream, getRequest{Lasts: filters, MaxBytes: batchBytes})
			return err
		})
		if errors.Is(err, errMore) {
			got, upTo, err = s.pages(ctx, stream, filters)
		}
		if err != nil || upTo >= least || time.Now().After(until) || !again(ctx, settlePause) {
			return got, err
		}
		if len(got) == 0 { // it does not say how far it is
			if none, err := s.none(ctx, stream, filters); none || err != nil {
				return nil, err
			}
		}
	}
}

// lastOf is the sequence of a stream's last message, as the leader knows it; 0 if it does not
// answer.
func (s *session) lastOf(ctx context.Context, stream string) uint64 {
	ctx, cancel := context.WithTimeout(ctx, tryLimit)
	defer cancel()
	is, err := s.js.Stream(ctx, stream)
	if err != nil {
		s.links.silentLeader(stream)
		return 0
	}
	return is.CachedInfo().State.LastSeq
}

// none reports whether there is no message of filters.
func (s *session) none(ctx context.Context, stream string, filters []string) (bool, error) {
	for _, filter := range filters {
		_, err := s.get(ctx, stream, getRequest{Next: filter, Sequence: 1})
		if err == nil || !errors.Is(err, jetstream.ErrMsgNotFound) {
			return false, err
		}
	}
	return true, nil
}

// pages is list for what does not fit into one answer. It says up to which message it has
// them, at least.
func (s *session) pages(ctx context.Context, stream string, filters []string) (got []*jetstream.RawStreamMsg, upTo uint64, err error) {
	last := map[string]int{} // of subjects in got: a message may be replaced meanwhile
	for _, filter := range filters {
		for next, more := uint64(1), true; more; {
			var page []*jetstream.RawStreamMsg
			err := s.try(ctx, false, func(ctx context.Context) (err error) {
				page, _, err = s.some(ctx, stream, getRequest{Next: filter, Sequence: next, Batch: batch, MaxBytes: batchBytes})
				return err
			})
			if more = errors.Is(err, errMore); err != nil && !more {
				return nil, 0, err
			}
			for _, m := range page {
				if i, again := last[m.Subject]; again {
					got[i] = m
				} else {
					last[m.Subject] = len(got)
					got = append(got, m)
				}
				next, upTo = m.Sequence+1, max(upTo, m.Sequence)
			}
		}
	}
	return got, upTo, nil
}

// errMore says that there are more messages than an answer has.
var errMore = errors.New("there are more")

// some returns the messages that a machine sends at a time, and up to which sequence it knows
// them, 0 if it does not say so.
func (s *session) some(ctx context.Context, stream string, req getRequest) (got []*jetstream.RawStreamMsg, upTo uint64, err error) {
	ctx, cancel := context.WithTimeout(ctx, answerLimit)
	defer cancel()
	data, err := json.Marshal(req)
	if err != nil {
		return nil, 0, err
	}
	sub, err := s.conn.SubscribeSync(s.conn.NewInbox())
	if err != nil {
		return nil, 0, s.overOr(err)
	}
	defer func() { _ = sub.Unsubscribe() }()
	if err := s.conn.PublishRequest("$JS.API.DIRECT.GET."+stream, sub.Subject, data); err != nil {
		return nil, 0, s.overOr(err)
	}
	for last := "0"; ; {
		m, err := sub.NextMsgWithContext(ctx)
		if err != nil {
			return nil, 0, s.overOr(err)
		}
		switch status := first(m.Header, "Status"); status {
		case "":
		case "204": // the end
			upTo, _ = strconv.ParseUint(first(m.Header, "Nats-UpTo-Sequence"), 10, 64)
			if first(m.Header, "Nats-Num-Pending") != "0" {
				err = errMore
			}
			return got, upTo, err
		case "404":
			return got, 0, nil
		case "413":
			return nil, 0, errMore
		case "503":
			return nil, 0, nats.ErrNoResponders
		}
		is, err := rawOf(m)
		if err != nil {
			return nil, 0, err
		}
		if before := first(m.Header, "Nats-Last-Sequence"); before != last {
			return nil, 0, fmt.Errorf("a message between %s and %s is missing: %w", last, before, nats.ErrTimeout)
		}
		last = strconv.FormatUint(is.Sequence, 10)
		got = append(got, is)
	}
}

// overOr is errClosed for an error of a session that has ended.
func (s *session) overOr(err error) error {
	if s.conn.IsClosed() {
		return errClosed
	}
	return err
}

// fresh is what this process has written or heard of lately. One who was the leader, and was
// stopped for a while, answers until it hears that there is another one.
type fresh struct {
	mu     sync.Mutex // guards the fields below:
	last   map[string]sight
	pruned time.Time
}

// sight is the last message of a subject.
type sight struct {
	sequence uint64
	at       time.Time
}

// saw remembers a subject's last message.
func (s *session) saw(subject string, sequence uint64) {
	if !s.many {
		return
	}
	f := &s.fresh
	f.mu.Lock()
	defer f.mu.Unlock()
	now := time.Now()
	if now.Sub(f.pruned) > remembers/4 {
		f.pruned = now
		for subject, is := range f.last {
			if now.Sub(is.at) > remembers {
				delete(f.last, subject)
			}
		}
	}
	if f.last == nil {
		f.last = map[string]sight{}
	}
	if f.last[subject].sequence < sequence {
		f.last[subject] = sight{sequence, now}
	}
}

// old reports whether an answer, 0 for none, is older than what is known of a subject.
func (f *fresh) old(subject string, sequence uint64) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	is := f.last[subject]
	return is.sequence > sequence && time.Since(is.at) < remembers
}
