package testkit

import (
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// AsOwner calls f as a plain user who owns the files of this process: also for root the
// modes of files hold then.
func AsOwner(t *testing.T, f func()) {
	t.Helper()
	runtime.LockOSThread() // capabilities are a thread's
	defer runtime.UnlockOSThread()
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var own [2]unix.CapUserData
	require.NoError(t, unix.Capget(&header, &own[0]))
	less := own
	less[0].Effective &^= 1<<unix.CAP_DAC_OVERRIDE | 1<<unix.CAP_DAC_READ_SEARCH
	require.NoError(t, unix.Capset(&header, &less[0]))
	defer func() { require.NoError(t, unix.Capset(&header, &own[0])) }()
	f()
}
