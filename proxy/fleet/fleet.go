package fleet

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/Ishan27g/ryo-faas/internal/state"
	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/proxy/place"
	"github.com/Ishan27g/ryo-faas/transport"
	"github.com/Ishan27g/ryo-faas/transport/pki"
)

// The limits of the watches of agents.
const (
	connectLimit = 5 * time.Second // until an agent has sent its rows
	callLimit    = 2 * time.Second // for a call to wait for that: one that answers takes some 10 ms
	minBackoff   = 100 * time.Millisecond
	maxBackoff   = 5 * time.Second  // how long an agent that came back may go unnoticed
	returnLimit  = 10 * time.Second // how long a deploy waits for an agent to come back
	maxAgents    = 1024             // callers add agents; each takes a goroutine and a connection
)

// Config is what a fleet needs to know.
type Config struct {
	Dir    *state.Dir // where agents are remembered
	Agents []string   // addresses that were named at start
	Local  bool       // agents on other machines are refused
	// Shared says that other proxies deploy to the agents, too: a name leads to each agent
	// that says it has the function.
	Shared bool
	Own    []string // ports of this proxy, which must not be its own agent
	// Trusts reports whether agents of a user of this machine, besides those of this
	// program's own and root, are connected to in protected mode (Local); default: none is.
	Trusts func(user int) bool
	// Authority knows the agents that have joined; default: none can.
	Authority Authority
	// Publish gets the replicas of paths that changed; a path without replicas is not
	// to be called. It must not call the fleet.
	Publish func(map[string][]Replica)
	// Held says why the row of a path at an agent, of an address and an id, is not to be
	// called; "": it may be. Default: each may be. It must not call the fleet, nor wait.
	// Refresh is called when it says something else.
	Held func(addr, id, path string) string
	// Had names the agents that may have a function of a path, stopped ones too, where that is
	// known; default: it is not. It must not call the fleet's methods that wait.
	Had func(path string) (addrs []string, known bool)
	// Meet is called before the first rows of an agent that has connected count. It may wait.
	Meet func(ctx context.Context)
	// Back is called when an agent has connected. It must not call the fleet, nor wait.
	Back func()
	// Tokens returns the tokens that are to hold at the agents too, and a channel that is
	// closed when they change; default: there are none.
	Tokens func() (*proto.TokenShare, <-chan struct{})
	Logger hclog.Logger
}

// Authority knows which agents have joined, and how they are dialed.
type Authority interface {
	Members() []pki.Member
	// Remove removes a member, and reports whether there was one.
	Remove(id string) (bool, error)
	// Dial returns how the agent of an id is dialed, and no other.
	Dial(id string) *tls.Config
}

// Fleet is the agents that the proxy knows and what they said last.
type Fleet struct {
	Config
	rows     transport.Feed // of all agents, for watchers
	watchers sync.WaitGroup
	saving   sync.Mutex // serialises writes of the agents' file

	mu       sync.Mutex          // guards the fields below:
	launch   func(*agent)        // begins to watch an agent; nil unless Run runs
	closed   bool                // the context of Run was canceled
	agents   map[string]*agent   // by address
	having   map[string][]*agent // those that have a row of a path; never changed, only replaced
	hidden   map[string]bool     // paths of functions that are being stopped
	removals []removal           // that agents have not heard of, the oldest first; never changed, only replaced
	changed  chan struct{}       // closed at the next change of anything here
}

// New returns the fleet of the agents that were named at start and of those that
// answered in earlier runs. Run connects to them.
func New(cfg Config) (*Fleet, error) {
	if cfg.Trusts == nil {
		cfg.Trusts = func(int) bool { return false }
	}
	if cfg.Held == nil {
		cfg.Held = func(string, string, string) string { return "" }
	}
	if cfg.Had == nil {
		cfg.Had = func(string) ([]string, bool) { return nil, false }
	}
	if cfg.Meet == nil {
		cfg.Meet = func(context.Context) {}
	}
	if cfg.Back == nil {
		cfg.Back = func() {}
	}
	f := &Fleet{Config: cfg, agents: map[string]*agent{}, having: map[string][]*agent{}, hidden: map[string]bool{}, changed: make(chan struct{})}
	if err := f.load(cfg.Agents); err != nil {
		return nil, err
	}
	if err := f.loadRemovals(); err != nil {
		return nil, err
	}
	return f, nil
}

