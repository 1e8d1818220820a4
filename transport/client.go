package transport

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"google.golang.org/grpc"
	protobuf "google.golang.org/protobuf/proto"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/transport/bundle"
	"github.com/Ishan27g/ryo-faas/transport/wire"
)

// Client talks to a proxy or to an agent; they are alike. It is an Interface.
//
// Deploy packs the folders it is given on this machine, whatever machine the
// server runs on, and uploads what is not stored there yet.
type Client struct {
	addr     string
	invalid  error // why no request can be made
	rpc      proto.FunctionsClient
	close    func() error
	tls      *tls.Config // nil: it does not speak TLS
	dialed   func(net.Conn)
	progress func(Progress)
	modules  bundle.Modules
	token    string
	clear    bool              // the token may go to other machines in the clear
	through  http.RoundTripper // nil: connections of its own
}

var _ Interface = (*Client)(nil)

// Option changes how a Client works.
type Option func(*Client)

// The stages of a Progress.
const (
	Packing   = "packing"
	Uploading = "uploading"
)

// Progress says how far a package is on its way to the server.
type Progress struct {
	Function string // empty for a package that was packed before
	Stage    string // Packing or Uploading
	Done     int64  // bytes
	Total    int64  // bytes; 0 while it is not known
}

// WithProgress calls f as a deploy goes on. Calls of f for one deploy do not
// overlap.
func WithProgress(f func(Progress)) Option {
	return func(c *Client) { c.progress = f }
}

// WithModules sends the private modules along that functions need.
func WithModules(m bundle.Modules) Option {
	return func(c *Client) { c.modules = m }
}

// WithToken sends a token with each request. To a server on another machine it is sent
// over an encrypted connection alone: otherwise each request is an ErrForbidden.
func WithToken(token string) Option {
	return func(c *Client) { c.token = token }
}

// WithClearToken lets a token travel in the clear, for networks that are trusted.
func WithClearToken() Option {
	return func(c *Client) { c.clear = true }
}

// WithTLS makes the client speak TLS, as cfg says. It may be left out for an address
// that begins with https://.
func WithTLS(cfg *tls.Config) Option {
	return func(c *Client) { c.tls = cfg }
}

// WithDialed calls f with each connection that a Client of kind RPC opens, before it is
// used. It may be called by several goroutines at a time.
func WithDialed(f func(net.Conn)) Option {
	return func(c *Client) { c.dialed = f }
}

// WithRoundTripper makes a Client of kind HTTP send its requests by rt instead of
// connections of its own.
func WithRoundTripper(rt http.RoundTripper) Option {
	return func(c *Client) { c.through = rt }
}

