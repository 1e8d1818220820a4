package proxy

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	protobuf "google.golang.org/protobuf/proto"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/proxy/fleet"
	"github.com/Ishan27g/ryo-faas/proxy/rollout"
	"github.com/Ishan27g/ryo-faas/proxy/wish"
)

// How agents are brought to what is wished.
const (
	lookEvery  = 10 * time.Second // hints may be lost
	lookPart   = 9                // looks take a tenth of the time at most, however many functions there are
	maxMends   = 4                // functions at a time: each may take a build
	maxNotes   = 16               // further ones of which the store is told alone
	minAgain   = time.Second      // after an attempt that failed; doubled up to
	maxAgain   = 5 * time.Minute
	yieldFor   = time.Second      // to a change of another proxy, which begins meanwhile
	mendLimit  = 15 * time.Minute // for a deploy at an agent that was begun by somebody else
	sweepEvery = time.Hour        // of packages that nothing refers to
)

// mends is the work of bringing agents to what is wished.
type mends struct {
	kick chan struct{} // one hint waits at most

	mu      sync.Mutex      // guards the fields below:
	hints   map[string]bool // paths to look at
	all     bool            // or each
	running map[string]*mend
	builds  int            // of those that run and are not notes alone
	waiting []job          // until there is room
	held    map[string]int // paths that somebody changes, or is about to
	again   map[[2]string]pause
	yielded map[string]time.Time // until when others, who have waited, go first; by path
}

// job is what is to be done about one function.
type job struct {
	path  string
	notes bool // nothing is brought anywhere
	work  func(context.Context)
}

// mend is the work on one function.
type mend struct {
	cancel context.CancelFunc
	done   chan struct{}
}

// pause is until when an agent is left alone after an attempt that failed.
type pause struct {
	generation uint64
	last       time.Duration
	until      time.Time
}

// hint lets the leader look at some paths at once, or, without any, at all.
func (m *mends) hint(paths ...string) {
	if m.kick == nil {
		return
	}
	m.mu.Lock()
	m.all = m.all || len(paths) == 0
	for _, path := range paths {
		if m.hints == nil {
			m.hints = map[string]bool{}
		}
		m.hints[path] = true
	}
	m.mu.Unlock()
	select {
	case m.kick <- struct{}{}:
	default:
	}
}

// hinted returns at what to look since it was called last.
func (m *mends) hinted() (paths []string, all bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	paths, all = slices.Collect(maps.Keys(m.hints)), m.all
	m.hints, m.all = nil, false
	return paths, all
}

// yield ends the work on a path, and keeps it from beginning again until resume.
func (m *mends) yield(path string) (resume func()) {
	m.mu.Lock()
	if m.held == nil {
		m.held = map[string]int{}
	}
	m.held[path]++
	now := m.running[path]
	m.mu.Unlock()
	if now != nil {
		now.cancel()
		<-now.done
	}
	return func() {
		m.mu.Lock()
		if m.held[path]--; m.held[path] == 0 {
			delete(m.held, path)
		}
		m.mu.Unlock()
		m.hint(path)
	}
}

// plan begins with what is to be worked on after a look at some paths, or at all of them.
func (m *mends) plan(ctx context.Context, paths []string, all bool, work []job) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.waiting = append(slices.DeleteFunc(m.waiting, func(j job) bool { return all || slices.Contains(paths, j.path) }), work...)
	m.next(ctx)
}

// next begins what waits, as far as there is room. What somebody changes, or is worked on,
// is left for the next plan. m.mu is held.
func (m *mends) next(ctx context.Context) {
	var stay []job
	for i, j := range m.waiting {
		if len(m.running) >= maxMends+maxNotes || ctx.Err() != nil {
			stay = append(stay, m.waiting[i:]...)
			break
		}
		if !j.notes && m.builds >= maxMends {
			stay = append(stay, j)
			continue
		}
		if until, yields := m.yielded[j.path]; yields && time.Now().Before(until) {
			continue
		}
		delete(m.yielded, j.path)
		if m.running[j.path] == nil && m.held[j.path] == 0 {
			m.begin(ctx, j)
		}
	}
	m.waiting = stay
}