// agent is what the fleet knows of an agent.
type agent struct {
	addr  string
	local bool // on this machine, by its address
	// member is the id of an agent that has joined, which its certificate proves with each
	// connection; "": it has not joined.
	member string
	door   *transport.Door // set before the agent is watched
	wake   chan struct{}   // ends the pause before the next attempt

	// Fleet.mu guards the fields below:
	user     int             // as whom it runs on this machine, or NoUser
	given    bool            // named at start: never removed
	known    bool            // has answered: remembered over restarts
	adopt    bool            // the names in its first snapshot are its own, whoever else has them
	id       string          // as it says itself; "": it did not say
	owns     map[string]bool // paths that lead to it: others' functions of that name get no calls
	alias    *agent          // what it turned out to be: another address of this agent
	removed  bool
	client   *transport.Client                 // nil: not connected
	attempts int                               // to connect, that failed, and connections that did
	since    time.Time                         // when its connection, or the first attempt, failed
	problem  error                             // of the last attempt or connection
	info     *proto.AgentInfo                  // nil: the agent did not say
	rows     map[string]*proto.FunctionJsonRsp // by path; never changed, only replaced
	uses     map[string]place.Use              // what their functions take of the agent, by path
	used     place.Use                         // all of them together
	placing  map[string]int                    // by path: how often Place has just chosen it
	draining bool                              // it gets no further functions
	stored   string                            // epoch of the store that has its record; "": none has
	revision uint64                            // of its record, as far as is known
	moved    bool                              // to this address, which its record may not have
	cancel   context.CancelFunc                // of its watch
}

const agentsFile = "agents.json"

// agentsOnDisk is the content of the agents' file.
type agentsOnDisk struct {
	Agents []agentOnDisk `json:"agents"`
}

// agentOnDisk is what is remembered of an agent.
type agentOnDisk struct {
	Addr   string `json:"addr"`
	ID     string `json:"id,omitempty"`
	Joined bool   `json:"joined,omitempty"`
	// Draining: a user has asked that it gets no functions, and gives away those it has.
	Draining bool     `json:"draining,omitempty"`
	Stored   string   `json:"stored,omitempty"` // epoch of the store that has its record
	Owns     []string `json:"owns,omitempty"`
	old      bool     // written by a version that knew its address alone
}

// UnmarshalJSON implements json.Unmarshaler.
func (a *agentOnDisk) UnmarshalJSON(data []byte) error {
	if json.Unmarshal(data, &a.Addr) == nil {
		a.old = true
		return nil
	}
	type plain agentOnDisk
	return json.Unmarshal(data, (*plain)(a))
}

// load adds the agents that were named at start and those of earlier runs.
func (f *Fleet) load(given []string) error {
	if f.Authority != nil {
		for _, m := range f.Authority.Members() {
			f.join(m.ID, m.Addr)
		}
	}
	for _, addr := range given {
		a, err := f.add(addr)
		if err != nil {
			return fmt.Errorf("-agents: %w", err)
		}
		a.given, a.adopt = true, true
	}
	var file agentsOnDisk
	if _, err := f.Dir.Read(agentsFile, &file); err != nil {
		return err
	}
	for _, was := range file.Agents {
		a, err := f.remembered(was)
		if err != nil {
			f.Logger.Warn("an agent of an earlier run is refused", "agent", was.Addr, "error", err)
			continue
		}
		a.known, a.id, a.adopt, a.draining, a.stored = true, was.ID, was.old, was.Draining, was.Stored
		for _, path := range was.Owns {
			a.owns[path] = true
		}
	}
	return nil
}

// remembered returns an agent of an earlier run.
func (f *Fleet) remembered(was agentOnDisk) (*agent, error) {
	f.mu.Lock()
	a := f.agents[was.Addr]
	f.mu.Unlock()
	if a != nil {
		return a, nil
	}
	if was.Joined {
		return nil, proto.Errorf(proto.ErrForbidden, "it has joined and was removed")
	}
	return f.add(was.Addr)
}

// Free returns why the agent of an id cannot be at an address, or nil. An agent that took
// another's would take its place, and the names of its functions.
func (f *Fleet) Free(id, addr string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	a := f.agents[addr]
	if a == nil || a.id == "" || a.id == id {
		return nil
	}
	return proto.Errorf(proto.ErrConflict, "agent %s says that it is at %s, where agent %s is", id, addr, a.id).
		WithHint("if that agent is lost, remove it first: proxyCli agents rm " + a.id)
}

// Join adds an agent that has joined, or notes that it is at another address now.
func (f *Fleet) Join(id, addr string) {
	f.mu.Lock()
	changed := f.join(id, addr)
	f.mu.Unlock()
	if changed {
		f.save()
	}
}

