package proxy

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	protobuf "google.golang.org/protobuf/proto"

	"github.com/Ishan27g/ryo-faas/internal/state"
	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/transport"
)

// The limits of the watches of agents.
const (
	connectLimit = 5 * time.Second // until an agent has sent its rows
	minBackoff   = 100 * time.Millisecond
	maxBackoff   = 5 * time.Second  // how long an agent that came back may go unnoticed
	lostLimit    = 10 * time.Second // how long a deploy waits for a lost agent to come back
	maxAgents    = 1024             // goroutines and connections that callers can make us hold
)

// fleet is the agents that the proxy knows, with what they said last.
type fleet struct {
	local    bool     // none but agents on this machine
	own      []string // ports of this proxy, which is no agent of its own
	dir      *state.Dir
	routes   *routes
	rows     transport.Feed // of all agents, for watchers
	logger   hclog.Logger
	watchers sync.WaitGroup
	saving   sync.Mutex // serialises writes of the agents' file

	mu      sync.Mutex   // guards the below
	launch  func(*agent) // begins to watch an agent; nil before run
	ended   bool         // run is over
	agents  map[string]*agent
	hidden  map[string]bool // paths of functions that are being stopped
	changed chan struct{}   // closed at the next change of anything here
}

// agent is one agent.
type agent struct {
	addr  string
	local bool          // by its address
	wake  chan struct{} // ends the pause before the next attempt

	// fleet.mu guards the below.
	given    bool // named at start: never forgotten
	known    bool // has answered: remembered over restarts
	gone     bool // forgotten
	client   *transport.Client
	attempts int       // to connect, that have failed
	since    time.Time // when it was lost
	problem  error
	info     *proto.AgentInfo                  // nil: it did not say
	rows     map[string]*proto.FunctionJsonRsp // by path; never changed, only replaced
	placing  map[string]bool                   // paths that are on their way here
	stop     context.CancelFunc
}

// located is a row and its agent.
type located struct {
	agent *agent
	row   *proto.FunctionJsonRsp
}

const agentsFile = "agents.json"

// agentsOnDisk is the content of the agents' file.
type agentsOnDisk struct {
	Agents []string `json:"agents"`
}

// load adds the agents that were named at start and those of earlier runs.
func (f *fleet) load(given []string) error {
	for _, addr := range given {
		a, err := f.add(addr)
		if err != nil {
			return err
		}
		a.given = true
	}
	var file agentsOnDisk
	if _, err := f.dir.Read(agentsFile, &file); err != nil {
		return err
	}
	for _, addr := range file.Agents {
		a, err := f.add(addr)
		if err != nil {
			f.logger.Warn("an agent of an earlier run is left out", "agent", addr, "error", err)
			continue
		}
		a.known = true
	}
	return nil
}

// save writes the agents' file.
func (f *fleet) save() {
	f.saving.Lock()
	defer f.saving.Unlock()
	var file agentsOnDisk
	f.mu.Lock()
	for addr, a := range f.agents {
		if a.known {
			file.Agents = append(file.Agents, addr)
		}
	}
	f.mu.Unlock()
	slices.Sort(file.Agents)
	if err := f.dir.Write(agentsFile, file); err != nil {
		f.logger.Error("agents are not remembered", "error", err)
	}
}

// allowed reports why an address cannot be an agent's.
func (f *fleet) allowed(addr string) error {
	addr, err := transport.NormalizeAddr(addr)
	if err != nil {
		return err
	}
	u := url.URL{Host: addr}
	local := loopback(u.Hostname())
	switch {
	case f.local && !local:
		return proto.Errorf(proto.ErrForbidden, "agent %s is on another machine, which protected mode does not allow", addr).
			WithHint("name a localhost address, such as the end of an ssh -L; on a trusted network, start the proxy with -insecure")
	case local && slices.Contains(f.own, u.Port()):
		return proto.Errorf(proto.ErrInvalid, "agent %s is this proxy itself", addr).
			WithHint("give the address that the agent printed when it started")
	}
	return nil
}

