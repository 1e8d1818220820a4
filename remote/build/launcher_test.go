package build

import (
	"os/exec"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/Ishan27g/ryo-faas/internal/testkit"
	"github.com/Ishan27g/ryo-faas/remote/confine"
)

func TestTheLauncherGetsAProgramOfItsOwn(t *testing.T) {
	require.Eventually(t, func() bool { return exists(builder.launch) }, testkit.BuildPatience, 10*time.Millisecond)
	l, err := confine.New()
	require.NoError(t, err)
	l.Use(builder.launch)
	cmd := exec.Command(builder.goCommand, "version")
	require.NoError(t, l.Start(cmd, builder.sandbox.compile))
	require.NoError(t, cmd.Wait())
}