// begin begins the work on a path. m.mu is held.
func (m *mends) begin(leading context.Context, j job) {
	ctx, cancel := context.WithCancel(leading)
	now := &mend{cancel, make(chan struct{})}
	if m.running == nil {
		m.running = map[string]*mend{}
	}
	m.running[j.path] = now
	if !j.notes {
		m.builds++
	}
	go func() {
		defer close(now.done)
		defer cancel()
		j.work(ctx)
		m.hint(j.path) // to look whether that was all
		m.mu.Lock()
		defer m.mu.Unlock()
		delete(m.running, j.path)
		if !j.notes {
			m.builds--
		}
		m.next(leading)
	}()
}

// works reports whether a path is worked on.
func (m *mends) works(path string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.running[path] != nil
}

// cancel ends the work on a path for the sake of another proxy, without waiting for its end.
func (m *mends) cancel(path string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.yielded == nil {
		m.yielded = map[string]time.Time{}
	}
	m.yielded[path] = time.Now().Add(yieldFor)
	if now := m.running[path]; now != nil {
		now.cancel()
	}
}

// wait waits until nothing is worked on.
func (m *mends) wait() {
	for {
		m.mu.Lock()
		var now *mend
		for _, now = range m.running {
			break
		}
		m.mu.Unlock()
		if now == nil {
			return
		}
		<-now.done
	}
}

// due reports whether an agent may be tried.
func (m *mends) due(path, addr string, generation uint64) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	p, ok := m.again[[2]string{path, addr}]
	return !ok || p.generation != generation || time.Now().After(p.until)
}

// tried notes how an attempt went.
func (m *mends) tried(path, addr string, generation uint64, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	key := [2]string{path, addr}
	if ok {
		delete(m.again, key)
		return
	}
	p := m.again[key]
	if p.generation != generation {
		p = pause{generation: generation}
	}
	p.last = min(maxAgain, max(minAgain, 2*p.last))
	p.until = time.Now().Add(p.last/2 + rand.N(p.last/2))
	if m.again == nil {
		m.again = map[[2]string]pause{}
	}
	m.again[key] = p
}

// keepWishes follows what is wished until ctx is done.
func (p *Proxy) keepWishes(ctx context.Context) {
	if p.wishes == nil {
		return
	}
	var parts sync.WaitGroup
	parts.Go(func() { p.wishes.Follow(ctx) })
	p.refreshWishes(ctx)
	parts.Wait()
}

// lead does what one of the proxies of a store does for all, whenever that is this one, until
// ctx is done: it brings agents to what is wished, moves functions, and decides on sizes.
// Without a store that is this proxy alone.
func (p *Proxy) lead(ctx context.Context, work ...func(context.Context)) {
	if p.fleet.Started(ctx) != nil {
		return
	}
	all := func(ctx context.Context) {
		var parts sync.WaitGroup
		for _, does := range work {
			parts.Go(func() { does(ctx) })
		}
		parts.Wait()
	}
	if p.wishes == nil {
		all(ctx)
		return
	}
	for ctx.Err() == nil {
		err := p.cfg.Store.Lead(ctx, "reconcile", func(ctx context.Context, term uint64) {
			p.logger.Debug("this proxy leads", "term", term)
			all(ctx)
		})
		if ctx.Err() == nil {
			p.logger.Error("no proxy can be chosen to look after functions", "error", err)
			rest(ctx, lookEvery)
		}
	}
}

// refreshWishes reads wishes now and then, and shows that the changes of this proxy are
// under way.
func (p *Proxy) refreshWishes(ctx context.Context) {
	touch, look := time.NewTicker(wish.TouchEvery), time.NewTicker(lookEvery)
	defer touch.Stop()
	defer look.Stop()
	failed := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-touch.C:
			p.wishes.Touch(ctx)
		case <-look.C:
			err := p.wishes.Load(ctx)
			if err != nil && !failed && ctx.Err() == nil {
				p.logger.Error("what is wished cannot be read; calls go on, deploys are refused", "error", err)
			}
			failed = err != nil
		}
	}
}