// add returns the agent of an address, and makes it known if it was not.
func (f *fleet) add(addr string) (*agent, error) {
	if err := f.allowed(addr); err != nil {
		return nil, err
	}
	addr, err := transport.NormalizeAddr(addr)
	if err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if a := f.agents[addr]; a != nil {
		return a, nil
	}
	if len(f.agents) >= maxAgents {
		return nil, proto.Errorf(proto.ErrExhausted, "agent %s is one more than the %d that a proxy can hold", addr, maxAgents)
	}
	a := &agent{addr: addr, local: loopback((&url.URL{Host: addr}).Hostname()), wake: make(chan struct{}, 1), placing: map[string]bool{}}
	f.agents[addr] = a
	if f.launch != nil {
		f.launch(a)
	}
	return a, nil
}

// knows reports whether an address is a known agent's.
func (f *fleet) knows(addr string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.agents[addr] != nil
}

func loopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.Unmap().IsLoopback()
}

// run watches all agents, those that are added meanwhile too, until ctx ends.
func (f *fleet) run(ctx context.Context) {
	launch := func(a *agent) {
		ctx, cancel := context.WithCancel(ctx)
		a.stop = cancel
		f.watchers.Go(func() {
			defer cancel()
			f.keep(ctx, a)
		})
	}
	f.mu.Lock()
	f.launch = launch
	for _, a := range f.agents {
		launch(a)
	}
	f.mu.Unlock()
	<-ctx.Done()
	f.mu.Lock()
	f.launch, f.ended = nil, true
	f.broadcast()
	f.mu.Unlock()
	f.watchers.Wait()
}

// keep holds a connection to an agent until ctx ends.
func (f *fleet) keep(ctx context.Context, a *agent) {
	pause := minBackoff
	for {
		connected, err := f.watch(ctx, a)
		if ctx.Err() != nil {
			return
		}
		f.lose(a, connected, err)
		if connected {
			pause = minBackoff
		}
		// Proxies that lost an agent together shall not come back together.
		timer := time.NewTimer(pause/2 + rand.N(pause/2))
		select {
		case <-ctx.Done():
		case <-a.wake:
		case <-timer.C:
		}
		timer.Stop()
		if ctx.Err() != nil {
			return
		}
		pause = min(2*pause, maxBackoff)
	}
}

// watch connects to an agent and takes over what it says until the connection is
// lost. It reports whether there was one.
func (f *fleet) watch(ctx context.Context, a *agent) (connected bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	greeting := time.AfterFunc(connectLimit, cancel)
	defer greeting.Stop()
	// A new client each time: a used one may wait for its own backoff to end.
	client := transport.NewAgent(transport.RPC, a.addr)
	defer client.Close()
	err = client.Watch(ctx, func(ev *proto.WatchEvent) error {
		greeting.Stop() // from now on the client looks for signs of life
		if f.apply(a, client, ev) {
			f.save()
		}
		connected = true
		return nil
	})
	if err == nil || ctx.Err() != nil {
		err = proto.Errorf(proto.ErrUnavailable, "it said nothing for %s", connectLimit)
	}
	return connected, err
}

// apply takes over an event of an agent. It reports whether the agent is one to
// be remembered from now on.
func (f *fleet) apply(a *agent, client *transport.Client, ev *proto.WatchEvent) (met bool) {
	f.mu.Lock()
	if a.gone {
		f.mu.Unlock()
		return false
	}
	rows := map[string]*proto.FunctionJsonRsp{}
	if !ev.GetSnapshot() {
		maps.Copy(rows, a.rows)
	}
	for _, row := range ev.GetFunctions() {
		if err := proto.CheckName(row.GetName()); err != nil {
			f.logger.Warn("a row is left out", "agent", a.addr, "error", err)
			continue
		}
		row = protobuf.CloneOf(row)
		row.AtAgent = a.addr
		path := proto.Path(row.GetName())
		switch {
		case proto.Status(row.GetStatus()) != proto.Stopped:
			rows[path] = row
		case rows[path].GetName() == row.GetName(): // else another has taken its path
			delete(rows, path)
		}
	}
	if a.client == nil {
		f.logger.Info("agent connected", "agent", a.addr, "functions", len(rows))
	}
	met = !a.known
	a.client, a.problem, a.known = client, nil, true
	if ev.GetSnapshot() {
		a.info = ev.GetAgent()
	}
	retired := f.replace(a, rows, ev.GetSnapshot())
	f.mu.Unlock()
	closeIdle(retired)
	return met
}

// lose notes that an attempt to connect, or a connection, has failed.
func (f *fleet) lose(a *agent, connected bool, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if connected || a.attempts == 0 {
		f.logger.Warn("agent does not answer", "agent", a.addr, "error", err)
	}
	a.attempts++
	a.problem = err
	if connected || a.since.IsZero() {
		a.since = time.Now()
	}
	a.client = nil
	if connected {
		for _, row := range a.rows {
			f.rows.Set(f.visible(a, row))
		}
	}
	f.broadcast()
}

