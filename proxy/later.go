package proxy

import (
	"context"

	"github.com/Ishan27g/ryo-faas/proto"
)

// The verbs that are not offered yet.

var errLater = proto.Errorf(proto.ErrUnsupported, "this proxy does not offer the call yet")

// Versions implements transport.Interface.
func (*Proxy) Versions(context.Context, string) ([]*proto.Version, error) { return nil, errLater }

// Rollback implements transport.Interface.
func (*Proxy) Rollback(context.Context, string, uint32) ([]*proto.FunctionJsonRsp, error) {
	return nil, errLater
}

// Shift implements transport.Interface.
func (*Proxy) Shift(context.Context, string, uint32) ([]*proto.FunctionJsonRsp, error) {
	return nil, errLater
}

// Crashes implements transport.Interface.
func (*Proxy) Crashes(context.Context, string) ([]*proto.Crash, error) { return nil, errLater }

// Logs implements transport.Interface.
func (*Proxy) Logs(context.Context, *proto.LogsRequest, func(*proto.LogLines) error) error {
	return errLater
}

// Usage implements transport.Interface.
func (*Proxy) Usage(context.Context, string) ([]*proto.Usage, error) { return nil, errLater }
