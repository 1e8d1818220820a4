package rollout

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/proxy/fleet"
	"github.com/Ishan27g/ryo-faas/transport/bundle"
)

// settleLimit bounds a deploy at one agent: a cold build behind others.
const settleLimit = 15 * time.Minute

// ErrStopped is why a rollout was canceled whose function was stopped.
var ErrStopped = errors.New("stopped before it was ready")

// Order is a function to deploy.
type Order struct {
	Function *proto.FunctionJson
	Package  *bundle.Package
	Agents   []string // addresses, in the order in which callers see their rows
	// Others are agents that have the function and keep it as it is: nothing is given to
	// them. Those that are neither among Agents nor here lose it once all Agents have it.
	Others []string
	// Version is the number that the version has on Others; 0: it is a new one.
	Version uint32
	Ended   func() // called once, when the rollout has ended, however it did
	// Spares says which agents are left out when they do not answer, unless that is all of
	// them: whoever gave the order brings them up to date later. nil: none is.
	Spares func(addr string) bool
	Last   uint32 // the highest number that a version is known to have had; the agents may know more
	// Lacks is why the function cannot be given to agents that do not have it, of a deploy
	// that is resumed; nil: it can.
	Lacks error
	// Names says that of secrets Function has the names alone: agents have the values.
	Names  bool
	Ledger Ledger
}

// Ledger is told of a change before its first step, and when it has ended, so that it can
// be completed or undone if this process is gone meanwhile. The zero value tells nobody.
type Ledger struct {
	// Begins gets the steps, and those of replaced changes that are to be undone with them.
	// After an error nothing is changed.
	Begins func(ctx context.Context, steps, taken []Step) error
	// Ends gets how a change ended for which Begins was called.
	Ends func(ctx context.Context, end End)
}

// End is how a change ended.
type End struct {
	Result Result
	Spared []string // agents that did not answer and were left out
	// Unsure are agents of which it is not known what they serve: their connections failed
	// meanwhile, or what they did could not be undone.
	Unsure []string
	// Why says what failed where the change is Undone, and Reason the same in a word, as
	// rows do.
	Why, Reason string
}

// Result is what became of a change.
type Result int

// The results.
const (
	Stands   Result = iota // on all agents but those that were left out
	Undone                 // one agent failed
	Replaced               // by another change, which goes on from there, or a stop
	Cut                    // by the end of this process: another goes on
)

// Path returns the path of the function.
func (o Order) Path() string { return proto.Path(o.Function.GetName()) }

// Rollouts changes functions over several agents. Callers see to it that changes of one
// path take turns.
type Rollouts struct {
	fleet   *fleet.Fleet
	logger  hclog.Logger
	running sync.WaitGroup

	mu     sync.Mutex          // guards the field below:
	byPath map[string]*Rollout // under way
}

// New returns the rollouts of a fleet.
func New(f *fleet.Fleet, logger hclog.Logger) *Rollouts {
	return &Rollouts{fleet: f, logger: logger, byPath: map[string]*Rollout{}}
}

// Wait waits until no rollout is under way. The end of the fleet fails all of them.
func (r *Rollouts) Wait() { r.running.Wait() }

// Idle waits until no rollout is under way, or ctx is done. None may begin meanwhile.
func (r *Rollouts) Idle(ctx context.Context) error {
	done := make(chan struct{})
	go func() { // lasts as long as the rollouts, which have a limit each
		defer close(done)
		r.running.Wait()
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Rollout is the newest deploy of a function, until it is settled.
type Rollout struct {
	Order
	cancel context.CancelCauseFunc

	accept   sync.Once
	accepted chan struct{} // closed when begun is set
	begun    outcome       // for callers that do not wait
	done     chan struct{} // closed when final is set
	final    outcome       // for callers that wait

	// The fields below belong to run and, once done is closed, to the next rollout:
	programs map[string]origin // by platform
	awaiting []string          // agents for which another builds
	taken    []Step            // that changed something and are not undone
	spared   map[string]error  // why agents do not answer that are left out
}

// outcome is the answer to a deploy of one function.
type outcome struct {
	rows []*proto.FunctionJsonRsp
	err  error
}

// answer answers callers that do not wait. Only the first answer counts.
func (o *Rollout) answer(a outcome) {
	o.accept.Do(func() {
		o.begun = a
		close(o.accepted)
	})
}

// Begun returns the rows with which the deploy begins.
func (o *Rollout) Begun() ([]*proto.FunctionJsonRsp, error) { return o.begun.rows, o.begun.err }

// Wait waits until the deploy is settled and returns its last rows.
func (o *Rollout) Wait(ctx context.Context) ([]*proto.FunctionJsonRsp, error) {
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-o.done:
		return o.final.rows, o.final.err
	}
}

// Of returns the rollout of a path that is under way, or nil.
func (r *Rollouts) Of(path string) *Rollout {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.byPath[path]
}

// Cancel cancels the rollout of a path, if there is one, for a reason. It waits for its
// end and returns it.
func (r *Rollouts) Cancel(path string, why error) *Rollout {
	o := r.Of(path)
	if o != nil {
		o.cancel(why)
		<-o.done
	}
	return o
}

// Begin begins to roll a function out. A rollout of the same path that is under way is
// canceled. Begin returns when the first agent has accepted or refused the function; the
// rollout goes on when ctx is canceled later. No agent is changed before all of them
// have answered and have the package.
func (r *Rollouts) Begin(ctx context.Context, order Order) (*Rollout, error) {
	o := &Rollout{
		Order:    order,
		accepted: make(chan struct{}), done: make(chan struct{}), programs: map[string]origin{},
	}
	if !r.prepare(ctx, o) {
		o.Ended()
		o.answer(o.final)
		close(o.done)
		return o, nil
	}
	r.begin(ctx, o)
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-o.accepted:
		return o, nil
	}
}

