package server

import (
	"cmp"
	"context"
	"path/filepath"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	"google.golang.org/grpc"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/transport"
	"github.com/Ishan27g/ryo-faas/transport/auth"
	"github.com/Ishan27g/ryo-faas/transport/bundle"
	"github.com/Ishan27g/ryo-faas/transport/wire"
)

// service is an Interface as the gRPC service of proto. The HTTP handlers call
// it too, so that both protocols do the same.
type service struct {
	proto.UnimplementedFunctionsServer
	impl       transport.Interface
	worker     transport.Worker // nil: there is none
	registrar  transport.Registrar
	dispatcher transport.Dispatcher
	scheduler  transport.Scheduler
	store      *bundle.Store
	tokens     *auth.Keeper // nil: there are none
	record     *auth.Record // nil: there is none
	sent       sendings
	sourceRoot string
	closing    <-chan struct{} // closed when the server begins to stop; streams close then
	logger     hclog.Logger

	watchers  atomic.Int32 // callers that are told of changes
	followers atomic.Int32 // callers that read logs
}

// maxListeners bounds the callers that are told of changes, and likewise those who read
// logs. Each costs 100 KiB and more for as long as it likes. Proxies are told of changes,
// so that those who read logs keep none of them away.
const maxListeners = 500

// listen counts a caller that is sent something for as long as it likes, until done is
// called. It is an ErrTooMany if there are too many.
func listen(count *atomic.Int32, what string) (done func(), err error) {
	if count.Add(1) > maxListeners {
		count.Add(-1)
		return nil, proto.Errorf(proto.ErrTooMany, "%d callers %s here already", maxListeners, what).
			WithHint("end some of these requests, or ask again later")
	}
	return func() { count.Add(-1) }, nil
}

var _ proto.FunctionsServer = (*service)(nil)

func (s *service) Deploy(ctx context.Context, req *proto.DeployRequest) (*proto.FunctionList, error) {
	if len(req.GetFunctions()) == 0 {
		return nil, proto.Errorf(proto.ErrInvalid, "there is no function to deploy")
	}
	if err := wire.CheckCount(len(req.GetFunctions())); err != nil {
		return nil, err
	}
	for _, fn := range req.GetFunctions() {
		fn.Complete()
		if err := fn.Check(); err != nil {
			return nil, err
		}
		if err := s.mayRead(CallerFrom(ctx), fn); err != nil {
			return nil, err
		}
		if err := s.mayUse(ctx, fn); err != nil {
			return nil, err
		}
	}
	return list(s.impl.Deploy(ctx, req.GetFunctions()...))
}

// mayRead refuses a caller whose function lies in a folder of this machine that it
// may not deploy.
func (s *service) mayRead(caller Caller, fn *proto.FunctionJson) error {
	dir := fn.GetDir()
	if dir == "" && fn.GetPackage() == "" && fn.GetFilePath() != "" {
		dir = filepath.Dir(fn.GetFilePath())
	}
	if dir == "" {
		return nil
	}
	if !filepath.IsAbs(dir) {
		return proto.Errorf(proto.ErrInvalid, "dir %.200q is not an absolute path", dir).
			WithHint("dir is a folder on the server's machine; proxyCli uploads folders of yours")
	}
	if caller.Own {
		return nil
	}
	if s.sourceRoot != "" && isBelow(s.sourceRoot, dir) {
		// The module that dir belongs to may reach further than dir.
		root, _, _, err := bundle.Select(fn)
		if err != nil || isBelow(s.sourceRoot, root) {
			return err
		}
		dir = root
	}
	return forbidden("dir %.200q of the server's disk is for callers that are the server's own user", dir).
		WithHint("upload the package instead, as proxyCli does, or start the server with -source-root")
}

// isBelow reports whether dir lies in root. Links are followed first: one below
// the root may lead out of it.
func isBelow(root, dir string) bool {
	root, rootErr := filepath.EvalSymlinks(root)
	dir, dirErr := filepath.EvalSymlinks(dir)
	if rootErr != nil || dirErr != nil {
		return false
	}
	rel, err := filepath.Rel(root, dir)
	return err == nil && filepath.IsLocal(rel)
}

func (s *service) Stop(ctx context.Context, req *proto.StopRequest) (*proto.FunctionJsonRsp, error) {
	if req.GetName() == "" {
		return nil, proto.CheckName("")
	}
	return s.impl.Stop(ctx, req.GetName())
}

func (s *service) Remove(ctx context.Context, req *proto.RemoveRequest) (*proto.FunctionJsonRsp, error) {
	if req.GetName() == "" {
		return nil, proto.CheckName("")
	}
	return s.impl.Remove(ctx, req.GetName())
}

