package proxy

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	protobuf "google.golang.org/protobuf/proto"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/proxy/fleet"
	"github.com/Ishan27g/ryo-faas/proxy/rollout"
	"github.com/Ishan27g/ryo-faas/proxy/wish"
	"github.com/Ishan27g/ryo-faas/transport/bundle"
	"github.com/Ishan27g/ryo-faas/transport/server"
)

const (
	// loadLimit bounds how long a start waits for what is wished: without it nothing is
	// held back, and functions are called as agents say.
	loadLimit = time.Second
	// wishLimit bounds the writes after a change that went well, however its caller fares.
	wishLimit = 10 * time.Second
)

// wishes is what a proxy with a store does about what is wished.
type wishes struct {
	*wish.Keeper

	mu sync.Mutex // guards the field below:
	// troubles is why agents cannot be brought up to date, by path and address.
	troubles map[[2]string]string
}

// openWishes begins to keep wishes if there is a store. It returns what the fleet asks.
func (p *Proxy) openWishes() (held func(addr, id, path string) string, back func()) {
	if p.cfg.Store == nil {
		return nil, nil
	}
	p.mends.kick = make(chan struct{}, 1)
	p.previews = make(chan struct{}, 1)
	p.wishes = &wishes{
		Keeper:   wish.New(p.cfg.Store, p.wishChanged, p.logger),
		troubles: map[[2]string]string{},
	}
	p.wishes.Alone = p.cfg.Common == nil
	p.wishes.Yield = p.mends.cancel
	return p.held, func() { p.mends.hint(); p.agentsHint() }
}

// wishChanged takes over what is wished of some paths now.
func (p *Proxy) wishChanged(paths ...string) {
	p.fleet.Refresh(paths...)
	p.mends.hint(paths...)
	p.previewsHint(paths...)
}

// loadWishes reads what is wished before agents are connected, so that none serves what it
// should not.
func (p *Proxy) loadWishes(ctx context.Context) {
	if p.wishes == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, loadLimit)
	defer cancel()
	if err := p.wishes.Load(ctx); err != nil {
		p.logger.Error("what is wished cannot be read; functions are called as agents say", "error", err)
	}
}

// had names the agents that a wish of a path names: those that have it, or keep it stopped.
func (p *Proxy) had(path string) (addrs []string, known bool) {
	if p.wishes == nil || p.strangers() {
		return nil, false
	}
	w := p.wishes.Get(path)
	if w == nil || w.State == wish.Removed {
		return nil, false
	}
	for _, at := range w.At {
		r, _, _ := p.fleet.Agent(at.Agent, at.ID)
		addrs = append(addrs, r.Agent)
	}
	return addrs, true
}

// meet reads what is wished before an agent is listened to that was away: another proxy may
// have changed what it is to run.
func (p *Proxy) meet(ctx context.Context) {
	if p.wishes == nil || p.wishes.Alone {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, loadLimit)
	defer cancel()
	if err := p.wishes.Fresh(ctx); err != nil {
		p.logger.Debug("an agent is called as was known before it was away", "error", err)
	}
}

// held says why a row is not to be called yet.
func (p *Proxy) held(addr, id, path string) string {
	w := p.wishes.Get(path)
	if w == nil {
		return ""
	}
	why := w.Held(addr, id)
	if why == "" {
		return ""
	}
	if trouble := p.wishes.trouble(path, addr); trouble != "" {
		why += "; the last attempt failed: " + trouble
	}
	return why
}

func (w *wishes) trouble(path, addr string) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.troubles[[2]string{path, addr}]
}

// setTrouble notes why an agent cannot be brought up to date, or "" that it was. It reports
// whether that is new.
func (w *wishes) setTrouble(path, addr, why string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	key := [2]string{path, addr}
	before := w.troubles[key]
	if why == "" {
		delete(w.troubles, key)
	} else {
		w.troubles[key] = why
	}
	return before != why
}

// unstored explains an error of the store to somebody whose change it refuses.
func unstored(name string, err error) error {
	if proto.AsError(err).Reason == wish.ReasonChange || errors.Is(err, context.Canceled) {
		return err
	}
	kind := proto.AsError(err).Kind
	if kind != proto.ErrExhausted && kind != proto.ErrTooLarge && kind != proto.ErrTimeout {
		kind = proto.ErrUnavailable
	}
	return proto.Errorf(kind, "function %s: nothing was changed, since what is wished cannot be stored: %w", name, err).
		WithHint("running functions go on; see the proxy's log, and try again").From("proxy", "store")
}

