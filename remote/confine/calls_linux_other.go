//go:build linux && !amd64 && !arm64

package confine

// Without an architecture there is no filter.
const (
	auditArch = 0
	x32       = 0
)

var forbiddenHere, attributesHere, forks []uint32
