package confine

import (
	"golang.org/x/sys/unix"

	"github.com/Ishan27g/ryo-faas/remote/confine/launch"
)

// Main is the launcher's half. A program that confines others calls it first of
// all with its arguments: as a launcher it comes back only on a failure, to end
// with the exit code.
func Main(args []string) (code int, launcher bool) {
	hasMain.Store(true)
	return launch.Main(args)
}

// keepsCapabilities says that this process has capabilities and not the one to
// give them up for good.
func keepsCapabilities() bool {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return true
	}
	has := data[0].Permitted|data[1].Permitted != 0
	return has && data[0].Effective&(1<<unix.CAP_SETPCAP) == 0
}
