package server

import (
	"context"
	"errors"
	"io"

	"google.golang.org/grpc"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/transport"
	"github.com/Ishan27g/ryo-faas/transport/wire"
)

// The Worker's calls of the service.

var errNoWorker = proto.Errorf(proto.ErrUnsupported, "agents alone offer this call; this is not an agent")

// works returns the worker, if there is one and the caller may use it: it is for proxies.
func (s *service) works(ctx context.Context) (transport.Worker, error) {
	if s.worker == nil {
		return nil, errNoWorker
	}
	return s.worker, mayAll(ctx)
}

func (s *service) Wake(ctx context.Context, req *proto.WakeRequest) (*proto.Serving, error) {
	worker, err := s.works(ctx)
	switch {
	case err != nil:
		return nil, err
	case req.GetName() == "":
		return nil, proto.CheckName("")
	}
	return worker.Wake(ctx, req.GetName(), req.GetVersion())
}

func (s *service) Place(ctx context.Context, req *proto.PlaceRequest) (*proto.FunctionJsonRsp, error) {
	worker, err := s.works(ctx)
	if err != nil {
		return nil, err
	}
	asked := &proto.FunctionJson{Name: req.GetName(), Replicas: req.GetReplicas(), Placement: req.GetPlacement()}
	if err := asked.Check(); err != nil {
		return nil, err
	}
	return worker.Place(ctx, req.GetName(), req.GetReplicas(), req.GetPlacement())
}

func (s *service) Resize(ctx context.Context, req *proto.ResizeRequest) (*proto.FunctionJsonRsp, error) {
	worker, err := s.works(ctx)
	switch {
	case err != nil:
		return nil, err
	case req.GetName() == "":
		return nil, proto.CheckName("")
	case req.GetProcesses() < 1 || req.GetProcesses() > proto.MaxInstances:
		return nil, proto.Errorf(proto.ErrInvalid, "function %.*s cannot have %d processes: 1 to %d can be told", proto.MaxName, req.GetName(), req.GetProcesses(), proto.MaxInstances)
	}
	return worker.Resize(ctx, req.GetName(), int(req.GetProcesses()))
}

func (s *service) Build(ctx context.Context, req *proto.BuildRequest) (*proto.Program, error) {
	worker, err := s.works(ctx)
	if err != nil {
		return nil, err
	}
	fn := req.GetFunction()
	if err := fn.Check(); err != nil {
		return nil, err
	}
	if err := s.mayRead(CallerFrom(ctx), fn); err != nil {
		return nil, err
	}
	return worker.Build(ctx, fn)
}

func (s *service) HasProgram(ctx context.Context, req *proto.Program) (*proto.PackageState, error) {
	worker, err := s.works(ctx)
	if err != nil {
		return nil, err
	}
	if err := proto.CheckProgramKey(req.GetKey()); err != nil {
		return nil, err
	}
	return &proto.PackageState{Stored: worker.HasProgram(req.GetKey())}, nil
}

func (s *service) FetchProgram(req *proto.Program, stream grpc.ServerStreamingServer[proto.ProgramChunk]) error {
	return s.fetch(stream.Context(), req.GetKey(), func(p *proto.Program) (io.Writer, error) {
		return wire.NewProgramWriter(p, stream.Send), nil
	})
}

// fetch writes a stored program, compressed, to the writer that begin returns.
func (s *service) fetch(ctx context.Context, key string, begin func(*proto.Program) (io.Writer, error)) error {
	worker, err := s.works(ctx)
	if err != nil {
		return err
	}
	if err := proto.CheckProgramKey(key); err != nil {
		return err
	}
	file, program, err := worker.OpenProgram(key)
	if err != nil {
		return err
	}
	defer file.Close()
	w, err := begin(program)
	if err != nil {
		return err
	}
	return wire.Compress(w, file)
}

func (s *service) SendProgram(stream grpc.ClientStreamingServer[proto.ProgramChunk, proto.Program]) error {
	next := gated(stream.Context(), stream.Recv)
	first, err := next()
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	program, err := s.keep(stream.Context(), first.GetProgram(), wire.NewChunkReader(first, next))
	if err != nil {
		return err
	}
	return stream.SendAndClose(program)
}

// keep stores the program that r holds, compressed. It reads nothing when that
// is stored already.
func (s *service) keep(ctx context.Context, p *proto.Program, r io.Reader) (*proto.Program, error) {
	worker, err := s.works(ctx)
	if err != nil {
		return nil, err
	}
	if err := proto.CheckProgramKey(p.GetKey()); err != nil {
		return nil, err
	}
	if worker.HasProgram(p.GetKey()) {
		return p, nil
	}
	plain, err := wire.Decompress(r)
	if err != nil {
		return nil, err
	}
	defer plain.Close()
	return p, worker.KeepProgram(ctx, p, plain)
}

// gated lets the body of a call be read only while a chunk is waited for.
func gated[C wire.Chunk](ctx context.Context, recv func() (C, error)) func() (C, error) {
	g := gateFrom(ctx)
	return func() (C, error) {
		g.want(true)
		defer g.want(false)
		return recv()
	}
}
