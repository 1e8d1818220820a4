package confine

import "golang.org/x/sys/unix"

const (
	auditArch = unix.AUDIT_ARCH_AARCH64
	x32       = 0 // there is none
)

// forbiddenHere are the calls of this architecture alone.
var forbiddenHere []uint32
