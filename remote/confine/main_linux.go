package confine

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"runtime"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// failed is the exit code of a launcher that could not confine.
const failed = 97

// Main is the launcher's half. A program that confines others calls it first of
// all with its arguments: as a launcher it comes back only on a failure, to end
// with the exit code.
func Main(args []string) (code int, launcher bool) {
	hasMain.Store(true)
	if len(args) != 2 || args[0] != name {
		return 0, false
	}
	first, err := strconv.Atoi(args[1])
	if err != nil || first < 3 {
		return failed, true
	}
	// Landlock and seccomp bind the thread that calls execve, and with it the program.
	runtime.LockOSThread()
	said := os.NewFile(uintptr(first+1), "said")
	fmt.Fprint(said, become(first, said))
	return failed, true
}

// become reads an order and turns this process into its program, or says why not.
func become(first int, said *os.File) error {
	var o order
	in := os.NewFile(uintptr(first), "order") //nolint:gosec // a descriptor
	if err := json.NewDecoder(in).Decode(&o); err != nil {
		return fmt.Errorf("read the order: %w", err)
	}
	unix.Umask(0o077)
	if err := setLimits(o.Rules.Limits); err != nil {
		return err
	}
	// From the launcher's own pipes on; what lies below was meant.
	if err := closeFrom(first); err != nil {
		return fmt.Errorf("close what was inherited: %w", err)
	}
	if err := dropCapabilities(); err != nil {
		return fmt.Errorf("give up capabilities: %w", err)
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("set no_new_privs: %w", err)
	}
	if o.ABI > 0 {
		if err := restrict(o.ABI, o.Rules); err != nil {
			return err
		}
	}
	if o.Calls {
		own := 0
		if o.ABI < 6 && !o.Rules.Children {
			own = os.Getpid()
		}
		if err := install(filter(o.Rules, own)); err != nil {
			return err
		}
	}
	if _, err := said.WriteString(done); err != nil {
		return err
	}
	return fmt.Errorf("run %s: %w", o.Path, syscall.Exec(o.Path, o.Args, o.Env))
}

// setLimits lowers the limits for good: the hard ones too.
func setLimits(l Limits) error {
	for _, limit := range []struct {
		what  string
		which int
		value uint64
		set   bool
	}{
		{"core dumps", unix.RLIMIT_CORE, 0, true},
		{"locked memory", unix.RLIMIT_MEMLOCK, 0, true},
		{"processor time", unix.RLIMIT_CPU, uint64(l.CPU / time.Second), l.CPU > 0}, //nolint:gosec // positive
		{"memory", unix.RLIMIT_DATA, l.Data, l.Data > 0},
		{"file size", unix.RLIMIT_FSIZE, l.File, l.File > 0},
		{"open files", unix.RLIMIT_NOFILE, l.Files, l.Files > 0},
		{"processes", unix.RLIMIT_NPROC, l.Tasks, l.Tasks > 0},
	} {
		if !limit.set {
			continue
		}
		// Never above a limit that this program is itself under. Package syscall knows
		// then that it is not to restore the open files of before at execve.
		var rlimit syscall.Rlimit
		if err := syscall.Getrlimit(limit.which, &rlimit); err != nil {
			return fmt.Errorf("read the limit of %s: %w", limit.what, err)
		}
		rlimit.Max = min(rlimit.Max, limit.value)
		rlimit.Cur = rlimit.Max
		if err := syscall.Setrlimit(limit.which, &rlimit); err != nil {
			return fmt.Errorf("limit the %s: %w", limit.what, err)
		}
	}
	return nil
}

// closeFrom keeps descriptors from a number on from the program.
func closeFrom(first int) error {
	err := unix.CloseRange(uint(first), math.MaxInt32, unix.CLOSE_RANGE_CLOEXEC) //nolint:gosec // a descriptor
	if !errors.Is(err, unix.ENOSYS) && !errors.Is(err, unix.EINVAL) {
		return err
	}
	open, err := os.ReadDir("/proc/self/fd") // before Linux 5.11
	for _, entry := range open {
		if fd, _ := strconv.Atoi(entry.Name()); fd >= first {
			unix.CloseOnExec(fd)
		}
	}
	return err
}

// dropCapabilities empties the set from which execve gives root its capabilities.
// A plain user has none, and must not give up what it never had.
func dropCapabilities() error {
	for c := uintptr(0); ; c++ {
		err := unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0)
		if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EPERM) { // after the last; layers tells of the other
			break
		}
		if err != nil {
			return err
		}
	}
	return unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
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