// replace sets the rows of an agent, and tells watchers and routes what is new.
// With all, rows that did not change are told again. f.mu is held.
func (f *fleet) replace(a *agent, rows map[string]*proto.FunctionJsonRsp, all bool) []*target {
	before := a.rows
	a.rows = rows
	var changed []string
	for path, row := range rows {
		if all || before[path] != row {
			f.rows.Set(f.visible(a, row))
			changed = append(changed, path)
		}
		// A row of another name with this path was another function.
		if old := before[path]; old != nil && old.GetName() != row.GetName() {
			f.rows.Set(stopped(old))
		}
	}
	for path, row := range before {
		if rows[path] == nil {
			f.rows.Set(stopped(row))
			changed = append(changed, path)
		}
	}
	f.broadcast()
	return f.route(changed...)
}

func stopped(row *proto.FunctionJsonRsp) *proto.FunctionJsonRsp {
	row = protobuf.CloneOf(row)
	row.Status, row.Instances, row.Pid = string(proto.Stopped), 0, 0
	return row
}

// drafts are the rows that were told of a path at agents which know nothing of it.
func (f *fleet) drafts(path string) []*proto.FunctionJsonRsp {
	return slices.DeleteFunc(f.rows.Rows(), func(row *proto.FunctionJsonRsp) bool {
		return proto.Path(row.GetName()) != path || f.row(row.GetAtAgent(), row.GetName()) != nil
	})
}

// visible is a row as watchers see it. f.mu is held.
func (f *fleet) visible(a *agent, row *proto.FunctionJsonRsp) *proto.FunctionJsonRsp {
	row = protobuf.CloneOf(row)
	if a.client == nil {
		row.Error, row.Reason = a.unavailable().Error(), proto.ReasonAgent
	}
	return row
}

// unavailable says since when and why an agent does not answer. fleet.mu is held.
func (a *agent) unavailable() *proto.Error {
	e := proto.Errorf(proto.ErrUnavailable, "agent %s is not connected yet", a.addr)
	if !a.since.IsZero() {
		e = proto.Errorf(proto.ErrUnavailable, "agent %s does not answer since %s: %w", a.addr, a.since.UTC().Format(time.RFC3339), a.problem)
	}
	return e.WithHint("check that an agent runs there, and that no firewall is between").From("agent", "dial")
}

// route makes the routes of some paths anew. f.mu is held.
func (f *fleet) route(paths ...string) []*target {
	changes := make(map[string][]replica, len(paths))
	for _, path := range paths {
		var replicas []replica
		if !f.hidden[path] {
			for _, l := range f.at(path) {
				replicas = append(replicas, replica{row: l.row, local: l.agent.local})
			}
		}
		changes[path] = replicas
	}
	return f.routes.update(changes)
}

func closeIdle(retired []*target) {
	for _, t := range retired {
		t.links.close()
		t.transport.CloseIdleConnections()
	}
}

// hide takes the route of a path out and returns when the calls that had found it
// before have ended, or with ctx.
func (f *fleet) hide(ctx context.Context, path string) {
	f.mu.Lock()
	f.hidden[path] = true
	rt := (*f.routes.table.Load())[path]
	retired := f.route(path)
	f.mu.Unlock()
	closeIdle(retired)
	if rt != nil {
		rt.calls.wait(ctx)
	}
}

// show lets the route of a path in again.
func (f *fleet) show(path string) {
	f.mu.Lock()
	delete(f.hidden, path)
	retired := f.route(path)
	f.mu.Unlock()
	closeIdle(retired)
}

// at returns the rows of a path, ordered by agent. f.mu is held.
func (f *fleet) at(path string) []located {
	var list []located
	for _, a := range f.agents {
		if row := a.rows[path]; row != nil {
			list = append(list, located{a, row})
		}
	}
	slices.SortFunc(list, func(a, b located) int {
		return cmp.Or(cmp.Compare(a.row.GetName(), b.row.GetName()), cmp.Compare(a.agent.addr, b.agent.addr))
	})
	return list
}

// find returns the rows of a path, ordered by agent.
func (f *fleet) find(path string) []located {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.at(path)
}

