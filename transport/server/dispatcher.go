package server

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"github.com/Ishan27g/ryo-faas/proto"
)

// The calls of transport.Dispatcher.

var errNoDispatcher = proto.Errorf(proto.ErrUnsupported, "proxies alone keep calls to make them later; this is not a proxy").
	WithHint(askProxy)

// usualCalls is how many calls a list has at most unless that is said.
const usualCalls = 100

func (s *service) Calls(ctx context.Context, req *proto.CallsRequest) (*proto.CallList, error) {
	if s.dispatcher == nil {
		return nil, errNoDispatcher
	}
	if req.GetFunction() != "" {
		if err := may(ctx, req.GetFunction()); err != nil {
			return nil, err
		}
	}
	asked := []string{req.GetFunction()}
	if token := CallerFrom(ctx).Token; token != nil && req.GetFunction() == "" && len(token.Functions) > 0 {
		asked = token.Functions // each by itself: else calls of others could take the places of theirs
	}
	var all []*proto.Call
	for _, function := range asked {
		calls, err := s.dispatcher.Calls(ctx, &proto.CallsRequest{Function: function, State: req.GetState(), Limit: req.GetLimit(), After: req.GetAfter()})
		if err != nil {
			return nil, err
		}
		all = append(all, calls...)
	}
	all = slices.DeleteFunc(all, func(c *proto.Call) bool { return may(ctx, c.GetFunction()) != nil })
	if len(asked) > 1 {
		slices.SortStableFunc(all, func(a, b *proto.Call) int {
			return cmp.Or(cmp.Compare(b.GetAccepted(), a.GetAccepted()), cmp.Compare(b.GetId(), a.GetId()))
		})
		all = all[:min(len(all), int(cmp.Or(req.GetLimit(), usualCalls)))]
	}
	return &proto.CallList{Calls: all}, nil
}

func (s *service) ShowCall(ctx context.Context, req *proto.CallRequest) (*proto.Call, error) {
	// Who may not see it does not wait for it.
	if err := s.mayCall(ctx, req.GetId()); err != nil {
		return nil, err
	}
	wait, err := req.WaitLimit()
	if err != nil {
		return nil, err
	}
	return s.dispatcher.Call(ctx, req.GetId(), wait)
}

func (s *service) CancelCall(ctx context.Context, req *proto.CallRef) (*proto.Call, error) {
	if err := s.mayCall(ctx, req.GetId()); err != nil {
		return nil, err
	}
	return s.dispatcher.CancelCall(ctx, req.GetId())
}

// mayCall refuses a caller who may not call the function of a call. A call that is not
// there, or that nobody keeps here, is of no function: those alone are told so who may
// call all of them, so that to others it looks like one that they may not see.
func (s *service) mayCall(ctx context.Context, id string) error {
	function, err := "", error(errNoDispatcher)
	if s.dispatcher != nil {
		var c *proto.Call
		c, err = s.dispatcher.Call(ctx, id, 0)
		if err != nil && !errors.Is(err, proto.ErrNotFound) {
			return err
		}
		function = c.GetFunction()
	}
	if invoke := CallerFrom(ctx).invoke; invoke != nil {
		if refused := invoke(function); refused != nil {
			return refused
		}
	}
	return err
}

func (s *service) RedriveCalls(ctx context.Context, req *proto.DeadCalls) (*proto.CallCount, error) {
	return s.deadCalls(ctx, req, func() (int, error) { return s.dispatcher.RedriveCalls(ctx, req) })
}

func (s *service) PurgeCalls(ctx context.Context, req *proto.DeadCalls) (*proto.CallCount, error) {
	return s.deadCalls(ctx, req, func() (int, error) { return s.dispatcher.PurgeCalls(ctx, req) })
}

// deadCalls does something to dead calls of functions that the caller's token is for.
func (s *service) deadCalls(ctx context.Context, req *proto.DeadCalls, do func() (int, error)) (*proto.CallCount, error) {
	if s.dispatcher == nil {
		return nil, errNoDispatcher
	}
	err := mayAll(ctx)
	if req.GetFunction() != "" { // of which the calls are
		err = may(ctx, req.GetFunction())
	}
	if err != nil {
		return nil, err
	}
	n, err := do()
	return &proto.CallCount{Calls: uint32(n)}, err //nolint:gosec // few
}

func (s *service) CallbackSecret(ctx context.Context, _ *proto.CallbackSecretRequest) (*proto.CallbackKey, error) {
	if s.dispatcher == nil {
		return nil, errNoDispatcher
	}
	secret, err := s.dispatcher.CallbackSecret(ctx)
	return &proto.CallbackKey{Secret: secret}, err
}
