package transport

import (
	"context"
	"errors"
	"io"

	"github.com/klauspost/compress/zstd"
	"google.golang.org/grpc"

	"github.com/Ishan27g/ryo-faas/proto"
)

// The limits of a program on its way.
const (
	// maxProgram bounds a program in plain bytes: large ones have 100 MiB. A stream
	// that a few bytes expand to more is refused when it comes to that.
	maxProgram = 200 << 20
	// programWindow bounds how far a stream refers back, and so the memory that it
	// takes to read it: as far as RFC 8878 asks every reader to follow.
	programWindow = 8 << 20
)

// Over HTTP a program is a body of this media type (RFC 8878). The header says
// which it is, as a Program in JSON.
const (
	zstdType      = "application/zstd"
	programHeader = "Ryo-Program"
)

// The Worker's calls of the service.

var errNoWorker = proto.Errorf(proto.ErrUnsupported, "agents alone offer this call, and this is none")

func (s *service) Wake(ctx context.Context, req *proto.WakeRequest) (*proto.Serving, error) {
	switch {
	case s.worker == nil:
		return nil, errNoWorker
	case req.GetName() == "":
		return nil, proto.CheckName("")
	}
	return s.worker.Wake(ctx, req.GetName(), req.GetVersion())
}

func (s *service) Build(ctx context.Context, req *proto.BuildRequest) (*proto.Program, error) {
	if s.worker == nil {
		return nil, errNoWorker
	}
	fn := req.GetFunction()
	if err := fn.Check(); err != nil {
		return nil, err
	}
	if err := s.mayRead(CallerFrom(ctx), fn); err != nil {
		return nil, err
	}
	return s.worker.Build(ctx, fn)
}

func (s *service) HasProgram(_ context.Context, req *proto.Program) (*proto.PackageState, error) {
	if s.worker == nil {
		return nil, errNoWorker
	}
	if err := proto.CheckProgramKey(req.GetKey()); err != nil {
		return nil, err
	}
	return &proto.PackageState{Stored: s.worker.HasProgram(req.GetKey())}, nil
}

func (s *service) FetchProgram(req *proto.Program, stream grpc.ServerStreamingServer[proto.ProgramChunk]) error {
	return s.fetch(req.GetKey(), func(p *proto.Program) (io.Writer, error) {
		return &programWriter{program: p, send: stream.Send}, nil
	})
}

// fetch writes a stored program, compressed, to what begin makes of it.
func (s *service) fetch(key string, begin func(*proto.Program) (io.Writer, error)) error {
	if s.worker == nil {
		return errNoWorker
	}
	if err := proto.CheckProgramKey(key); err != nil {
		return err
	}
	file, program, err := s.worker.OpenProgram(key)
	if err != nil {
		return err
	}
	defer file.Close()
	w, err := begin(program)
	if err != nil {
		return err
	}
	return compress(w, file)
}

func (s *service) SendProgram(stream grpc.ClientStreamingServer[proto.ProgramChunk, proto.Program]) error {
	next := gated(stream.Context(), stream.Recv)
	first, err := next()
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	program, err := s.keep(stream.Context(), first.GetProgram(), newChunkReader(first, next))
	if err != nil {
		return err
	}
	return stream.SendAndClose(program)
}

// keep stores the program that r holds, compressed. It reads nothing when that
// is stored already.
func (s *service) keep(ctx context.Context, p *proto.Program, r io.Reader) (*proto.Program, error) {
	if s.worker == nil {
		return nil, errNoWorker
	}
	if err := proto.CheckProgramKey(p.GetKey()); err != nil {
		return nil, err
	}
	if s.worker.HasProgram(p.GetKey()) {
		return p, nil
	}
	plain, err := decompress(r)
	if err != nil {
		return nil, err
	}
	defer plain.Close()
	return p, s.worker.KeepProgram(ctx, p, plain)
}

// The Worker's calls of the client. An agent offers them; a proxy answers
// ErrUnsupported.