// spares says which agents a change leaves out when they do not answer; nil: none.
func (p *Proxy) spares(unavailable string) func(addr string) bool {
	if p.wishes == nil || cmp.Or(unavailable, p.cfg.Unavailable, proto.UnavailableContinue) != proto.UnavailableContinue {
		return nil
	}
	return func(addr string) bool {
		_, known, _ := p.fleet.Agent(addr, "")
		return known
	}
}

// turn waits for the turn of a change that somebody asked for. What is being mended of the
// function stops for it.
func (p *Proxy) turn(ctx context.Context, path string) (unlock func(), err error) {
	resume := p.mends.yield(path)
	release, err := p.paths.lock(ctx, path)
	if err != nil {
		resume()
		return nil, err
	}
	return func() { release(); resume() }, nil
}

// writing is a change of a function while it is under way.
type writing struct {
	path, name string
	id, by     string
	base       uint64 // generation of the wish that it is made on
}

// writing begins one. It is based on the wish that there is, unless it stores its beginning: see
// begins.
func (p *Proxy) writing(ctx context.Context, name string) (*writing, *wish.Wish, error) {
	c := &writing{path: proto.Path(name), name: name, id: wish.NewID(), by: cmp.Or(server.CallerFrom(ctx).Who, "local")}
	w, _, err := p.wishes.Read(ctx, c.path)
	if err != nil {
		return nil, nil, unstored(name, err)
	}
	if w != nil {
		c.base = w.Generation
		if w.State != wish.Removed && w.Name != name {
			return nil, nil, collision(name, w.Name)
		}
	}
	return c, w, nil
}

// recordDeploy lets the wish follow a deploy.
func (p *Proxy) recordDeploy(ctx context.Context, o *rollout.Order, named bool) error {
	if p.wishes == nil {
		if o.Function.GetUnavailable() == proto.UnavailableContinue {
			return proto.Errorf(proto.ErrUnsupported, "function %s: this proxy has no store, so agents that are away could not be brought up to date later", o.Function.GetName())
		}
		return nil
	}
	c, w, err := p.writing(ctx, o.Function.GetName())
	if err != nil {
		return err
	}
	if w != nil {
		o.Last = w.Last
	}
	// Of a function of which nothing is wished somebody had chosen the agents.
	strange := w == nil && len(p.fleet.Find(c.path)) > 0
	o.Spares = p.spares(o.Function.GetUnavailable())
	fn, pkg := o.Function, o.Package
	change := wish.Change{
		ID: c.id, By: c.by, Function: wish.Of(fn), Canary: fn.GetCanary(), Note: fn.GetNote(),
		Given: len(fn.GetSecrets()) > 0, Sealed: p.keys.Seal(c.path, fn.GetSecrets()), Keep: fn.GetKeep(), Agents: o.Agents,
	}
	only := &proto.FunctionJson{Name: fn.GetName(), IfVersion: fn.IfVersion}
	o.Ledger = rollout.Ledger{
		Begins: p.begins(c, &change, pkg, func(w *wish.Wish) error {
			change.Placed = !named && (w == nil && !strange || w != nil && w.Placed)
			if w == nil { // nobody has changed it through a proxy
				return nil
			}
			return only.CheckServes(w.Serves(), false)
		}),
		Ends: func(ctx context.Context, end rollout.End) { p.ended(ctx, c, change, end) },
	}
	return nil
}

// begins returns what stores a change with its steps, after the package that it brings, if
// it brings one. The wish that it is made on is the one of then, which on gets and may refuse, nil if there
// is none: a change that this one follows may have written its own a moment ago.
func (p *Proxy) begins(c *writing, change *wish.Change, pkg *bundle.Package, on func(*wish.Wish) error) func(ctx context.Context, steps, taken []rollout.Step) error {
	return func(ctx context.Context, steps, taken []rollout.Step) (err error) {
		w, _, err := p.wishes.Read(ctx, c.path)
		if err != nil {
			return unstored(c.name, err)
		}
		if err := on(w); err != nil {
			return err
		}
		if c.base = 0; w != nil {
			c.base = w.Generation
		}
		change.Generation = c.base
		if change.Steps, err = json.Marshal(steps); err != nil {
			return err
		}
		if len(taken) > 0 {
			if change.Taken, err = json.Marshal(taken); err != nil {
				return err
			}
		}
		if pkg != nil {
			err = p.wishes.PutPackage(ctx, pkg.Digest, func() (io.ReadCloser, error) { return os.Open(pkg.Path) })
		}
		if err == nil {
			change.Replaces = p.replacement(c.name, c.id)
			err = p.wishes.Begin(ctx, c.path, *change)
		}
		if err != nil {
			return unstored(c.name, err)
		}
		// From here on no other proxy changes it, and what one did before is in the wish.
		if w, _, err = p.wishes.Read(ctx, c.path); err == nil {
			err = on(w)
		}
		if err != nil {
			return errors.Join(err, p.wishes.End(ctx, c.path, c.id))
		}
		if change.Replaces != nil {
			_ = p.tell(ctx, *change.Replaces) // whoever finds the change tells it again
		}
		return nil
	}
}

