package cli

import (
	"context"
	"errors"
	"slices"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/remote/funcfw"
)

// The exit codes. Scripts rely on them: none ever changes its meaning.
const (
	exitOK          = 0
	exitOther       = 1
	exitUsage       = 2   // the command line or a definition file is wrong
	exitRefused     = 3   // the user's code was refused: its signature, or by the compiler
	exitUnreachable = 4   // no answer from the proxy, the agent or the function
	exitNotFound    = 5   // there is no such function
	exitPartly      = 6   // a part failed
	exitDenied      = 7   // not authorised
	exitUnhealthy   = 8   // timed out, or the function did not get or stay ready
	exitInterrupted = 130 // by a signal: 128 + SIGINT
)

var kindCodes = map[proto.Kind]int{
	proto.ErrInvalid:         exitUsage,
	proto.ErrUnauthenticated: exitDenied,
	proto.ErrForbidden:       exitDenied,
	proto.ErrNotFound:        exitNotFound,
	proto.ErrTimeout:         exitUnhealthy,
	proto.ErrStalled:         exitUnhealthy,
	proto.ErrUnavailable:     exitUnreachable,
}

var reasonCodes = map[string]int{
	proto.ReasonCheck:       exitRefused,
	proto.ReasonBuild:       exitRefused,
	proto.ReasonStart:       exitUnhealthy,
	proto.ReasonCrash:       exitUnhealthy,
	proto.ReasonTimeout:     exitUnhealthy,
	proto.ReasonUnavailable: exitUnreachable,
	// The proxy knows no agent that could build, as with ErrUnavailable.
	proto.ReasonProgram: exitUnreachable,
}

// reported is an error that was printed already; it has only an exit code.
type reported int

func (reported) Error() string { return "reported" }

// exitCode is the exit code of a command that returned err.
func exitCode(ctx context.Context, err error) int {
	if err == nil {
		return exitOK
	}
	if ctx.Err() != nil {
		return exitInterrupted
	}
	if r, ok := errors.AsType[reported](err); ok {
		return int(r)
	}
	if _, ok := errors.AsType[*funcfw.Refusal](err); ok {
		return exitRefused
	}
	if code, ok := kindCodes[proto.AsError(err).Kind]; ok {
		return code
	}
	return exitOther
}

// rowsCode is the exit code of a deploy that was answered with rows.
func rowsCode(rows []*proto.FunctionJsonRsp) int {
	failed := func(r *proto.FunctionJsonRsp) bool { return proto.Status(r.GetStatus()) == proto.Failed }
	switch {
	case !slices.ContainsFunc(rows, failed):
		return exitOK
	case slices.ContainsFunc(rows, func(r *proto.FunctionJsonRsp) bool { return !failed(r) }):
		return exitPartly
	}
	// The agents that stayed as they were, since another failed, are none of the causes.
	for _, r := range rows {
		if code, ok := reasonCodes[r.GetReason()]; ok {
			return code
		}
	}
	unreached := func(r *proto.FunctionJsonRsp) bool { return r.GetReason() == proto.ReasonUnreachable }
	switch {
	case !slices.ContainsFunc(rows, unreached):
		return exitOther
	case slices.ContainsFunc(rows, func(r *proto.FunctionJsonRsp) bool { return !unreached(r) }):
		return exitPartly
	}
	return exitUnreachable
}