// NewAgent returns a Client of the proxy or agent at addr, as ParseAddr takes it. It
// connects with the first request, which reports a bad address.
func NewAgent(kind Kind, addr string, opts ...Option) *Client {
	c := &Client{close: func() error { return nil }, progress: func(Progress) {}, dialed: func(net.Conn) {}}
	for _, o := range opts {
		o(c)
	}
	var secure bool
	if c.addr, secure, c.invalid = ParseAddr(addr); c.invalid != nil {
		return c
	}
	if secure && c.tls == nil {
		c.tls = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	if c.token != "" && !c.clear && c.tls == nil && !isLocal(c.addr) {
		c.invalid = proto.Errorf(proto.ErrForbidden, "a token is not sent to %s in the clear: others could read it on its way", c.addr).
			WithHint("connect by https://, or by way of ssh -L; on a trusted network, give -insecure")
		return c
	}
	switch kind {
	case RPC:
		conn, err := dialRPC(c.addr, c.token, c.tls, c.dialed)
		if err != nil {
			c.invalid = proto.Errorf(proto.ErrInvalid, "address %q: %w", addr, err)
			return c
		}
		c.rpc, c.close = proto.NewFunctionsClient(conn), conn.Close
	case HTTP:
		conn := newHTTPConn(c.addr, c.token, c.tls)
		if c.through != nil {
			conn.client.Transport = c.through
		}
		c.rpc, c.close = proto.NewFunctionsClient(conn), conn.close
	default:
		c.invalid = proto.Errorf(proto.ErrInvalid, "transport %q is neither %s nor %s", kind, RPC, HTTP)
	}
	return c
}

// Close closes the connection. Later requests fail.
func (c *Client) Close() error { return c.close() }

// Deploy implements Interface.
func (c *Client) Deploy(ctx context.Context, fns ...*proto.FunctionJson) ([]*proto.FunctionJsonRsp, error) {
	limit := wire.RequestLimit
	for _, fn := range fns {
		fn.Complete()
		if err := fn.Check(); err != nil {
			return nil, err
		}
		if fn.GetWait() {
			limit = wire.DeployLimit
		}
	}
	if c.invalid != nil {
		return nil, c.invalid
	}
	packed, err := c.send(ctx, fns)
	if err != nil {
		return nil, err
	}
	var rsp *proto.FunctionList
	err = c.request(ctx, "deploy", limit, func(ctx context.Context) (err error) {
		rsp, err = c.rpc.Deploy(ctx, &proto.DeployRequest{Functions: packed})
		return err
	})
	return rsp.GetFunctions(), err
}

// send packs and uploads the folders of functions, and returns the functions
// with packages in their place. Nothing is uploaded for a plan.
func (c *Client) send(ctx context.Context, fns []*proto.FunctionJson) ([]*proto.FunctionJson, error) {
	temp, err := os.MkdirTemp("", "ryo-pack-")
	if err != nil {
		return nil, proto.Errorf(proto.ErrExhausted, "make room for packing: %w", err)
	}
	defer func() { _ = os.RemoveAll(temp) }()
	store, err := bundle.OpenStore(temp, int64(len(fns)+1)*bundle.DefaultLimits.Archive)
	if err != nil {
		return nil, err
	}
	store.Private = c.modules
	packed := make([]*proto.FunctionJson, len(fns))
	for i, fn := range fns {
		if fn.GetPackage() != "" && fn.GetDir() == "" {
			packed[i] = fn
			continue
		}
		c.progress(Progress{Function: fn.GetName(), Stage: Packing})
		source, err := absolute(fn)
		if err != nil {
			return nil, err
		}
		var pkg *bundle.Package
		if packed[i], pkg, err = store.Resolve(ctx, source); err != nil {
			return nil, err
		}
		if fn.GetPlan() {
			continue // its digest says what would change
		}
		if err := c.upload(ctx, fn.GetName(), pkg); err != nil {
			return nil, err
		}
	}
	return packed, nil
}

// absolute returns a copy of fn whose source does not depend on the working
// folder. A file's path counts from the function's folder, if that is given.
func absolute(fn *proto.FunctionJson) (_ *proto.FunctionJson, err error) {
	c := protobuf.CloneOf(fn)
	switch {
	case c.GetDir() != "":
		c.Dir, err = filepath.Abs(c.GetDir())
	case c.GetFilePath() != "":
		c.FilePath, err = filepath.Abs(c.GetFilePath())
	}
	if err != nil {
		return nil, proto.Errorf(proto.ErrInvalid, "function %s: %w", fn.GetName(), err)
	}
	return c, nil
}

// Stop implements Interface.
func (c *Client) Stop(ctx context.Context, fnName string) (rsp *proto.FunctionJsonRsp, err error) {
	err = c.request(ctx, "stop", wire.SettleLimit, func(ctx context.Context) (err error) {
		rsp, err = c.rpc.Stop(ctx, &proto.StopRequest{Name: fnName})
		return err
	})
	return rsp, err
}

// Remove implements Interface.
func (c *Client) Remove(ctx context.Context, fnName string) (rsp *proto.FunctionJsonRsp, err error) {
	err = c.request(ctx, "remove", wire.SettleLimit, func(ctx context.Context) (err error) {
		rsp, err = c.rpc.Remove(ctx, &proto.RemoveRequest{Name: fnName})
		return err
	})
	return rsp, err
}

// Stopped implements Interface.
func (c *Client) Stopped(ctx context.Context, atAgent string) ([]*proto.FunctionJsonRsp, error) {
	var rsp *proto.FunctionList
	err := c.request(ctx, "list what is stopped", wire.RequestLimit, func(ctx context.Context) (err error) {
		if atAgent == "" {
			rsp, err = c.rpc.Details(ctx, &proto.DetailsRequest{Stopped: true})
		} else {
			rsp, err = c.rpc.List(ctx, &proto.ListRequest{AtAgent: atAgent, Stopped: true})
		}
		return err
	})
	return rsp.GetFunctions(), err
}

// List implements Interface.
func (c *Client) List(ctx context.Context, atAgent string) ([]*proto.FunctionJsonRsp, error) {
	var rsp *proto.FunctionList
	err := c.request(ctx, "list", wire.RequestLimit, func(ctx context.Context) (err error) {
		rsp, err = c.rpc.List(ctx, &proto.ListRequest{AtAgent: atAgent})
		return err
	})
	return rsp.GetFunctions(), err
}

// Log implements Interface.
func (c *Client) Log(ctx context.Context, fnName string) (rsp *proto.FunctionLogs, err error) {
	err = c.request(ctx, "log", wire.RequestLimit, func(ctx context.Context) (err error) {
		rsp, err = c.rpc.Log(ctx, &proto.LogRequest{Entrypoint: fnName})
		return err
	})
	return rsp, err
}

// Details implements Interface.
func (c *Client) Details(ctx context.Context) ([]*proto.FunctionJsonRsp, error) {
	var rsp *proto.FunctionList
	err := c.request(ctx, "details", wire.RequestLimit, func(ctx context.Context) (err error) {
		rsp, err = c.rpc.Details(ctx, &proto.DetailsRequest{})
		return err
	})
	return rsp.GetFunctions(), err
}

// Versions implements Interface.
func (c *Client) Versions(ctx context.Context, fnName string) ([]*proto.Version, error) {
	var rsp *proto.VersionList
	err := c.request(ctx, "versions", wire.RequestLimit, func(ctx context.Context) (err error) {
		rsp, err = c.rpc.Versions(ctx, &proto.VersionsRequest{Name: fnName})
		return err
	})
	return rsp.GetVersions(), err
}

// Source implements Interface. The package is received as it is read.
func (c *Client) Source(ctx context.Context, fnName string, version uint32) (io.ReadCloser, error) {
	if c.invalid != nil {
		return nil, c.invalid
	}
	ctx, cancel := within(ctx, wire.DeployLimit)
	opened, err := c.openSource(ctx, fnName, version)
	if err != nil {
		err = c.fault(ctx, "source", err)
		cancel()
		return nil, err
	}
	return &openSource{opened, cancel}, nil
}

func (c *Client) openSource(ctx context.Context, fnName string, version uint32) (io.Reader, error) {
	stream, err := c.rpc.Source(ctx, &proto.SourceRequest{Name: fnName, Version: version})
	if err != nil {
		return nil, err
	}
	first, err := stream.Recv()
	if err != nil {
		return nil, err
	}
	return wire.NewChunkReader(first, func() (*proto.PackageChunk, error) {
		chunk, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil, io.EOF
		}
		return chunk, c.fault(ctx, "source", err)
	}), nil
}

