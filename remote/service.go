package remote

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"syscall"
	"time"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/remote/disk"
	"github.com/Ishan27g/ryo-faas/remote/process"
)

// run owns all fields of a service and calls all of its methods except idleSince, which
// gets what it needs.

const (
	// A process that exits is started again at once, then after backoffFirst, doubled
	// each time up to backoffMost. After one that ran for healthy the count begins anew.
	backoffFirst = 100 * time.Millisecond
	backoffMost  = 30 * time.Second
	healthy      = time.Minute
	// crashLoop is the number of crashes in a row after which callers are refused at once
	// instead of waiting for the next process.
	crashLoop = 5
	// pinnedIdle is how long a version that is called by its number stays without calls.
	pinnedIdle = time.Minute
	// statsLimit is how long a process may take to say how busy it is.
	statsLimit = 2 * time.Second
)

// service is sockets and the processes of one version that serve on them. What it
// should be follows from its version and from whether it is asleep; tend closes the
// difference.
type service struct {
	f       *function
	version *disk.Version // nil: none has been ready yet
	weight  uint32        // percentage of the calls
	pinned  bool          // it is closed when it is idle
	port    int
	sockets *process.Sockets // nil while callers are refused

	procs       []*instance // that serve
	cancelStart func()      // of the start of one more process; nil: no start is under way
	asleep      bool        // idle: it keeps no more processes than the setting min
	cancelWake  func()      // the wait for a caller while it is asleep; nil: none
	pausing     bool        // the service has been told that the function is paused
	unpause     func()      // stops the answers to callers meanwhile; nil: there are none

	seen     bool      // version has been ready under this agent
	problem  *failure  // why a process is missing
	failures int       // processes that exited, and starts that failed, in a row
	retry    time.Time // of the next start
	look     time.Time // when it may be idle
	asking   bool      // its processes are being asked whether they are idle
	until    time.Time // when it is closed; zero: not by itself
}

// number is that of the service's version, 0 for none.
func (s *service) number() uint32 {
	if s.version == nil {
		return 0
	}
	return s.version.Number
}

// wanted is the number of processes that there should be.
func (s *service) wanted() int {
	if s.asleep {
		return int(s.version.Spec.GetMin())
	}
	if s == s.f.main {
		return s.f.size(s.version)
	}
	return s.version.Spec.Processes()
}

// refusing reports whether the service refuses callers for now.
func (s *service) refusing() bool { return s.failures >= crashLoop && len(s.procs) == 0 }

// tend closes the difference between what the service should be and what it is.
// It returns when it is to be called again at the latest; zero: never.
func (s *service) tend(now time.Time) time.Time {
	switch {
	case s.f.paused && (s.f.next == nil || s.f.next.at != s):
		s.pause()
		return time.Time{}
	case s.version == nil || s.cancelStart != nil:
		return time.Time{}
	case len(s.procs) > s.wanted() && s == s.f.main && s.f.resized > 0 && !s.asleep:
		s.shrink()
		return s.mayRest(now)
	case len(s.procs) >= s.wanted():
		return s.mayRest(now)
	case now.Before(s.retry):
		return s.retry
	}
	s.grow()
	return s.retry
}

// shrink stops the processes that are too many once they have finished their calls.
func (s *service) shrink() {
	old := slices.Clone(s.procs[s.wanted():])
	s.procs = slices.Clone(s.procs[:s.wanted()])
	s.f.logger.Info("fewer processes", "version", s.version.Number, "processes", len(s.procs))
	s.f.retire(old, func() {})
}

// startsAtOnce is how many processes are started at the same time beside others that
// serve: a start takes a processor for some 50 ms, which those need, too.
const startsAtOnce = 8