// leadMends compares what is wished with what agents run, again and again, until ctx is
// done.
func (p *Proxy) leadMends(ctx context.Context) {
	if p.wishes == nil {
		return
	}
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	defer p.mends.wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if err := p.renewSecrets(ctx); err != nil && ctx.Err() == nil {
		p.logger.Warn("secrets are still sealed with an older key", "error", err)
	}
	swept := time.Now()
	for paths, all := []string(nil), true; ; {
		began := time.Now()
		if err := p.compare(ctx, paths, all); err != nil && ctx.Err() == nil {
			p.logger.Warn("what is wished is not compared with what runs", "error", err)
		}
		if time.Since(swept) > sweepEvery {
			swept = time.Now()
			if err := p.wishes.Sweep(ctx); err != nil && ctx.Err() == nil {
				p.logger.Warn("packages that nothing refers to are kept", "error", err)
			}
		}
		rest(ctx, lookPart*time.Since(began))
		select {
		case <-ctx.Done():
			return
		case <-look.C:
			p.mends.hint()
		case <-p.mends.kick:
		}
		paths, all = p.mends.hinted()
	}
}

// compare begins what is to be done now about some functions, or about all.
func (p *Proxy) compare(ctx context.Context, paths []string, all bool) error {
	lost, busy, err := p.wishes.Lost(ctx, func(path string) bool { return p.rollouts.Of(path) != nil || p.mends.works(path) })
	if err != nil {
		return err
	}
	var work []job
	add := func(path string, notes bool, do func(context.Context)) {
		if busy[path] {
			return
		}
		busy[path] = true // one thing after the other
		work = append(work, job{path, notes, func(ctx context.Context) {
			if p.changes.Begin(ctx) != nil { // another process goes on
				return
			}
			defer p.changes.End()
			unlock, err := p.paths.lock(ctx, path)
			if err != nil {
				return
			}
			defer unlock()
			do(ctx)
		}})
	}
	for path, c := range lost {
		add(path, false, func(ctx context.Context) { p.resume(ctx, path, c) })
	}
	var wishes map[string]*wish.Wish
	var runs map[string][]fleet.Replica
	if all {
		wishes, runs = p.wishes.All(), p.fleet.Owned()
	} else {
		wishes, runs = p.wishes.Some(paths...), p.fleet.OwnedOf(paths...)
	}
	for path, w := range wishes {
		if places := p.behind(ctx, path, w); len(places) > 0 {
			add(path, false, func(ctx context.Context) { p.mendAll(ctx, path, w, places) })
		}
	}
	for path, replicas := range runs {
		if p.unknown(wishes[path], replicas) {
			add(path, true, func(ctx context.Context) { p.adopt(ctx, path) })
		}
	}
	p.mends.plan(ctx, paths, all, work)
	return nil
}

// behind returns the places whose agents answer and have not followed a wish, or have lost
// the function.
func (p *Proxy) behind(ctx context.Context, path string, w *wish.Wish) (list []wish.Place) {
	for _, at := range w.At {
		r, _, answers := p.fleet.Agent(at.Agent, at.ID)
		if !answers || !p.mends.due(path, r.Agent, w.Generation) {
			continue
		}
		if w.Behind(&at) || p.lacks(ctx, r, w) {
			list = append(list, at)
		}
	}
	return list
}

// lacks reports whether an agent that is to run a function neither runs nor keeps it. With
// other proxies at the agents, one of them may have removed it.
func (p *Proxy) lacks(ctx context.Context, r fleet.Replica, w *wish.Wish) bool {
	if w.State != wish.Running || p.strangers() || p.fleet.Has(r.Agent, w.Name) || p.rollouts.Of(proto.Path(w.Name)) != nil {
		return false
	}
	row, err := p.stoppedAt(ctx, r.Agent, w.Name)
	return err == nil && row == nil
}

// stoppedAt returns the row of a function that is stopped at an agent, nil if there is none.
func (p *Proxy) stoppedAt(ctx context.Context, addr, name string) (*proto.FunctionJsonRsp, error) {
	agent, err := p.fleet.Connect(ctx, addr)
	if err != nil {
		return nil, err
	}
	rows, err := agent.Stopped(ctx)
	if err != nil {
		return nil, err
	}
	if i := slices.IndexFunc(rows, func(r *proto.FunctionJsonRsp) bool { return r.GetName() == name }); i >= 0 {
		return rows[i], nil
	}
	return nil, nil //nolint:nilnil // there is none
}

