package fleet

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	protobuf "google.golang.org/protobuf/proto"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/transport"
	"github.com/Ishan27g/ryo-faas/transport/bundle"
	"github.com/Ishan27g/ryo-faas/transport/wire"
)

// The limits of what is asked of agents.
const (
	uploadLimit = 5 * time.Minute  // 64 MiB over 2 Mbit/s
	askLimit    = 30 * time.Second // for what an agent answers at once
	stopLimit   = 60 * time.Second // the agent drains the function and kills its processes
	buildLimit  = 15 * time.Minute // a cold build behind others
	echoLimit   = 5 * time.Second  // until the watch brings a change that was just made

	// WakeLimit bounds the start of a process; callers wait no longer.
	WakeLimit = wire.CallerWakeLimit
)

// ErrReplaced is why a deploy was canceled for a later one.
var ErrReplaced = errors.New("replaced by a later deploy before it was ready")

// Session is an agent and the connection to it. Methods that change something return
// once the watch has brought the change, so that later callers see it. Errors name the
// agent, unless they are about a function's source. What the agent says of its
// functions carries its address.
type Session struct {
	Addr   string
	fleet  *Fleet
	agent  *agent
	client *transport.Client
}

// Connect returns a session with the agent of an address once it answers. It tries at
// once, not after the backoff. An agent that was not known and does not answer is
// removed again.
func (f *Fleet) Connect(ctx context.Context, addr string) (*Session, error) {
	a, err := f.add(addr)
	if err != nil {
		return nil, err
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
	err = f.until(ctx, func() bool { return a.client != nil || a.removed || a.attempts > before })
	f.mu.Lock()
	defer f.mu.Unlock()
	if a.alias != nil {
		a = a.alias
	}
	if a.client != nil {
		return &Session{Addr: a.addr, fleet: f, agent: a, client: a.client}, nil
	}
	if err == nil || ctx.Err() != nil {
		err = a.unavailable()
	}
	f.remove(a)
	return nil, err
}

// Upload brings a package to the agent.
func (s *Session) Upload(ctx context.Context, pkg *bundle.Package) error {
	return s.ask(ctx, uploadLimit, func(ctx context.Context) error { return s.client.Upload(ctx, pkg) })
}

// Deploy gives a function to the agent and returns the row with which it begins.
func (s *Session) Deploy(ctx context.Context, fn *proto.FunctionJson) (*proto.FunctionJsonRsp, error) {
	if !fn.GetPlan() {
		s.fleet.give(s.agent, proto.Path(fn.GetName()))
		s.fleet.cancelRemoval(proto.Path(fn.GetName()), s.Addr)
	}
	if fn.GetPreview() != "" {
		fn = protobuf.CloneOf(fn)
		fn.Ages = true
	}
	row, err := s.one(ctx, askLimit, func(ctx context.Context) ([]*proto.FunctionJsonRsp, error) { return s.client.Deploy(ctx, fn) })
	if err != nil || fn.GetPlan() {
		return row, err
	}
	s.echo(ctx, fn.GetName(), func(told *proto.FunctionJsonRsp) bool {
		return told != nil && told.GetGeneration() >= row.GetGeneration()
	})
	return row, nil
}

// Stop stops a function.
func (s *Session) Stop(ctx context.Context, name string) (*proto.FunctionJsonRsp, error) {
	return s.stop(ctx, name, func(ctx context.Context) (*proto.FunctionJsonRsp, error) { return s.client.Stop(ctx, name) })
}

// Remove removes a function with its versions and its log.
func (s *Session) Remove(ctx context.Context, name string) (*proto.FunctionJsonRsp, error) {
	return s.stop(ctx, name, func(ctx context.Context) (*proto.FunctionJsonRsp, error) { return s.client.Remove(ctx, name) })
}

// stop makes a request after which the agent does not run the function.
func (s *Session) stop(ctx context.Context, name string, request func(context.Context) (*proto.FunctionJsonRsp, error)) (row *proto.FunctionJsonRsp, err error) {
	if err := s.ask(ctx, stopLimit, func(ctx context.Context) error {
		row, err = request(ctx)
		return err
	}); err != nil {
		return nil, err
	}
	row.AtAgent = s.Addr
	s.echo(ctx, name, func(told *proto.FunctionJsonRsp) bool { return told == nil })
	return row, nil
}

// Stopped returns the functions that are stopped and keep their versions.
func (s *Session) Stopped(ctx context.Context) (rows []*proto.FunctionJsonRsp, err error) {
	err = s.ask(ctx, askLimit, func(ctx context.Context) error {
		rows, err = s.client.Stopped(ctx, "")
		return err
	})
	for _, row := range rows {
		row.AtAgent = s.Addr
	}
	return rows, err
}

// Rollback lets a function, which may be stopped, serve with a version that it had.
func (s *Session) Rollback(ctx context.Context, name string, to uint32) (*proto.FunctionJsonRsp, error) {
	s.fleet.give(s.agent, proto.Path(name))
	s.fleet.cancelRemoval(proto.Path(name), s.Addr)
	row, err := s.one(ctx, stopLimit, func(ctx context.Context) ([]*proto.FunctionJsonRsp, error) { return s.client.Rollback(ctx, name, to) })
	if err != nil {
		return nil, err
	}
	s.echo(ctx, name, func(told *proto.FunctionJsonRsp) bool { return serveAlike(told, row) })
	return row, nil
}

// Shift changes the share of a function's canary.
func (s *Session) Shift(ctx context.Context, name string, canary uint32) (*proto.FunctionJsonRsp, error) {
	return s.change(ctx, name, func(ctx context.Context) ([]*proto.FunctionJsonRsp, error) { return s.client.Shift(ctx, name, canary) })
}

// Pause pauses a function: its calls are answered with 503.
func (s *Session) Pause(ctx context.Context, name string) (*proto.FunctionJsonRsp, error) {
	return s.change(ctx, name, func(ctx context.Context) ([]*proto.FunctionJsonRsp, error) { return s.client.Pause(ctx, name) })
}

// Resume resumes a function that was paused.
func (s *Session) Resume(ctx context.Context, name string) (*proto.FunctionJsonRsp, error) {
	return s.change(ctx, name, func(ctx context.Context) ([]*proto.FunctionJsonRsp, error) { return s.client.Resume(ctx, name) })
}

// change makes a request that changes which versions serve, or whether they do.
func (s *Session) change(ctx context.Context, name string, call func(context.Context) ([]*proto.FunctionJsonRsp, error)) (*proto.FunctionJsonRsp, error) {
	row, err := s.one(ctx, stopLimit, call)
	if err != nil {
		return nil, err
	}
	s.echo(ctx, name, func(told *proto.FunctionJsonRsp) bool { return told == nil || serveAlike(told, row) })
	return row, nil
}

// serveAlike reports whether the same is called in two rows: a function that was paused
// serves the same versions as before, but no calls.
func serveAlike(told, row *proto.FunctionJsonRsp) bool {
	return SameVersions(told, row) && told.GetPaused() == row.GetPaused()
}

// Wake opens a version that is kept but does not serve.
func (s *Session) Wake(ctx context.Context, name string, number uint32) error {
	if err := s.ask(ctx, WakeLimit, func(ctx context.Context) error {
		_, err := s.client.Wake(ctx, name, number)
		return err
	}); err != nil {
		return err
	}
	s.echo(ctx, name, func(told *proto.FunctionJsonRsp) bool {
		return slices.ContainsFunc(told.GetServing(), func(v *proto.Serving) bool { return v.GetVersion() == number })
	})
	return nil
}

// Place notes at the agent on how many agents a function is to be, and with which labels.
// An agent of before that cannot note it is not an error.
func (s *Session) Place(ctx context.Context, name, replicas string, placement map[string]string) error {
	err := s.ask(ctx, askLimit, func(ctx context.Context) error {
		_, err := s.client.Place(ctx, name, replicas, placement)
		return err
	})
	if errors.Is(err, proto.ErrUnsupported) {
		s.fleet.Logger.Warn("an agent is too old to note how many replicas a function is to have", "agent", s.Addr, "function", name)
		return nil
	}
	if err != nil {
		return err
	}
	s.echo(ctx, name, func(told *proto.FunctionJsonRsp) bool { return told == nil || told.GetReplicas() == replicas })
	return nil
}

// Resize changes how many processes of a function there are to be at the agent.
func (s *Session) Resize(ctx context.Context, name string, processes int) error {
	return s.ask(ctx, askLimit, func(ctx context.Context) error {
		_, err := s.client.Resize(ctx, name, processes)
		return err
	})
}

// Build makes the program of a function.
func (s *Session) Build(ctx context.Context, fn *proto.FunctionJson) (program *proto.Program, err error) {
	err = s.ask(ctx, buildLimit, func(ctx context.Context) error {
		program, err = s.client.Build(ctx, fn)
		return err
	})
	return program, err
}

// SendProgram copies a program to another agent, unless that has it. The program passes
// through and is not stored here.
func (s *Session) SendProgram(ctx context.Context, key string, to *Session) error {
	stored := false
	if err := to.ask(ctx, askLimit, func(ctx context.Context) (err error) {
		stored, err = to.client.HasProgram(ctx, key)
		return err
	}); err != nil || stored {
		return err
	}
	return s.ask(ctx, uploadLimit, func(ctx context.Context) error { return s.client.MoveProgram(ctx, key, to.client) })
}

// Versions returns the versions of a function.
func (s *Session) Versions(ctx context.Context, name string) ([]*proto.Version, error) {
	return list(ctx, s, func(ctx context.Context) ([]*proto.Version, error) { return s.client.Versions(ctx, name) },
		func(v *proto.Version) { v.AtAgent = s.Addr })
}

// Source opens the package of a version of a function.
func (s *Session) Source(ctx context.Context, name string, version uint32) (io.ReadCloser, error) {
	r, err := s.client.Source(ctx, name, version)
	return r, s.named(ctx, err)
}

// Crashes returns how processes of a function crashed.
func (s *Session) Crashes(ctx context.Context, name string) ([]*proto.Crash, error) {
	return list(ctx, s, func(ctx context.Context) ([]*proto.Crash, error) { return s.client.Crashes(ctx, name) },
		func(c *proto.Crash) { c.AtAgent = s.Addr })
}

// Usage returns what a function uses; without a name, what each function uses.
func (s *Session) Usage(ctx context.Context, name string) ([]*proto.Usage, error) {
	return list(ctx, s, func(ctx context.Context) ([]*proto.Usage, error) { return s.client.Usage(ctx, name) },
		func(u *proto.Usage) { u.AtAgent = s.Addr })
}

// list asks the agent for a list, and sign writes the agent's address into each element.
func list[T any](ctx context.Context, s *Session, get func(context.Context) ([]T, error), sign func(T)) (all []T, err error) {
	err = s.ask(ctx, askLimit, func(ctx context.Context) error {
		all, err = get(ctx)
		return err
	})
	for _, one := range all {
		sign(one)
	}
	return all, err
}

// Log returns what a function has printed.
func (s *Session) Log(ctx context.Context, name string) (logs *proto.FunctionLogs, err error) {
	if err := s.ask(ctx, askLimit, func(ctx context.Context) error {
		logs, err = s.client.Log(ctx, name)
		return err
	}); err != nil {
		return nil, err
	}
	if logs.Function == nil {
		logs.Function = &proto.FunctionJsonRsp{Name: name}
	}
	logs.Function.AtAgent = s.Addr
	return logs, nil
}

// Logs passes on the lines that a function has printed. An error of on is returned
// as it is.
func (s *Session) Logs(ctx context.Context, req *proto.LogsRequest, on func(*proto.LogLines) error) error {
	var failed error // of on
	err := s.client.Logs(ctx, req, func(lines *proto.LogLines) error {
		for _, line := range lines.GetLines() {
			line.AtAgent = s.Addr
		}
		failed = on(lines)
		return failed
	})
	if failed != nil {
		return failed
	}
	return s.named(ctx, err)
}

// Settled waits until a deploy that the agent has accepted is deployed or has failed,
// and returns the row for callers who wait for the deploy. The row holds ErrReplaced if
// a later deploy has taken its place, or the cause for which ctx was canceled.
func (s *Session) Settled(ctx context.Context, accepted *proto.FunctionJsonRsp, limit time.Duration) *proto.FunctionJsonRsp {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	a := s.agent
	var row *proto.FunctionJsonRsp
	var problem *proto.Error
	err := s.fleet.until(ctx, func() bool {
		row, problem = a.rows[proto.Path(accepted.GetName())], nil
		if a.client == nil {
			problem = a.unavailable()
			return time.Since(a.since) > returnLimit
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
	case cause != nil && !errors.Is(cause, ctx.Err()):
		return fail(cause)
	case problem != nil:
		row = fail(problem)
		row.Reason = proto.ReasonUnreachable
		return row
	case errors.Is(cause, context.DeadlineExceeded):
		return fail(fmt.Errorf("it was not ready within %s", limit))
	case err != nil:
		return fail(err)
	case row.GetGeneration() > accepted.GetGeneration():
		return fail(ErrReplaced)
	case row.GetError() != "":
		// The old process still serves, but this deploy has failed.
		row.Status, row.Error = string(proto.Failed), strings.TrimPrefix(row.GetError(), proto.Unchanged)
	}
	return row
}

// one asks the agent and returns the one row of its answer.
func (s *Session) one(ctx context.Context, limit time.Duration, call func(context.Context) ([]*proto.FunctionJsonRsp, error)) (*proto.FunctionJsonRsp, error) {
	var rows []*proto.FunctionJsonRsp
	if err := s.ask(ctx, limit, func(ctx context.Context) (err error) {
		rows, err = call(ctx)
		return err
	}); err != nil {
		return nil, err
	}
	if len(rows) != 1 {
		return nil, proto.Errorf(proto.ErrBadGateway, "agent %s answered for one function with %d rows", s.Addr, len(rows))
	}
	rows[0].AtAgent = s.Addr
	return rows[0], nil
}

// ask makes a request to the agent within a limit.
func (s *Session) ask(ctx context.Context, limit time.Duration, call func(context.Context) error) error {
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	return s.named(ctx, call(limited))
}

// echo waits until the watch has brought what was just done, or the connection fails.
func (s *Session) echo(ctx context.Context, name string, told func(*proto.FunctionJsonRsp) bool) {
	ctx, cancel := context.WithTimeout(ctx, echoLimit)
	defer cancel()
	path := proto.Path(name)
	_ = s.fleet.until(ctx, func() bool { return s.agent.client != s.client || told(s.agent.rows[path]) })
}

// named adds the agent to the error of a request, unless that is about the function's
// source: any agent would say the same. The error of ctx comes first.
func (s *Session) named(ctx context.Context, err error) error {
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	case OfSource(err):
		return err
	}
	e := proto.AsError(err)
	kind := e.Kind
	if kind == proto.ErrCanceled { // not by the caller: the connection failed
		kind = proto.ErrUnavailable
	}
	component, reason := e.Component, e.Reason
	if component == "" {
		component, reason = "agent", string(kind)
	}
	return proto.Errorf(kind, "agent %s: %w", s.Addr, err).WithHint(e.Hint).From(component, reason).Late(e.Limit, e.Elapsed)
}

// OfSource reports whether an error is about a function's source.
func OfSource(err error) bool {
	reason := proto.AsError(err).Reason
	return reason == proto.ReasonCheck || reason == proto.ReasonBuild
}

// SameVersions says whether the same versions serve, with the same weights, as before.
func SameVersions(before, after *proto.FunctionJsonRsp) bool {
	weighted := func(row *proto.FunctionJsonRsp) []*proto.Serving {
		return slices.DeleteFunc(slices.Clone(row.GetServing()), func(s *proto.Serving) bool { return s.GetWeight() == 0 })
	}
	return before != nil && before.GetVersion() == after.GetVersion() && before.GetLastVersion() == after.GetLastVersion() &&
		slices.EqualFunc(weighted(before), weighted(after), func(a, b *proto.Serving) bool {
			return a.GetVersion() == b.GetVersion() && a.GetWeight() == b.GetWeight()
		})
}
