package proxy

import (
	"context"
	"errors"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/Ishan27g/ryo-faas/internal/upgrade"
	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/proxy/store"
	"github.com/Ishan27g/ryo-faas/transport/wire"
)

// restLimit is how long changes are held back while others end, before a replacement. Then
// they go on for a while; those who ask for one wait no longer than half a minute.
const restLimit = 15 * time.Second

// succession is how the process of a proxy is replaced: package upgrade says in which steps.
type succession struct {
	renew  <-chan os.Signal
	drain  time.Duration // for what is under way then
	stdout io.Writer
	place  *upgrade.Place
	heir   *upgrade.Heir // nil: this process has taken nobody's place
	proxy  *Proxy
	engine *store.Engine // that keeps what must outlive the proxy; its folder has one process

	leave   chan struct{} // closed when another process serves
	drained chan struct{} // closed when this one serves no more
	done    chan struct{} // closed when next is set or will not be
	next    *upgrade.Next // that has taken over; nil: none has
}

// standsIn says whether this process serves only until another has its new program.
func (s *succession) standsIn() bool { return s.heir != nil && s.heir.StandsIn() }

// begin waits, if this process takes over from another, until it knows what the agents
// serve, and has the certificates of callers, and until the other has let it serve.
func (s *succession) begin(ctx context.Context) error {
	s.leave, s.drained, s.done = make(chan struct{}), make(chan struct{}), make(chan struct{})
	if s.heir == nil {
		return nil
	}
	if err := s.proxy.fleet.Started(ctx); err != nil {
		return err
	}
	if s.proxy.certs != nil {
		s.proxy.certs.Loaded(ctx)
	}
	return s.heir.Ready(ctx, s.proxy.reaches())
}

// start begins to replace this process whenever that is asked for, until ctx is done. It
// calls stop if this process has to end.
func (s *succession) start(ctx context.Context, stop func()) {
	go func() {
		defer close(s.done)
		if s.standsIn() {
			s.standIn(ctx, stop)
			return
		}
		s.lead(ctx, stop)
	}()
}

// lead is start for the process that the proxy's owner knows.
func (s *succession) lead(ctx context.Context, stop func()) {
	outlived := make(chan struct{})
	defer func() { <-outlived }()
	defer func() {
		if ctx.Err() != nil && s.next == nil {
			s.place.Close() // callers are refused, and need not wait
		}
	}()
	go func() {
		defer close(outlived)
		if s.heir == nil {
			return
		}
		if err := s.heir.Outlive(ctx, s.drain+2*wire.DrainLimit); err != nil {
			s.proxy.logger.Warn("the stand-in has not ended well", "error", err)
		}
	}()
	if s.proxy.fleet.Started(ctx) != nil {
		return
	}
	s.notify("READY=1")
	again := s.heir != nil && s.heir.Again && s.place.Program.Changed()
	for {
		if !again {
			select {
			case <-ctx.Done():
				return
			case <-s.renew:
			}
		}
		again = false
		s.notify("RELOADING=1")
		next, err := s.replace(ctx)
		if err != nil && ctx.Err() == nil {
			s.proxy.logger.Error("this proxy stays, since the program in its place does not take over", "program", s.place.Program, "error", err)
		}
		s.notify("READY=1")
		if err != nil {
			continue
		}
		s.proxy.logger.Info("another process serves, until this one has its program", "program", s.place.Program, "pid", next.Pid())
		s.next = next
		s.handedOver()
		select {
		case <-s.drained:
		case <-ctx.Done():
		case <-next.Exited():
			s.proxy.logger.Error("the process that has taken over has ended; a new one begins")
			stop()
			return
		}
		if ctx.Err() != nil {
			s.place.Close()
			next.Stop()
		}
		return
	}
}

// replace lets the program that is now in the place of this one take over.
func (s *succession) replace(ctx context.Context) (*upgrade.Next, error) {
	if err := s.place.Program.Prove(ctx, "proxy", os.Args[1:], upgrade.ProofLimit); err != nil {
		return nil, err
	}
	return s.place.Start(ctx, s.estate())
}

