package transport

import (
	"context"
	"io"

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
	// Deploy starts or replaces functions and returns a row per function and agent. It
	// returns at once with Deploying, or, for a function with Wait, when it is Deployed
	// or Failed. What is wrong with the request itself (a name, a setting, a package
	// that is not stored) is an error, and then nothing is changed.
	//
	// A function with Dir is packed from that folder, which the implementer must be
	// able to read; one with Package must have been uploaded before.
	//
	// A deploy that changes a function's package or settings makes its next version,
	// counted from 1; one that changes neither makes none and is Deployed at once.
	// With Canary the new version gets that percentage of the calls. With Plan
	// nothing is changed, and Package need not be uploaded: the row's Change and
	// Changed say what would change, its Package says what would run.
	Deploy(ctx context.Context, fns ...*proto.FunctionJson) ([]*proto.FunctionJsonRsp, error)
	// Stop drains a function, stops its processes, and returns it as Stopped. Its
	// versions and its log stay: Versions and Log still answer, and a Rollback or a
	// deploy, which gets the next number, starts it again. All other methods return
	// ErrNotFound. If no version was kept, only the log stays.
	Stop(ctx context.Context, fnName string) (*proto.FunctionJsonRsp, error)
	// Remove removes a function, stopped or not, with its versions and its log, and
	// returns it as Stopped.
	Remove(ctx context.Context, fnName string) (*proto.FunctionJsonRsp, error)
	// Stopped returns the functions that are stopped, of one agent or, for "", of all,
	// ordered as Details; Version is the one that served last.
	Stopped(ctx context.Context, atAgent string) ([]*proto.FunctionJsonRsp, error)
	// List returns the deployments of one agent.
	List(ctx context.Context, atAgent string) ([]*proto.FunctionJsonRsp, error)
	// Log returns the last part of what a function's processes printed.
	Log(ctx context.Context, fnName string) (*proto.FunctionLogs, error)
	// Logs calls on with what a function's processes printed, line by line, in
	// batches of one agent each, oldest first. It returns after the last line that is
	// kept. When req says follow it goes on until ctx is done, the connection breaks,
	// or on returns an error, which it returns. Calls of on do not overlap.
	Logs(ctx context.Context, req *proto.LogsRequest, on func(*proto.LogLines) error) error
	// Details returns all deployments, ordered by name, then by agent.
	Details(ctx context.Context) ([]*proto.FunctionJsonRsp, error)
	// Watch calls on with a snapshot of all rows, then with each row that has changed,
	// in its latest state. It goes on until ctx is done, the connection breaks, or on
	// returns an error, which it returns. Calls of on do not overlap.
	Watch(ctx context.Context, on func(*proto.WatchEvent) error) error
	// Upload stores a package unless it is stored already, in which case nothing is sent.
	Upload(ctx context.Context, pkg *bundle.Package) error

	// Versions returns the versions of a function that are kept, newest first, then
	// by agent. They hold the names of secrets, not the values. Of an agent that
	// does not answer a proxy says why, in the Error of a row of its own; in Crashes and
	// Usage, too.
	Versions(ctx context.Context, fnName string) ([]*proto.Version, error)
	// Source opens the package of a version that is kept, 0 for the newest: the zip that
	// was sent, as it was sent. The caller closes it, and ctx must last until then. A
	// package that is not stored any more is an ErrNotFound, though its version runs.
	Source(ctx context.Context, fnName string, version uint32) (io.ReadCloser, error)
	// Rollback makes a kept version serve again, without a build, and returns when that
	// is settled. to 0 means the version that served before.
	Rollback(ctx context.Context, fnName string, to uint32) ([]*proto.FunctionJsonRsp, error)
	// Shift gives a function's canary another percentage of the calls and returns when
	// that is settled: 0 drops the canary, 100 promotes it. Without a canary the error
	// is ErrConflict.
	Shift(ctx context.Context, fnName string, canary uint32) ([]*proto.FunctionJsonRsp, error)
	// Pause drains and stops a function's processes and keeps its sockets: callers get
	// 503 there until it is resumed, or another version is to serve. Rows say Paused. A
	// paused function stays paused. For a function without a version that serves the
	// error is ErrConflict.
	Pause(ctx context.Context, fnName string) ([]*proto.FunctionJsonRsp, error)
	// Resume makes a paused function serve again; from then on callers wait for its
	// processes.
	Resume(ctx context.Context, fnName string) ([]*proto.FunctionJsonRsp, error)
	// Crashes returns how a function's processes exited by themselves, newest first.
	Crashes(ctx context.Context, fnName string) ([]*proto.Crash, error)
	// Usage returns what the processes of a function use, or, for "", of all functions.
	Usage(ctx context.Context, fnName string) ([]*proto.Usage, error)
}

// Worker is what an agent does for proxies beyond Interface. Programs are in
// plain bytes here; on their way they are compressed.
type Worker interface {
	// Wake opens a kept version beside the one that serves and returns where.
	Wake(ctx context.Context, fnName string, version uint32) (*proto.Serving, error)
	// Build builds a function's program, stores it and returns what it is. For a
	// function that does not build the error is ErrInvalid, with one of proto's
	// reasons.
	Build(ctx context.Context, fn *proto.FunctionJson) (*proto.Program, error)
	// HasProgram reports whether a program is stored.
	HasProgram(key string) bool
	// OpenProgram opens a stored program, which the caller closes, and says what it is,
	// with the digest of its bytes. If it is not stored, the error is ErrNotFound.
	OpenProgram(key string) (io.ReadCloser, *proto.Program, error)
	// KeepProgram stores the program that r holds. If its digest is not that of p, the
	// error is ErrInvalid.
	KeepProgram(ctx context.Context, p *proto.Program, r io.Reader) error
	// Place notes on how many agents a function is to be, and with which labels, as its
	// settings replicas and placement say it, and returns its row.
	Place(ctx context.Context, fnName, replicas string, placement map[string]string) (*proto.FunctionJsonRsp, error)
	// Resize changes how many processes serve a function, within its settings min and max,
	// until the agent restarts, and returns its row.
	Resize(ctx context.Context, fnName string, processes int) (*proto.FunctionJsonRsp, error)
	// Info says what the agent is.
	Info() *proto.AgentInfo
}

// Kind is how a client talks: gRPC or HTTP.
type Kind string

// The kinds of transport.
const (
	RPC  Kind = "rpc"
	HTTP Kind = "http"
)
