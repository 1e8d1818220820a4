package store

import (
	"context"
	"errors"

	"github.com/nats-io/nats.go"

	"github.com/Ishan27g/ryo-faas/proto"
)

// The engine's codes that have no name in its library.
const (
	codeNoResources  = 10023
	codeNoStorage    = 10047
	codeStoreFailed  = 10077 // what is new is refused: a limit is reached, or the disk is full
	codeTooManyBytes = 10122

	codeNoPeers         = 10005 // too few machines for what is to be on several
	codeNotAvailable    = 10008 // there is no leader now
	codeNotLeader       = 10009
	codeStreamOffline   = 10118
	codeConsumerOffline = 10119
	codeInProcess       = 10158
	codeTooManyRequests = 10167
)

// fault gives an error of the engine its kind. what says what was tried.
func fault(what string, err error) error {
	var known *proto.Error
	kind := proto.ErrUnavailable
	hint := ""
	number := code(err)
	switch {
	case err == nil:
		return nil
	case errors.As(err, &known), errors.Is(err, context.Canceled):
		return err
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, nats.ErrTimeout):
		kind = proto.ErrTimeout
	case errors.Is(err, nats.ErrMaxPayload):
		kind = proto.ErrTooLarge
	case number == codeNoResources, number == codeNoStorage, number == codeStoreFailed, number == codeTooManyBytes:
		kind, hint = proto.ErrExhausted, "handle or remove what is stored, or make room on the disk"
	case errors.Is(err, errDamaged):
		kind = proto.ErrInternal
	}
	return proto.Errorf(kind, "%s: %w", what, err).From("store", string(kind)).WithHint(hint)
}