// openSource is a package that is being received. Close cancels the request.
type openSource struct {
	io.Reader
	cancel context.CancelFunc
}

func (o *openSource) Close() error {
	o.cancel()
	return nil
}

// Rollback implements Interface.
func (c *Client) Rollback(ctx context.Context, fnName string, to uint32) ([]*proto.FunctionJsonRsp, error) {
	var rsp *proto.FunctionList
	err := c.request(ctx, "rollback", wire.SettleLimit, func(ctx context.Context) (err error) {
		rsp, err = c.rpc.Rollback(ctx, &proto.RollbackRequest{Name: fnName, To: to})
		return err
	})
	return rsp.GetFunctions(), err
}

// Shift implements Interface.
func (c *Client) Shift(ctx context.Context, fnName string, canary uint32) ([]*proto.FunctionJsonRsp, error) {
	var rsp *proto.FunctionList
	err := c.request(ctx, "shift", wire.SettleLimit, func(ctx context.Context) (err error) {
		rsp, err = c.rpc.Shift(ctx, &proto.ShiftRequest{Name: fnName, Canary: canary})
		return err
	})
	return rsp.GetFunctions(), err
}

// Pause implements Interface.
func (c *Client) Pause(ctx context.Context, fnName string) ([]*proto.FunctionJsonRsp, error) {
	var rsp *proto.FunctionList
	err := c.request(ctx, "pause", wire.SettleLimit, func(ctx context.Context) (err error) {
		rsp, err = c.rpc.Pause(ctx, &proto.PauseRequest{Name: fnName})
		return err
	})
	return rsp.GetFunctions(), err
}

