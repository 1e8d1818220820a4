package queue

import (
	"context"
	"slices"
	"strings"
	"sync"

	"github.com/Ishan27g/ryo-faas/proto"
)

// The priorities of calls of one function.
const (
	high   = "high"
	normal = "normal"
	low    = "low"
)

// priorities are all of them, and shares how many places of each 21 that become free
// their calls get while calls of all priorities wait: so that those of low priority wait
// longer, but not for ever.
var (
	priorities = [...]string{high, normal, low}
	shares     = [...]int{16, 4, 1}
)

const allShares = 16 * 4 // that each of shares divides

// topicOf is the topic of a function's calls of a priority. Each priority has messages, and
// a limit of them, of its own.
func topicOf(path, priority string) string {
	if priority == "" || priority == normal {
		return callTopics + "/" + path
	}
	return callTopics + "/" + path + "/" + priority
}

// topicsOf are all topics of a function's calls.
func topicsOf(path string) (all []string) {
	for _, p := range priorities {
		all = append(all, topicOf(path, p))
	}
	return all
}

// parseTopic returns whose calls have a topic. ok says that it is one of calls.
func parseTopic(topic string) (path, priority string, ok bool) {
	path, ok = strings.CutPrefix(topic, callTopics+"/")
	path, priority, _ = strings.Cut(path, "/")
	if priority == "" {
		priority = normal
	}
	return path, priority, ok
}

// checkPriority reads what a caller asks for; "": nothing.
func checkPriority(text string) (string, error) {
	if text == normal {
		return "", nil
	}
	if text != "" && !slices.Contains(priorities[:], text) {
		return "", proto.Errorf(proto.ErrInvalid, "%.40q is no priority; it is one of %s", text, strings.Join(priorities[:], ", "))
	}
	return text, nil
}

// pool is the places of one function at this proxy, which its calls of all priorities
// share. Its zero value has none.
type pool struct {
	mu      sync.Mutex // guards the fields below:
	limit   int
	taken   int
	waiting [len(priorities)][]chan struct{}
	// passed is how much of its share each priority has had (stride scheduling, Waldspurger
	// and Weihl, 1995): the one that has had least is next.
	passed [len(priorities)]int
	now    int // that of the one that was next last, before its turn
}

// resize sets how many places there are.
func (p *pool) resize(limit int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.limit = limit
	p.hand()
}

// take waits for a place, and reports whether it got one before ctx was done. Give it back.
func (p *pool) take(ctx context.Context, priority string) bool {
	mine, of := make(chan struct{}), max(0, slices.Index(priorities[:], priority))
	p.mu.Lock()
	if len(p.waiting[of]) == 0 { // it does not make up for the time in which none of it waited
		p.passed[of] = max(p.passed[of], p.now)
	}
	p.waiting[of] = append(p.waiting[of], mine)
	p.hand()
	p.mu.Unlock()
	select {
	case <-mine:
		return true
	case <-ctx.Done():
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if i := slices.Index(p.waiting[of], mine); i >= 0 {
		p.waiting[of] = slices.Delete(p.waiting[of], i, i+1)
		return false
	}
	p.taken-- // it came at the same time
	p.hand()
	return false
}

// give gives a place back.
func (p *pool) give() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.taken--
	p.hand()
}

// hand hands free places out.
func (p *pool) hand() {
	for p.taken < p.limit {
		next := -1
		for i, w := range p.waiting {
			if len(w) > 0 && (next < 0 || p.passed[i] < p.passed[next]) {
				next = i
			}
		}
		if next < 0 {
			return
		}
		close(p.waiting[next][0])
		p.waiting[next] = p.waiting[next][1:]
		p.now = p.passed[next]
		p.passed[next] += allShares / shares[next]
		p.taken++
	}
}
