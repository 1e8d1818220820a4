//go:build !unix

package cli

import (
	"github.com/spf13/cobra"

	"github.com/Ishan27g/ryo-faas/proto"
)

// dev is for systems on which a socket can be handed to a process.
func (*app) dev(*cobra.Command, *proto.FunctionJson, string, bool) error {
	return proto.Errorf(proto.ErrIncapable, "dev runs on Linux and macOS alone")
}
