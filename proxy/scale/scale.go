package scale

import (
	"fmt"
	"math"
	"time"
)

// The defaults of Windows.
const (
	Latest = time.Second      // for going up
	Panic  = 6 * time.Second  // a tenth of the stable window, as in Knative
	Stable = 60 * time.Second // as in Knative
)

const (
	band    = 0.1 // of a size: by so much the need must be above it
	slack   = 0.2 // of a process that stays free when others go: calls come by chance
	buckets = 240 // parts of the stable window that are told apart: 8 KiB for a function
	seconds = 60  // by which the window for going up is shorter than the stable one
)

// Windows are over which times a policy looks. The zero value is the defaults.
type Windows struct{ Latest, Panic, Stable time.Duration }

func (w Windows) whole() Windows {
	if w.Stable == 0 {
		w.Stable = Stable
	}
	if w.Panic == 0 {
		w.Panic = w.Stable / 10
	}
	if w.Latest == 0 {
		w.Latest = w.Stable / seconds
	}
	return w
}

// Bounds are what a function says of its size.
type Bounds struct {
	Min, Max int           // processes
	Target   float64       // calls in flight that each process should have, more than 0
	Idle     time.Duration // without a call, after which Min holds though it is 0; 0: never
}

// Size is what a policy decides.
type Size struct {
	Processes int
	Why       string // for people
}

// Policy decides for one function. It is told of calls in flight at times that do not go
// back, and remembers a stable window of them.
type Policy struct {
	windows Windows
	begun   bool
	last    time.Duration // of the newest reading
	level   float64       // what it read
	history [buckets]bucket
	busy    time.Duration // when there was a call last
	changed time.Duration // when the size changed last
	size    int
	why     string
}

// bucket is the calls in flight in a part of the stable window.
type bucket struct {
	number int64         // of the part, since time 0
	sum    float64       // calls in flight, times seconds
	over   time.Duration // of which so much is known
	burst  float64       // the most processes that a panic window needed which ended in it
}

// New returns the policy of a function that has a size.
func New(w Windows, size int) *Policy { return &Policy{windows: w.whole(), size: size} }

// Observe notes that there were so many calls in flight since the reading before, up to at.
func (p *Policy) Observe(at time.Duration, inFlight float64) {
	if !p.begun {
		p.begun, p.last, p.busy = true, at, at
	}
	width := p.windows.Stable / buckets
	for from := max(p.last, at-p.windows.Stable); from < at; {
		number := int64(from / width)
		to := min(at, time.Duration(number+1)*width)
		b := &p.history[number%buckets]
		if b.number != number {
			*b = bucket{number: number}
		}
		b.sum += inFlight * (to - from).Seconds()
		b.over += to - from
		from = to
	}
	if inFlight > 0 {
		p.busy = at
	}
	p.last, p.level = at, inFlight
}

// up is how many processes, or machines, a need takes. A millionth of one is none: averages that
// should be whole numbers are off by their last bits.
func up(need float64) int { return int(math.Ceil(need - 1e-6)) }

// average is that of calls in flight in the last part of a window, as far as it is known.
func (p *Policy) average(window time.Duration) float64 {
	width := p.windows.Stable / buckets
	newest := int64((p.last - 1) / width)
	sum, over := 0.0, time.Duration(0)
	for i := range buckets {
		b := p.history[i]
		if b.over > 0 && b.number <= newest && b.number > newest-max(1, int64(window/width)) {
			sum, over = sum+b.sum, over+b.over
		}
	}
	if over == 0 {
		return p.level
	}
	return sum / over.Seconds()
}

// Decide returns the size that a function should have now.
func (p *Policy) Decide(b Bounds) Size {
	least, most := max(b.Min, 0), max(b.Max, b.Min, 1)
	now, burst := p.average(p.windows.Latest)/b.Target, p.average(p.windows.Panic)/b.Target
	busiest := p.busiest(burst)
	size := float64(p.size)
	switch {
	case p.level == 0 && b.Idle > 0 && p.last-p.busy >= b.Idle:
		p.set(least, fmt.Sprintf("no call for %s", b.Idle))
	case p.size == 0 && p.level > 0:
		p.set(up(p.level/b.Target), fmt.Sprintf("%.0f calls came to none", p.level))
	case now > size*(1+band):
		p.set(up(now), fmt.Sprintf("%.1f calls in flight in the last %s, %g to a process", now*b.Target, p.windows.Latest, b.Target))
	case p.last-p.changed >= p.windows.Panic && p.size > 1:
		if enough := max(1, up(busiest/(1-slack)), p.size/2); enough < p.size {
			p.set(enough, fmt.Sprintf("%.1f calls in flight in the busiest %s of the last %s, %g to a process", busiest*b.Target, p.windows.Panic, p.windows.Stable, b.Target))
		}
	}
	if p.size < least {
		p.set(least, "min")
	}
	if p.size > most {
		p.set(most, fmt.Sprintf("max; the calls would need %d", p.size))
	}
	return Size{p.size, p.why}
}

// busiest notes what the panic window needs now, and returns the most that it has needed
// within the stable window.
func (p *Policy) busiest(burst float64) float64 {
	newest := int64((p.last - 1) / (p.windows.Stable / buckets))
	b := &p.history[newest%buckets]
	b.burst = max(b.burst, burst)
	most := burst
	for i := range p.history {
		b := &p.history[i]
		if b.number > newest-buckets && b.number <= newest {
			most = max(most, b.burst)
		}
	}
	return most
}

func (p *Policy) set(size int, why string) {
	if size != p.size {
		p.size, p.why, p.changed = size, why, p.last
	}
}

// Split divides processes among machines: evenly, as few machines as have room, the first
// ones first, and at least one process on each of the first least machines. room is how
// many each may have; more than all rooms together is divided evenly, since too full is
// better than too few.
func Split(processes int, room []int, least int) []int {
	if len(room) == 0 {
		return nil
	}
	used, total := 0, 0
	for used < len(room) && (used < least || total < processes) {
		total += max(1, room[used])
		used++
	}
	used = max(1, used)
	split := make([]int, len(room))
	for left := max(processes, min(least, used)); left > 0; left-- {
		best := 0
		for i := range used {
			fits, bestFits := split[i] < max(1, room[i]), split[best] < max(1, room[best])
			if fits && !bestFits || fits == bestFits && split[i] < split[best] {
				best = i
			}
		}
		split[best]++
	}
	return split
}
