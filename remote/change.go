package remote

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/Ishan27g/ryo-faas/internal/trace"
	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/remote/disk"
	"github.com/Ishan27g/ryo-faas/remote/programs"
)

// The functions below set a function's fields next and history, and canary when a
// change has settled. Only run calls them.

// outputKept bounds what rows carry of a build's output, in bytes.
const outputKept = 4 << 10

// move is a change on its way.
type move struct {
	*disk.Change
	at      *service // that will serve the version
	cancel  func()
	stage   string
	output  string // the end of what the build has printed, of printed bytes
	printed uint64
	settled chan outcome // gets the outcome; nil once it has

	span, stageSpan *trace.Running // of the change, and of the stage that it has come to
}

// newMove is a change that has not begun.
func (f *function) newMove(c *disk.Change, at *service) *move {
	m := &move{Change: c, at: at, cancel: func() {}, settled: make(chan outcome, 1)}
	m.span = f.agent.tracer.Begin("deploy "+f.name, f.about(c.Version)...)
	m.enter(proto.StageQueued)
	return m
}

// about says in spans what they are about.
func (f *function) about(v *disk.Version) []trace.Attribute {
	return []trace.Attribute{{Name: "faas.name", Text: f.name}, {Name: "ryo.version", Number: int64(v.Number)}, {Name: "ryo.agent", Text: f.agent.addr}}
}

// enter notes that the change has come to a stage.
func (m *move) enter(stage string) {
	if stage == m.stage {
		return
	}
	m.stage = stage
	m.stageSpan.Finish("")
	m.stageSpan = m.span.Child(stage)
}

// finish ends the spans. why says why the change failed; "": it has not.
func (m *move) finish(why string) {
	m.stageSpan.Finish(why)
	m.span.Finish(why)
}

// accept takes a change on: it is on the disk before it is acknowledged.
func (f *function) accept(c *disk.Change) (accepted, error) {
	if err := f.take(c); err != nil {
		f.main.refuseCallers()
		return accepted{}, err
	}
	if f.next == nil { // the processes go on
		return f.settled(), nil
	}
	return accepted{row: f.tell(), settled: f.next.settled}, nil
}

func (f *function) take(c *disk.Change) error {
	before, replaced := f.history, f.next
	if f.history.Find(c.Version.Number) == nil {
		number := c.Version.Number
		if number == 0 {
			number = f.history.Last + 1
		}
		if number <= f.history.Last {
			return proto.Errorf(proto.ErrConflict, "version %d of function %s is not above the last one, %d", number, f.name, f.history.Last)
		}
		c.Version.Number, f.history.Last = number, number
	}
	f.history.Generation++
	f.history.Failure = nil
	change := f.advance
	if f.keepsProcesses(c) {
		change = f.relabel
	}
	if err := change(c); err != nil {
		f.history, f.next = before, replaced
		return err
	}
	f.cancelMove(replaced, before.Generation, "replaced by a later deploy before it was ready")
	if f.next != nil {
		f.logger.Info("deploying", "version", c.Version.Number, "package", c.Version.Spec.GetPackage())
	}
	return nil
}

// keepsProcesses reports whether the processes that serve can serve a change's version.
func (f *function) keepsProcesses(c *disk.Change) bool {
	m := f.main
	if c.Canary > 0 || m.version == nil || c.Version == m.version || !m.seen || m.refusing() || f.paused {
		return false
	}
	kept := f.history.Find(c.Version.Number) != nil
	return (!kept || c.Version.Home() == m.version.Home()) && disk.SameProcesses(m.version, c.Version, f.agent.seal)
}

// relabel makes the processes that serve those of a change's version, and stores that. A
// new version shares the folder of the one before.
func (f *function) relabel(c *disk.Change) error {
	v, before, canary := c.Version, f.main.version, f.canary
	if f.history.Find(v.Number) == nil {
		v.Folder, v.Program, v.Kind, v.Types = before.Home(), before.Program, before.Kind, before.Types
	}
	f.next, f.canary, f.main.version = nil, nil, v
	f.history.Before, f.history.Earlier = before.Number, 0
	dropped := f.history.Keep(v, f.agent.versions, f.needed)
	if err := f.store(); err != nil {
		f.canary, f.main.version = canary, before
		return proto.Errorf(proto.ErrExhausted, "store the deploy of function %s: %w", f.name, err)
	}
	for _, p := range f.main.procs {
		p.now.Store(v)
	}
	f.retireService(canary)
	f.logger.Info("deployed; its processes go on", "version", v.Number)
	f.warnIfPublic(v)
	f.work.Go(f.dropping(dropped))
	return nil
}

// warnIfPublic says in the log that a version is for everybody.
func (f *function) warnIfPublic(v *disk.Version) {
	if v.Spec.GetAuth() == proto.AuthPublic {
		f.logger.Warn("the function is public: everybody may call it through the proxy's port for functions", "version", v.Number)
	}
}

