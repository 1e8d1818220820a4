package transport

import (
	"context"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/transport/bundle"
)

// Interface is what every agent and every proxy does, in the same process or
// across a network: the agent, the proxy, both clients and the fake in
// transporttest implement it, and one suite holds them to it.
//
// Every error has a kind of proto (errors.Is(err, proto.ErrNotFound)). A function
// that does not build is no error: its row says Failed and why. Rows that are
// returned belong to the caller. All methods may be called concurrently.
type Interface interface {
	// Deploy starts or replaces functions and returns a row per function and agent.
	// It returns at once with Deploying, or, for a function with Wait, when it is
	// Deployed or Failed. What is wrong with the call itself (a name, a setting, a
	// package that is not stored) is an error, and then nothing is changed.
	//
	// A function with Dir is packed from that folder, which the implementer must be
	// able to read; one with Package must have been uploaded before.
	Deploy(ctx context.Context, fns ...*proto.FunctionJson) ([]*proto.FunctionJsonRsp, error)
	// Stop drains a function, ends its processes, forgets it, and returns it as Stopped.
	Stop(ctx context.Context, fnName string) (*proto.FunctionJsonRsp, error)
	// List returns the deployments of one agent.
	List(ctx context.Context, atAgent string) ([]*proto.FunctionJsonRsp, error)
	// Log returns the last part of what a function's processes printed.
	Log(ctx context.Context, fnName string) (*proto.FunctionLogs, error)
	// Details returns all deployments, ordered by name, then by agent.
	Details(ctx context.Context) ([]*proto.FunctionJsonRsp, error)
	// Watch calls on with a snapshot of all rows, then with the rows that changed,
	// each change at least once in its latest state, until ctx ends, on returns an
	// error (which it returns) or the connection is lost. Calls of on do not overlap.
	Watch(ctx context.Context, on func(*proto.WatchEvent) error) error
	// Upload stores a package unless it is stored already, in which case nothing is sent.
	Upload(ctx context.Context, pkg *bundle.Package) error
}

// Kind is how a client talks: gRPC or HTTP.
type Kind string

// The kinds of transport.
const (
	RPC  Kind = "rpc"
	HTTP Kind = "http"
)