// Rejoin takes over which agents have joined, and which are no members any longer, where
// other proxies have changed that.
func (f *Fleet) Rejoin() {
	members := map[string]string{} // addresses by ids
	for _, m := range f.Authority.Members() {
		members[m.ID] = m.Addr
	}
	f.mu.Lock()
	changed := false
	for _, a := range f.agents {
		if _, is := members[a.member]; !is && a.member != "" {
			f.drop(a)
			changed = true
		}
	}
	for id, addr := range members {
		if a := f.agents[addr]; a == nil || a.id == "" || a.id == id {
			changed = f.join(id, addr) || changed
		}
	}
	f.mu.Unlock()
	if changed {
		f.save()
	}
}

// join is Join; it reports whether something has changed. f.mu is held, or nobody else
// knows f yet.
func (f *Fleet) join(id, addr string) (changed bool) {
	if a := f.agents[addr]; a != nil && a.member == id {
		return false
	}
	fresh := f.newAgent(addr)
	fresh.member, fresh.id, fresh.known = id, id, true
	for _, old := range f.agents { // it had another address, or was known without a certificate
		if old.addr != addr && old.member != id {
			continue
		}
		fresh.given, fresh.draining = fresh.given || old.given, fresh.draining || old.draining
		if old.id == id {
			fresh.stored, fresh.revision = old.stored, old.revision
		}
		if old.id == "" || old.id == id {
			maps.Copy(fresh.owns, old.owns)
			fresh.adopt = fresh.adopt || old.adopt
			old.owns = nil
		}
		f.drop(old)
	}
	f.put(fresh)
	return true
}

// save writes the agents' file.
func (f *Fleet) save() {
	f.saving.Lock()
	defer f.saving.Unlock()
	var file agentsOnDisk
	f.mu.Lock()
	for _, addr := range slices.Sorted(maps.Keys(f.agents)) {
		if a := f.agents[addr]; a.known {
			file.Agents = append(file.Agents, agentOnDisk{Addr: addr, ID: a.id, Joined: a.member != "", Draining: a.draining, Stored: a.stored, Owns: slices.Sorted(maps.Keys(a.owns))})
		}
	}
	f.mu.Unlock()
	if err := f.Dir.Write(agentsFile, file); err != nil && !errors.Is(err, state.ErrLent) {
		f.Logger.Error("agents are not saved", "error", err)
	}
}

// Save stores what is known of agents once more: after the folder was lent, it may hold
// something else.
func (f *Fleet) Save() {
	f.save()
	f.saving.Lock()
	defer f.saving.Unlock()
	f.mu.Lock()
	removals := f.removals
	f.mu.Unlock()
	f.saveRemovals(removals)
}

// Allowed returns why an address cannot be an agent's.
func (f *Fleet) Allowed(addr string) error {
	addr, err := transport.NormalizeAddr(addr)
	if err != nil {
		return err
	}
	u := url.URL{Host: addr}
	local := loopback(u.Hostname())
	f.mu.Lock()
	joined := f.agents[addr] != nil && f.agents[addr].member != ""
	f.mu.Unlock()
	switch {
	case joined:
	case f.Local && !local:
		return proto.Errorf(proto.ErrForbidden, "agent %s is on another machine, which protected mode does not allow", addr).
			WithHint("let it join: proxyCli agents token prints the command; on a trusted network, start the proxy with -insecure")
	case local && slices.Contains(f.Own, u.Port()):
		return proto.Errorf(proto.ErrInvalid, "agent %s is this proxy itself", addr).
			WithHint("give the address that the agent printed when it started")
	}
	return nil
}

// add returns the agent of an address. It adds one if there is none.
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
	a := f.newAgent(addr)
	f.put(a)
	return a, nil
}

func (f *Fleet) newAgent(addr string) *agent {
	return &agent{
		addr: addr, local: loopback((&url.URL{Host: addr}).Hostname()), wake: make(chan struct{}, 1),
		placing: map[string]int{}, owns: map[string]bool{}, uses: map[string]place.Use{},
	}
}

// put adds an agent and begins to watch it. f.mu is held.
func (f *Fleet) put(a *agent) {
	a.door = transport.NewDoor(a.addr, f.tls(a))
	f.agents[a.addr] = a
	if f.launch != nil {
		f.launch(a)
	}
}

// Known returns the address by which an agent is known. On this machine it has several
// names. An agent that is not known is an ErrNotFound: asking for one adds none.
func (f *Fleet) Known(addr string) (string, error) {
	addr, err := transport.NormalizeAddr(addr)
	if err != nil {
		return "", err
	}
	forbidden := f.Allowed(addr)
	f.mu.Lock()
	defer f.mu.Unlock()
	if a := f.named(addr); a != nil {
		return a.addr, nil
	}
	hint := "a deploy to it adds it, as does proxy -agents " + addr
	if forbidden != nil { // it does not
		hint = proto.AsError(forbidden).Hint
	}
	return "", f.notKnown(addr).WithHint(hint).From("gateway", "not_found")
}

