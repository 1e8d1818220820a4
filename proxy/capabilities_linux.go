package proxy

import (
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// dropCapabilities gives up what this program was given to open its ports, as a unit of
// systemd gives it to a plain user for those below 1024. With any of it, an agent of the
// same user could not see whose the proxy's connections are: the kernel shows the files
// of a process to nobody who may less. Root keeps what it has.
func dropCapabilities() error {
	if os.Geteuid() == 0 {
		return nil
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var none [2]unix.CapUserData
	_, _, errno := syscall.AllThreadsSyscall(unix.SYS_CAPSET, uintptr(unsafe.Pointer(&header)), uintptr(unsafe.Pointer(&none)), 0) //nolint:gosec // what capset(2) takes
	if errno != 0 {
		return os.NewSyscallError("capset", errno)
	}
	return nil
}
