package transport

import (
	"context"
	"errors"
	"io"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/transport/wire"
)

// The Client has Worker's methods too. An agent offers them; a proxy answers
// ErrUnsupported.

// Wake is as in Worker.
func (c *Client) Wake(ctx context.Context, fnName string, version uint32) (rsp *proto.Serving, err error) {
	err = c.request(ctx, "wake", wire.WakeLimit, func(ctx context.Context) (err error) {
		rsp, err = c.rpc.Wake(ctx, &proto.WakeRequest{Name: fnName, Version: version})
		return err
	})
	return rsp, err
}

// Place is as in Worker.
func (c *Client) Place(ctx context.Context, fnName, replicas string, placement map[string]string) (rsp *proto.FunctionJsonRsp, err error) {
	err = c.request(ctx, "place", wire.RequestLimit, func(ctx context.Context) (err error) {
		rsp, err = c.rpc.Place(ctx, &proto.PlaceRequest{Name: fnName, Replicas: replicas, Placement: placement})
		return err
	})
	return rsp, err
}

// Resize is as in Worker.
func (c *Client) Resize(ctx context.Context, fnName string, processes int) (rsp *proto.FunctionJsonRsp, err error) {
	err = c.request(ctx, "resize", wire.RequestLimit, func(ctx context.Context) (err error) {
		rsp, err = c.rpc.Resize(ctx, &proto.ResizeRequest{Name: fnName, Processes: uint32(max(0, processes))}) //nolint:gosec // few
		return err
	})
	return rsp, err
}

// Build is as in Worker. A function's folder is packed and uploaded as in Deploy.
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
	err = c.request(ctx, "build", wire.DeployLimit, func(ctx context.Context) (err error) {
		rsp, err = c.rpc.Build(ctx, &proto.BuildRequest{Function: packed[0]})
		return err
	})
	return rsp, err
}

// HasProgram is as in Worker.
func (c *Client) HasProgram(ctx context.Context, key string) (bool, error) {
	if err := proto.CheckProgramKey(key); err != nil {
		return false, err
	}
	var state *proto.PackageState
	err := c.request(ctx, "program", wire.RequestLimit, func(ctx context.Context) (err error) {
		state, err = c.rpc.HasProgram(ctx, &proto.Program{Key: key})
		return err
	})
	return state.GetStored(), err
}

// OpenProgram is as in Worker. The program is received as it is read; ctx must last
// until it is closed.
func (c *Client) OpenProgram(ctx context.Context, key string) (io.ReadCloser, *proto.Program, error) {
	if c.invalid != nil {
		return nil, nil, c.invalid
	}
	if err := proto.CheckProgramKey(key); err != nil {
		return nil, nil, err
	}
	ctx, cancel := within(ctx, wire.DeployLimit)
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
	stream, err := c.rpc.FetchProgram(ctx, &proto.Program{Key: key})
	if err != nil {
		return nil, nil, err
	}
	first, err := stream.Recv()
	if err != nil {
		return nil, nil, err
	}
	plain, err := wire.Decompress(wire.NewChunkReader(first, func() (*proto.ProgramChunk, error) {
		chunk, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil, io.EOF
		}
		return chunk, c.fault(ctx, "program", err)
	}))
	return &openProgram{ReadCloser: plain}, first.GetProgram(), err
}

// openProgram is a program that is being received. Close cancels the request.
type openProgram struct {
	io.ReadCloser
	cancel context.CancelFunc
}

func (o *openProgram) Close() error {
	o.cancel()
	return o.ReadCloser.Close()
}

// KeepProgram is as in Worker.
func (c *Client) KeepProgram(ctx context.Context, p *proto.Program, r io.Reader) error {
	if err := proto.CheckProgramKey(p.GetKey()); err != nil {
		return err
	}
	return c.request(ctx, "program", wire.DeployLimit, func(ctx context.Context) error {
		// Closes the stream when the server answers early.
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		stream, err := c.rpc.SendProgram(ctx)
		if err != nil {
			return err
		}
		err = wire.Compress(wire.NewProgramWriter(p, stream.Send), own{r})
		if err != nil && !errors.Is(err, io.EOF) { // EOF: the server has answered early, and says why
			return err
		}
		_, err = stream.CloseAndRecv()
		return err
	})
}

// MoveProgram copies a stored program to another server. It passes through here
// compressed.
func (c *Client) MoveProgram(ctx context.Context, key string, to *Client) error {
	if err := proto.CheckProgramKey(key); err != nil {
		return err
	}
	return c.request(ctx, "program", wire.DeployLimit, func(ctx context.Context) error {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		in, err := c.rpc.FetchProgram(ctx, &proto.Program{Key: key})
		if err != nil {
			return err
		}
		return to.request(ctx, "program", 0, func(ctx context.Context) error {
			out, err := to.rpc.SendProgram(ctx)
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
	return n, proto.Errorf(wire.AsError(err).Kind, "read the program: %w", err)
}