// prepare brings the package to all agents. If one does not answer that is not spared it
// returns false: nothing was changed, and the rollout has failed.
func (r *Rollouts) prepare(ctx context.Context, o *Rollout) bool {
	name := o.Function.GetName()
	errs := make([]error, len(o.Agents))
	var wg sync.WaitGroup
	for i, addr := range o.Agents {
		wg.Go(func() { errs[i] = r.upload(ctx, addr, o.Package) })
	}
	wg.Wait()
	o.spare(errs)
	bad := slices.IndexFunc(errs, func(err error) bool { return err != nil })
	switch {
	case bad < 0:
		return true
	case len(errs) == 1:
		o.final.err = errs[0]
	default:
		for i, addr := range o.Agents {
			row := r.canceled(name, addr, "it was not changed: the rollout stopped at agent "+o.Agents[bad])
			if errs[i] != nil {
				row = Failed(name, addr, errs[i])
			}
			o.final.rows = append(o.final.rows, row)
		}
	}
	return false
}

// spare leaves agents out that do not answer, and takes their errors away, unless none
// answers.
func (o *Rollout) spare(errs []error) {
	spared := map[string]error{}
	for i, err := range errs {
		if err != nil && o.Spares != nil && Unreachable(err) && o.Spares(o.Agents[i]) {
			spared[o.Agents[i]] = err
		}
	}
	if len(spared) == len(errs) {
		return
	}
	o.spared = spared
	for i := range errs {
		if spared[o.Agents[i]] != nil {
			errs[i] = nil
		}
	}
}

// Unreachable says whether an error says that an agent does not answer.
func Unreachable(err error) bool {
	e := proto.AsError(err)
	return e.Component == "agent" && e.Reason == "dial"
}

func (r *Rollouts) upload(ctx context.Context, addr string, pkg *bundle.Package) error {
	agent, err := r.fleet.Connect(ctx, addr)
	if err != nil {
		return err
	}
	return agent.Upload(ctx, pkg)
}

// begin starts a rollout to agents that have its package.
func (r *Rollouts) begin(ctx context.Context, o *Rollout) {
	if old := r.Cancel(o.Path(), fleet.ErrReplaced); old != nil {
		o.taken = old.taken
	}
	for _, row := range r.fleet.Drafts(o.Path()) {
		if !slices.Contains(o.Agents, row.GetAtAgent()) {
			r.fleet.Tell(fleet.Stopped(row))
		}
	}
	c := &change{Rollouts: r, name: o.Function.GetName(), rollout: o, taken: o.taken, rows: map[string]*proto.FunctionJsonRsp{}}
	c.steps = r.steps(ctx, o)
	if o.Ledger.Begins != nil {
		if err := o.Ledger.Begins(ctx, c.steps, c.taken); err != nil {
			c.undoAll(ctx, "it was replaced by a deploy that could not begin")
			o.Ended()
			o.final.err = err
			o.answer(o.final)
			close(o.done)
			return
		}
	}
	r.start(ctx, o, c)
}

// start takes the steps of a rollout.
func (r *Rollouts) start(ctx context.Context, o *Rollout, c *change) {
	ctx, o.cancel = context.WithCancelCause(context.WithoutCancel(ctx))
	r.mu.Lock()
	defer r.mu.Unlock()
	r.byPath[o.Path()] = o
	r.running.Go(func() {
		defer o.cancel(nil)
		r.run(ctx, o, c)
	})
}

