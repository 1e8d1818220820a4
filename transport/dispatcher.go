package transport

import (
	"context"
	"time"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/transport/wire"
)

// Dispatcher is what a proxy does with calls that were accepted to be made later. They are
// accepted over HTTP alone, as all calls of functions are. An agent answers ErrUnsupported.
type Dispatcher interface {
	// Calls returns calls, the newest first, without their bodies.
	Calls(ctx context.Context, req *proto.CallsRequest) ([]*proto.Call, error)
	// Call returns what became of a call. It waits for the call's end, but no longer than
	// wait.
	Call(ctx context.Context, id string, wait time.Duration) (*proto.Call, error)
	// CancelCall cancels a call, running or not. One that has ended is an ErrConflict.
	CancelCall(ctx context.Context, id string) (*proto.Call, error)
	// RedriveCalls puts calls that are dead back into the queue, and returns how many: one,
	// those of a function, or all.
	RedriveCalls(ctx context.Context, which *proto.DeadCalls) (int, error)
	// PurgeCalls removes calls that are dead, and returns how many.
	PurgeCalls(ctx context.Context, which *proto.DeadCalls) (int, error)
	// CallbackSecret returns the secret with which callbacks are signed.
	CallbackSecret(ctx context.Context) (string, error)
}

var _ Dispatcher = (*Client)(nil)

// Calls is as in Dispatcher.
func (c *Client) Calls(ctx context.Context, req *proto.CallsRequest) ([]*proto.Call, error) {
	var rsp *proto.CallList
	err := c.request(ctx, "list calls", wire.RequestLimit, func(ctx context.Context) (err error) {
		rsp, err = c.rpc.Calls(ctx, req)
		return err
	})
	return rsp.GetCalls(), err
}

// Call is as in Dispatcher.
func (c *Client) Call(ctx context.Context, id string, wait time.Duration) (rsp *proto.Call, err error) {
	req := &proto.CallRequest{Id: id}
	if wait > 0 {
		req.Wait = wait.String()
	}
	err = c.request(ctx, "show a call", wire.RequestLimit+wait, func(ctx context.Context) (err error) {
		rsp, err = c.rpc.ShowCall(ctx, req)
		return err
	})
	return rsp, err
}

// CancelCall is as in Dispatcher.
func (c *Client) CancelCall(ctx context.Context, id string) (rsp *proto.Call, err error) {
	err = c.request(ctx, "cancel a call", wire.RequestLimit, func(ctx context.Context) (err error) {
		rsp, err = c.rpc.CancelCall(ctx, &proto.CallRef{Id: id})
		return err
	})
	return rsp, err
}

// RedriveCalls is as in Dispatcher.
func (c *Client) RedriveCalls(ctx context.Context, which *proto.DeadCalls) (int, error) {
	var rsp *proto.CallCount
	err := c.request(ctx, "redrive calls", wire.SettleLimit, func(ctx context.Context) (err error) {
		rsp, err = c.rpc.RedriveCalls(ctx, which)
		return err
	})
	return int(rsp.GetCalls()), err
}

// PurgeCalls is as in Dispatcher.
func (c *Client) PurgeCalls(ctx context.Context, which *proto.DeadCalls) (int, error) {
	var rsp *proto.CallCount
	err := c.request(ctx, "purge calls", wire.SettleLimit, func(ctx context.Context) (err error) {
		rsp, err = c.rpc.PurgeCalls(ctx, which)
		return err
	})
	return int(rsp.GetCalls()), err
}

// CallbackSecret is as in Dispatcher.
func (c *Client) CallbackSecret(ctx context.Context) (string, error) {
	var rsp *proto.CallbackKey
	err := c.request(ctx, "show the secret of callbacks", wire.RequestLimit, func(ctx context.Context) (err error) {
		rsp, err = c.rpc.CallbackSecret(ctx, &proto.CallbackSecretRequest{})
		return err
	})
	return rsp.GetSecret(), err
}
