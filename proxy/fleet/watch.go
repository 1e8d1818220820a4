package fleet

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"net/url"
	"os"
	"slices"
	"sync"
	"time"

	protobuf "google.golang.org/protobuf/proto"

	"github.com/Ishan27g/ryo-faas/internal/peercred"
	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/transport"
	"github.com/Ishan27g/ryo-faas/transport/wire"
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
	var dialed connection
	client := f.client(a, transport.WithDialed(dialed.opened))
	defer client.Close()
	var sharing sync.WaitGroup
	defer sharing.Wait()
	defer cancel()
	err = client.Watch(ctx, func(ev *proto.WatchEvent) error {
		greeting.Stop() // from now on the client itself notices a silent agent
		first := !connected
		if first {
			if err := f.identify(a, dialed.settle()); err != nil {
				return err
			}
			f.Meet(ctx)
			gone := f.removeNow(ctx, a, ev.GetAgent().GetId(), client)
			ev.Functions = slices.DeleteFunc(ev.GetFunctions(), func(row *proto.FunctionJsonRsp) bool { return slices.Contains(gone, row.GetName()) })
		}
		if f.apply(a, client, ev) {
			f.save()
		}
		if first {
			f.Back()
			// in between it was still away
			f.removeNow(ctx, a, ev.GetAgent().GetId(), client)
		}
		if !connected && f.Tokens != nil {
			sharing.Go(func() { f.share(ctx, a, client) })
		}
		connected = true
		return nil
	})
	if err == nil || ctx.Err() != nil {
		err = proto.Errorf(proto.ErrUnavailable, "it said nothing for %s", connectLimit)
	}
	return connected, err
}

// connection is the one of a client. Once it is settled whose it is, there is no other: a
// client dials again by itself, and somebody else may answer then.
type connection struct {
	mu      sync.Mutex // guards the fields below:
	last    net.Conn   // nil: there was none
	settled bool
}

// opened notes a connection, or closes it before it is used.
func (c *connection) opened(conn net.Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.settled {
		_ = conn.Close()
		return
	}
	c.last = conn
}

// settle returns the last connection that was opened.
func (c *connection) settle() net.Conn {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.settled = true
	return c.last
}

// withdraw makes the tokens hold no longer at an agent that is to be removed.
func (f *Fleet) withdraw(a *agent, client *transport.Client) {
	if f.Tokens == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), echoLimit)
	defer cancel()
	tokens, _ := f.Tokens()
	err := client.ShareTokens(ctx, &proto.TokenShare{Issuer: tokens.GetIssuer()})
	if err != nil && !errors.Is(err, proto.ErrUnsupported) {
		f.Logger.Warn("the tokens of this proxy hold on at an agent that is removed", "agent", a.addr, "error", err)
	}
}

// share tells an agent the tokens, and again each time they change and now and then, until
// ctx is done.
func (f *Fleet) share(ctx context.Context, a *agent, client interface {
	ShareTokens(context.Context, *proto.TokenShare) error
}) {
	told := false
	for pause := minBackoff; ; {
		tokens, changed := f.Tokens()
		err := client.ShareTokens(ctx, tokens)
		var again <-chan time.Time
		switch {
		case err == nil:
			pause, told = minBackoff, false
			again = time.After(wire.ShareEvery)
		case ctx.Err() != nil || errors.Is(err, proto.ErrUnsupported):
			return
		default:
			if !told {
				f.Logger.Error("agent does not take the tokens: those that were revoked still hold there", "agent", a.addr, "error", err)
			}
			told = true
			again = time.After(pause)
			pause = min(2*pause, maxBackoff)
		}
		select {
		case <-changed:
		case <-again:
		case <-ctx.Done():
			return
		}
	}
}

// client returns a new client of an agent.
func (f *Fleet) client(a *agent, opts ...transport.Option) *transport.Client {
	return transport.NewAgent(transport.RPC, a.addr, append(opts, transport.WithTLS(f.tls(a)))...)
}