// Resume completes a deploy that was begun by a process that is gone, or undoes it. It
// returns nil if not all agents answer that are not spared: nothing was changed then.
func (r *Rollouts) Resume(ctx context.Context, order Order, steps, taken []Step) *Rollout {
	o := &Rollout{
		Order:    order,
		accepted: make(chan struct{}), done: make(chan struct{}), programs: map[string]origin{}, taken: taken,
	}
	errs := make([]error, len(o.Agents))
	for i, addr := range o.Agents {
		_, errs[i] = r.fleet.Connect(ctx, addr)
	}
	o.spare(errs)
	if slices.ContainsFunc(errs, func(err error) bool { return err != nil }) {
		o.Ended()
		return nil
	}
	c := &change{Rollouts: r, name: o.Function.GetName(), rollout: o, taken: taken, resumed: true, rows: map[string]*proto.FunctionJsonRsp{}}
	c.steps = slices.DeleteFunc(slices.Clone(steps), func(s Step) bool { return o.spared[s.Agent] != nil })
	r.start(ctx, o, c)
	return o
}

// Bring brings a function to one agent, which lacks what others have, and returns its last
// row. The caller sees to it that nobody else changes the function.
func (r *Rollouts) Bring(ctx context.Context, o Order, s Step) (*proto.FunctionJsonRsp, error) {
	rollout := &Rollout{Order: o, accepted: make(chan struct{}), done: make(chan struct{}), programs: map[string]origin{}}
	agent, err := r.fleet.Connect(ctx, s.Agent)
	if err != nil {
		return nil, err
	}
	if o.Package != nil { // else the agent may have it
		if err := agent.Upload(ctx, o.Package); err != nil {
			return nil, err
		}
	}
	return r.deploy(ctx, rollout, agent, s)
}

// steps are those of a deploy. Agents that run the same package go first, since
// what they have saves others a build; then those that can build.
func (r *Rollouts) steps(ctx context.Context, o *Rollout) []Step {
	dormant := r.fleet.Dormant(ctx, o.Path())
	name, version := o.Function.GetName(), r.nextVersion(o, dormant)
	agents := slices.DeleteFunc(slices.Clone(o.Agents), func(addr string) bool { return o.spared[addr] != nil })
	steps := make([]Step, len(agents))
	for i, addr := range agents {
		before := r.fleet.Row(addr, name)
		if i := slices.IndexFunc(dormant, func(d fleet.Replica) bool { return d.Agent == addr }); i >= 0 && before == nil {
			before = dormant[i].Row
		}
		steps[i] = Step{
			Agent: addr, Name: name, Before: before,
			Action: Deploy, Version: version, Canary: o.Function.GetCanary(),
		}
	}
	rank := func(s Step) int {
		switch {
		case s.Before.GetPackage() == o.Function.GetPackage():
			return 0
		case r.fleet.Info(s.Agent).Builds():
			return 1
		}
		return 2
	}
	slices.SortStableFunc(steps, func(a, b Step) int { return cmp.Compare(rank(a), rank(b)) })
	return steps
}

// nextVersion is the number of the version that a deploy makes, one for all
// replicas, also those that are stopped. For a single one, 0: its agent knows.
func (r *Rollouts) nextVersion(o *Rollout, dormant []fleet.Replica) uint32 {
	last, agents := uint32(0), slices.Clone(o.Agents)
	if o.Version > 0 && !slices.ContainsFunc(append(r.fleet.Find(o.Path()), dormant...), func(replica fleet.Replica) bool {
		return slices.Contains(o.Agents, replica.Agent) && replica.Row.GetLastVersion() >= o.Version
	}) {
		return o.Version // else an agent had one of this number before
	}
	for _, replica := range append(r.fleet.Find(o.Path()), dormant...) {
		last = max(last, replica.Row.GetLastVersion())
		agents = append(agents, replica.Agent)
	}
	slices.Sort(agents)
	if len(slices.Compact(agents)) == 1 && last >= o.Last {
		return 0
	}
	return max(last, o.Last) + 1
}

// run takes the steps of a rollout. If all stand, it stops the function on agents that
// the deploy does not name.
func (r *Rollouts) run(ctx context.Context, o *Rollout, c *change) {
	defer close(o.done)
	defer o.Ended()
	o.final.err = c.roll(ctx)
	whole := o.final.err == nil
	for _, addr := range o.Agents {
		row := c.rows[addr]
		if err := o.spared[addr]; err != nil {
			row = r.Spared(c.name, addr, err)
		} else {
			whole = whole && proto.Status(row.GetStatus()) == proto.Deployed
		}
		o.final.rows = append(o.final.rows, row)
	}
	r.settle(ctx, o)
	o.answer(o.final)
	o.taken = c.taken
	if whole {
		r.removeOthers(ctx, o)
		o.taken = nil
	}
	if o.Ledger.Ends != nil {
		c.end.Spared = slices.Sorted(maps.Keys(o.spared))
		o.Ledger.Ends(context.WithoutCancel(ctx), c.end)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.byPath, o.Path())
}