// mendAll brings agents, one after the other, to a wish.
func (p *Proxy) mendAll(ctx context.Context, path string, w *wish.Wish, places []wish.Place) {
	mine, end, err := p.mending(ctx, path, w)
	if err != nil { // somebody changes it
		return
	}
	defer end()
	for _, at := range places {
		now := p.wishes.Get(path)
		if ctx.Err() != nil || now == nil || now.Generation != w.Generation || p.rollouts.Of(path) != nil || p.wishes.Ours(path) != mine {
			return
		}
		r, _, answers := p.fleet.Agent(at.Agent, at.ID)
		// Another agent may have taken the place, by its address.
		is := now.Place(at.Agent, at.ID)
		if !answers || is == nil || !now.Behind(is) && !p.lacks(ctx, r, now) { // somebody has seen to it meanwhile
			continue
		}
		w, at = now, *is
		number, err := p.mend(ctx, r.Agent, w, at.Leaving)
		if err == nil {
			err = p.mended(ctx, path, w.Generation, at, r, number)
		}
		if ctx.Err() != nil {
			return
		}
		p.mends.tried(path, r.Agent, w.Generation, err == nil)
		text := ""
		if err != nil {
			text = err.Error()
			if hint := proto.AsError(err).Hint; hint != "" {
				text += "; " + hint
			}
		}
		if p.wishes.setTrouble(path, r.Agent, text) {
			p.fleet.Refresh(path)
			if err != nil {
				p.logger.Warn("an agent is not brought to what is wished", "function", w.Name, "agent", r.Agent, "error", err)
			}
		}
	}
}

// mending keeps other proxies from changing a function until end is called. It returns the
// id of that, "" where there are no others.
func (p *Proxy) mending(ctx context.Context, path string, w *wish.Wish) (id string, end func(), err error) {
	if p.wishes.Alone {
		return "", func() {}, nil
	}
	if p.wishes.Ours(path) != "" {
		return "", nil, errHeld
	}
	id = wish.NewID()
	err = p.wishes.Begin(ctx, path, wish.Change{ID: id, By: "the proxy that leads", Generation: w.Generation, Mending: true})
	if err != nil {
		return "", nil, err
	}
	if _, err = p.wishes.Fresher(ctx, path); err == nil { // it may have changed before that
		return id, func() { p.endMending(ctx, path, id) }, nil
	}
	p.endMending(ctx, path, id)
	return "", nil, err
}

func (p *Proxy) endMending(ctx context.Context, path, id string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), wishLimit)
	defer cancel()
	if err := p.wishes.End(ctx, path, id); err != nil {
		p.logger.Warn("a function counts as mended on", "function", path, "error", err)
	}
}

// mended notes that an agent has followed.
func (p *Proxy) mended(ctx context.Context, path string, generation uint64, place wish.Place, r fleet.Replica, number uint32) error {
	_, err := p.wishes.Edit(ctx, path, func(w *wish.Wish) error {
		at := w.Place(place.Agent, place.ID)
		if w.Generation != generation || at == nil {
			return wish.ErrSame
		}
		at.Agent, at.ID, at.Done, at.Number = r.Agent, r.ID, generation, 0
		if number != w.Version.Number {
			at.Number = number
		}
		return nil
	})
	return err
}

// mend brings an agent to a wish, or to remove the function if that leaves. It returns the
// number that the version has there.
func (p *Proxy) mend(ctx context.Context, addr string, w *wish.Wish, leaves bool) (uint32, error) {
	agent, err := p.fleet.Connect(ctx, addr)
	if err != nil {
		return 0, err
	}
	row := p.fleet.Row(addr, w.Name)
	if row != nil && proto.Status(row.GetStatus()) == proto.Deploying {
		row = agent.Settled(ctx, row, mendLimit)
	}
	versions, err := agent.Versions(ctx, w.Name)
	if err != nil && !errors.Is(err, proto.ErrNotFound) {
		return 0, err
	}
	if i := slices.IndexFunc(versions, func(v *proto.Version) bool { return v.GetVersion() > w.Last }); i >= 0 {
		p.logger.Warn("a function was deployed at an agent without the proxy, and stays", "function", w.Name, "agent", addr, "version", versions[i].GetVersion())
		return w.Version.Number, nil
	}
	switch {
	case w.State == wish.Removed || leaves:
		if _, err = agent.Remove(ctx, w.Name); err == nil {
			p.logger.Info("removed, as was asked while the agent was away", "function", w.Name, "agent", addr)
		} else if errors.Is(err, proto.ErrNotFound) {
			err = nil
		}
		return 0, err
	case w.State == wish.Stopped:
		if row != nil {
			if _, err = agent.Stop(ctx, w.Name); err == nil {
				p.logger.Info("stopped, as was asked while the agent was away", "function", w.Name, "agent", addr)
			}
		}
		return w.Version.Number, err
	}
	return p.mendVersion(ctx, agent, w, row, versions)
}

