package proxy

import (
	"context"
	"errors"
	"sync"
	"time"

	protobuf "google.golang.org/protobuf/proto"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/proxy/fleet"
)

const (
	// reorder is how long a line waits for older ones of other agents while a caller
	// follows: longer than a line needs over a network, shorter than a reader notices.
	reorder = 250 * time.Millisecond
	// maxTail bounds the lines that are held to find the last of several agents.
	maxTail = 10_000
)

// Logs implements transport.Interface. It merges the lines of several replicas by their
// times. If the connection to one agent fails, its error comes after the lines of the
// others.
func (p *Proxy) Logs(ctx context.Context, req *proto.LogsRequest, on func(*proto.LogLines) error) error {
	replicas, err := p.printed(ctx, req.GetName())
	if err != nil {
		return err
	}
	reads := make([]read, len(replicas))
	for i, r := range replicas {
		reads[i] = read{r, protobuf.CloneOf(req)}
	}
	switch {
	case len(reads) == 1:
		return p.readLogs(ctx, reads[0], on)
	case req.GetTail() > maxTail:
		return proto.Errorf(proto.ErrInvalid, "tail %d is more than the %d lines that are taken of several agents", req.GetTail(), maxTail)
	case req.GetTail() == 0:
		return p.mergeLogs(ctx, reads, on)
	}
	if err := p.lastLogs(ctx, reads, int(req.GetTail()), on); err != nil || !req.GetFollow() {
		return err
	}
	return p.mergeLogs(ctx, reads, on)
}

// read is the request to the agent of one replica.
type read struct {
	fleet.Replica
	req *proto.LogsRequest
}

// lastLogs passes on the last lines of all agents. It changes reads so that they ask for
// the lines after these.
func (p *Proxy) lastLogs(ctx context.Context, reads []read, limit int, on func(*proto.LogLines) error) error {
	past := make([]read, len(reads))
	for i, r := range reads {
		past[i] = read{r.Replica, protobuf.CloneOf(r.req)}
		past[i].req.Follow = false
		r.req.Tail = 0
	}
	var last []*proto.LogLine
	latest := map[string]string{} // by agent
	var lost uint64
	failed := p.mergeLogs(ctx, past, func(lines *proto.LogLines) error {
		lost += lines.GetLost()
		for _, line := range lines.GetLines() {
			latest[line.GetAtAgent()] = line.GetTime()
		}
		last = append(last, lines.GetLines()...)
		last = last[max(0, len(last)-limit):]
		return nil
	})
	for _, r := range reads {
		if at := timeOf(latest[r.Agent]); !at.IsZero() {
			r.req.Since = at.Add(1).Format(time.RFC3339Nano)
		}
	}
	for len(last) > 0 || lost > 0 {
		n := 0
		for n < len(last) && last[n].GetAtAgent() == last[0].GetAtAgent() {
			n++
		}
		if err := on(&proto.LogLines{Lines: last[:n], Lost: lost}); err != nil {
			return err
		}
		last, lost = last[n:], 0
	}
	if reads[0].req.GetFollow() && ctx.Err() == nil {
		return nil // following asks the failed agents again
	}
	return failed
}

// readLogs passes on the lines of one agent.
func (p *Proxy) readLogs(ctx context.Context, r read, on func(*proto.LogLines) error) error {
	agent, err := p.fleet.Connect(ctx, r.Agent)
	if err != nil {
		return err
	}
	return agent.Logs(ctx, r.req, on)
}

// mergeLogs passes on the lines of several agents.
func (p *Proxy) mergeLogs(ctx context.Context, reads []read, on func(*proto.LogLines) error) error {
	m := merge{streams: make([]stream, len(reads)), arrivals: make(chan arrival), follow: reads[0].req.GetFollow(), on: on}
	var readers sync.WaitGroup
	defer readers.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for i, r := range reads {
		taken := make(chan struct{}, 1)
		m.streams[i].taken = taken
		readers.Go(func() {
			err := p.readLogs(ctx, r, func(lines *proto.LogLines) error {
				select {
				case <-ctx.Done():
					return ctx.Err()
				case m.arrivals <- arrival{from: i, batch: lines}:
				}
				select {
				case <-ctx.Done():
					return ctx.Err()
				case <-taken:
					return nil
				}
			})
			select {
			case <-ctx.Done():
			case m.arrivals <- arrival{from: i, err: err}:
			}
		})
	}
	return m.run(ctx)
}

// merge orders the lines of several agents by their times. It holds one batch of each
// agent; when it has passed that on, the agent sends the next.
type merge struct {
	streams  []stream
	arrivals chan arrival
	follow   bool
	on       func(*proto.LogLines) error
}

// stream is what one agent sends.
type stream struct {
	batch  *proto.LogLines // nil: none has come
	since  time.Time       // when the batch came
	closed bool            // no further batch comes
	taken  chan<- struct{} // gets a value when the batch has been passed on; has room for one
}

// arrival is a batch or, without one, the end of a stream.
type arrival struct {
	from  int
	batch *proto.LogLines
	err   error
}

// run passes lines on until all streams are closed.
func (m *merge) run(ctx context.Context) error {
	var errs []error
	for {
		s, complete, waited := m.oldest()
		if s == nil && complete {
			return errors.Join(errs...)
		}
		if s != nil && (complete || m.follow && waited >= reorder) {
			if err := m.pass(s); err != nil {
				return err
			}
			continue
		}
		var late <-chan time.Time
		if s != nil && m.follow {
			late = time.After(reorder - waited)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-late:
		case a := <-m.arrivals:
			to := &m.streams[a.from]
			to.batch, to.since, to.closed = a.batch, time.Now(), a.batch == nil
			if a.err != nil {
				errs = append(errs, a.err)
			}
		}
	}
}

// oldest returns the stream with the oldest line, or nil; whether no older line can
// come; and the longest time that a batch has waited.
func (m *merge) oldest() (oldest *stream, complete bool, waited time.Duration) {
	complete = true
	for i := range m.streams {
		s := &m.streams[i]
		if s.batch == nil {
			complete = complete && s.closed
			continue
		}
		waited = max(waited, time.Since(s.since))
		if oldest == nil || s.head().Before(oldest.head()) {
			oldest = s
		}
	}
	return oldest, complete, waited
}

// head returns the time of the next line. A batch without lines comes before all.
func (s *stream) head() time.Time {
	if len(s.batch.GetLines()) == 0 {
		return time.Time{}
	}
	return timeOf(s.batch.GetLines()[0].GetTime())
}

// pass passes on the lines of a stream that are older than those of all others.
func (m *merge) pass(s *stream) error {
	lines := s.batch.GetLines()
	n := len(lines)
	for i := range m.streams {
		other := &m.streams[i]
		if other == s || other.batch == nil {
			continue
		}
		head, older := other.head(), min(1, n)
		for older < n && !timeOf(lines[older].GetTime()).After(head) {
			older++
		}
		n = older
	}
	out := &proto.LogLines{Lines: lines[:n], Lost: s.batch.GetLost()}
	s.batch.Lines, s.batch.Lost = lines[n:], 0
	if len(s.batch.Lines) == 0 {
		s.batch = nil
		s.taken <- struct{}{}
	}
	return m.on(out)
}
