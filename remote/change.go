package remote

import (
	"cmp"
	"strings"
	"time"

	"github.com/Ishan27g/ryo-faas/proto"
)

// outputKept bounds what rows carry of a build's output, in bytes.
const outputKept = 4 << 10

// move is a change on its way.
type move struct {
	*change
	at      *service // where the version is to serve
	abandon func()
	stage   string
	output  string // the end of what the build has printed, of printed bytes
	printed uint64
	waiting chan<- answer // who waits for its end; nil: nobody
}

// accept takes a change on: it is on the disk before it is acknowledged.
func (f *function) accept(c *change, o order) {
	if err := f.take(c, o.settled); err != nil {
		f.refuse(o, err)
		return
	}
	o.accepted <- f.answer()
}

func (f *function) take(c *change, settled chan<- answer) error {
	before := *f.rec
	if f.rec.find(c.Version.Number) == nil {
		number := c.Version.Number
		if number == 0 {
			number = f.rec.Last + 1
		}
		if number <= f.rec.Last {
			return proto.Errorf(proto.ErrConflict, "version %d of function %s is not above the last one, %d", number, f.name, f.rec.Last)
		}
		c.Version.Number, f.rec.Last = number, number
	}
	f.rec.Generation++
	f.rec.Next, f.rec.Failure = c, nil
	replaced := f.next
	f.next = nil
	if err := f.advance(c, settled); err != nil {
		*f.rec, f.next = before, replaced
		return err
	}
	f.giveUp(replaced, before.Generation, "replaced by a later deploy before it was ready")
	f.log.Info("deploying", "version", c.Version.Number, "package", c.Version.Spec.GetPackage())
	return nil
}

// advance stores the record with its change and begins with that.
func (f *function) advance(c *change, settled chan<- answer) error {
	at := f.main
	if c.Canary > 0 {
		at = &service{f: f, weight: c.Canary}
	}
	if err := at.open(); err != nil {
		return err
	}
	if err := f.store(); err != nil {
		if at != f.main {
			at.end()
		}
		return proto.Errorf(proto.ErrExhausted, "store the deploy of function %s: %w", f.name, err)
	}
	m := &move{change: c, at: at, stage: proto.StageQueued, waiting: settled}
	f.next = m
	kept := f.rec.find(c.Version.Number) != nil
	m.abandon = f.begin(c.Version, c.Version.Spec.Processes(), at.sockets, !kept, m.heard, f.settle)
	return nil
}

// heard takes down how a change goes on.
func (m *move) heard(p progress) {
	m.stage = p.stage
	m.Version.Kind = cmp.Or(p.kind, m.Version.Kind)
	if p.stage != proto.StageBuilding {
		m.output, m.printed = "", 0
		return
	}
	m.printed += uint64(len(p.output))
	m.output += p.output
	if over := len(m.output) - outputKept; over > 0 {
		m.output = strings.ToValidUTF8(m.output[over:], "") // from the next whole character on
	}
}

// tell answers who waits for a change, if anybody does.
func (m *move) tell(a answer) {
	if m.waiting != nil {
		m.waiting <- a
		m.waiting = nil
	}
}

// settle ends a change, one way or the other.
func (f *function) settle(r result) {
	if r.fail != nil {
		f.fail(r.fail)
		return
	}
	m := f.next
	v := m.Version
	if r.program != nil {
		v.Program = r.program
	}
	f.next, f.rec.Next = nil, nil
	leaving := f.canary
	var old []*instance
	if m.at == f.main {
		if f.rec.Main != v.Number {
			f.rec.Before = f.rec.Main
		}
		f.rec.Main, f.rec.Canary, f.canary = v.Number, nil, nil
		// Deployed is said when the old code takes no further calls.
		old = f.main.replace(v, r.procs)
		f.restarts = 0
	} else {
		f.rec.Canary = &canary{Version: v.Number, Weight: m.Canary, Port: m.at.port}
		f.canary = m.at
		f.canary.replace(v, r.procs)
	}
	dropped := f.rec.keep(v, f.agent.versions, f.needed)
	for _, v := range dropped {
		delete(f.totals, v.Number)
	}
	f.save()
	f.log.Info("deployed", "version", v.Number, "canary", m.Canary, "pid", r.procs[0].Pid())
	m.tell(f.answer())
	f.let(leaving)
	f.work.Go(func() {
		if r.program != nil {
			f.persist(v, r.program)
		}
		f.endAll(old)
		for _, v := range dropped {
			f.remove(v)
		}
	})
}

// needed reports whether a version must be kept however old it is.
func (f *function) needed(number uint32) bool {
	return number == f.rec.Main || number == f.rec.Before || f.pinned[number] != nil ||
		f.rec.Canary != nil && number == f.rec.Canary.Version
}

// fail ends a change that came to nothing: what ran before goes on.
func (f *function) fail(why *failure) {
	m := f.next
	f.remember(why.crash)
	why.Generation, why.Kind = f.rec.Generation, m.Version.kind()
	f.next, f.rec.Next = nil, nil
	f.rec.Failure = why
	if m.at == f.main {
		f.main.silence()
	} else {
		m.at.end()
	}
	f.save()
	f.log.Info("deploy failed", "version", why.Version, "reason", why.Reason, "error", why.Text)
	f.publish()
	m.tell(answer{row: f.failed(why)})
}

// abandonNext gives the change that is under way up.
func (f *function) abandonNext() {
	f.giveUp(f.next, f.rec.Generation, "given up for a later order")
	f.next, f.rec.Next = nil, nil
}

// giveUp ends a change, if it is one, that something else has taken the place of.
func (f *function) giveUp(m *move, generation uint32, why string) {
	if m == nil {
		return
	}
	m.abandon()
	if m.at != f.main {
		m.at.end()
	}
	m.tell(answer{row: f.failed(&failure{
		Version: m.Version.Number, Generation: generation, Reason: proto.ReasonAgent, Text: why, At: time.Now().UTC(),
	})})
}
