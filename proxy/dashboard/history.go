package dashboard

import (
	"cmp"
	"context"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/Ishan27g/ryo-faas/proto"
)

// How the history is kept.
const (
	sampleEvery = 2 * time.Second
	// keptSamples are five minutes of them: 150 for each function, of about 200 bytes and its
	// buckets.
	keptSamples = 150
	// lately is the part of them that numbers in tables are about, a minute.
	lately = 30
	// lingers is how long samples are taken after somebody looked: a page that is opened
	// again has its pictures. When nobody looks, agents are not asked.
	lingers = 10 * time.Minute
	// sampleLimit is for agents to answer; one that does not delays the others' numbers.
	sampleLimit = 10 * time.Second
)

// history is what functions did in the last minutes, all of them in this process's memory.
type history struct {
	usage func(context.Context) ([]*proto.Usage, error)
	kick  chan struct{} // somebody looks; one waits at most

	mu        sync.Mutex // guards the fields below
	looked    time.Time
	functions map[string]*series // by path
	agents    map[string]load    // by address, as of the last sample
	before    map[counted]counts // the counts of the last sample
	last      time.Time          // when it was taken
	taken     chan struct{}      // closed at the next sample
}

// series are the samples of one function, oldest first.
type series struct{ samples []sample }

// sample is what became of a function since the sample before.
type sample struct {
	at            time.Time
	calls, errors float64 // a second
	took          []bucket
	cpu           float64 // processors
	memory        uint64  // bytes
	inFlight      uint32
	processes     int
	version       uint32 // the newest that serves
}

// bucket counts calls that took about so long.
type bucket struct {
	seconds float64
	calls   uint64
}

// load is what all functions use of an agent.
type load struct {
	cpu       float64 // processors
	memory    uint64  // bytes
	processes int
	inFlight  uint32
}

// counted is what counts since a start: calls of a version, or a process.
type counted struct {
	function, agent string
	version         uint32
	pid             int32
	since           string
}

type counts struct {
	calls, errors uint64
	took          map[int32]uint64
	cpu           float64
}

func newHistory(usage func(context.Context) ([]*proto.Usage, error)) *history {
	return &history{usage: usage, kick: make(chan struct{}, 1), functions: map[string]*series{}, taken: make(chan struct{})}
}

// run takes samples while somebody looks, until ctx is done.
func (h *history) run(ctx context.Context) {
	ticks := time.NewTicker(sampleEvery)
	defer ticks.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-h.kick:
		case <-ticks.C:
		}
		if !h.wanted() {
			continue
		}
		within, cancel := context.WithTimeout(ctx, sampleLimit)
		list, err := h.usage(within)
		cancel()
		if err == nil {
			h.take(list, time.Now())
		}
	}
}

// look says that somebody looks, and returns what is closed when there is more to see.
func (h *history) look() <-chan struct{} {
	h.mu.Lock()
	defer h.mu.Unlock()
	first := time.Since(h.looked) > lingers
	h.looked = time.Now()
	if first {
		select {
		case h.kick <- struct{}{}:
		default:
		}
	}
	return h.taken
}

func (h *history) wanted() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if time.Since(h.looked) <= lingers {
		return true
	}
	clear(h.functions)
	h.before, h.agents = nil, nil
	return false
}