// ended lets the wish follow a deploy that has ended. What cannot be stored is stored later,
// by whoever finds the change.
func (p *Proxy) ended(ctx context.Context, c *writing, change wish.Change, end rollout.End) {
	ctx, cancel := context.WithTimeout(ctx, wishLimit)
	defer cancel()
	var err error
	switch end.Result {
	case rollout.Replaced, rollout.Cut: // the change is another's now, who removes it
		return
	case rollout.Undone:
		err = p.unwish(ctx, c, end.Unsure, 0)
	case rollout.Stands:
		err = p.fulfil(ctx, c, deployed{Change: change, End: end})
	}
	if err == nil {
		p.tellChange(ctx, c, &change, end)
		err = p.wishes.End(ctx, c.path, c.id)
	}
	if err != nil {
		p.logger.Error("what a change came to is not stored yet", "function", c.name, "change", c.id, "error", err)
	}
	p.mends.hint(c.path)
}

// unwish keeps a wish after a change that failed: agents of which nobody knows what they
// run are looked after.
func (p *Proxy) unwish(ctx context.Context, c *writing, unsure []string, last uint32) error {
	for _, r := range p.fleet.Find(c.path) {
		last = max(last, r.Row.GetLastVersion())
	}
	_, err := p.wishes.Edit(ctx, c.path, func(w *wish.Wish) error {
		if w.Generation == 0 || len(unsure) == 0 && last <= w.Last {
			return wish.ErrSame
		}
		w.Last = max(w.Last, last)
		for i := range w.At {
			if slices.Contains(unsure, w.At[i].Agent) {
				w.At[i].Done = 0
			}
		}
		return nil
	})
	return err
}

// deployed is a deploy, or another change, that stands.
type deployed struct {
	wish.Change
	rollout.End
}

