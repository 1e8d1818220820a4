package store

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"maps"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// The limits of messages that are stored together: the engine's own is 1,000, and they are
// in memory meanwhile.
const (
	// minTogether is how many messages are worth it: the engine first writes them to files
	// of their own, which costs as much as to sync the disk for eight messages.
	minTogether      = 12
	maxTogether      = 256
	maxTogetherBytes = 4 * mib
)

// publisher stores messages of many callers together, so that the disk is synced once for
// all of them. A caller who finds nobody else before it waits for nobody.
type publisher struct {
	js    jetstream.JetStream
	limit time.Duration // of an answer

	mu      sync.Mutex // guards the fields below:
	waiting []*letter
	busy    bool // one of the callers stores those that wait
}

// letter is a message on its way to the disk.
type letter struct {
	msg  *nats.Msg
	ack  *jetstream.PubAck
	err  error
	done chan struct{}
}

// publish stores a message. After ctx's end it may be stored all the same.
func (p *publisher) publish(ctx context.Context, msg *nats.Msg) (*jetstream.PubAck, error) {
	l := &letter{msg: msg, done: make(chan struct{})}
	p.mu.Lock()
	p.waiting = append(p.waiting, l)
	mine := !p.busy
	p.busy = true
	p.mu.Unlock()
	if mine {
		go p.store(context.WithoutCancel(ctx))
	}
	select {
	case <-l.done:
		return l.ack, l.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// store stores what waits until nothing does.
func (p *publisher) store(ctx context.Context) {
	for {
		letters := p.next()
		if letters == nil {
			return
		}
		limited, cancel := context.WithTimeout(ctx, p.limit)
		if len(letters) < minTogether || !p.together(limited, letters) {
			var all sync.WaitGroup
			for _, l := range letters {
				all.Go(func() { l.ack, l.err = p.js.PublishMsg(limited, l.msg) })
			}
			all.Wait()
		}
		cancel()
		for _, l := range letters {
			close(l.done)
		}
	}
}

// next takes those that are stored together next, nil if nobody waits.
func (p *publisher) next() (letters []*letter) {
	p.mu.Lock()
	defer p.mu.Unlock()
	size := 0
	for i, l := range p.waiting {
		size += len(l.msg.Data)
		if i == maxTogether || i > 0 && size > maxTogetherBytes {
			break
		}
		letters = p.waiting[:i+1]
	}
	p.waiting = p.waiting[len(letters):]
	p.busy = len(letters) > 0
	return letters
}

// batchAck is what the engine answers to the last message of a batch.
type batchAck struct {
	Error    *jetstream.APIError `json:"error"`
	Stream   string              `json:"stream"`
	Sequence uint64              `json:"seq"`
	Count    int                 `json:"count"`
}

// together stores messages as one: all or none. It returns false if none was stored since
// one of them is refused, as one that is there already, or for which there is no room: then
// each is to be stored by itself.
func (p *publisher) together(ctx context.Context, letters []*letter) bool {
	id, conn := rand.Text(), p.js.Conn()
	var answer *nats.Msg
	var err error
	for i, l := range letters {
		msg := &nats.Msg{Subject: l.msg.Subject, Header: maps.Clone(l.msg.Header), Data: l.msg.Data}
		msg.Header["Nats-Batch-Id"] = []string{id}
		msg.Header["Nats-Batch-Sequence"] = []string{strconv.Itoa(i + 1)}
		if i < len(letters)-1 {
			err = conn.PublishMsg(msg)
		} else {
			msg.Header["Nats-Batch-Commit"] = []string{"1"}
			answer, err = conn.RequestMsgWithContext(ctx, msg)
		}
		if err != nil {
			break
		}
	}
	var ack batchAck
	if err == nil {
		err = json.Unmarshal(answer.Data, &ack)
	}
	if err == nil && ack.Error != nil {
		return false
	}
	if err == nil && ack.Count != len(letters) {
		err = fmt.Errorf("the engine has stored %d messages of %d", ack.Count, len(letters))
	}
	for i, l := range letters {
		if l.err = err; err == nil {
			l.ack = &jetstream.PubAck{Stream: ack.Stream, Sequence: ack.Sequence - uint64(len(letters)-1-i)} //nolint:gosec // it counts messages
		}
	}
	return true
}