func (s *service) List(ctx context.Context, req *proto.ListRequest) (*proto.FunctionList, error) {
	if req.GetStopped() {
		return list(s.impl.Stopped(ctx, req.GetAtAgent()))
	}
	rows, err := s.impl.List(ctx, req.GetAtAgent())
	if err == nil && req.GetAll() {
		return s.withStopped(ctx, rows, req.GetAtAgent())
	}
	return list(rows, err)
}

func (s *service) Log(ctx context.Context, req *proto.LogRequest) (*proto.FunctionLogs, error) {
	if req.GetEntrypoint() == "" {
		return nil, proto.CheckName("")
	}
	return s.impl.Log(ctx, req.GetEntrypoint())
}

func (s *service) Details(ctx context.Context, req *proto.DetailsRequest) (*proto.FunctionList, error) {
	if req.GetStopped() {
		return list(s.impl.Stopped(ctx, ""))
	}
	rows, err := s.impl.Details(ctx)
	if err == nil && req.GetAll() {
		return s.withStopped(ctx, rows, "")
	}
	return list(rows, err)
}

// withStopped adds the functions that are stopped to rows.
func (s *service) withStopped(ctx context.Context, rows []*proto.FunctionJsonRsp, atAgent string) (*proto.FunctionList, error) {
	stopped, err := s.impl.Stopped(ctx, atAgent)
	if err != nil {
		return nil, err
	}
	rows = append(rows, stopped...)
	slices.SortStableFunc(rows, func(a, b *proto.FunctionJsonRsp) int {
		return cmp.Or(cmp.Compare(a.GetName(), b.GetName()), cmp.Compare(a.GetAtAgent(), b.GetAtAgent()))
	})
	return list(rows, nil)
}

func list(rows []*proto.FunctionJsonRsp, err error) (*proto.FunctionList, error) {
	return &proto.FunctionList{Functions: rows}, err
}

func (s *service) Versions(ctx context.Context, req *proto.VersionsRequest) (*proto.VersionList, error) {
	if req.GetName() == "" {
		return nil, proto.CheckName("")
	}
	versions, err := s.impl.Versions(ctx, req.GetName())
	return &proto.VersionList{Versions: versions}, err
}

func (s *service) Rollback(ctx context.Context, req *proto.RollbackRequest) (*proto.FunctionList, error) {
	if req.GetName() == "" {
		return nil, proto.CheckName("")
	}
	return list(s.impl.Rollback(ctx, req.GetName(), req.GetTo()))
}

func (s *service) Shift(ctx context.Context, req *proto.ShiftRequest) (*proto.FunctionList, error) {
	if req.GetName() == "" {
		return nil, proto.CheckName("")
	}
	if req.GetCanary() > 100 {
		return nil, proto.Errorf(proto.ErrInvalid, "canary %d is not a percentage", req.GetCanary()).
			WithHint("0 drops the canary, 100 promotes it")
	}
	return list(s.impl.Shift(ctx, req.GetName(), req.GetCanary()))
}

func (s *service) Pause(ctx context.Context, req *proto.PauseRequest) (*proto.FunctionList, error) {
	if req.GetName() == "" {
		return nil, proto.CheckName("")
	}
	return list(s.impl.Pause(ctx, req.GetName()))
}

func (s *service) Resume(ctx context.Context, req *proto.ResumeRequest) (*proto.FunctionList, error) {
	if req.GetName() == "" {
		return nil, proto.CheckName("")
	}
	return list(s.impl.Resume(ctx, req.GetName()))
}

func (s *service) Crashes(ctx context.Context, req *proto.CrashesRequest) (*proto.CrashList, error) {
	if req.GetName() == "" {
		return nil, proto.CheckName("")
	}
	crashes, err := s.impl.Crashes(ctx, req.GetName())
	return &proto.CrashList{Crashes: crashes}, err
}

func (s *service) Usage(ctx context.Context, req *proto.UsageRequest) (*proto.UsageList, error) {
	usage, err := s.impl.Usage(ctx, req.GetName())
	return &proto.UsageList{Usage: usage}, err
}

func (s *service) Watch(_ *proto.WatchRequest, stream grpc.ServerStreamingServer[proto.WatchEvent]) error {
	return s.watch(stream.Context(), stream.Send)
}

func (s *service) watch(ctx context.Context, send func(*proto.WatchEvent) error) error {
	done, err := listen(&s.watchers, "watch")
	if err != nil {
		return err
	}
	defer done()
	return relay(ctx, s, "Watch", func(ctx context.Context, on func(*proto.WatchEvent) error) error {
		return s.impl.Watch(ctx, func(e *proto.WatchEvent) error {
			if e.GetSnapshot() {
				e.Heartbeat = uint32(wire.Heartbeat / time.Second)
			}
			if e.GetSnapshot() && s.worker != nil {
				e.Agent = s.worker.Info()
			}
			return on(e)
		})
	}, send)
}

