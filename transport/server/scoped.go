package server

import (
	"context"
	"io"
	"slices"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/transport"
	"github.com/Ishan27g/ryo-faas/transport/bundle"
)

// scoped is an Interface that shows callers, and lets them change, the functions alone
// that their token is for. It embeds nothing, so that a new verb decides too.
type scoped struct{ impl transport.Interface }

var _ transport.Interface = scoped{}

// may refuses a caller whose token is not for a function.
func may(ctx context.Context, name string) error {
	if t := CallerFrom(ctx).Token; t != nil && !t.For(name) {
		return forbidden("%s is for other functions than %.100q", t, name).WithHint("take another token, or make one for this function")
	}
	return nil
}

// mayAll refuses a caller whose token is for some functions alone.
func mayAll(ctx context.Context) error {
	if t := CallerFrom(ctx).Token; t != nil && len(t.Functions) > 0 {
		return forbidden("%s is for some functions; this is about all of them", t).WithHint("name a function, or take another token")
	}
	return nil
}

// shown are the rows that the caller may see.
func shown(ctx context.Context, rows []*proto.FunctionJsonRsp) []*proto.FunctionJsonRsp {
	if mayAll(ctx) == nil {
		return rows
	}
	return slices.DeleteFunc(rows, func(row *proto.FunctionJsonRsp) bool { return may(ctx, row.GetName()) != nil })
}

// one asks for one function, if the caller may.
func one[T any](ctx context.Context, name string, ask func() (T, error)) (got T, err error) {
	if err := may(ctx, name); err != nil {
		return got, err
	}
	return ask()
}

func (s scoped) Deploy(ctx context.Context, fns ...*proto.FunctionJson) ([]*proto.FunctionJsonRsp, error) {
	for _, fn := range fns {
		if err := may(ctx, fn.GetName()); err != nil {
			return nil, err
		}
	}
	return s.impl.Deploy(ctx, fns...)
}

func (s scoped) Stop(ctx context.Context, fnName string) (*proto.FunctionJsonRsp, error) {
	return one(ctx, fnName, func() (*proto.FunctionJsonRsp, error) { return s.impl.Stop(ctx, fnName) })
}

func (s scoped) Remove(ctx context.Context, fnName string) (*proto.FunctionJsonRsp, error) {
	return one(ctx, fnName, func() (*proto.FunctionJsonRsp, error) { return s.impl.Remove(ctx, fnName) })
}

func (s scoped) Stopped(ctx context.Context, atAgent string) ([]*proto.FunctionJsonRsp, error) {
	rows, err := s.impl.Stopped(ctx, atAgent)
	return shown(ctx, rows), err
}

func (s scoped) List(ctx context.Context, atAgent string) ([]*proto.FunctionJsonRsp, error) {
	rows, err := s.impl.List(ctx, atAgent)
	return shown(ctx, rows), err
}

func (s scoped) Details(ctx context.Context) ([]*proto.FunctionJsonRsp, error) {
	rows, err := s.impl.Details(ctx)
	return shown(ctx, rows), err
}

func (s scoped) Watch(ctx context.Context, on func(*proto.WatchEvent) error) error {
	if mayAll(ctx) == nil {
		return s.impl.Watch(ctx, on)
	}
	return s.impl.Watch(ctx, func(e *proto.WatchEvent) error {
		rows := shown(ctx, e.GetFunctions())
		if len(rows) == 0 && !e.GetSnapshot() {
			return nil
		}
		return on(&proto.WatchEvent{Functions: rows, Snapshot: e.GetSnapshot()})
	})
}

func (s scoped) Log(ctx context.Context, fnName string) (*proto.FunctionLogs, error) {
	return one(ctx, fnName, func() (*proto.FunctionLogs, error) { return s.impl.Log(ctx, fnName) })
}

func (s scoped) Logs(ctx context.Context, req *proto.LogsRequest, on func(*proto.LogLines) error) error {
	if err := may(ctx, req.GetName()); err != nil {
		return err
	}
	return s.impl.Logs(ctx, req, on)
}

// Upload is for all who may deploy: whose a package is lies with the service.
func (s scoped) Upload(ctx context.Context, pkg *bundle.Package) error {
	return s.impl.Upload(ctx, pkg)
}

func (s scoped) Versions(ctx context.Context, fnName string) ([]*proto.Version, error) {
	return one(ctx, fnName, func() ([]*proto.Version, error) { return s.impl.Versions(ctx, fnName) })
}

func (s scoped) Source(ctx context.Context, fnName string, version uint32) (io.ReadCloser, error) {
	return one(ctx, fnName, func() (io.ReadCloser, error) { return s.impl.Source(ctx, fnName, version) })
}

func (s scoped) Rollback(ctx context.Context, fnName string, to uint32) ([]*proto.FunctionJsonRsp, error) {
	return one(ctx, fnName, func() ([]*proto.FunctionJsonRsp, error) { return s.impl.Rollback(ctx, fnName, to) })
}

func (s scoped) Shift(ctx context.Context, fnName string, canary uint32) ([]*proto.FunctionJsonRsp, error) {
	return one(ctx, fnName, func() ([]*proto.FunctionJsonRsp, error) { return s.impl.Shift(ctx, fnName, canary) })
}

func (s scoped) Pause(ctx context.Context, fnName string) ([]*proto.FunctionJsonRsp, error) {
	return one(ctx, fnName, func() ([]*proto.FunctionJsonRsp, error) { return s.impl.Pause(ctx, fnName) })
}

func (s scoped) Resume(ctx context.Context, fnName string) ([]*proto.FunctionJsonRsp, error) {
	return one(ctx, fnName, func() ([]*proto.FunctionJsonRsp, error) { return s.impl.Resume(ctx, fnName) })
}

func (s scoped) Crashes(ctx context.Context, fnName string) ([]*proto.Crash, error) {
	return one(ctx, fnName, func() ([]*proto.Crash, error) { return s.impl.Crashes(ctx, fnName) })
}

func (s scoped) Usage(ctx context.Context, fnName string) ([]*proto.Usage, error) {
	if fnName != "" {
		if err := may(ctx, fnName); err != nil {
			return nil, err
		}
	}
	usage, err := s.impl.Usage(ctx, fnName)
	return slices.DeleteFunc(usage, func(u *proto.Usage) bool { return may(ctx, u.GetFunction()) != nil }), err
}
