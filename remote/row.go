package remote

import (
	"cmp"
	"fmt"
	"maps"
	"net"
	"net/url"
	"strconv"
	"time"

	protobuf "google.golang.org/protobuf/proto"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/remote/disk"
)

// run calls all functions here, except the first publish, which comes before run
// starts. They read a function's fields and set only said.

// status is derived from the function's fields.
func (f *function) status() proto.Status {
	switch {
	case f.stopped:
		return proto.Stopped
	case f.next != nil:
		return proto.Deploying
	case f.main.version == nil || f.main.refusing():
		return proto.Failed
	case f.main.seen || f.paused: // it has been seen before
		return proto.Deployed
	default: // this agent has not seen it ready yet
		return proto.Deploying
	}
}

// row is the function as callers see it.
func (f *function) row() *proto.FunctionJsonRsp {
	row := &proto.FunctionJsonRsp{
		Name: f.name, Status: string(f.status()), AtAgent: f.agent.addr,
		Generation: f.history.Generation, Restarts: f.restarts, LastVersion: f.history.Last, Paused: f.paused,
	}
	if placed := f.history.Placed; placed != nil {
		row.Replicas, row.Placement = placed.Replicas, maps.Clone(placed.Labels)
	}
	v := f.main.version
	if v == nil && f.next != nil {
		v = f.next.Version
	}
	if v == nil && f.stopped {
		v = f.served()
	}
	if v != nil {
		row.Package, row.Timeout, row.Idle, row.Kind = v.Spec.GetPackage(), v.Spec.GetTimeout(), v.Spec.GetIdle(), v.KnownKind()
		row.Queue, row.QueueTimeout = v.Spec.GetQueue(), v.Spec.GetQueueTimeout()
		row.Tries, row.MaxAge, row.OnSuccess, row.OnFailure = uint32(v.Spec.Tries()), v.Spec.GetMaxAge(), v.Spec.GetOnSuccess(), v.Spec.GetOnFailure()
		row.Auth, row.Routes, row.App = v.Spec.GetAuth(), v.Spec.GetRoutes(), v.Spec.GetApp()
		row.Preview, row.PreviewTtl = v.Spec.GetPreview(), v.Spec.GetPreviewTtl()
		row.Body, row.Rate, row.AllowIps = v.Spec.GetBody(), v.Spec.GetRate(), v.Spec.GetAllowIps()
		row.Compress = v.Spec.GetCompress()
		row.Demanded = v.Spec.GetIsolation()
		row.Min, row.Max, row.InFlight = v.Spec.GetMin(), v.Spec.GetMax(), v.Spec.GetInFlight()
		row.Memory, row.Cpu, row.Processes = v.Spec.GetMemory(), v.Spec.GetCpu(), uint32(f.size(v)) //nolint:gosec // up to MaxInstances
		row.Schedule, row.Timezone, row.Overlap = v.Spec.GetSchedule(), v.Spec.GetTimezone(), v.Spec.GetOverlap()
		row.Jitter, row.Missed, row.Subscribe = v.Spec.GetJitter(), v.Spec.GetMissed(), v.Spec.GetSubscribe()
		row.Version, row.Program = f.main.number(), protobuf.CloneOf(v.Program)
		if f.stopped {
			row.Version = v.Number
		}
	} else if f.history.Failure != nil {
		row.Kind = f.history.Failure.Kind
		row.Preview, row.PreviewTtl = f.history.Failure.Preview, f.history.Failure.PreviewTTL
	}
	if f.stopped {
		if !f.since.IsZero() {
			row.Since = timestamp(f.since)
		}
		return row
	}
	if main := f.main.serving(); main.Proxy != "" {
		row.Proxy, row.Socket, row.Instances, row.Pid = main.Proxy, main.Socket, main.Instances, main.Pid
		row.Url = main.Proxy + (&url.URL{Path: "/" + f.path}).EscapedPath()
	}
	row.Isolation = f.main.isolation().String()
	for _, s := range f.services() {
		if (s.seen || s.pinned || f.paused) && !s.refusing() { // a pinned one has been seen before
			row.Serving = append(row.Serving, s.serving())
		}
	}
	switch proto.Status(row.GetStatus()) {
	case proto.Deploying:
		row.Stage = proto.StageStarting
		if m := f.next; m != nil {
			row.Stage, row.Output, row.Printed = m.stage, m.output, m.printed
		}
	case proto.Deployed, proto.Failed:
		f.explain(row)
	}
	return row
}

// isolation is what the service's process with the least of it runs under, or what the
// next one will.
func (s *service) isolation() proto.Isolation {
	if len(s.procs) == 0 {
		return s.f.agent.walls.Tier()
	}
	least := s.procs[0].tier
	for _, p := range s.procs {
		least = min(least, p.tier)
	}
	return least
}

