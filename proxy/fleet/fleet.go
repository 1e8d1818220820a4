package fleet

import (
	"context"
	"maps"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

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

// Config is what a fleet needs.
type Config struct {
	Dir    *state.Dir // where agents are remembered
	Agents []string   // addresses that were named at start
	Local  bool       // none but agents on this machine
	Own    []string   // ports of this proxy, which is no agent of its own
	// Publish is told what runs now, by path; nothing is a path that is not to be
	// called. It must not call the fleet.
	Publish func(map[string][]Replica)
	Logger  hclog.Logger
}

// Fleet is the agents that the proxy knows, with what they said last.
type Fleet struct {
	Config
	rows     transport.Feed // of all agents, for watchers
	watchers sync.WaitGroup
	saving   sync.Mutex // serialises writes of the agents' file

	mu      sync.Mutex   // guards the below
	launch  func(*agent) // begins to watch an agent; nil before Run
	ended   bool         // Run is over
	agents  map[string]*agent
	hidden  map[string]bool // paths of functions that are being stopped
	changed chan struct{}   // closed at the next change of anything here
}

// New returns the fleet of the agents that were named at start and of those that
// earlier runs have met. They are connected to by Run.
func New(cfg Config) (*Fleet, error) {
	f := &Fleet{Config: cfg, agents: map[string]*agent{}, hidden: map[string]bool{}, changed: make(chan struct{})}
	if err := f.load(cfg.Agents); err != nil {
		return nil, err
	}
	return f, nil
}

// agent is one agent.
type agent struct {
	addr  string
	local bool          // by its address
	wake  chan struct{} // ends the pause before the next attempt

	// Fleet.mu guards the below.
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

const agentsFile = "agents.json"

// agentsOnDisk is the content of the agents' file.
type agentsOnDisk struct {
	Agents []string `json:"agents"`
}

// load adds the agents that were given and those of earlier runs.
func (f *Fleet) load(given []string) error {
	for _, addr := range given {
		a, err := f.add(addr)
		if err != nil {
			return err
		}
		a.given = true
	}
	var file agentsOnDisk
	if _, err := f.Dir.Read(agentsFile, &file); err != nil {
		return err
	}
	for _, addr := range file.Agents {
		a, err := f.add(addr)
		if err != nil {
			f.Logger.Warn("an agent of an earlier run is left out", "agent", addr, "error", err)
			continue
		}
		a.known = true
	}
	return nil
}

// save writes the agents' file.
func (f *Fleet) save() {
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
	if err := f.Dir.Write(agentsFile, file); err != nil {
		f.Logger.Error("agents are not remembered", "error", err)
	}
}

// Allowed reports why an address cannot be an agent's.
func (f *Fleet) Allowed(addr string) error {
	addr, err := transport.NormalizeAddr(addr)
	if err != nil {
		return err
	}
	u := url.URL{Host: addr}
	local := loopback(u.Hostname())
	switch {
	case f.Local && !local:
		return proto.Errorf(proto.ErrForbidden, "agent %s is on another machine, which protected mode does not allow", addr).
			WithHint("name a localhost address, such as the end of an ssh -L; on a trusted network, start the proxy with -insecure")
	case local && slices.Contains(f.Own, u.Port()):
		return proto.Errorf(proto.ErrInvalid, "agent %s is this proxy itself", addr).
			WithHint("give the address that the agent printed when it started")
	}
	return nil
}

// add returns the agent of an address, and makes it known if it was not.
func (f *Fleet) add(addr string) (*agent, error) {
	if err := f.Allowed(addr); err != nil {
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

// Knows reports whether an address is a known agent's.
func (f *Fleet) Knows(addr string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.agents[addr] != nil
}

func loopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.Unmap().IsLoopback()
}

// Run watches all agents, those that are added meanwhile too, until ctx ends.
func (f *Fleet) Run(ctx context.Context) {
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

// broadcast wakes those who wait in until. f.mu is held.
func (f *Fleet) broadcast() {
	close(f.changed)
	f.changed = make(chan struct{})
}

// until waits until a condition, which is called with f.mu held, is true, but not
// longer than ctx, or than the fleet runs.
func (f *Fleet) until(ctx context.Context, is func() bool) error {
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

// Ending says whether the proxy ends.
func (f *Fleet) Ending() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.ended
}

// Ready returns nil once every agent that was known at start has been tried, an
// ErrUnavailable before.
func (f *Fleet) Ready() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if list := f.starting(); len(list) > 0 {
		return proto.Errorf(proto.ErrUnavailable, "still connecting to %s", strings.Join(list, ", "))
	}
	return nil
}

// starting returns the agents whose first attempt has not ended. f.mu is held.
func (f *Fleet) starting() []string {
	var list []string
	for addr, a := range f.agents {
		if a.client == nil && a.attempts == 0 {
			list = append(list, addr)
		}
	}
	slices.Sort(list)
	return list
}

// Started waits until each agent has been tried once, so that what is said about
// all of them is not said too early after a start. It fails only if ctx ends.
func (f *Fleet) Started(ctx context.Context) error {
	limited, cancel := context.WithTimeout(ctx, connectLimit)
	defer cancel()
	_ = f.until(limited, func() bool { return len(f.starting()) == 0 })
	return ctx.Err()
}

// forget drops an agent that has never answered and that no flag names. f.mu is held.
func (f *Fleet) forget(a *agent) {
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

// Unknown says why a path has no route.
func (f *Fleet) Unknown(segment string) error {
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
	return NotFound(segment)
}

// NotFound is the error for a function that no agent has.
func NotFound(name string) *proto.Error {
	return proto.Errorf(proto.ErrNotFound, "function %.*q not found", proto.MaxName, name).
		WithHint("proxyCli list shows what is deployed").From("gateway", "not_found")
}

// Problem says why an agent does not answer; nil when it does.
func (f *Fleet) Problem(addr string) *proto.Error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if a := f.agents[addr]; a != nil && a.client == nil {
		return a.unavailable()
	}
	return nil
}