// Wake is Worker's.
func (c *Client) Wake(ctx context.Context, fnName string, version uint32) (rsp *proto.Serving, err error) {
	err = c.call(ctx, "wake", wakeLimit, func(ctx context.Context) (err error) {
		rsp, err = c.calls.Wake(ctx, &proto.WakeRequest{Name: fnName, Version: version})
		return err
	})
	return rsp, err
}

// Build is Worker's. A function's folder is packed and uploaded as in Deploy.
func (c *Client) Build(ctx context.Context, fn *proto.FunctionJson) (rsp *proto.Program, err error) {
	if err := fn.Check(); err != nil {
		return nil, err
	}
	if c.invalid != nil {
		return nil, c.invalid
	}
	packed, err := c.send(ctx, []*proto.FunctionJson{fn})
	if err != nil {
		return nil, err
	}
	err = c.call(ctx, "build", deployLimit, func(ctx context.Context) (err error) {
		rsp, err = c.calls.Build(ctx, &proto.BuildRequest{Function: packed[0]})
		return err
	})
	return rsp, err
}

// HasProgram is Worker's.
func (c *Client) HasProgram(ctx context.Context, key string) (bool, error) {
	if err := proto.CheckProgramKey(key); err != nil {
		return false, err
	}
	var state *proto.PackageState
	err := c.call(ctx, "program", callLimit, func(ctx context.Context) (err error) {
		state, err = c.calls.HasProgram(ctx, &proto.Program{Key: key})
		return err
	})
	return state.GetStored(), err
}

// OpenProgram is Worker's. The program comes as it is read; ctx lasts until it
// is closed.
func (c *Client) OpenProgram(ctx context.Context, key string) (io.ReadCloser, *proto.Program, error) {
	if c.invalid != nil {
		return nil, nil, c.invalid
	}
	if err := proto.CheckProgramKey(key); err != nil {
		return nil, nil, err
	}
	ctx, cancel := within(ctx, deployLimit)
	opened, program, err := c.openProgram(ctx, key)
	if err != nil {
		err = c.fault(ctx, "program", err)
		cancel()
		return nil, nil, err
	}
	opened.cancel = cancel
	return opened, program, nil
}

func (c *Client) openProgram(ctx context.Context, key string) (*openProgram, *proto.Program, error) {
	stream, err := c.calls.FetchProgram(ctx, &proto.Program{Key: key})
	if err != nil {
		return nil, nil, err
	}
	first, err := stream.Recv()
	if err != nil {
		return nil, nil, err
	}
	plain, err := decompress(newChunkReader(first, func() (*proto.ProgramChunk, error) {
		chunk, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil, io.EOF
		}
		return chunk, c.fault(ctx, "program", err)
	}))
	return &openProgram{ReadCloser: plain}, first.GetProgram(), err
}

// openProgram is a program on its way. To close it ends the call.
type openProgram struct {
	io.ReadCloser
	cancel context.CancelFunc
}

func (o *openProgram) Close() error {
	o.cancel()
	return o.ReadCloser.Close()
}

// KeepProgram is Worker's.
func (c *Client) KeepProgram(ctx context.Context, p *proto.Program, r io.Reader) error {
	if err := proto.CheckProgramKey(p.GetKey()); err != nil {
		return err
	}
	return c.call(ctx, "program", deployLimit, func(ctx context.Context) error {
		// Where the server answers early, the stream must not stay open.
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		stream, err := c.calls.SendProgram(ctx)
		if err != nil {
			return err
		}
		err = compress(&programWriter{program: p, send: stream.Send}, own{r})
		if err != nil && !errors.Is(err, io.EOF) { // EOF: the server has answered early, and says why
			return err
		}
		_, err = stream.CloseAndRecv()
		return err
	})
}

