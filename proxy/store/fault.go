package store

import (
	"context"
	"errors"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/Ishan27g/ryo-faas/proto"
)

// The engine's codes that have no name in its library.
const (
	codeNoResources  = 10023
	codeNoStorage    = 10047
	codeStoreFailed  = 10077 // what is new is refused: a limit is reached, or the disk is full
	codeTooManyBytes = 10122
)

// fault gives an error of the engine its kind. what says what was tried.
func fault(what string, err error) error {
	var known *proto.Error
	var api *jetstream.APIError
	var js jetstream.JetStreamError
	if errors.As(err, &js) {
		api = js.APIError()
	}
	if api == nil {
		_ = errors.As(err, &api)
	}
	kind := proto.ErrUnavailable
	hint := ""
	switch {
	case err == nil:
		return nil
	case errors.As(err, &known), errors.Is(err, context.Canceled):
		return err
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, nats.ErrTimeout):
		kind = proto.ErrTimeout
	case errors.Is(err, nats.ErrMaxPayload):
		kind = proto.ErrTooLarge
	case api != nil && (api.ErrorCode == codeNoResources || api.ErrorCode == codeNoStorage || api.ErrorCode == codeStoreFailed || api.ErrorCode == codeTooManyBytes):
		kind, hint = proto.ErrExhausted, "handle or remove what is stored, or make room on the disk"
	case errors.Is(err, errDamaged):
		kind = proto.ErrInternal
	}
	return proto.Errorf(kind, "%s: %w", what, err).From("store", string(kind)).WithHint(hint)
}
