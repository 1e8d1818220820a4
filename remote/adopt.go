package remote

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"reflect"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/remote/disk"
	"github.com/Ishan27g/ryo-faas/remote/process"
)

// Taking over what an earlier agent left running. Until a function's goroutine has
// started, adopt owns its fields main, canary, pinned, procs, crashes and restarts;
// then run owns them. Only run calls note and the hold functions.

const (
	// adoptLimit is how long a process may take to say its nonce, which takes it no
	// time.
	adoptLimit = 5 * time.Second
	// holderRetry is how often the agent tries to open a holder.
	holderRetry = time.Second
)

// inventory is what the next agent needs to know about what runs.
type inventory struct {
	Services []served `json:",omitempty"`
	// Ending are processes that drain.
	Ending   []process.Identity `json:",omitempty"`
	Restarts uint32             `json:",omitempty"`
}

// served is a service that takes calls.
type served struct {
	Version   uint32
	Port      int
	Asleep    bool               `json:",omitempty"`
	Processes []process.Identity `json:",omitempty"`
	// Isolation is the least that one of the processes runs under.
	Isolation string `json:",omitempty"`
}

// note stores what runs, if that has changed.
func (f *function) note() {
	if f.stopped {
		return
	}
	now := inventory{Restarts: f.restarts}
	serve := make(map[*instance]bool)
	for _, s := range f.services() {
		if s.version == nil || s.sockets == nil || !s.seen {
			continue
		}
		one := served{Version: s.version.Number, Port: s.port, Asleep: s.asleep}
		for _, p := range s.procs {
			one.Processes = append(one.Processes, p.Identity())
			serve[p] = true
		}
		one.Isolation = s.isolation().String()
		now.Services = append(now.Services, one)
	}
	for _, p := range f.procs {
		if !serve[p] {
			now.Ending = append(now.Ending, p.Identity())
		}
	}
	if reflect.DeepEqual(now, f.noted) {
		return
	}
	if err := f.agent.disk.Note(disk.RunFile(f.path), now); err != nil {
		f.logger.Error("what runs cannot be stored", "error", err)
		return
	}
	f.noted = now
}

// adopt takes over what an earlier agent left running, and returns the processes that
// are not to be stopped.
func (a *Agent) adopt(ctx context.Context, functions []*function) (keep []process.Identity) {
	held := make(map[string][]*os.File)
	if h := a.holder.Load(); h != nil {
		var err error
		if held, err = h.All(); err != nil {
			a.logger.Error("what an earlier agent left cannot be taken over", "error", err)
		}
	}
	kept := make([][]process.Identity, len(functions))
	var all sync.WaitGroup
	for i, f := range functions {
		all.Go(func() { kept[i] = f.adopt(ctx, held) })
	}
	all.Wait()
	needed := make(map[string]bool)
	for i, f := range functions {
		keep = append(keep, kept[i]...)
		for _, s := range f.services() {
			needed[socketsName(s.port)] = s.sockets != nil
		}
		for _, p := range f.procs {
			needed[controlName(p.Identity())] = true
		}
	}
	for name, files := range held {
		for _, file := range files {
			_ = file.Close()
		}
		if !needed[name] {
			a.removeHeld(name)
		}
	}
	return keep
}

// adopt takes over what runs of the function.
func (f *function) adopt(ctx context.Context, held map[string][]*os.File) (keep []process.Identity) {
	var was inventory
	if !f.agent.disk.Recall(disk.RunFile(f.path), &was) {
		was = inventory{}
	}
	if !f.agent.disk.Recall(disk.CrashFile(f.path), &f.crashes) || slices.Contains(f.crashes, nil) {
		f.crashes = nil
	}
	f.restarts = was.Restarts
	for _, one := range was.Services {
		if s := f.heir(one); s != nil {
			s.adopt(ctx, one, held)
		}
	}
	for _, p := range f.procs {
		keep = append(keep, p.Identity())
	}
	return append(keep, was.Ending...)
}

// heir is the service that takes over what runs, nil if there is none.
func (f *function) heir(one served) *service {
	for _, s := range f.services() {
		if s.port == one.Port {
			return s
		}
	}
	v := f.history.Find(one.Version)
	if v == nil || f.at(one.Version) != nil || !f.agent.ports.claim(one.Port) {
		return nil
	}
	s := &service{f: f, version: v, port: one.Port, pinned: true}
	f.pinned[v.Number] = s
	return s
}

// adopt takes over sockets, and the processes that serve on them.
func (s *service) adopt(ctx context.Context, was served, held map[string][]*os.File) {
	a := s.f.agent
	files := held[socketsName(s.port)]
	if len(files) == 0 {
		return // perhaps the machine was restarted since
	}
	sockets, err := process.Adopted(files)
	if err == nil && !a.listensAt(sockets) {
		sockets.Close() // -expose has changed
		return
	}
	if err != nil {
		s.f.logger.Warn("sockets are opened anew", "port", s.port, "error", err)
		return
	}
	s.sockets = sockets
	if s.number() != was.Version {
		return // the agent was killed while it was replaced
	}
	s.seen, s.asleep = true, was.Asleep // callers that wait in the backlog are served
	// Also when this agent is being stopped: a process that is not adopted is stopped.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), adoptLimit)
	defer cancel()
	tier, _ := proto.ParseIsolation(was.Isolation) // none of an earlier agent's
	for _, id := range was.Processes {
		p, err := adopt(ctx, s.version, id, held[controlName(id)])
		if err == nil && tier < a.walls.Least(s.version.Spec.FunctionJson) {
			err = fmt.Errorf("it runs under isolation %s, and more is demanded", tier)
		}
		if err != nil {
			s.f.logger.Warn("a process is not taken over", "pid", id.Pid, "error", err)
			continue
		}
		p.tier = tier
		s.f.work.Go(func() { s.f.measure(p) })
		s.add([]*instance{p})
		s.f.logger.Info("taken over", "version", was.Version, "pid", id.Pid)
	}
	s.arm()
}