// dropping forgets versions that are no longer kept, and returns what removes the folders
// that no other uses.
func (f *function) dropping(dropped []*disk.Version) (remove func()) {
	dropped = slices.Clone(dropped)
	for _, v := range dropped {
		delete(f.totals, v.Number)
	}
	dropped = slices.DeleteFunc(dropped, func(v *disk.Version) bool { return f.history.Uses(v.Home()) })
	return func() {
		for _, v := range dropped {
			f.remove(v)
		}
	}
}

// advance stores the function with a change and begins the change.
func (f *function) advance(c *disk.Change) error {
	at := f.main
	if c.Canary > 0 {
		at = &service{f: f, weight: c.Canary}
	}
	if err := at.open(); err != nil {
		return err
	}
	m := f.newMove(c, at)
	f.next = m
	if err := f.store(); err != nil {
		if at != f.main {
			at.stop()
		}
		return proto.Errorf(proto.ErrExhausted, "store the deploy of function %s: %w", f.name, err)
	}
	kept := f.history.Find(c.Version.Number) != nil
	processes := c.Version.Spec.Processes()
	if at == f.main {
		processes = f.size(c.Version)
	}
	m.cancel = f.begin(c.Version, processes, at.sockets, !kept, m.heard, f.settle)
	return nil
}

// heard notes the progress of a change.
func (m *move) heard(p programs.Progress) {
	m.enter(p.Stage)
	m.Version.Kind, m.Version.Types = cmp.Or(p.Kind, m.Version.Kind), cmp.Or(p.Types, m.Version.Types)
	if p.Stage != proto.StageBuilding {
		m.output, m.printed = "", 0
		return
	}
	m.printed += uint64(len(p.Output))
	m.output += p.Output
	if over := len(m.output) - outputKept; over > 0 {
		kept := m.output[over:]
		m.output = strings.ToValidUTF8(kept[strings.IndexByte(kept, '\n')+1:], "") // from the next whole line on
	}
}

// close tells the order of a change its outcome.
func (m *move) close(o outcome) {
	if m.settled != nil {
		m.settled <- o
		m.settled = nil
	}
}

// settle ends a change with the result of its attempt.
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
	f.next = nil
	f.cancelPause()
	leaving := f.canary
	var old []*instance
	if m.at == f.main {
		switch before := f.served(); {
		case before == nil:
			f.history.Before = 0
		case before != v:
			f.history.Before = before.Number
		case f.main.version == nil: // it was stopped
			f.history.Before = f.history.Earlier
		}
		f.history.Earlier = 0
		f.canary = nil
		// Deployed is said when the old code takes no further calls.
		old = f.main.replace(v, r.procs)
		f.restarts = 0
	} else {
		f.canary = m.at
		f.canary.replace(v, r.procs)
	}
	dropped := f.history.Keep(v, f.agent.versions, f.needed)
	removeFolders := f.dropping(dropped)
	f.save()
	f.agent.damage.mended(f.agent.disk.Path("functions", f.path))
	f.logger.Info("deployed", "version", v.Number, "canary", m.Canary, "pid", r.procs[0].Pid())
	f.warnIfPublic(v)
	m.finish("")
	m.close(outcome{row: f.tell()})
	f.retireService(leaving)
	f.work.Go(func() {
		if r.program != nil {
			f.persist(v, r.program)
		}
		f.stopAll(old)
		removeFolders()
	})
}

// needed reports whether a version must be kept however old it is.
func (f *function) needed(number uint32) bool {
	return number == f.main.number() || number == f.history.Before || f.pinned[number] != nil ||
		f.canary != nil && number == f.canary.number()
}

// fail ends a change that failed: what ran before goes on.
func (f *function) fail(why *failure) {
	m := f.next
	f.remember(why.crash)
	why.Generation, why.Kind = f.history.Generation, m.Version.KnownKind()
	f.next = nil
	f.history.Failure = &why.Failure
	if m.at == f.main {
		f.main.refuseCallers()
	} else {
		m.at.stop()
	}
	f.save()
	f.logger.Info("deploy failed", "version", why.Version, "reason", why.Reason, "error", why.Text)
	f.publish()
	m.finish(why.Reason + ": " + why.Text)
	m.close(outcome{row: f.failed(why)})
}

// cancelNext cancels the change that is under way.
func (f *function) cancelNext() {
	f.cancelMove(f.next, f.history.Generation, "canceled by a later order")
	f.next = nil
}

// cancelMove cancels a change that another has replaced. m may be nil.
func (f *function) cancelMove(m *move, generation uint32, why string) {
	if m == nil {
		return
	}
	m.cancel()
	m.finish(why)
	if m.at != f.main {
		m.at.stop()
	}
	m.close(outcome{row: f.failed(&failure{Failure: disk.Failure{
		Version: m.Version.Number, Generation: generation, Reason: proto.ReasonAgent, Text: why, At: time.Now().UTC(),
	}})})
}