// Resume implements Interface.
func (c *Client) Resume(ctx context.Context, fnName string) ([]*proto.FunctionJsonRsp, error) {
	var rsp *proto.FunctionList
	err := c.request(ctx, "resume", wire.SettleLimit, func(ctx context.Context) (err error) {
		rsp, err = c.rpc.Resume(ctx, &proto.ResumeRequest{Name: fnName})
		return err
	})
	return rsp.GetFunctions(), err
}

// Crashes implements Interface.
func (c *Client) Crashes(ctx context.Context, fnName string) ([]*proto.Crash, error) {
	var rsp *proto.CrashList
	err := c.request(ctx, "crashes", wire.RequestLimit, func(ctx context.Context) (err error) {
		rsp, err = c.rpc.Crashes(ctx, &proto.CrashesRequest{Name: fnName})
		return err
	})
	return rsp.GetCrashes(), err
}

// Usage implements Interface.
func (c *Client) Usage(ctx context.Context, fnName string) ([]*proto.Usage, error) {
	var rsp *proto.UsageList
	err := c.request(ctx, "usage", wire.RequestLimit, func(ctx context.Context) (err error) {
		rsp, err = c.rpc.Usage(ctx, &proto.UsageRequest{Name: fnName})
		return err
	})
	return rsp.GetUsage(), err
}

// Watch implements Interface. A server that is silent for 5 seconds is an
// ErrUnavailable; for 45 seconds, if it does not say how often it gives a sign of life.
func (c *Client) Watch(ctx context.Context, on func(*proto.WatchEvent) error) error {
	return listen(ctx, c, "watch", io.EOF, func(ctx context.Context) (grpc.ServerStreamingClient[proto.WatchEvent], error) {
		return c.rpc.Watch(ctx, &proto.WatchRequest{})
	}, on)
}

// Logs implements Interface. A server that is silent for 45 seconds is an
// ErrUnavailable.
func (c *Client) Logs(ctx context.Context, req *proto.LogsRequest, on func(*proto.LogLines) error) error {
	return listen(ctx, c, "logs", nil, func(ctx context.Context) (grpc.ServerStreamingClient[proto.LogLines], error) {
		return c.rpc.Logs(ctx, req)
	}, on)
}

// listen calls on with the messages of a stream, but not with heartbeats, until on
// returns an error or the server is silent. At the end of the stream it returns eof.
func listen[M any](ctx context.Context, c *Client, verb string, eof error, open func(context.Context) (grpc.ServerStreamingClient[M], error), on func(*M) error) error {
	limit := wire.StreamSilence
	stream, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	alive := time.AfterFunc(limit, func() { cancel(errSilent) })
	defer alive.Stop()

	var failed error // what on returned
	err := c.request(stream, verb, 0, func(ctx context.Context) error {
		messages, err := open(ctx)
		if err != nil {
			return err
		}
		for {
			m, err := messages.Recv()
			if errors.Is(err, io.EOF) {
				return eof
			}
			if err != nil {
				return err
			}
			alive.Stop() // on may take its time
			if e, ok := any(m).(*proto.WatchEvent); ok && e.GetHeartbeat() > 0 {
				beat := time.Duration(e.GetHeartbeat()) * time.Second // of 32 bits: twice that is no overflow
				limit = min(max(wire.WatchSilence, beat+beat), wire.StreamSilence)
			}
			if protobuf.Size(any(m).(protobuf.Message)) > 0 {
				failed = on(m)
			}
			if failed != nil {
				return failed
			}
			alive.Reset(limit)
		}
	})
	switch {
	case failed != nil:
		return failed
	case errors.Is(context.Cause(stream), errSilent):
		return proto.Errorf(proto.ErrUnavailable, "%s at %s: no sign of life for %s", verb, c.addr, limit)
	}
	return err
}

