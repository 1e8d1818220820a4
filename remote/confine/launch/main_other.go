//go:build !linux

package launch

// Main has nothing to do on this system.
func Main([]string) (code int, launcher bool) { return 0, false }
