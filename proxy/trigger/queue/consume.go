package queue

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/Ishan27g/ryo-faas/proxy/gateway"
	"github.com/Ishan27g/ryo-faas/proxy/store"
)

const (
	// lookEvery is how soon a topic is found in which another proxy has put a message, or a
	// message's time has come. It costs a look at the topics that have some.
	lookEvery = time.Second
	// idleAfter is how long a consumer is kept that has nothing to do: it takes tens of KiB,
	// and a moment to begin.
	idleAfter = time.Minute
	// defaultPlaces is how many calls of a function are made at the same time that does not
	// say how many it serves, by all proxies together.
	defaultPlaces = 32
	maxPlaces     = 256
	// lastCalls is how long calls may go on when the queue stops. What is cut off is made
	// again.
	lastCalls = 5 * time.Second
	// storeLimit is how long it is tried to write down what became of a call, before it is
	// made again.
	storeLimit = 10 * time.Second
)

// consumer takes the messages of one topic.
type consumer struct {
	cancel context.CancelFunc
	limit  int
	ahead  int // messages that are handed out beyond limit
	ended  chan struct{}
	busy   atomic.Int32 // messages that are handled
	last   atomic.Int64 // when the last one was, in nanoseconds since 1970
}

// Run makes calls until ctx is done. It is called once. Calls under way then have a few
// seconds to end; the others are made again, by another proxy or the next one.
func (q *Queue) Run(ctx context.Context) {
	work, stop := context.WithCancelCause(context.WithoutCancel(ctx))
	defer stop(nil)
	defer context.AfterFunc(ctx, func() { time.AfterFunc(lastCalls, func() { stop(errStopped) }) })()
	var others sync.WaitGroup
	defer others.Wait()
	others.Go(func() { q.sweep(ctx) })
	consumers := make(map[string]*consumer)
	ensure := func(topic string) {
		limit, ahead := q.places(topic), 0
		if contended(consumers, topic) {
			ahead = 1
		}
		if c := consumers[topic]; c != nil && !c.over() {
			if c.limit == limit && c.ahead == ahead {
				return
			}
			c.cancel() // it ends when its last call has
		}
		consumers[topic] = q.consume(ctx, work, topic, limit, ahead, &others)
	}
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	for {
		for _, topic := range q.topics(ctx) {
			ensure(topic)
		}
		q.endIdle(ctx, consumers)
		for looking := false; !looking; {
			select {
			case <-ctx.Done():
				return
			case topic := <-q.hints:
				ensure(topic)
			case <-look.C:
				looking = true
			}
		}
	}
}

// contended reports whether calls of another priority, too, wait for the places of a
// function. Then one more of each is handed out than there are places: of those that wait
// here, a place that becomes free goes to the most important one.
func contended(consumers map[string]*consumer, topic string) bool {
	path, _, ok := parseTopic(topic)
	return ok && slices.ContainsFunc(topicsOf(path), func(other string) bool {
		c := consumers[other]
		return other != topic && c != nil && !c.over()
	})
}

// topics returns those that have messages, as far as they can be read.
func (q *Queue) topics(ctx context.Context) (all []string) {
	for _, prefix := range []string{callTopics, callbackTopics, noticeTopics} {
		topics, err := q.store.Queue().Topics(ctx, prefix)
		if err != nil && ctx.Err() == nil {
			q.Logger.Debug("the topics of the queue cannot be read", "error", err)
		}
		all = append(all, topics...)
	}
	return all
}

func (c *consumer) over() bool {
	select {
	case <-c.ended:
		return true
	default:
		return false
	}
}

// endIdle ends the consumers that have nothing to do, and forgets those that have ended.
func (q *Queue) endIdle(ctx context.Context, consumers map[string]*consumer) {
	for topic, c := range consumers {
		if c.over() {
			delete(consumers, topic)
			continue
		}
		if c.busy.Load() > 0 || time.Since(time.Unix(0, c.last.Load())) < idleAfter {
			continue
		}
		if n, err := q.store.Queue().Pending(ctx, topic); err == nil && n == 0 {
			c.cancel()
		}
	}
}

// consume begins to handle the messages of a topic.
func (q *Queue) consume(ctx, work context.Context, topic string, limit, ahead int, all *sync.WaitGroup) *consumer {
	ctx, cancel := context.WithCancel(ctx)
	c := &consumer{cancel: cancel, limit: limit, ahead: ahead, ended: make(chan struct{})}
	c.last.Store(time.Now().UnixNano())
	handle := q.callBack
	if strings.HasPrefix(topic, noticeTopics+"/") {
		handle = q.notify
	}
	if path, priority, ok := parseTopic(topic); ok {
		shared := q.placesFor(path)
		shared.resize(limit)
		handle = func(work context.Context, m store.Message, _ int) store.Verdict {
			if !shared.take(ctx, priority) {
				return again(0)
			}
			defer shared.give()
			return q.call(work, m)
		}
	}
	all.Go(func() {
		defer close(c.ended)
		defer cancel()
		// A consumer that is replaced lets its calls end: they have a context of their own.
		err := q.store.Queue().Consume(ctx, topic, limit+ahead, func(_ context.Context, m store.Message, attempt int) store.Verdict {
			c.busy.Add(1)
			defer func() {
				c.last.Store(time.Now().UnixNano())
				c.busy.Add(-1)
			}()
			return handle(work, m, attempt)
		})
		if err != nil && !errors.Is(err, context.Canceled) && ctx.Err() == nil {
			q.Logger.Warn("messages are not handled for now", "topic", topic, "error", err)
		}
	})
	return c
}

// places is how many messages of a topic are handled at the same time, by all proxies.
func (q *Queue) places(topic string) int {
	path, _, isCalls := parseTopic(topic)
	switch {
	case isCalls:
	case strings.HasPrefix(topic, noticeTopics+"/"):
		return 1 // in order
	default:
		return callbackPlaces
	}
	f, _ := q.Gateway.Function(path)
	return placesOf(f)
}

// placesFor are those that all calls of a function share here.
func (q *Queue) placesFor(path string) *pool {
	q.mu.Lock()
	defer q.mu.Unlock()
	p := q.pools[path]
	if p == nil {
		p = new(pool)
		q.pools[path] = p
	}
	return p
}

func placesOf(f gateway.Function) int {
	if f.Places == 0 {
		return defaultPlaces
	}
	return min(f.Places, maxPlaces)
}

// hint says that a topic may have a message.
func (q *Queue) hint(topic string) {
	select {
	case q.hints <- topic:
	default: // the next look finds it
	}
}