// Spared returns the row of an agent that does not answer and that a change left out.
func (r *Rollouts) Spared(name, addr string, why error) *proto.FunctionJsonRsp {
	row := r.fleet.Row(addr, name)
	if row == nil {
		row = &proto.FunctionJsonRsp{
			Name: name, AtAgent: addr, Status: string(proto.Deploying), Stage: proto.StageQueued, Since: time.Now().UTC().Format(time.RFC3339),
		}
	}
	row.Reason, row.Error = proto.ReasonUnreachable, proto.AsError(why).Message+"; it is brought up to date when it answers again"
	return row
}

// removeOthers removes a function from the agents that its new deploy does not name.
func (r *Rollouts) removeOthers(ctx context.Context, o *Rollout) {
	for _, old := range append(r.fleet.Find(o.Path()), r.fleet.Dormant(ctx, o.Path())...) {
		if slices.Contains(o.Agents, old.Agent) || slices.Contains(o.Others, old.Agent) || ctx.Err() != nil {
			continue
		}
		agent, err := r.fleet.Connect(ctx, old.Agent)
		if err == nil {
			_, err = agent.Remove(ctx, old.Row.GetName())
		}
		if err != nil && !errors.Is(err, proto.ErrNotFound) {
			r.logger.Error("a replaced replica still runs", "function", old.Row.GetName(), "agent", old.Agent, "error", err)
		}
	}
}

// Change takes steps, one to an agent, at the replicas of a function, and returns
// their rows. While a deploy is under way it is an ErrConflict.
func (r *Rollouts) Change(ctx context.Context, ledger Ledger, steps ...Step) ([]*proto.FunctionJsonRsp, error) {
	if err := r.free(steps[0].Name); err != nil {
		return nil, err
	}
	if ledger.Begins != nil {
		if err := ledger.Begins(ctx, steps, nil); err != nil {
			return nil, err
		}
	}
	return r.changeNow(ctx, ledger, &change{Rollouts: r, name: steps[0].Name, steps: steps})
}

// ResumeChange completes a change that was begun by a process that is gone, or undoes it.
func (r *Rollouts) ResumeChange(ctx context.Context, ledger Ledger, steps ...Step) error {
	_, err := r.changeNow(ctx, ledger, &change{Rollouts: r, name: steps[0].Name, steps: steps, resumed: true})
	return err
}

func (r *Rollouts) changeNow(ctx context.Context, ledger Ledger, c *change) ([]*proto.FunctionJsonRsp, error) {
	c.rows = map[string]*proto.FunctionJsonRsp{}
	err := c.roll(ctx)
	if ledger.Ends != nil {
		ledger.Ends(context.WithoutCancel(ctx), c.end)
	}
	if err != nil {
		return nil, err
	}
	rows := make([]*proto.FunctionJsonRsp, len(c.steps))
	for i, s := range c.steps {
		rows[i] = c.rows[s.Agent]
	}
	return rows, nil
}

// free is an ErrConflict while a function is being deployed.
func (r *Rollouts) free(name string) error {
	if r.Of(proto.Path(name)) == nil {
		return nil
	}
	return proto.Errorf(proto.ErrConflict, "function %q is being deployed", name).
		WithHint("wait until proxyCli list shows that it is settled, or deploy again, which replaces the deploy")
}

// canceled returns the row of an agent whose part of a change was undone or not begun.
func (r *Rollouts) canceled(name, addr, text string) *proto.FunctionJsonRsp {
	row := cmp.Or(r.fleet.Row(addr, name), &proto.FunctionJsonRsp{Name: name, AtAgent: addr, Since: time.Now().UTC().Format(time.RFC3339)})
	row.Status, row.Reason, row.Error = string(proto.Failed), proto.ReasonRollout, text
	return row
}

// Failed returns the row of a function that an agent did not accept.
func Failed(name, addr string, err error) *proto.FunctionJsonRsp {
	reason, text := proto.ReasonAgent, err.Error()
	switch e := proto.AsError(err); {
	case fleet.OfSource(err):
		reason = e.Reason
	case Unreachable(err):
		reason = proto.ReasonUnreachable
	}
	if hint := proto.AsError(err).Hint; hint != "" {
		text += "\n" + hint
	}
	return &proto.FunctionJsonRsp{
		Name: name, Status: string(proto.Failed), AtAgent: addr,
		Error: text, Reason: reason, Since: time.Now().UTC().Format(time.RFC3339),
	}
}