// identify finds out as whom an agent on this machine runs, over whose connection it has
// just said something. Any user could answer at a port on which the agent does not listen
// now, be told the tokens and given what is deployed, and name the sockets of others. So
// an agent that does not prove itself by a certificate is this program's own user's,
// root's, or one's that is trusted; and sockets that it names are called only if they are
// that user's.
func (f *Fleet) identify(a *agent, conn net.Conn) error {
	user := NoUser
	if a.local {
		peer, err := peercred.Of(conn)
		switch {
		case errors.Is(err, peercred.ErrUnknown): // on other systems than Linux
		case err != nil:
			return proto.Errorf(proto.ErrUnavailable, "whose it is cannot be found out: %w", err)
		default:
			user = peer.UID
		}
	}
	if user != NoUser && user != 0 && user != os.Geteuid() && a.member == "" && f.Local && !f.Trusts(user) {
		return proto.Errorf(proto.ErrForbidden, "what answers there runs as the user %d, whom this proxy does not trust", user).
			WithHint(fmt.Sprintf("if it is the agent, let it join, or start the proxy with -trust %d", user))
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	a.user = user
	return nil
}

// tls returns how an agent that has joined is dialed, nil for one that has not.
func (f *Fleet) tls(a *agent) *tls.Config {
	if a.member == "" {
		return nil
	}
	return f.Authority.Dial(a.member)
}

// apply applies an event of an agent. It reports whether what is remembered of agents
// has changed, so that it must be saved.
func (f *Fleet) apply(a *agent, client *transport.Client, ev *proto.WatchEvent) (changed bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if a.removed {
		return false
	}
	var moved *agent // the same agent at an address where it no longer answers
	if id := ev.GetAgent().GetId(); ev.GetSnapshot() && id != "" {
		if a.member != "" && id != a.member {
			f.Logger.Warn("an agent says that it is another", "agent", a.addr, "joined", a.member, "says", id)
			id = a.member
		}
		if same := f.withID(id); same != nil && same != a {
			// Where both answer, one has joined or was known before.
			if a.member == "" && (same.client != nil || same.member != "") {
				f.Logger.Info("an address is one more of a known agent", "address", a.addr, "agent", same.addr)
				a.alias = same
				same.given, same.known = same.given || a.given, true
				f.drop(a)
				return true
			}
			moved = same
			f.Logger.Info("an agent has another address now", "agent", a.addr, "before", moved.addr)
			a.given, a.draining, a.owns = a.given || moved.given, a.draining || moved.draining, moved.owns
			a.stored, a.revision, a.moved = moved.stored, moved.revision, true
		}
		if changed = a.id != id; changed && a.id != "" && moved == nil {
			f.Logger.Warn("another agent answers at an address", "agent", a.addr, "id", id, "before", a.id)
			a.stored, a.revision, a.moved, a.draining = "", 0, false, false // that was the other's
		}
		a.id = id
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
		row = a.own(row)
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
	changed = changed || !a.known
	a.client, a.problem, a.known = client, nil, true
	if ev.GetSnapshot() {
		a.info = ev.GetAgent()
	}
	changed = f.claim(a, rows) || changed
	a.adopt = a.adopt && !ev.GetSnapshot()
	f.replace(a, rows, ev.GetSnapshot())
	if moved != nil {
		moved.owns = nil
		f.drop(moved)
	}
	return changed
}

// withID returns the agent of an id, or nil. f.mu is held.
func (f *Fleet) withID(id string) *agent {
	for _, a := range f.agents {
		if a.id == id && id != "" {
			return a
		}
	}
	return nil
}

// own returns a copy of a row that an agent has sent. Its services are at the agent,
// whatever it says: else an agent could make the proxy call any address.
func (a *agent) own(row *proto.FunctionJsonRsp) *proto.FunctionJsonRsp {
	row = protobuf.CloneOf(row)
	row.AtAgent = a.addr
	row.Proxy = a.service(row.GetProxy())
	for _, s := range row.GetServing() {
		s.Proxy = a.service(s.GetProxy())
	}
	return row
}

// service returns the url of a service of the agent. Of what the agent says the port
// counts, and, on this machine, by which loopback address it is reached.
func (a *agent) service(said string) string {
	u, err := url.Parse(said)
	if err != nil || u.Port() == "" {
		return ""
	}
	host := (&url.URL{Host: a.addr}).Hostname()
	if a.local && loopback(u.Hostname()) {
		host = u.Hostname()
	}
	return "http://" + net.JoinHostPort(host, u.Port())
}

// claim says which of an agent's new rows are of functions that are its own: those that
// it had, and those that are no other agent's. Each name leads to the agents that the
// proxy deployed it to, or to the one that had it first; with Shared, to all. What an agent no longer has
// goes to another that has a function of the name. It reports whether something has
// changed. f.mu is held.
func (f *Fleet) claim(a *agent, rows map[string]*proto.FunctionJsonRsp) (changed bool) {
	for path := range rows {
		if !a.owns[path] && (a.adopt || f.Shared || f.owner(path) == nil) {
			a.owns[path], changed = true, true
		}
	}
	for path := range a.rows {
		if rows[path] != nil || !a.owns[path] {
			continue
		}
		delete(a.owns, path)
		changed = true
		if f.owner(path) != nil {
			continue
		}
		for _, addr := range slices.Sorted(maps.Keys(f.agents)) {
			if b := f.agents[addr]; b != a && b.rows[path] != nil {
				b.owns[path] = true
				f.rows.Set(f.visible(b, b.rows[path]))
				break
			}
		}
	}
	return changed
}

// owner returns the agent that owns a path, the first by address, or nil. f.mu is held.
func (f *Fleet) owner(path string) (first *agent) {
	for _, a := range f.agents {
		if a.owns[path] && (first == nil || a.addr < first.addr) {
			first = a
		}
	}
	return first
}

// give makes a path lead to an agent too.
func (f *Fleet) give(a *agent, path string) {
	f.mu.Lock()
	given := !a.removed && !a.owns[path]
	if given {
		a.owns[path] = true
		if row := a.rows[path]; row != nil {
			f.rows.Set(f.visible(a, row))
			f.publish(path)
		}
		f.broadcast()
	}
	f.mu.Unlock()
	if given {
		f.save()
	}
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
		f.publish(slices.Collect(maps.Keys(a.rows))...) // others are called from now on
	}
	f.broadcast()
}

// replace sets the rows of an agent, and tells watchers and the gateway what changed, or
// with all each row. f.mu is held.
func (f *Fleet) replace(a *agent, rows map[string]*proto.FunctionJsonRsp, all bool) {
	before := a.rows
	a.rows = rows
	a.weigh(before)
	f.index(a, before)
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

// index notes which paths an agent has rows of. before is the rows until now. f.mu is held.
func (f *Fleet) index(a *agent, before map[string]*proto.FunctionJsonRsp) {
	for path := range a.rows {
		if before[path] == nil {
			f.having[path] = append(slices.Clip(f.having[path]), a)
		}
	}
	for path := range before {
		if a.rows[path] != nil {
			continue
		}
		rest := slices.DeleteFunc(slices.Clone(f.having[path]), func(other *agent) bool { return other == a })
		if len(rest) == 0 {
			delete(f.having, path)
		} else {
			f.having[path] = rest
		}
	}
}

// unavailable says why an agent does not answer, and since when. Fleet.mu is held.
func (a *agent) unavailable() *proto.Error {
	e := proto.Errorf(proto.ErrUnavailable, "agent %s is not connected yet", a.addr)
	switch {
	case a.problem != nil && !a.known:
		e = proto.Errorf(proto.ErrUnavailable, "agent %s does not answer: %w", a.addr, a.problem)
	case !a.since.IsZero():
		e = proto.Errorf(proto.ErrUnavailable, "agent %s does not answer since %s: %w", a.addr, a.since.UTC().Format(time.RFC3339), a.problem)
	}
	return e.WithHint("check that an agent runs there, and that no firewall is between").From("agent", "dial")
}
