package confine

import "golang.org/x/sys/unix"

const (
	auditArch = unix.AUDIT_ARCH_AARCH64
	x32       = 0 // there is none
)

// There are no calls of this architecture alone.
var forbiddenHere, attributesHere, forks []uint32
