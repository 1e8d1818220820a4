package store

import (
	"context"
	"errors"
	"time"

	"github.com/Ishan27g/ryo-faas/proto"
)

const (
	// leaseRenewal is how often the holder of a lease says that it is there.
	leaseRenewal = leaseLimit / 3
	// leaseHeld is how long after its last sign of life a holder still leads: it has given up
	// before another one begins, though their clocks do not agree.
	leaseHeld = leaseLimit * 7 / 10
	// leaseTrial is how long after its first sign of life a holder begins: only a second one
	// shows that it has the lease.
	leaseTrial = 500 * time.Millisecond
	// leasePause is how often others look whether a lease is free.
	leasePause = time.Second
)

var errLed = errors.New("another process leads")

// lead calls lead once this process has a lease, or returns errLed if another one has it. The
// lease is a record that goes by itself if it is not written again.
func (s *session) lead(ctx context.Context, name string, lead func(context.Context, uint64)) error {
	records := registry{kind: leases, session: s.itself, always: true}
	sign := time.Now() // of the last sign of life that was heard; that is later than it was sent
	term, err := records.Create(ctx, name, nil)
	if errors.Is(err, proto.ErrConflict) {
		return errLed
	}
	if err != nil {
		return err
	}
	s.handling.add(1)
	defer s.handling.add(-1)
	last := term
	renew := func() bool {
		limited, cancel := context.WithDeadline(ctx, sign.Add(leaseHeld))
		defer cancel()
		sent := time.Now()
		next, err := records.Update(limited, name, nil, last)
		if err != nil {
			return false
		}
		sign, last = sent, next
		return true
	}
	defer func() {
		given, cancel := context.WithTimeout(context.WithoutCancel(ctx), tryLimit)
		defer cancel()
		_ = records.Delete(given, name, last) // else it goes by itself
	}()
	if !s.during(ctx, leaseTrial) || !renew() {
		return errLed
	}
	leading, cancel := context.WithCancel(ctx)
	defer cancel()
	kept := make(chan struct{})
	go func() {
		defer close(kept)
		defer cancel()
		for s.during(leading, leaseRenewal) && renew() {
		}
	}()
	lead(leading, term)
	cancel()
	<-kept
	return nil
}

// during waits; it returns false if ctx is done or the session ends first.
func (s *session) during(ctx context.Context, pause time.Duration) bool {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	case <-s.leaving:
		return false
	}
}
