//go:build !linux

package cli

import (
	"context"

	"github.com/Ishan27g/ryo-faas/proto"
)

// up is for the system that agent and proxy are for.
func (*app) up(context.Context, string) error {
	return proto.Errorf(proto.ErrIncapable, "agent and proxy run on Linux alone").
		WithHint("proxyCli dev serves the functions of a folder here")
}
