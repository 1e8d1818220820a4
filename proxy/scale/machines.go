package scale

import "time"

// Machines decides on how many machines a function is: over processes first, and then
// machines. It remembers a stable window.
type Machines struct {
	stable time.Duration
	n      int
	fewer  bool          // fewer would do,
	since  time.Duration // since then,
	peak   int           // and so many at least
}

// NewMachines returns what decides for a function that is on n machines.
func NewMachines(w Windows, n int) *Machines { return &Machines{stable: w.whole().Stable, n: n} }

// Decide returns on how many machines a function of so many processes should be, each of which has
// room for some, from least to most. Up it goes at once. Down it goes once all of them had room,
// with a fifth left free, on fewer for a stable window: to come to a machine takes longer than
// to start a process.
func (m *Machines) Decide(at time.Duration, processes, room, least, most int) int {
	within := func(n int) int { return min(max(n, least, 1), max(most, 1)) }
	room = max(room, 1)
	need := within((processes + room - 1) / room)
	easy := within(up(float64(processes) / (float64(room) * (1 - slack))))
	switch {
	case need >= within(m.n):
		m.n, m.fewer = need, false
	case easy >= within(m.n):
		m.n, m.fewer = within(m.n), false
	case !m.fewer:
		m.fewer, m.since, m.peak = true, at, easy
	default:
		if m.peak = max(m.peak, easy); at-m.since >= m.stable {
			m.n, m.fewer = m.peak, false
		}
	}
	return within(m.n)
}