// grow starts one more process, or, where some serve already, those that are missing.
func (s *service) grow() {
	n := 1
	if len(s.procs) > 0 {
		n = min(s.wanted()-len(s.procs), startsAtOnce)
	}
	if err := s.open(); err != nil {
		s.countFailure(trouble(s.version, err))
		return
	}
	v := s.version
	s.cancelStart = s.f.begin(v, n, s.sockets, false, nil, func(r result) {
		s.cancelStart = nil
		if r.fail != nil {
			if s.seen && r.fail.Reason == proto.ReasonStart {
				r.fail.Reason = proto.ReasonCrash // it could start before
			}
			s.countFailure(r.fail)
			return
		}
		if r.program != nil { // the one before was damaged
			v.Program = r.program
			s.f.save()
			s.f.work.Go(func() { s.f.persist(v, r.program) })
		}
		s.add(r.procs)
		s.f.logger.Info("started", "version", s.version.Number, "pid", r.procs[0].Pid(), "processes", len(s.procs))
	})
}

// add adds processes that have answered to those that serve.
func (s *service) add(procs []*instance) {
	for _, p := range procs {
		s.f.watch(s, p)
	}
	s.procs = append(s.procs, procs...)
	s.seen, s.problem, s.retry = true, nil, time.Time{}
	s.look = time.Now().Add(s.idle())
}

// replace puts processes of a version in place of the old ones, drains these and
// returns them.
func (s *service) replace(v *disk.Version, procs []*instance) (old []*instance) {
	s.cancel()
	old, s.procs = s.procs, nil
	s.version, s.asleep, s.failures = v, false, 0
	s.f.drain(old)
	s.add(procs)
	return old
}

// cancel cancels starts, wakes and pauses that are under way.
func (s *service) cancel() {
	if s.cancelStart != nil {
		s.cancelStart()
		s.cancelStart = nil
	}
	if s.cancelWake != nil {
		s.cancelWake()
		s.cancelWake = nil
	}
	if s.unpause != nil {
		s.unpause()
		s.unpause = nil
	}
	s.pausing = false
}

// exited notes that a process has exited by itself.
func (s *service) exited(p *instance, crash *proto.Crash) {
	i := slices.Index(s.procs, p)
	if i < 0 {
		return // it was stopped
	}
	s.procs = slices.Delete(s.procs, i, i+1)
	if time.Since(p.since) >= healthy {
		s.failures = 0
	}
	why := fail(p.serves(), proto.ReasonCrash, errors.New("the process exited: "+crash.GetCause()))
	why.crash = crash
	s.countFailure(why)
}

// countFailure counts a process that failed and sets the time of the next start.
func (s *service) countFailure(why *failure) {
	s.f.remember(why.crash)
	s.problem = why
	s.failures++
	if s.seen {
		s.f.restarts++
	}
	wait := backoff(s.failures)
	s.retry = time.Now().Add(wait)
	s.f.logger.Warn("process failed", "version", s.version.Number, "error", why.Text, "failures", s.failures, "restart", wait)
	s.refuseCallers()
}

// refuseCallers refuses callers when no process is about to start, instead of letting them
// wait in the backlog.
func (s *service) refuseCallers() {
	if s.f.next != nil && s.f.next.at == s || s.version != nil && !s.refusing() {
		return
	}
	if s.close(); s.version == nil {
		s.stop()
	}
}

// backoff is the time from the nth failure in a row to the next start.
func backoff(failures int) time.Duration {
	if failures <= 1 {
		return 0
	}
	wait := backoffMost
	if doublings := failures - 2; doublings < 16 { // a larger shift could overflow
		wait = min(backoffFirst<<doublings, backoffMost)
	}
	// Functions that crashed together should not start together.
	return time.Duration(float64(wait) * (0.8 + 0.4*rand.Float64()))
}

// idle is how long processes without connections are kept; 0: for ever.
func (s *service) idle() time.Duration {
	if s.pinned {
		return pinnedIdle
	}
	return s.version.Idle()
}