// fulfil writes the wish that a change has made true.
func (p *Proxy) fulfil(ctx context.Context, c *writing, d deployed) error {
	deploy := d.Function.FunctionJson != nil
	from := slices.IndexFunc(d.Agents, func(addr string) bool { return !slices.Contains(d.Spared, addr) })
	if from < 0 {
		return proto.Errorf(proto.ErrUnavailable, "no agent of it answers")
	}
	now, err := p.observe(ctx, d.Agents[from], c.name)
	if err != nil {
		return err
	}
	before := p.placesOf(c.path)
	stored := p.storedSecrets(ctx, c.path, now)
	w, err := p.wishes.Edit(ctx, c.path, func(w *wish.Wish) error {
		if w.Change == c.id {
			return wish.ErrSame // it was written before its writer ended
		}
		overtaken := w.Generation != c.base
		w.Next(c.id, c.by)
		done := w.Generation
		if overtaken { // somebody else's change may have undone this one somewhere
			done--
		}
		if !deploy && w.Generation == 1 { // nothing was known of the function
			w.At = before
		}
		old := w.At
		if deploy {
			w.At = nil
			w.Placed, w.Deployed = d.Placed, w.Time
		}
		for _, addr := range d.Agents {
			r, _, _ := p.fleet.Agent(addr, "")
			at := wish.Place{Agent: r.Agent, ID: r.ID}
			if i := slices.IndexFunc(old, func(was wish.Place) bool { return was.Is(at.Agent, at.ID) }); i >= 0 {
				at.Done = old[i].Done
			}
			if !slices.Contains(d.Spared, addr) {
				at.Done = done
				if row := p.fleet.Row(addr, c.name); row.GetVersion() != now.version.Number {
					at.Number = row.GetVersion()
				}
			}
			w.At = slices.DeleteFunc(w.At, func(was wish.Place) bool { return was.Is(at.Agent, at.ID) })
			w.At = append(w.At, at)
		}
		if deploy {
			w.At = append(w.At, p.leaving(append(old, before...), w)...)
		}
		before, kept := map[uint32]wish.Version{w.Version.Number: w.Version}, wish.Sealed(nil)
		if w.Canary != nil {
			before[w.Canary.Number] = w.Canary.Version
		}
		maps.Copy(before, stored)
		if slices.Contains(d.Keep, "secrets") {
			kept = w.Version.Sealed
		}
		now.into(w, c.name)
		carry(w, before, d.Sealed, kept)
		if d.Given {
			w.Secrets = w.Version.Number
			if w.Canary != nil {
				w.Secrets = w.Canary.Number
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return p.keepVersions(ctx, c.path, w)
}

// keepVersions stores the versions of a wish.
func (p *Proxy) keepVersions(ctx context.Context, path string, w *wish.Wish) error {
	if w == nil {
		return nil
	}
	err := p.wishes.PutVersion(ctx, path, w.Version)
	if w.Canary != nil {
		err = errors.Join(err, p.wishes.PutVersion(ctx, path, w.Canary.Version))
	}
	return err
}

// placesOf returns the agents that are known to have a function, as places that have
// followed nothing.
func (p *Proxy) placesOf(path string) (list []wish.Place) {
	for _, r := range p.fleet.Find(path) {
		list = append(list, wish.Place{Agent: r.Agent, ID: r.ID})
	}
	return list
}

// leaving returns, of the agents that had a function, those that still have it and are not
// to have it any longer.
func (p *Proxy) leaving(had []wish.Place, w *wish.Wish) (list []wish.Place) {
	for _, at := range had {
		r, known, answers := p.fleet.Agent(at.Agent, at.ID)
		gone := answers && p.fleet.Row(r.Agent, w.Name) == nil
		again := func(other wish.Place) bool { return other.Is(at.Agent, at.ID) }
		if !known || gone || slices.ContainsFunc(w.At, again) || slices.ContainsFunc(list, again) {
			continue
		}
		at.Done, at.Leaving = min(at.Done, w.Generation-1), true
		list = append(list, at)
	}
	return list
}

// observed is what serves of a function at an agent.
type observed struct {
	version wish.Version
	canary  *wish.Canary
	paused  bool
	last    uint32
	row     *proto.FunctionJsonRsp
}

// into writes it into a wish.
func (o *observed) into(w *wish.Wish, name string) {
	w.Name, w.State, w.Paused = name, wish.Running, o.paused
	w.Version, w.Canary, w.Last = o.version, o.canary, max(w.Last, o.last)
	w.App = o.version.Settings.GetApp()
	w.Replicas, w.Labels = o.row.GetReplicas(), o.row.GetPlacement()
}

// observe asks an agent what serves there.
func (p *Proxy) observe(ctx context.Context, addr, name string) (*observed, error) {
	agent, err := p.fleet.Connect(ctx, addr)
	if err != nil {
		return nil, err
	}
	list, err := agent.Versions(ctx, name)
	if err != nil {
		return nil, err
	}
	row := p.fleet.Row(addr, name)
	o := &observed{row: row, paused: row.GetPaused(), last: row.GetLastVersion()}
	for _, v := range list {
		switch {
		case v.GetVersion() == row.GetVersion():
			o.version = versionOf(v)
		case v.GetWeight() > 0:
			o.canary = &wish.Canary{Version: versionOf(v), Share: v.GetWeight()}
		}
	}
	if o.version.Number == 0 {
		return nil, proto.Errorf(proto.ErrNotFound, "agent %s keeps no version of function %s that serves", addr, name)
	}
	return o, nil
}

func versionOf(v *proto.Version) wish.Version {
	settings := protobuf.CloneOf(v.GetSettings())
	if settings == nil {
		settings = &proto.FunctionJson{}
	}
	settings.Package = v.GetPackage()
	at, err := time.Parse(time.RFC3339, v.GetTime())
	if err != nil {
		at = time.Now().UTC()
	}
	return wish.Version{Number: v.GetVersion(), Package: v.GetPackage(), Settings: wish.Of(settings), Note: v.GetNote(), Time: at}
}

// recordChange lets the wish follow a change of replicas, and leaves those out whose agents
// do not answer. It returns the steps of the others, and the rows of those that were left
// out.
func (p *Proxy) recordChange(ctx context.Context, replicas []fleet.Replica, step rollout.Step) (rollout.Ledger, []rollout.Step, []*proto.FunctionJsonRsp, error) {
	steps := make([]rollout.Step, len(replicas))
	for i, r := range replicas {
		step.Agent, step.Name, step.Before = r.Agent, r.Row.GetName(), r.Row
		steps[i] = step
	}
	if p.wishes == nil {
		return rollout.Ledger{}, steps, nil, nil
	}
	c, w, err := p.writing(ctx, steps[0].Name)
	if err != nil {
		return rollout.Ledger{}, nil, nil, err
	}
	steps, spared, rows := p.spare(ctx, steps)
	if w != nil { // of some that are away nothing is known but the wish
		for _, at := range w.Agents() {
			r, known, answers := p.fleet.Agent(at.Agent, at.ID)
			if known && !answers && !slices.Contains(spared, r.Agent) {
				spared = append(spared, r.Agent)
			}
		}
	}
	change := wish.Change{ID: c.id, By: c.by, Agents: spared}
	for _, s := range steps {
		change.Agents = append(change.Agents, s.Agent)
	}
	return rollout.Ledger{
		Begins: p.begins(c, &change, nil, func(*wish.Wish) error { return nil }),
		Ends: func(ctx context.Context, end rollout.End) {
			end.Spared = spared
			p.ended(ctx, c, change, end)
		},
	}, steps, rows, nil
}

// spare leaves the steps out whose agents do not answer, unless none answers.
func (p *Proxy) spare(ctx context.Context, steps []rollout.Step) (rest []rollout.Step, spared []string, rows []*proto.FunctionJsonRsp) {
	spares := p.spares("")
	if spares == nil {
		return steps, nil, nil
	}
	errs := make([]error, len(steps))
	var wg sync.WaitGroup
	for i, s := range steps {
		wg.Go(func() { _, errs[i] = p.fleet.Connect(ctx, s.Agent) })
	}
	wg.Wait()
	for i, s := range steps {
		if errs[i] != nil && rollout.Unreachable(errs[i]) && spares(s.Agent) {
			spared = append(spared, s.Agent)
			rows = append(rows, p.rollouts.Spared(s.Name, s.Agent, errs[i]))
			continue
		}
		rest = append(rest, s)
	}
	if len(rest) == 0 {
		return steps, nil, nil
	}
	return rest, spared, rows
}

// resolveRollback sets the version to which a rollback goes that names none, so that it can
// be taken twice.
func (p *Proxy) resolveRollback(ctx context.Context, at fleet.Replica, step *rollout.Step) error {
	if p.wishes == nil || step.Action != rollout.Rollback || step.Version > 0 {
		return nil
	}
	agent, err := p.fleet.Connect(ctx, at.Agent)
	if err != nil {
		return err
	}
	list, err := agent.Versions(ctx, at.Row.GetName())
	if err != nil {
		return err
	}
	if i := slices.IndexFunc(list, (*proto.Version).GetPrevious); i >= 0 {
		step.Version = list[i].GetVersion()
	}
	return nil // without one, the agent says what is wrong
}

// end writes that a function is to be stopped or removed, at all agents that have it, and
// returns those that do not answer. No call goes to it from then on.
func (p *Proxy) end(ctx context.Context, c *writing, state wish.State, replicas []fleet.Replica, untold []wish.Notice) (w *wish.Wish, absent []string, err error) {
	var places []wish.Place
	for _, r := range replicas {
		places = append(places, wish.Place{Agent: r.Agent, ID: r.ID})
	}
	if state == wish.Removed { // agents that are away may have it, stopped
		for _, r := range p.fleet.All() {
			if r, known, answers := p.fleet.Agent(r.Agent, r.ID); known && !answers {
				places = append(places, wish.Place{Agent: r.Agent, ID: r.ID})
			}
		}
	}
	w, err = p.wishes.Edit(ctx, c.path, func(w *wish.Wish) error {
		w.Next(c.id, c.by)
		w.Name, w.State, w.Paused, w.Canary, w.Untold = c.name, state, false, nil, untold
		for _, at := range places {
			if w.Place(at.Agent, at.ID) == nil {
				w.At = append(w.At, at)
			}
		}
		for _, r := range replicas {
			if w.Last = max(w.Last, r.Row.GetLastVersion()); w.Version.Number == 0 {
				w.Version.Number, w.Version.Package = r.Row.GetVersion(), r.Row.GetPackage()
			}
		}
		return nil
	})
	if err != nil {
		return nil, nil, unstored(c.name, err)
	}
	if w == nil {
		return nil, nil, nil
	}
	for _, at := range w.At {
		if r, known, answers := p.fleet.Agent(at.Agent, at.ID); known && !answers {
			absent = append(absent, r.Agent)
		}
	}
	slices.Sort(absent)
	return w, absent, nil
}

// followed notes the agents that have followed a wish to a generation.
func (p *Proxy) followed(ctx context.Context, path string, generation uint64, agents ...string) error {
	_, err := p.wishes.Edit(ctx, path, func(w *wish.Wish) error {
		if w.Generation != generation {
			return wish.ErrSame
		}
		for _, addr := range agents {
			r, _, _ := p.fleet.Agent(addr, "")
			if at := w.Place(r.Agent, r.ID); at != nil {
				at.Agent, at.ID, at.Done = r.Agent, r.ID, generation
			}
		}
		return nil
	})
	return err
}

// wished returns the agents on which a function is to run, nil if nothing is known of that:
// with other proxies at the agents, one of them may have moved it.
func (p *Proxy) wished(path string) (addrs []string) {
	if p.wishes == nil || p.strangers() {
		return nil
	}
	w := p.wishes.Get(path)
	if w == nil {
		return nil
	}
	for _, at := range w.Agents() {
		if r, known, _ := p.fleet.Agent(at.Agent, at.ID); known {
			addrs = append(addrs, r.Agent)
		}
	}
	return addrs
}

// drift says what an agent runs instead of what is wished.
func (p *Proxy) drift(row *proto.FunctionJsonRsp) string {
	if p.wishes == nil || p.strangers() { // another proxy may have been asked for it
		return ""
	}
	path := proto.Path(row.GetName())
	w := p.wishes.Get(path)
	if w == nil || !proto.Status(row.GetStatus()).Settled() || p.wishes.Ours(path) != "" || p.rollouts.Of(path) != nil {
		return ""
	}
	r, _, answers := p.fleet.Agent(row.GetAtAgent(), "")
	if !answers {
		return ""
	}
	return w.Drift(r.Agent, r.ID, cmp.Or(p.fleet.Row(r.Agent, row.GetName()), row))
}

// forgetAgent takes an agent out of all wishes: its functions are others' matter now.
func (p *Proxy) forgetAgent(ctx context.Context, was *proto.AgentState) error {
	if p.wishes == nil {
		return nil
	}
	var errs []error
	for path, w := range p.wishes.All() {
		if w.Place(was.GetAddr(), was.GetId()) == nil {
			continue
		}
		_, err := p.wishes.Edit(ctx, path, func(w *wish.Wish) error {
			w.At = slices.DeleteFunc(w.At, func(at wish.Place) bool { return at.Is(was.GetAddr(), was.GetId()) })
			return nil
		})
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// moved takes agents out of the wish of a function that the proxy has moved away from them.
// Those that it has moved to are noted as whatever runs and is not known to be wished.
func (p *Proxy) moved(ctx context.Context, path string, left ...string) {
	if p.wishes == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), wishLimit)
	defer cancel()
	_, err := p.wishes.Edit(ctx, path, func(w *wish.Wish) error {
		before := len(w.At)
		w.At = slices.DeleteFunc(w.At, func(at wish.Place) bool {
			r, _, _ := p.fleet.Agent(at.Agent, at.ID)
			return slices.Contains(left, r.Agent)
		})
		if w.Generation == 0 || len(w.At) == before {
			return wish.ErrSame
		}
		return nil
	})
	if err != nil {
		p.logger.Warn("a function is still wished on agents that it has left", "function", path, "agents", left, "error", err)
	}
	p.mends.hint(path)
}

// packageOf returns a package that is stored, nil if it is not any more.
func (p *Proxy) packageOf(ctx context.Context, digest string) (*bundle.Package, error) {
	if pkg, err := p.store.Get(digest); err == nil {
		return pkg, nil
	}
	r, err := p.wishes.OpenPackage(ctx, digest)
	if errors.Is(err, proto.ErrNotFound) {
		return nil, nil //nolint:nilnil // an agent may have it
	}
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return p.store.Put(ctx, digest, r)
}

// secretNames are the names of a version's secrets, for people.
func secretNames(s wish.Settings) string {
	return strings.Join(slices.Sorted(maps.Keys(s.GetSecrets())), ", ")
}
