package queue

import (
	"context"
	"sync"

	"github.com/Ishan27g/ryo-faas/proxy/gateway"
)

// counts is what this proxy has done, by function.
type counts struct {
	mu  sync.Mutex // guards the field below:
	all map[string]*gateway.Later
}

func (c *counts) change(path string, f func(*gateway.Later)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.all == nil {
		c.all = make(map[string]*gateway.Later)
	}
	if c.all[path] == nil {
		c.all[path] = &gateway.Later{Path: path}
	}
	f(c.all[path])
}

func (c *counts) begin(path string) (end func()) {
	c.change(path, func(l *gateway.Later) { l.Running++ })
	return func() { c.change(path, func(l *gateway.Later) { l.Running-- }) }
}

func (c *counts) attempt(path string, ok bool) {
	c.change(path, func(l *gateway.Later) {
		if ok {
			l.Succeeded++
		} else {
			l.Failed++
		}
	})
}

func (c *counts) died(path string) { c.change(path, func(l *gateway.Later) { l.Dead++ }) }

func (c *counts) calledBack(path string, ok bool) {
	c.change(path, func(l *gateway.Later) {
		if ok {
			l.Told++
		} else {
			l.Untold++
		}
	})
}

// Counts returns what is known of the calls of each function.
func (q *Queue) Counts(ctx context.Context) []gateway.Later {
	waiting := map[string]int{}
	topics, _ := q.store.Queue().Topics(ctx, callTopics)
	for _, topic := range topics {
		path, _, _ := parseTopic(topic)
		q.counts.change(path, func(*gateway.Later) {})
		if n, err := q.store.Queue().Pending(ctx, topic); err == nil {
			waiting[path] += n
		}
	}
	q.counts.mu.Lock()
	list := make([]gateway.Later, 0, len(q.counts.all))
	for _, l := range q.counts.all {
		list = append(list, *l)
	}
	q.counts.mu.Unlock()
	for i := range list {
		list[i].Waiting = waiting[list[i].Path]
	}
	return list
}