// mayRest asks the processes whether the service is idle, if it can be by now. It
// returns when it is to be called again; zero: after an event.
func (s *service) mayRest(now time.Time) time.Time {
	switch {
	case s.asleep || s.asking || s.idle() == 0 || !s.pinned && len(s.procs) <= int(s.version.Spec.GetMin()):
		return time.Time{}
	case now.Before(s.look):
		return s.look
	}
	s.asking = true
	procs := slices.Clone(s.procs)
	s.f.work.Go(func() {
		idle := s.idleSince(procs)
		s.f.post(func() {
			s.asking = false
			switch {
			case !slices.Equal(procs, s.procs): // they have changed
				s.look = time.Now().Add(s.idle())
			case idle < s.idle():
				s.look = time.Now().Add(s.idle() - idle)
			default:
				s.rest()
			}
		})
	})
	return time.Time{}
}

// idleSince is how long no process of procs has had a connection.
func (s *service) idleSince(procs []*instance) time.Duration {
	ctx, cancel := context.WithTimeout(context.Background(), statsLimit)
	defer cancel()
	least := time.Duration(math.MaxInt64)
	for _, p := range procs {
		stats, err := p.Stats(ctx)
		if err != nil || stats.Connections > 0 || stats.InFlight > 0 {
			return 0
		}
		least = min(least, stats.Idle)
	}
	return least
}

// rest stops the processes that an idle service does not keep. The next caller waits in
// the backlog until they are started again.
func (s *service) rest() {
	if s.pinned {
		s.f.closePinned(s)
		return
	}
	s.asleep = true
	old := s.procs[s.wanted():]
	s.procs = slices.Clone(s.procs[:s.wanted()])
	s.f.logger.Info("idle", "version", s.version.Number, "processes", len(s.procs))
	s.f.retire(old, func() {
		s.arm() // only now: the old processes take no more callers
	})
}

// arm makes the next caller wake the service, if it is asleep.
func (s *service) arm() {
	if !s.asleep || s.sockets == nil || s.cancelWake != nil {
		return
	}
	ready, cancel := s.f.agent.waker.Wait(s.sockets)
	canceled := make(chan struct{})
	s.cancelWake = func() { cancel(); close(canceled) }
	s.f.work.Go(func() {
		select {
		case <-ready:
			s.f.post(s.wake)
		case <-canceled:
		case <-s.f.closed:
			cancel()
		}
	})
}

// wake makes tend start all processes of the service.
func (s *service) wake() {
	if s.cancelWake != nil {
		s.cancelWake()
		s.cancelWake = nil
	}
	s.asleep = false
}

// open opens the service's sockets unless they are open.
func (s *service) open() error {
	if s.sockets != nil {
		return nil
	}
	a := s.f.agent
	busy := make(map[int]bool)
	for {
		port := s.port
		if port == 0 {
			var err error
			if port, err = a.ports.take(busy); err != nil {
				return err
			}
		}
		sockets, err := a.listen(port)
		switch {
		case err == nil:
			s.sockets, s.port = sockets, port
			s.f.holdSockets(s)
			return nil
		case s.port != 0:
			return proto.Errorf(proto.ErrUnavailable, "open port %d, which function %s had before: %w", port, s.f.name, err)
		}
		a.ports.release(port)
		if !errors.Is(err, syscall.EADDRINUSE) {
			return err
		}
		busy[port] = true // another program has it
	}
}

// close refuses callers.
func (s *service) close() {
	if s.sockets == nil {
		return
	}
	s.f.agent.removeHeld(socketsName(s.port))
	s.sockets.Close()
	s.sockets = nil
}

// stop refuses callers, drains and stops the processes in the background, and frees the
// port when all have exited.
func (s *service) stop() {
	s.cancel()
	s.close()
	procs, port := s.procs, s.port
	s.procs, s.port = nil, 0
	if port == 0 {
		return
	}
	if len(procs) == 0 {
		s.f.agent.ports.release(port)
		return
	}
	s.f.work.Go(func() {
		s.f.stopAll(procs)
		s.f.agent.ports.release(port)
	})
}