// mendVersion lets the version that is wished serve at an agent.
func (p *Proxy) mendVersion(ctx context.Context, agent *fleet.Session, w *wish.Wish, row *proto.FunctionJsonRsp, versions []*proto.Version) (uint32, error) {
	before := row.GetVersion()
	keeps := func(of wish.Version) *proto.Version {
		for _, v := range versions {
			if rollout.Same(v, of.Settings.FunctionJson) {
				return v
			}
		}
		return nil
	}
	weight := func(row *proto.FunctionJsonRsp) (canary uint32) {
		for _, s := range row.GetServing() {
			if s.GetVersion() != row.GetVersion() {
				canary = max(canary, s.GetWeight())
			}
		}
		return canary
	}
	var err error
	serves := keeps(w.Version)
	runs := row != nil && proto.Status(row.GetStatus()) == proto.Deployed
	switch {
	case serves == nil:
		row, err = p.mendByDeploy(ctx, agent.Addr, w, w.Version, 0, row, versions)
	case !runs || row.GetVersion() != serves.GetVersion() || weight(row) > 0 && w.Canary == nil:
		row, err = agent.Rollback(ctx, w.Name, serves.GetVersion())
	}
	if err != nil {
		return 0, err
	}
	if c := w.Canary; c != nil && weight(row) != c.Share {
		if weight(row) > 0 {
			row, err = agent.Shift(ctx, w.Name, c.Share)
		} else {
			row, err = p.mendByDeploy(ctx, agent.Addr, w, c.Version, c.Share, row, versions)
		}
		if err != nil {
			return 0, err
		}
	}
	if row.GetPaused() != w.Paused {
		if w.Paused {
			row, err = agent.Pause(ctx, w.Name)
		} else {
			row, err = agent.Resume(ctx, w.Name)
		}
		if err != nil {
			return 0, err
		}
	}
	if row.GetVersion() != before {
		p.logger.Info("an agent is up to date again", "function", w.Name, "agent", agent.Addr, "version", row.GetVersion(), "before", before)
	}
	return row.GetVersion(), nil
}

// mendByDeploy gives an agent a version that it does not keep.
func (p *Proxy) mendByDeploy(ctx context.Context, addr string, w *wish.Wish, v wish.Version, canary uint32, row *proto.FunctionJsonRsp, versions []*proto.Version) (*proto.FunctionJsonRsp, error) {
	fn := protobuf.CloneOf(v.Settings.FunctionJson)
	fn.Name, fn.Note, fn.Canary = w.Name, v.Note, canary
	fn.Replicas, fn.Placement = w.Replicas, w.Labels
	for _, r := range p.fleet.Find(proto.Path(w.Name)) { // it may have been scaled since, which makes no version
		if r.Agent != addr && p.fleet.Problem(r.Agent) == nil {
			fn.Replicas, fn.Placement = r.Row.GetReplicas(), r.Row.GetPlacement()
			break
		}
	}
	if err := p.withSecrets(fn, w, v, row, versions); err != nil {
		return nil, err
	}
	pkg, err := p.packageOf(ctx, v.Package)
	if err != nil {
		return nil, err
	}
	last := row.GetLastVersion()
	for _, v := range versions {
		last = max(last, v.GetVersion())
	}
	step := rollout.Step{Agent: addr, Name: w.Name, Before: row, Action: rollout.Deploy, Canary: canary}
	if v.Number > last {
		step.Version = v.Number // else its own next one
	}
	after, err := p.rollouts.Bring(ctx, rollout.Order{Function: fn, Package: pkg, Agents: []string{addr}, Ended: func() {}}, step)
	if errors.Is(err, proto.ErrConflict) && step.Version > 0 { // it has tried that number before
		step.Version = 0
		after, err = p.rollouts.Bring(ctx, rollout.Order{Function: fn, Package: pkg, Agents: []string{addr}, Ended: func() {}}, step)
	}
	if err != nil {
		return nil, err
	}
	if proto.Status(after.GetStatus()) != proto.Deployed {
		return nil, errors.New(cmp.Or(after.GetError(), "it is "+after.GetStatus()))
	}
	return after, nil
}