// row returns a copy of a function's row at an agent, nil when there is none.
func (f *fleet) row(addr, name string) *proto.FunctionJsonRsp {
	f.mu.Lock()
	defer f.mu.Unlock()
	if a := f.agents[addr]; a != nil && a.rows[proto.Path(name)].GetName() == name {
		return protobuf.CloneOf(a.rows[proto.Path(name)])
	}
	return nil
}

// abilities is what an agent said of itself.
type abilities struct{ *proto.AgentInfo }

// builds says whether the agent can build. One that says nothing of itself can.
func (i abilities) builds() bool { return i.AgentInfo == nil || i.GetGoVersion() != "" }

// info returns what an agent said of itself.
func (f *fleet) info(addr string) abilities {
	f.mu.Lock()
	defer f.mu.Unlock()
	if a := f.agents[addr]; a != nil {
		return abilities{a.info}
	}
	return abilities{}
}

// builder returns the connected agent with the fewest functions that can build
// for a platform.
func (f *fleet) builder(platform string) (addr string, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	best := f.least(func(a *agent) bool { return a.info.GetGoVersion() != "" && a.info.GetPlatform() == platform })
	if best == nil {
		return "", false
	}
	return best.addr, true
}

// least returns the connected agent with the fewest functions, of those that are
// fit, nil when there is none. f.mu is held.
func (f *fleet) least(fit func(*agent) bool) (best *agent) {
	for _, addr := range slices.Sorted(maps.Keys(f.agents)) {
		if a := f.agents[addr]; a.client != nil && fit(a) && (best == nil || a.load() < best.load()) {
			best = a
		}
	}
	return best
}

// broadcast wakes those who wait in until. f.mu is held.
func (f *fleet) broadcast() {
	close(f.changed)
	f.changed = make(chan struct{})
}

// until waits until a condition, which is called with f.mu held, is true, but not
// longer than ctx, or than the fleet runs.
func (f *fleet) until(ctx context.Context, is func() bool) error {
	for {
		f.mu.Lock()
		ok, changed, ended := is(), f.changed, f.ended
		f.mu.Unlock()
		switch {
		case ok:
			return nil
		case ended:
			return proto.Errorf(proto.ErrUnavailable, "the proxy is ending").From("gateway", "stopped")
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
		}
	}
}

// echo waits until the watch has told what was just done at an agent, or the agent
// is lost.
func (f *fleet) echo(ctx context.Context, a *agent, client *transport.Client, path string, told func(*proto.FunctionJsonRsp) bool) {
	ctx, cancel := context.WithTimeout(ctx, echoLimit)
	defer cancel()
	_ = f.until(ctx, func() bool { return a.client != client || told(a.rows[path]) })
}

// ending says whether the proxy ends.
func (f *fleet) ending() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.ended
}

// starting returns the agents whose first attempt has not ended. f.mu is held.
func (f *fleet) starting() []string {
	var list []string
	for addr, a := range f.agents {
		if a.client == nil && a.attempts == 0 {
			list = append(list, addr)
		}
	}
	slices.Sort(list)
	return list
}

// started waits until each agent has been tried once, so that what is said about
// all of them is not said too early after a start. It fails only if ctx ends.
func (f *fleet) started(ctx context.Context) error {
	limited, cancel := context.WithTimeout(ctx, connectLimit)
	defer cancel()
	_ = f.until(limited, func() bool { return len(f.starting()) == 0 })
	return ctx.Err()
}

// connect returns the agent of an address once it answers, trying now rather than
// after its pause. An agent that nobody knew before and that does not answer is
// forgotten again.
func (f *fleet) connect(ctx context.Context, addr string) (*agent, *transport.Client, error) {
	a, err := f.add(addr)
	if err != nil {
		return nil, nil, err
	}
	f.mu.Lock()
	before := a.attempts
	if a.client == nil {
		select {
		case a.wake <- struct{}{}:
		default:
		}
	}
	f.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, connectLimit)
	defer cancel()
	err = f.until(ctx, func() bool { return a.client != nil || a.gone || a.attempts > before })
	f.mu.Lock()
	defer f.mu.Unlock()
	if a.client != nil {
		return a, a.client, nil
	}
	if err == nil || ctx.Err() != nil {
		err = a.unavailable()
	}
	f.forget(a)
	return nil, nil, err
}