// follow is Deploy that also sends each change of the functions' rows.
func (s *service) follow(ctx context.Context, req *proto.DeployRequest, send func(*proto.WatchEvent) error) (rows *proto.FunctionList, err error) {
	names := make(map[string]bool)
	for _, fn := range req.GetFunctions() {
		names[fn.GetName()] = true
	}
	err = relay(ctx, s, "Deploy", func(ctx context.Context, on func(*proto.WatchEvent) error) error {
		ctx, cancel := context.WithCancel(ctx)
		snapshot, unwatched := make(chan struct{}), make(chan error, 1)
		var once sync.Once
		var watch sync.WaitGroup
		defer watch.Wait()
		defer cancel()
		watch.Go(func() {
			unwatched <- s.safely(ctx, "Watch", func() error {
				return s.impl.Watch(ctx, func(e *proto.WatchEvent) error {
					if e.GetSnapshot() {
						once.Do(func() { close(snapshot) })
						return nil
					}
					changed := slices.DeleteFunc(e.GetFunctions(), func(r *proto.FunctionJsonRsp) bool { return !names[r.GetName()] })
					if len(changed) == 0 {
						return nil
					}
					return on(&proto.WatchEvent{Functions: changed})
				})
			})
		})
		select {
		case <-snapshot: // from now on no change is missed
		case err := <-unwatched:
			return err
		}
		list, err := s.Deploy(ctx, req)
		rows = list
		return err
	}, send)
	return rows, err
}

func (s *service) Logs(req *proto.LogsRequest, stream grpc.ServerStreamingServer[proto.LogLines]) error {
	return s.logs(stream.Context(), req, stream.Send)
}

func (s *service) logs(ctx context.Context, req *proto.LogsRequest, send func(*proto.LogLines) error) error {
	if req.GetName() == "" {
		return proto.CheckName("")
	}
	if _, err := req.After(time.Now()); err != nil {
		return err
	}
	done, err := listen(&s.followers, "read logs")
	if err != nil {
		return err
	}
	defer done()
	return relay(ctx, s, "Logs", func(ctx context.Context, on func(*proto.LogLines) error) error {
		return s.impl.Logs(ctx, req, on)
	}, send)
}

// relay sends the messages of source, with heartbeats between them, which are empty
// messages. It returns when source does, when sending fails, or when the server stops.
func relay[M any](ctx context.Context, s *service, call string, source func(context.Context, func(*M) error) error, send func(*M) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	messages := make(chan *M)
	done := make(chan struct{})
	var result error // of source; set before done is closed
	go func() {
		defer close(done)
		result = s.safely(ctx, call, func() error {
			return source(ctx, func(m *M) error {
				select {
				case messages <- m:
					return nil
				case <-ctx.Done():
					return ctx.Err()
				}
			})
		})
	}()
	beat := time.NewTicker(wire.Heartbeat)
	defer beat.Stop()
	for {
		var last error
		select {
		case m := <-messages:
			last = send(m)
		case <-beat.C:
			last = send(new(M))
		case <-s.closing:
			last = proto.Errorf(proto.ErrUnavailable, "the server is stopping")
		case <-done:
			return result
		}
		if last != nil {
			cancel()
			<-done
			return last
		}
	}
}

// safely runs f and makes a panic an error, so that one call cannot stop the others.
func (s *service) safely(ctx context.Context, call string, f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			s.logger.Error("panic", "call", call, "request", CallerFrom(ctx).RequestID, "value", p, "stack", string(debug.Stack()))
			err = proto.Errorf(proto.ErrInternal, "%s: a fault of this program; its log has the place", call)
		}
	}()
	return f()
}

// ofRequest returns err with the id of its request.
func ofRequest(id string, err error) error {
	e := *wire.AsError(err)
	e.RequestID = id
	return &e
}

// unary and stream are the interceptors of gRPC: they recover panics and give
// errors the form in which they travel.

func (s *service) unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (rsp any, err error) {
	err = s.safely(ctx, info.FullMethod, func() (err error) {
		deedOf(ctx).note(req)
		rsp, err = handle(ctx, req)
		return err
	})
	deedOf(ctx).fail(err)
	if err != nil {
		return nil, wire.ToStatus(ofRequest(CallerFrom(ctx).RequestID, err)).Err()
	}
	deedOf(ctx).note(rsp)
	return rsp, nil
}

func (s *service) stream(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handle grpc.StreamHandler) error {
	ctx := stream.Context()
	err := s.safely(ctx, info.FullMethod, func() error { return handle(srv, stream) })
	deedOf(ctx).fail(err)
	if err != nil {
		return wire.ToStatus(ofRequest(CallerFrom(ctx).RequestID, err)).Err()
	}
	return nil
}
