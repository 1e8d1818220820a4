package fleet

import (
	"context"
	"maps"
	"math/rand/v2"
	"time"

	protobuf "google.golang.org/protobuf/proto"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/transport"
)

// keep keeps a connection to an agent until ctx is done.
func (f *Fleet) keep(ctx context.Context, a *agent) {
	pause := minBackoff
	for {
		connected, err := f.watch(ctx, a)
		if ctx.Err() != nil {
			return
		}
		f.fail(a, connected, err)
		if connected {
			pause = minBackoff
		}
		// Proxies that were cut off together must not all come back at once.
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

// watch connects to an agent and applies what it says until the connection fails. It
// reports whether there was a connection.
func (f *Fleet) watch(ctx context.Context, a *agent) (connected bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	greeting := time.AfterFunc(connectLimit, cancel)
	defer greeting.Stop()
	// A new client each time: a used one may be in a backoff of its own.
	client := transport.NewAgent(transport.RPC, a.addr)
	defer client.Close()
	err = client.Watch(ctx, func(ev *proto.WatchEvent) error {
		greeting.Stop() // from now on the client itself notices a silent agent
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

// apply applies an event of an agent. It reports whether this is the agent's first, so
// that the agents must be saved.
func (f *Fleet) apply(a *agent, client *transport.Client, ev *proto.WatchEvent) (met bool) {
	f.mu.Lock()
	if a.removed {
		f.mu.Unlock()
		return false
	}
	rows := map[string]*proto.FunctionJsonRsp{}
	if !ev.GetSnapshot() {
		maps.Copy(rows, a.rows)
	}
	for _, row := range ev.GetFunctions() {
		if err := proto.CheckName(row.GetName()); err != nil {
			f.Logger.Warn("a row is refused", "agent", a.addr, "error", err)
			continue
		}
		row = protobuf.CloneOf(row)
		row.AtAgent = a.addr
		path := proto.Path(row.GetName())
		switch {
		case proto.Status(row.GetStatus()) != proto.Stopped:
			rows[path] = row
		case rows[path].GetName() == row.GetName(): // else another function has this path now
			delete(rows, path)
		}
	}
	if a.client == nil {
		f.Logger.Info("agent connected", "agent", a.addr, "functions", len(rows))
	}
	met = !a.known
	a.client, a.problem, a.known = client, nil, true
	if ev.GetSnapshot() {
		a.info = ev.GetAgent()
	}
	f.replace(a, rows, ev.GetSnapshot())
	f.mu.Unlock()
	return met
}

// fail notes that an attempt to connect, or a connection, has failed.
func (f *Fleet) fail(a *agent, connected bool, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if connected || a.attempts == 0 {
		f.Logger.Warn("agent does not answer", "agent", a.addr, "error", err)
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

// replace sets the rows of an agent, and tells watchers and the gateway what changed, or
// with all each row. f.mu is held.
func (f *Fleet) replace(a *agent, rows map[string]*proto.FunctionJsonRsp, all bool) {
	before := a.rows
	a.rows = rows
	var changed []string
	for path, row := range rows {
		if all || before[path] != row {
			f.rows.Set(f.visible(a, row))
			changed = append(changed, path)
		}
		// The row before was another function's whose name differs in case.
		if old := before[path]; old != nil && old.GetName() != row.GetName() {
			f.rows.Set(Stopped(old))
		}
	}
	for path, row := range before {
		if rows[path] == nil {
			f.rows.Set(Stopped(row))
			changed = append(changed, path)
		}
	}
	f.broadcast()
	f.publish(changed...)
}

// unavailable says why an agent does not answer, and since when. Fleet.mu is held.
func (a *agent) unavailable() *proto.Error {
	e := proto.Errorf(proto.ErrUnavailable, "agent %s is not connected yet", a.addr)
	if !a.since.IsZero() {
		e = proto.Errorf(proto.ErrUnavailable, "agent %s does not answer since %s: %w", a.addr, a.since.UTC().Format(time.RFC3339), a.problem)
	}
	return e.WithHint("check that an agent runs there, and that no firewall is between").From("agent", "dial")
}