// MoveProgram has another server store a program of this one. It passes through
// as it travels, compressed.
func (c *Client) MoveProgram(ctx context.Context, key string, to *Client) error {
	if err := proto.CheckProgramKey(key); err != nil {
		return err
	}
	return c.call(ctx, "program", deployLimit, func(ctx context.Context) error {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		in, err := c.calls.FetchProgram(ctx, &proto.Program{Key: key})
		if err != nil {
			return err
		}
		return to.call(ctx, "program", 0, func(ctx context.Context) error {
			out, err := to.calls.SendProgram(ctx)
			if err != nil {
				return err
			}
			for {
				chunk, err := in.Recv()
				if errors.Is(err, io.EOF) {
					break
				}
				if err != nil {
					return c.fault(ctx, "program", err)
				}
				if err := out.Send(chunk); errors.Is(err, io.EOF) {
					break // the server has answered early, and says why
				} else if err != nil {
					return err
				}
			}
			_, err = out.CloseAndRecv()
			return err
		})
	})
}

// own is a reader on this side of the connection; its errors are not the peer's.
type own struct{ io.Reader }

func (o own) Read(p []byte) (int, error) {
	n, err := o.Reader.Read(p)
	if err == nil || err == io.EOF {
		return n, err
	}
	return n, proto.Errorf(asError(err).Kind, "read the program: %w", err)
}

// compress writes what r holds to w as a zstd stream.
func compress(w io.Writer, r io.Reader) error {
	z, err := zstd.NewWriter(w, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1), zstd.WithZeroFrames(true))
	if err != nil {
		return proto.Errorf(proto.ErrInternal, "compress a program: %w", err)
	}
	if _, err := z.ReadFrom(r); err != nil {
		return err // without Close, which would make a whole stream of a part
	}
	return z.Close()
}

// decompress reads the zstd stream that r is, up to maxProgram. What r returned
// as an error is returned as it is; anything else that is wrong is an ErrInvalid.
func decompress(r io.Reader) (io.ReadCloser, error) {
	z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(programWindow))
	if err != nil {
		return nil, proto.Errorf(proto.ErrInternal, "read a compressed program: %w", err)
	}
	return &plainReader{z: z, left: maxProgram}, nil
}

// plainReader reads a program out of its compressed form.
type plainReader struct {
	z    *zstd.Decoder
	left int64 // bytes that may still come
}

func (p *plainReader) Read(b []byte) (int, error) {
	n, err := p.z.Read(b)
	if p.left -= int64(n); p.left < 0 {
		return 0, proto.Errorf(proto.ErrTooLarge, "the program is larger than %d bytes", maxProgram)
	}
	return n, inputError(err)
}

func (p *plainReader) Close() error {
	p.z.Close()
	return nil
}

// programWriter sends what is written to it as the chunks of a program.
type programWriter struct {
	program *proto.Program // goes with the first chunk
	send    func(*proto.ProgramChunk) error
}

func (w *programWriter) Write(b []byte) (n int, err error) {
	for len(b) > 0 {
		part := b[:min(len(b), chunkSize)]
		if err := w.send(&proto.ProgramChunk{Program: w.program, Data: part}); err != nil {
			return n, err
		}
		w.program, n, b = nil, n+len(part), b[len(part):]
	}
	return n, nil
}

// chunk is a part of an upload.
type chunk interface{ GetData() []byte }

// chunkReader reads the data of chunks.
type chunkReader[C chunk] struct {
	next func() (C, error)
	data []byte
}

// newChunkReader reads the data of first, and of the chunks that follow.
func newChunkReader[C chunk](first C, next func() (C, error)) io.Reader {
	return &chunkReader[C]{next: next, data: first.GetData()}
}

func (c *chunkReader[C]) Read(p []byte) (int, error) {
	for len(c.data) == 0 {
		chunk, err := c.next()
		if err != nil {
			return 0, err
		}
		c.data = chunk.GetData()
	}
	n := copy(p, c.data)
	c.data = c.data[n:]
	return n, nil
}

// gated opens the gate of a call for as long as a chunk is waited for.
func gated[C chunk](ctx context.Context, recv func() (C, error)) func() (C, error) {
	g := gateFrom(ctx)
	return func() (C, error) {
		g.open()
		defer g.shut()
		return recv()
	}
}