// notKnown is the error for an agent that a caller has named. f.mu is held.
func (f *Fleet) notKnown(name string) *proto.Error {
	known := "none is"
	if addrs := slices.Sorted(maps.Keys(f.agents)); len(addrs) == 1 {
		known = addrs[0] + " is"
	} else if len(addrs) > 1 {
		known = strings.Join(addrs, ", ") + " are"
	}
	return proto.Errorf(proto.ErrNotFound, "agent %.300s is not known; %s", name, known)
}

// named returns the agent of an address, under any name of this machine; nil if there
// is none. f.mu is held.
func (f *Fleet) named(addr string) *agent {
	if a := f.agents[addr]; a != nil {
		return a
	}
	host, port, _ := net.SplitHostPort(addr)
	for _, name := range []string{"localhost", "127.0.0.1", "::1"} {
		if a := f.agents[net.JoinHostPort(name, port)]; loopback(host) && a != nil {
			return a
		}
	}
	return nil
}

// Resolve returns the address by which the fleet knows the agent that answers at an
// address, which it adds if it is new. Where nothing answers it is the address itself:
// whoever connects to it is told why.
func (f *Fleet) Resolve(ctx context.Context, addr string) (string, error) {
	if err := f.Allowed(addr); err != nil {
		return "", err
	}
	addr, err := transport.NormalizeAddr(addr)
	if err != nil {
		return "", err
	}
	f.mu.Lock()
	known := f.agents[addr] != nil
	f.mu.Unlock()
	if known {
		return addr, nil
	}
	if s, err := f.Connect(ctx, addr); err == nil {
		return s.Addr, nil
	}
	return addr, ctx.Err()
}

func loopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.Unmap().IsLoopback()
}

// Run watches all agents, also those that are added meanwhile, until ctx is done.
func (f *Fleet) Run(ctx context.Context) {
	launch := func(a *agent) {
		ctx, cancel := context.WithCancel(ctx)
		a.cancel = cancel
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
	f.launch, f.closed = nil, true
	f.broadcast()
	f.mu.Unlock()
	f.watchers.Wait()
}

// broadcast wakes all calls of until. f.mu is held.
func (f *Fleet) broadcast() {
	close(f.changed)
	f.changed = make(chan struct{})
}

// until waits until a condition is true. It calls the condition with f.mu held. It is
// an error when ctx is done first, or that of Run.
func (f *Fleet) until(ctx context.Context, is func() bool) error {
	for {
		f.mu.Lock()
		ok, changed, closed := is(), f.changed, f.closed
		f.mu.Unlock()
		switch {
		case ok:
			return nil
		case closed:
			return proto.Errorf(proto.ErrUnavailable, "the proxy is stopping").From("gateway", "stopped")
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
		}
	}
}

// Closed says whether the proxy is stopping, so that no agent can be asked any longer.
func (f *Fleet) Closed() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.closed
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

// starting returns the agents that have neither answered nor failed yet. f.mu is held.
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

// Started waits until each agent has been tried once, so that no answer about all of
// them comes too early after a start. It fails only when ctx is done.
func (f *Fleet) Started(ctx context.Context) error {
	f.heard(ctx, connectLimit, func() bool { return false })
	return ctx.Err()
}

// Heard waits until is says so, or until each agent has been tried once: a call that comes
// right after the start finds its function then. It gives up when ctx is done, or after
// callLimit. It calls is with its lock held.
func (f *Fleet) Heard(ctx context.Context, is func() bool) { f.heard(ctx, callLimit, is) }

func (f *Fleet) heard(ctx context.Context, limit time.Duration, is func() bool) {
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	_ = f.until(limited, func() bool { return len(f.starting()) == 0 || is() })
}

// remove removes an agent that has never answered and that was not named at start. f.mu
// is held.
func (f *Fleet) remove(a *agent) {
	if !a.given && !a.known {
		f.drop(a)
	}
}

// drop removes an agent and what it has told, unless that was done. f.mu is held.
func (f *Fleet) drop(a *agent) {
	if a.removed { // another agent may have its address by now
		return
	}
	a.removed, a.client = true, nil
	delete(f.agents, a.addr)
	if a.cancel != nil {
		a.cancel()
	}
	f.replace(a, nil, false)
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