// withSecrets completes a function with the values of its secrets: those that are stored, or
// else those that the agent has.
func (p *Proxy) withSecrets(fn *proto.FunctionJson, w *wish.Wish, v wish.Version, row *proto.FunctionJsonRsp, versions []*proto.Version) error {
	if len(fn.GetSecrets()) == 0 {
		return nil
	}
	values, err := p.secretsOf(proto.Path(w.Name), v)
	if err == nil {
		fn.Secrets = values
		return nil
	}
	has := map[string]bool{}
	for _, kept := range versions {
		if kept.GetVersion() == row.GetVersion() || len(versions) == 1 {
			for name := range kept.GetSettings().GetSecrets() {
				has[name] = true
			}
		}
	}
	for name := range v.Settings.GetSecrets() {
		if !has[name] || row.GetLastVersion() < w.Secrets {
			return fmt.Errorf("it does not have the values of the secrets of version %d, %s: %w", v.Number, secretNames(v.Settings), err)
		}
	}
	fn.Secrets, fn.Keep = nil, []string{"secrets"}
	return nil
}

// unknown reports whether a function that agents run is not known to be wished there.
func (p *Proxy) unknown(w *wish.Wish, replicas []fleet.Replica) bool {
	return slices.ContainsFunc(replicas, func(r fleet.Replica) bool {
		return r.Row.GetVersion() > 0 && proto.Status(r.Row.GetStatus()) == proto.Deployed && (w == nil || w.Place(r.Agent, r.ID) == nil) &&
			p.rollouts.Of(proto.Path(r.Row.GetName())) == nil
	})
}

// adopt wishes what agents run and nobody has wished: the store is new, or they were
// deployed to without a proxy.
func (p *Proxy) adopt(ctx context.Context, path string) {
	replicas := p.fleet.OwnedOf(path)[path]
	if !p.unknown(p.wishes.Get(path), replicas) || p.wishes.Ours(path) != "" {
		return
	}
	slices.SortStableFunc(replicas, func(a, b fleet.Replica) int { return cmp.Compare(b.Row.GetVersion(), a.Row.GetVersion()) })
	first := replicas[0]
	now, err := p.observe(ctx, first.Agent, first.Row.GetName())
	if err != nil {
		p.logger.Warn("an agent does not tell what it runs", "function", first.Row.GetName(), "agent", first.Agent, "error", err)
		return
	}
	w, err := p.wishes.Edit(ctx, path, func(w *wish.Wish) error {
		if w.Generation == 0 || w.State == wish.Removed {
			left := w.At
			w.Next(wish.NewID(), "the agents that run it")
			now.into(w, first.Row.GetName())
			w.At, w.Secrets = nil, now.version.Number
			for _, at := range left { // they still have to remove it
				at.Leaving = true
				w.At = append(w.At, at)
			}
		}
		news := false
		for _, r := range replicas {
			if r.Row.GetVersion() == 0 || w.Place(r.Agent, r.ID) != nil {
				continue
			}
			news = true
			at := wish.Place{Agent: r.Agent, ID: r.ID, Done: w.Generation}
			if r.Row.GetVersion() != w.Version.Number && r.Row.GetPackage() == w.Version.Package {
				at.Number = r.Row.GetVersion()
			}
			w.At = append(w.At, at)
			w.Last = max(w.Last, r.Row.GetLastVersion())
		}
		if !news {
			return wish.ErrSame
		}
		return nil
	})
	if err == nil {
		err = p.keepVersions(ctx, path, w)
	}
	if err != nil {
		p.logger.Warn("what an agent runs is not noted", "function", first.Row.GetName(), "agent", first.Agent, "error", err)
		return
	}
	p.logger.Info("a function that runs is taken for wished", "function", first.Row.GetName(), "version", w.Version.Number, "agents", len(w.At))
}

// resume completes a change whose proxy is gone, or undoes it.
func (p *Proxy) resume(ctx context.Context, path string, change wish.Change) {
	if p.wishes.Ours(path) != change.ID || p.rollouts.Of(path) != nil {
		return
	}
	done, err := p.resumed(ctx, path, change)
	if err == nil && done {
		err = p.wishes.End(ctx, path, change.ID)
	}
	if err != nil && ctx.Err() == nil {
		p.logger.Warn("a change whose proxy is gone is neither completed nor undone yet", "function", path, "change", change.ID, "error", err)
	}
}

