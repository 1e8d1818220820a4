package server

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/transport/wire"
)

// deed is what is recorded of a request that changes something, gathered as it is
// served.
type deed struct {
	mu    sync.Mutex // guards the entry: a stream may have several goroutines
	entry *proto.AuditEntry
}

type deedKey struct{}

// deedOf returns what is gathered of a request, or one that nobody reads.
func deedOf(ctx context.Context) *deed {
	if d, ok := ctx.Value(deedKey{}).(*deed); ok {
		return d
	}
	return &deed{entry: &proto.AuditEntry{}}
}

// recorded serves a request, and records it if it changes something.
func (s *server) recorded(r *http.Request, caller Caller, serve func(*http.Request)) {
	call, changes := callOf(r)
	if s.cfg.Record == nil || !changes {
		serve(r)
		return
	}
	d := &deed{entry: &proto.AuditEntry{Who: caller.Who, Peer: r.RemoteAddr, Call: call, RequestId: caller.RequestID, Result: "ok"}}
	defer func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		record := s.cfg.Record.Done
		if call == joinCall && d.entry.GetResult() != "ok" { // strangers may try as often as they like
			record = s.cfg.Record.Refused
		}
		if err := record(d.entry); err != nil {
			s.logger.Error("a request is not in the audit log", "call", call, "who", caller.Who, "error", err)
		}
	}()
	serve(r.WithContext(context.WithValue(r.Context(), deedKey{}, d)))
}

// refused records a request that was not let in.
func (s *server) refused(r *http.Request, asked request, err error) {
	if s.cfg.Record == nil {
		return
	}
	call, _ := callOf(r)
	e := proto.AsError(err)
	err = s.cfg.Record.Refused(&proto.AuditEntry{
		Who: asked.caller(), Peer: r.RemoteAddr, Call: call, Result: string(e.Kind), Error: e.Message, RequestId: r.Header.Get(proto.RequestIDHeader),
	})
	if err != nil {
		s.logger.Error("a request that was refused is not in the audit log", "call", call, "error", err)
	}
}

// joinCall is the call by which agents join, whose callers have no right before.
const joinCall = "Join"

// callOf names the call that a request makes, and says whether it changes something.
func callOf(r *http.Request) (name string, changes bool) {
	rt, ok := routeOf(r)
	if !ok {
		return r.Method + " " + r.URL.Path, false
	}
	name = rt.RPC[strings.LastIndexByte(rt.RPC, '/')+1:]
	if name == joinCall {
		return name, true
	}
	return name, (rt.Scope == wire.ScopeDeploy || rt.Scope == wire.ScopeAdmin) && rt.Method != http.MethodGet && rt.Method != http.MethodHead
}

// note adds what a message, of the request or of its answer, says of functions, packages,
// tokens and agents.
func (d *deed) note(message any) {
	d.mu.Lock()
	defer d.mu.Unlock()
	add := func(to *[]string, text string) {
		if text != "" && !slices.Contains(*to, text) {
			*to = append(*to, text)
		}
	}
	e := d.entry
	switch m := message.(type) {
	case *proto.DeployRequest:
		for _, fn := range m.GetFunctions() {
			add(&e.Functions, fn.GetName())
			add(&e.Packages, fn.GetPackage())
		}
	case *proto.BuildRequest:
		add(&e.Functions, m.GetFunction().GetName())
		add(&e.Packages, m.GetFunction().GetPackage())
	case *proto.FunctionList:
		for _, row := range m.GetFunctions() {
			d.row(row, add)
		}
	case *proto.FunctionJsonRsp:
		d.row(m, add)
	case *proto.PackageRef:
		add(&e.Packages, m.GetDigest())
	case *proto.JoinRequest:
		e.Agent = m.GetId()
	case *proto.AgentState:
		e.Agent = m.GetId()
	case *proto.DeadCalls:
		add(&e.Functions, m.GetFunction())
	case *proto.TokenRef:
		e.Token = m.GetId()
	case *proto.AgentRef:
		e.Agent = m.GetAgent()
	case *proto.RotateRequest:
		e.Token = m.GetId()
	case *proto.NewToken:
		e.Token = strings.TrimPrefix(e.Token+" → "+m.GetToken().GetId(), " → ")
	case *proto.TokenShare:
		e.Token = "those of " + m.GetIssuer()
	case *proto.StopRequest, *proto.RemoveRequest, *proto.PauseRequest, *proto.ResumeRequest, *proto.RollbackRequest, *proto.ShiftRequest, *proto.WakeRequest, *proto.ScaleRequest, *proto.PlaceRequest, *proto.ResizeRequest,
		*proto.ScheduleRef:
		add(&e.Functions, m.(interface{ GetName() string }).GetName())
	}
}

func (d *deed) row(row *proto.FunctionJsonRsp, add func(*[]string, string)) {
	add(&d.entry.Functions, row.GetName())
	add(&d.entry.Packages, row.GetPackage())
	if proto.Status(row.GetStatus()) == proto.Failed {
		d.entry.Result, d.entry.Error = "failed", row.GetError()
	}
}

// fail notes how the request failed, if it did.
func (d *deed) fail(err error) {
	if err == nil {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	e := wire.AsError(err)
	d.entry.Result, d.entry.Error = string(e.Kind), e.Message
}