// errSilent is why a stream was canceled of which nothing was heard for too long.
var errSilent = errors.New("no sign of life")

// Upload implements Interface.
func (c *Client) Upload(ctx context.Context, pkg *bundle.Package) error {
	return c.upload(ctx, "", pkg)
}

func (c *Client) upload(ctx context.Context, function string, pkg *bundle.Package) error {
	var state *proto.PackageState
	err := c.request(ctx, "upload", wire.RequestLimit, func(ctx context.Context) (err error) {
		state, err = c.rpc.HasPackage(ctx, &proto.PackageRef{Digest: pkg.Digest})
		return err
	})
	if err != nil || state.GetStored() {
		return err
	}
	return c.request(ctx, "upload", wire.DeployLimit, func(ctx context.Context) error {
		file, err := os.Open(pkg.Path)
		if err != nil {
			return proto.Errorf(proto.ErrInvalid, "open the package: %w", err)
		}
		defer func() { _ = file.Close() }()
		// Closes the stream when the server answers early.
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		stream, err := c.rpc.Upload(ctx)
		if err != nil {
			return err
		}
		if err := c.sendChunks(stream, file, function, pkg); err != nil {
			return err
		}
		_, err = stream.CloseAndRecv()
		return err
	})
}

// sendChunks sends a package. When the server answers early, that is no error here: its
// answer says why.
func (c *Client) sendChunks(stream grpc.ClientStreamingClient[proto.PackageChunk, proto.PackageRef], r io.Reader, function string, pkg *bundle.Package) error {
	progress := Progress{Function: function, Stage: Uploading, Total: pkg.Size}
	digest := pkg.Digest
	for buf := make([]byte, wire.ChunkSize); ; {
		n, err := io.ReadFull(r, buf)
		if n > 0 || digest != "" {
			sent := stream.Send(&proto.PackageChunk{Digest: digest, Data: buf[:n]})
			if errors.Is(sent, io.EOF) {
				return nil
			}
			if sent != nil {
				return sent
			}
			digest = ""
			progress.Done += int64(n)
			c.progress(progress)
		}
		switch {
		case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
			return nil
		case err != nil:
			return proto.Errorf(proto.ErrInternal, "read the package: %w", err)
		}
	}
}

// request makes one request, within limit when ctx has no limit of its own and limit is
// not 0, and gives its error a kind.
func (c *Client) request(ctx context.Context, verb string, limit time.Duration, f func(context.Context) error) error {
	if c.invalid != nil {
		return c.invalid
	}
	ctx, cancel := within(ctx, limit)
	defer cancel()
	for try := 1; ; try++ {
		err := c.fault(ctx, verb, f(ctx))
		if err == nil || try == wire.MovedTries || proto.AsError(err).Reason != wire.ReasonMoved {
			return err
		}
		pause := time.NewTimer(wire.MovedPause)
		select {
		case <-ctx.Done():
		case <-pause.C:
		}
		pause.Stop()
	}
}

// within cancels ctx after limit when it has no limit of its own and limit is not 0.
func within(ctx context.Context, limit time.Duration) (context.Context, context.CancelFunc) {
	if _, has := ctx.Deadline(); has || limit == 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, limit)
}

// fault gives the error of a request its kind.
func (c *Client) fault(ctx context.Context, verb string, err error) error {
	if err == nil {
		return nil
	}
	// A request whose context is done may fail with another error: the context says
	// why.
	if done := ctx.Err(); done != nil {
		return proto.Errorf(wire.AsError(done).Kind, "%s at %s: %w", verb, c.addr, done)
	}
	return fromPeer(c.addr, err)
}