func adopt(ctx context.Context, v *disk.Version, id process.Identity, control []*os.File) (*instance, error) {
	if len(control) != 1 {
		return nil, os.ErrNotExist
	}
	proc, err := process.Adopt(ctx, id, control[0])
	if err != nil {
		return nil, err
	}
	p := &instance{Process: proc, version: v, since: time.Now()}
	if used, err := proc.Usage(); err == nil {
		p.since = used.Start
	}
	return p, nil
}

// listensAt reports whether sockets are on the address that the agent is to serve on.
func (a *Agent) listensAt(sockets *process.Sockets) bool {
	host, _, _ := net.SplitHostPort(sockets.Addr())
	return net.ParseIP(host).IsLoopback() != a.expose
}

// The names by which the holder knows sockets and control connections.
func socketsName(port int) string { return "sockets/" + strconv.Itoa(port) }

func controlName(id process.Identity) string { return "control/" + id.Nonce }

// openHolder opens the holder, which keeps sockets and connections for the next agent.
func (a *Agent) openHolder(ctx context.Context) {
	h, err := a.connectHolder(ctx)
	if err != nil {
		a.logger.Error("functions will not outlive the agent", "error", err)
		return
	}
	a.boundLogs(h)
	a.holder.Store(h)
}

func (a *Agent) connectHolder(ctx context.Context) (*process.HolderClient, error) {
	path, err := a.disk.HolderSocket()
	if err != nil {
		return nil, err
	}
	return process.OpenHolder(ctx, path, "/")
}

// boundLogs makes the holder bound what functions print while no agent reads it.
func (a *Agent) boundLogs(h *process.HolderClient) {
	dir, limit, err := a.logs.Unread()
	if err == nil {
		err = errors.Join(h.Bound(dir, limit), dir.Close())
	}
	if err != nil { // perhaps a holder of an earlier version
		a.logger.Warn("what functions print while no agent runs is not bounded", "error", err)
	}
}

// keepHolder replaces a holder that has exited, until ctx ends.
func (a *Agent) keepHolder(ctx context.Context) {
	retry := time.NewTicker(holderRetry)
	defer retry.Stop()
	for h := a.holder.Load(); h != nil; {
		select {
		case <-h.Done():
		case <-ctx.Done():
			return
		}
		h.Close()
		next, err := a.connectHolder(ctx)
		if err != nil {
			a.logger.Error("functions will not outlive the agent", "error", err)
			select {
			case <-retry.C:
				continue
			case <-ctx.Done():
				return
			}
		}
		a.logger.Warn("the holder had exited; another one takes its place")
		a.boundLogs(next)
		a.holder.Store(next)
		h = next
		a.mu.Lock()
		functions := make([]*function, 0, len(a.functions))
		for _, f := range a.functions {
			functions = append(functions, f)
		}
		a.mu.Unlock()
		for _, f := range functions {
			f.post(f.holdAll)
		}
	}
}

// closeHolder stops the holder, unless functions go on: then it closes the connection.
func (a *Agent) closeHolder() {
	h := a.holder.Load()
	if h == nil {
		return
	}
	select {
	case <-a.handedOver:
		h.Close()
	default:
		if err := h.Stop(); err != nil {
			a.logger.Error("the holder goes on", "error", err)
		}
	}
}

// hold gives files to the holder, which keeps them for the next agent, and closes them.
func (a *Agent) hold(name string, files []*os.File, err error) {
	h := a.holder.Load()
	if err == nil && h != nil {
		err = h.Put(name, files...)
	}
	for _, file := range files {
		_ = file.Close()
	}
	if err != nil {
		a.logger.Warn("the next agent will have to start a process anew", "of", name, "error", err)
	}
}

// removeHeld closes what the holder keeps under a name.
func (a *Agent) removeHeld(name string) {
	if h := a.holder.Load(); h != nil {
		if err := h.Remove(name); err != nil {
			a.logger.Warn("the holder keeps what nobody needs", "name", name, "error", err)
		}
	}
}

func (f *function) holdSockets(s *service) {
	files, err := s.sockets.Files()
	f.agent.hold(socketsName(s.port), files, err)
}

func (f *function) holdControl(p *instance) {
	file, err := p.ControlFile()
	f.agent.hold(controlName(p.Identity()), []*os.File{file}, err)
}

// holdAll gives a new holder everything to keep.
func (f *function) holdAll() {
	for _, s := range f.all() {
		if s.sockets != nil {
			f.holdSockets(s)
		}
	}
	for _, p := range f.procs {
		f.holdControl(p)
	}
}
