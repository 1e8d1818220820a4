// Package boot runs before the rest of a function's program: its init function
// announces the function on standard output, before any init function of the user
// prints.
//
// Packages are initialised in the order of their import paths once what they
// import is ready. So boot is supplied to the build under an early path,
// a.ryo.local/boot, and imports syscall alone, the smallest package that can
// write. It must never fail: what is wrong is reported later, by serve.
//
// It removes GOROOT from the environment where the agent has put it there: Go's runtime
// has read it by then, and finds time zones by it on machines that have none. Programs
// that the function starts must not inherit it.
//
// It also marks the inherited sockets close-on-exec, since a program that the
// user starts from an init function would otherwise keep them open.
package boot

import "syscall"

// The environment that the agent sets; package serve documents it.
const (
	envMount  = "RYO_MOUNT"
	envListen = "RYO_LISTEN"
	envGoroot = "RYO_GOROOT"
)

// firstFD is the first inherited descriptor after the three standard ones.
const firstFD = 3

func init() { //nolint:gochecknoinits // to run before the user's is what it is for
	if mount, ok := syscall.Getenv(envMount); ok {
		// Nothing can be done about an output that cannot be written to.
		_, _ = syscall.Write(1, []byte("deploying at "+mount+"\n"))
	}
	if brought, ok := syscall.Getenv(envGoroot); ok {
		if goroot, _ := syscall.Getenv("GOROOT"); goroot == brought {
			_ = syscall.Unsetenv("GOROOT") // its name is valid
		}
	}
	n, _ := syscall.Getenv(envListen)
	for fd := firstFD; fd < firstFD+inherited(n); fd++ {
		syscall.CloseOnExec(fd)
	}
}

// inherited is the number of sockets: one digit of listeners and the control
// connection. (strconv would delay this package.)
func inherited(listeners string) int {
	if len(listeners) != 1 || listeners[0] < '0' || listeners[0] > '9' {
		return 0
	}
	return int(listeners[0]-'0') + 1
}