// standIn is start for the process that serves meanwhile.
func (s *succession) standIn(ctx context.Context, stop func()) {
	defer stop()
	defer s.place.Close()
	err := s.heir.Await(ctx)
	if err == nil {
		err = s.heir.Give(ctx, s.estate())
	}
	if err != nil {
		if ctx.Err() == nil {
			s.proxy.logger.Error("this process ends with the one whose place it holds", "error", err)
		}
		return
	}
	s.handedOver()
	s.heir.Gone(ctx)
}

// handedOver says that another process serves, and makes changes.
func (s *succession) handedOver() {
	close(s.leave)
	s.proxy.changes.Move()
}

// end ends this process, which serves no more: it becomes the new program, if it was
// replaced. It calls what start was given.
func (s *succession) end(ctx context.Context, stop func(), err error) error {
	close(s.drained)
	select {
	case <-s.leave:
	default:
		stop()
	}
	if s.standsIn() {
		stop()
	}
	<-s.done
	if s.next == nil || ctx.Err() != nil {
		return err
	}
	again := len(s.renew) > 0
	signal.Ignore(syscall.SIGHUP) // until the next program listens for it: it would end it
	return errors.Join(err, s.next.Execute(again))
}

func (s *succession) notify(state string) {
	if err := upgrade.Notify(state); err != nil {
		s.proxy.logger.Warn("the service manager is not told", "state", state, "error", err)
	}
}

// estate is what is handed over.
func (s *succession) estate() upgrade.Estate {
	return upgrade.Estate{
		Rest: s.proxy.rest, Suffices: s.proxy.suffices,
		Lend: func() *os.File {
			s.shut()
			return s.proxy.lend()
		},
		Reclaim: func() {
			s.open()
			s.proxy.reclaim()
		},
	}
}

// open opens the store. A proxy whose store does not open goes on without it: it says so,
// and functions are called as ever.
func (s *succession) open() {
	if err := s.engine.Start(); err != nil {
		s.proxy.logger.Error("nothing is stored, since the store does not open", "error", err)
	}
}

// shut closes the store, so that another process can open it. What needs it meanwhile waits.
func (s *succession) shut() {
	if err := s.engine.Stop(); err != nil {
		s.proxy.logger.Warn("the store has not closed well", "error", err)
	}
}

// reaches is how many agents answer.
func (p *Proxy) reaches() uint16 { return uint16(len(p.fleet.Connected())) } //nolint:gosec // there are at most 1,024

// suffices refuses a program that reaches fewer agents than this one: its calls would fail.
func (p *Proxy) suffices(reaches uint16) error {
	if own := p.reaches(); reaches < own {
		return proto.Errorf(proto.ErrUnavailable, "it reaches %d agents, and this proxy %d", reaches, own)
	}
	return nil
}

// rest returns once nothing changes what is stored, and holds further changes back.
func (p *Proxy) rest(ctx context.Context) error {
	for {
		limited, cancel := context.WithTimeout(ctx, restLimit)
		err := p.changes.Hold(limited)
		if err == nil {
			err = p.rollouts.Idle(limited)
		}
		cancel()
		if err == nil {
			return nil
		}
		p.changes.Resume()
		if ctx.Err() != nil {
			return ctx.Err()
		}
		p.logger.Warn("deploys are under way; another process takes over when they have ended")
	}
}

// lend lets another process have what is stored.
func (p *Proxy) lend() *os.File {
	p.record.Lend(true)
	return p.dir.Lend()
}

// reclaim takes it back.
func (p *Proxy) reclaim() {
	if err := p.dir.Reclaim(); err != nil {
		p.logger.Error("the folder does not say whose it is", "error", err)
	}
	p.record.Lend(false)
	p.fleet.Save()
	p.changes.Resume()
}