// forget drops an agent that has never answered and that no flag names. f.mu is held.
func (f *fleet) forget(a *agent) {
	if a.given || a.known || a.gone {
		return
	}
	a.gone = true
	delete(f.agents, a.addr)
	if a.stop != nil {
		a.stop()
	}
	f.broadcast()
}

// place chooses the connected agent with the fewest functions. Until release is
// called the function counts as there, so that deploys at the same time do not
// all go to the same agent.
func (f *fleet) place(path string) (addr string, release func(), err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	best := f.least(func(*agent) bool { return true })
	switch {
	case len(f.agents) == 0:
		return "", nil, proto.Errorf(proto.ErrUnavailable, "no agent is known").
			WithHint(`start an agent and name it: proxy -agents localhost:9000, or "agentAddr" in the definition`).
			From("gateway", "agent")
	case best == nil:
		return "", nil, proto.Errorf(proto.ErrUnavailable, "no agent answers: %s", strings.Join(slices.Sorted(maps.Keys(f.agents)), ", ")).
			WithHint("check that an agent runs").From("gateway", "agent")
	}
	best.placing[path] = true
	return best.addr, func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(best.placing, path)
	}, nil
}

// load counts the functions that an agent has or is about to have. fleet.mu is held.
func (a *agent) load() int {
	n := len(a.rows)
	for path := range a.placing {
		if a.rows[path] == nil {
			n++
		}
	}
	return n
}

// settled waits until a deploy that an agent has accepted has come to its end, and
// returns the row as whoever waits for the deploy must see it.
func (f *fleet) settled(ctx context.Context, accepted *proto.FunctionJsonRsp) *proto.FunctionJsonRsp {
	var row *proto.FunctionJsonRsp
	var lost *proto.Error
	ended := f.until(ctx, func() bool {
		a := f.agents[accepted.GetAtAgent()]
		row, lost = a.rows[proto.Path(accepted.GetName())], nil
		if a.client == nil {
			lost = a.unavailable()
			return time.Since(a.since) > lostLimit
		}
		return row == nil || row.GetGeneration() > accepted.GetGeneration() ||
			row.GetGeneration() == accepted.GetGeneration() && proto.Status(row.GetStatus()).Settled()
	})
	row = protobuf.CloneOf(cmp.Or(row, &proto.FunctionJsonRsp{Name: accepted.GetName(), Status: string(proto.Stopped), AtAgent: accepted.GetAtAgent()}))
	fail := func(why error) *proto.FunctionJsonRsp {
		row.Status, row.Reason, row.Error = string(proto.Failed), proto.ReasonAgent, why.Error()
		return row
	}
	cause := context.Cause(ctx)
	switch {
	case errors.Is(cause, errReplaced), errors.Is(cause, errStopped):
		return fail(cause)
	case lost != nil:
		return fail(lost)
	case errors.Is(cause, context.DeadlineExceeded):
		return fail(fmt.Errorf("it was not settled within %s", rolloutLimit))
	case ended != nil:
		return fail(ended)
	case row.GetGeneration() > accepted.GetGeneration():
		return fail(errReplaced)
	case row.GetError() != "":
		// The old process serves on; the deploy that is waited for has failed.
		row.Status, row.Error = string(proto.Failed), strings.TrimPrefix(row.GetError(), proto.Unchanged)
	}
	return row
}

// unknown says why a path has no route.
func (f *fleet) unknown(segment string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if list := f.starting(); len(list) > 0 {
		return proto.Errorf(proto.ErrUnavailable, "function %.*q may be on an agent that has not answered yet", proto.MaxName, segment).
			WithHint("call again in a moment").From("gateway", "starting")
	}
	if !slices.ContainsFunc(slices.Collect(maps.Values(f.agents)), func(a *agent) bool { return a.client != nil }) {
		return proto.Errorf(proto.ErrUnavailable, "function %.*q is not known, and no agent answers", proto.MaxName, segment).
			WithHint("check that an agent runs, and that the proxy was told its address").From("gateway", "agent")
	}
	return notFound(segment)
}

func notFound(name string) *proto.Error {
	return proto.Errorf(proto.ErrNotFound, "function %.*q not found", proto.MaxName, name).
		WithHint("proxyCli list shows what is deployed").From("gateway", "not_found")
}

// problem says why an agent does not answer; nil when it does.
func (f *fleet) problem(addr string) *proto.Error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if a := f.agents[addr]; a != nil && a.client == nil {
		return a.unavailable()
	}
	return nil
}