// serving is the service as callers see it.
func (s *service) serving() *proto.Serving {
	row := &proto.Serving{Version: s.number(), Weight: s.weight}
	if s.version != nil {
		row.Concurrency = s.version.Spec.GetConcurrency()
	}
	for _, p := range s.procs {
		if !p.frozen {
			row.Instances++
		}
	}
	if s == s.f.main {
		row.Weight = 100
		if s.f.canary != nil && s.f.canary.seen && !s.f.canary.refusing() {
			row.Weight -= s.f.canary.weight
		}
	}
	if s.port != 0 {
		row.Proxy = "http://" + net.JoinHostPort(s.f.agent.host, strconv.Itoa(s.port))
	}
	if s.sockets != nil {
		row.Socket = s.sockets.Path()
	}
	if len(s.procs) > 0 {
		row.Pid = int32(s.procs[0].Pid()) //nolint:gosec // the kernel's are below 2^22
	}
	return row
}

// frozen returns a process of the function that a signal has stopped; nil: there is none.
func (f *function) frozen() *instance {
	for _, s := range f.services() {
		for _, p := range s.procs {
			if p.frozen {
				return p
			}
		}
	}
	return nil
}

// explain says in a row what is wrong, if anything.
func (f *function) explain(row *proto.FunctionJsonRsp) {
	last := f.history.Failure
	frozen := f.frozen()
	switch {
	case frozen != nil:
		row.Reason = proto.ReasonFrozen
		row.Error = fmt.Sprintf("its process %d was stopped by a signal and answers nothing: kill -CONT %[1]d lets it go on, and with the setting \"liveness\" such a process is replaced", frozen.Pid())
	case f.main.problem != nil && len(f.main.procs) == 0:
		row.Error, row.Reason = f.main.problem.Text, f.main.problem.Reason
		row.Retry = timestamp(f.main.retry)
	case last != nil && f.main.version != nil:
		row.Reason = last.Reason
		row.Error = proto.Unchanged + last.Text
	case last != nil:
		row.Error, row.Reason = last.Text, last.Reason
	case f.canary != nil && f.canary.refusing():
		row.Reason = f.canary.problem.Reason
		row.Error = "the canary, version " + strconv.FormatUint(uint64(f.canary.version.Number), 10) + ", gets no calls: " + f.canary.problem.Text
		row.Retry = timestamp(f.canary.retry)
	}
}

// timestamp is a time as in answers.
func timestamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// failed is the row that answers a change that failed. The list's row differs when an
// earlier version still serves.
func (f *function) failed(why *failure) *proto.FunctionJsonRsp {
	row := f.row()
	row.Status, row.Stage = string(proto.Failed), ""
	row.Error, row.Reason, row.Generation = why.Text, why.Reason, why.Generation
	row.Kind = cmp.Or(why.Kind, row.Kind)
	row.Since = timestamp(why.At)
	return row
}

// publish stores what runs, for the next agent, and then gives the function's row to
// the agent's feed.
func (f *function) publish() {
	if f.history.Generation == 0 { // nothing has been accepted yet
		return
	}
	f.note()
	row := f.row()
	from := proto.Status(f.said.GetStatus())
	to := proto.Status(row.GetStatus())
	if row.Since = f.said.GetSince(); from != to {
		row.Since = timestamp(time.Now())
		if f.said != nil && !proto.CanMove(from, to) {
			f.logger.Error("a move that the table of states does not know", "from", from, "to", to)
		}
	}
	if protobuf.Equal(f.said, row) {
		return
	}
	f.said = row
	f.agent.feed.Set(row)
}

// versions are the versions that are kept, the newest first.
func (f *function) versions() []*proto.Version {
	list := make([]*proto.Version, 0, len(f.history.Versions))
	for i := len(f.history.Versions) - 1; i >= 0; i-- {
		v := f.history.Versions[i]
		row := &proto.Version{
			Version: v.Number, Package: v.Spec.GetPackage(), Kind: v.KnownKind(), Note: v.Note, Time: timestamp(v.Time),
			Settings: f.settings(v), Program: protobuf.CloneOf(v.Program), AtAgent: f.agent.addr,
			Previous: v.Number == f.history.Before, Types: v.Types,
		}
		if s := f.at(v.Number); s != nil {
			row.Weight = s.serving().GetWeight()
		}
		list = append(list, row)
	}
	return list
}

// plan says what a deploy would change.
func (f *function) plan(fn *proto.FunctionJson) (row *proto.FunctionJsonRsp, err error) {
	row = protobuf.CloneOf(f.said)
	row.Package = fn.GetPackage()
	if f.main.version == nil {
		row.Change = disk.ChangeCreate
		return row, nil
	}
	if fn, err = f.retained(fn); err != nil {
		return nil, err
	}
	v := disk.NewVersion(fn, f.agent.seal, time.Now())
	row.Change, row.Changed, err = disk.Compare(f.main.version, v, f.agent.seal)
	return row, err
}