// take adds a sample of each function that is in list.
func (h *history) take(list []*proto.Usage, now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	gone := now.Sub(h.last).Seconds()
	first := h.before == nil || gone <= 0
	next, at, agents := map[counted]counts{}, map[string]*sample{}, map[string]load{}
	of := func(name string) *sample {
		path := proto.Path(name)
		if at[path] == nil {
			at[path] = &sample{at: now}
		}
		return at[path]
	}
	buckets := map[string]map[int32]uint64{}
	for _, u := range list {
		if u.GetError() != "" {
			continue
		}
		s := of(u.GetFunction())
		key := counted{u.GetFunction(), u.GetAtAgent(), u.GetVersion(), u.GetPid(), u.GetSince()}
		was, known := h.before[key]
		if t := u.GetTraffic(); t != nil {
			c := counts{calls: t.GetCalls(), errors: t.GetErrors(), took: map[int32]uint64{}}
			for _, b := range t.GetTook() {
				c.took[b.GetBucket()] = b.GetCalls()
			}
			next[key] = c
			s.version, s.inFlight = max(s.version, u.GetVersion()), s.inFlight+t.GetInFlight()
			if first || c.calls < was.calls { // the proxy's counts have begun anew
				continue
			}
			s.calls += float64(c.calls-was.calls) / gone
			s.errors += float64(c.errors-min(was.errors, c.errors)) / gone
			path := proto.Path(u.GetFunction())
			if buckets[path] == nil {
				buckets[path] = map[int32]uint64{}
			}
			for b, n := range c.took {
				buckets[path][b] += n - min(n, was.took[b])
			}
			continue
		}
		next[key] = counts{cpu: u.GetCpuSeconds()}
		s.memory += u.GetResident()
		s.processes++
		l := agents[u.GetAtAgent()]
		l.memory, l.processes, l.inFlight = l.memory+u.GetResident(), l.processes+1, l.inFlight+u.GetInFlight()
		if known && !first {
			used := max(0, u.GetCpuSeconds()-was.cpu) / gone
			s.cpu, l.cpu = s.cpu+used, l.cpu+used
		}
		agents[u.GetAtAgent()] = l
	}
	for path, s := range at {
		for b, n := range buckets[path] {
			if n > 0 {
				s.took = append(s.took, bucket{(&proto.Took{Bucket: b}).Middle(), n})
			}
		}
		if h.functions[path] == nil {
			h.functions[path] = new(series)
		}
		h.functions[path].add(*s)
	}
	for path := range h.functions {
		if at[path] == nil {
			delete(h.functions, path)
		}
	}
	h.before, h.last, h.agents = next, now, agents
	close(h.taken)
	h.taken = make(chan struct{})
}

func (s *series) add(next sample) {
	if len(s.samples) == keptSamples {
		s.samples = slices.Delete(s.samples, 0, 1)
	}
	s.samples = append(s.samples, next)
}

// of returns the samples of a function, oldest first. They are the caller's.
func (h *history) of(name string) []sample {
	h.mu.Lock()
	defer h.mu.Unlock()
	if s := h.functions[proto.Path(name)]; s != nil {
		return slices.Clone(s.samples)
	}
	return nil
}

// load returns what functions use of an agent.
func (h *history) load(agent string) (load, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	l, ok := h.agents[agent]
	return l, ok
}

// recent are the last samples, at most so many.
func recent(list []sample, n int) []sample { return list[max(0, len(list)-n):] }

// rate returns how many calls a second there were, and which part of them failed.
func rate(list []sample) (calls, failed float64) {
	if len(list) == 0 {
		return 0, 0
	}
	var errors float64
	for _, s := range list {
		calls += s.calls
		errors += s.errors
	}
	if calls > 0 {
		failed = errors / calls
	}
	return calls / float64(len(list)), failed
}

// quantile returns how many seconds a part of the calls took at most, to about a
// twentieth; NaN without a call.
func quantile(list []sample, part float64) float64 {
	var all []bucket
	var total, below uint64
	for _, s := range list {
		all = append(all, s.took...)
		for _, b := range s.took {
			total += b.calls
		}
	}
	if total == 0 {
		return math.NaN()
	}
	slices.SortFunc(all, func(a, b bucket) int { return cmp.Compare(a.seconds, b.seconds) })
	rank := uint64(math.Ceil(part * float64(total)))
	for _, b := range all {
		if below += b.calls; below >= rank {
			return b.seconds
		}
	}
	return all[len(all)-1].seconds
}