// resumed is resume. It reports whether there is nothing left to be done; else the change
// goes on, or has to wait for agents.
func (p *Proxy) resumed(ctx context.Context, path string, change wish.Change) (done bool, err error) {
	w, _, err := p.wishes.Read(ctx, path)
	if err != nil {
		return false, err
	}
	if change.Replaces != nil {
		_ = p.tell(ctx, *change.Replaces)
	}
	if w != nil && w.Change == change.ID {
		// It may not have been told, and whoever is told twice knows it by its id.
		p.tellChange(ctx, &writing{path: path, name: w.Name, id: change.ID, by: change.By}, &change, rollout.End{Result: rollout.Stands})
		return true, p.keepVersions(ctx, path, w)
	}
	generation := uint64(0)
	if w != nil {
		generation = w.Generation
	}
	if generation != change.Generation && !change.Mending { // somebody has wished something else since
		if w != nil {
			p.tellChange(ctx, &writing{path: path, name: w.Name, id: change.ID, by: change.By}, &change, rollout.End{Result: rollout.Replaced})
		}
		_, err := p.wishes.Edit(ctx, path, func(w *wish.Wish) error {
			if w.Generation == 0 {
				return wish.ErrSame
			}
			for i := range w.At {
				w.At[i].Done = 0
			}
			return nil
		})
		return true, err
	}
	if change.Mending { // what is behind is found again
		return true, nil
	}
	var steps, taken []rollout.Step
	if err := json.Unmarshal(change.Steps, &steps); err != nil || len(steps) == 0 {
		return true, err
	}
	if len(change.Taken) > 0 {
		if err := json.Unmarshal(change.Taken, &taken); err != nil {
			return true, err
		}
	}
	c := &writing{path: path, name: steps[0].Name, id: change.ID, by: change.By, base: change.Generation}
	if change.Function.FunctionJson == nil {
		return false, p.resumeChange(ctx, c, change, steps)
	}
	fn := protobuf.CloneOf(change.Function.FunctionJson)
	fn.Name, fn.Canary, fn.Note, fn.Keep = c.name, change.Canary, change.Note, change.Keep
	order := rollout.Order{
		Function: fn, Agents: change.Agents, Names: true,
		Spares: func(addr string) bool { _, known, _ := p.fleet.Agent(addr, ""); return known },
		Ledger: rollout.Ledger{Ends: func(ctx context.Context, end rollout.End) { p.ended(ctx, c, change, end) }},
	}
	switch order.Package, err = p.packageOf(ctx, fn.GetPackage()); {
	case err != nil:
		return false, err
	case order.Package == nil:
		order.Lacks = proto.Errorf(proto.ErrNotFound, "its package is not stored any more")
	case change.Given:
		if fn.Secrets, order.Lacks = p.keys.Open(path, change.Sealed); order.Lacks == nil {
			order.Names = false
		}
	}
	if order.Ended, err = p.claim(c.name, fn.OwnRoutes()); err != nil {
		order.Ended, order.Lacks = func() {}, err
	}
	if p.rollouts.Resume(ctx, order, steps, taken) != nil {
		p.logger.Info("going on with a deploy whose proxy is gone", "function", c.name, "change", change.ID, "by", change.By)
	}
	return false, nil
}

// resumeChange goes on with a change that is no deploy.
func (p *Proxy) resumeChange(ctx context.Context, c *writing, change wish.Change, steps []rollout.Step) error {
	p.logger.Info("going on with a change whose proxy is gone", "function", c.name, "change", change.ID, "by", change.By)
	steps, spared, _ := p.spare(ctx, steps)
	for _, addr := range change.Agents { // left out before
		if !slices.ContainsFunc(steps, func(s rollout.Step) bool { return s.Agent == addr }) && !slices.Contains(spared, addr) {
			spared = append(spared, addr)
		}
	}
	ledger := rollout.Ledger{Ends: func(ctx context.Context, end rollout.End) {
		end.Spared = spared
		p.ended(ctx, c, change, end)
	}}
	return p.rollouts.ResumeChange(ctx, ledger, steps...)
}
