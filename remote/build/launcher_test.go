package build

import (
	"os"
	"os/exec"
	"path/filepath"
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
	require.NoError(t, l.Use(builder.launch))
	cmd := exec.Command(builder.goCommand, "version")
	require.NoError(t, l.Start(cmd, builder.sandbox.compile))
	require.NoError(t, cmd.Wait())

	// An agent of the same cache mends what a loss of power has left of it.
	require.NoError(t, os.Remove(builder.launch))
	require.NoError(t, os.WriteFile(builder.launch, nil, 0o700)) //nolint:gosec // a program
	b, err := New(Config{Dir: filepath.Dir(builder.launch)})
	require.NoError(t, err)
	cmd = exec.Command(b.goCommand, "version")
	require.NoError(t, b.launcher.Start(cmd, b.sandbox.compile), "the agent is the launcher meanwhile")
	require.NoError(t, cmd.Wait())
	b.equipLauncher(t.Context())
	require.NoError(t, l.Use(b.launch))
}
