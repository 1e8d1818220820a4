//go:build amd64 || arm64

package confine

import (
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Rights by what a rule grants. fileRights are those that a rule about a single file may
// have: the kernel refuses the others there.
const (
	readRights  = unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_READ_DIR
	execRights  = readRights | unix.LANDLOCK_ACCESS_FS_EXECUTE
	fileRights  = unix.LANDLOCK_ACCESS_FS_EXECUTE | unix.LANDLOCK_ACCESS_FS_WRITE_FILE | unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_TRUNCATE
	firstRights = unix.LANDLOCK_ACCESS_FS_MAKE_SYM<<1 - 1 // of ABI 1: all up to this one
	// never is what Rules.Write does not grant: to run what can be written, to make
	// devices, and to send commands to devices.
	never = unix.LANDLOCK_ACCESS_FS_EXECUTE | unix.LANDLOCK_ACCESS_FS_MAKE_CHAR | unix.LANDLOCK_ACCESS_FS_MAKE_BLOCK | unix.LANDLOCK_ACCESS_FS_IOCTL_DEV
)

// rulePort is LANDLOCK_RULE_NET_PORT, and portRule its argument.
const rulePort = 2

type portRule struct{ access, port uint64 }

// landlockABI is the version of Landlock that the kernel has.
func landlockABI() (int, error) {
	abi, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	if errno != 0 {
		return 0, errno
	}
	return int(abi), nil //nolint:gosec // a small number
}

// fileAccess are the rights on files that an ABI knows.
func fileAccess(abi int) uint64 {
	rights := uint64(firstRights)
	if abi >= 2 {
		rights |= unix.LANDLOCK_ACCESS_FS_REFER
	}
	if abi >= 3 {
		rights |= unix.LANDLOCK_ACCESS_FS_TRUNCATE
	}
	if abi >= 5 {
		rights |= unix.LANDLOCK_ACCESS_FS_IOCTL_DEV
	}
	return rights
}

// ruleset makes a Landlock ruleset that denies, of what ABI abi knows, all that rules
// do not allow. The caller closes it.
func ruleset(abi int, rules Rules) (file *os.File, err error) {
	handled := unix.LandlockRulesetAttr{Handled_access_fs: fileAccess(abi)}
	size := unsafe.Offsetof(handled.Handled_access_net)
	if abi >= 4 {
		if !rules.Listen {
			handled.Handled_access_net |= unix.LANDLOCK_ACCESS_NET_BIND_TCP
		}
		if !rules.AnyPort {
			handled.Handled_access_net |= unix.LANDLOCK_ACCESS_NET_CONNECT_TCP
		}
		size = unsafe.Offsetof(handled.Scoped)
	}
	if abi >= 6 {
		handled.Scoped = unix.LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET | unix.LANDLOCK_SCOPE_SIGNAL
		size = unsafe.Offsetof(handled.Quiet_access_fs)
	}
	fd, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, uintptr(unsafe.Pointer(&handled)), size, 0)
	if errno != 0 {
		return nil, fmt.Errorf("make a Landlock ruleset: %w", errno)
	}
	file = os.NewFile(fd, "ruleset")
	defer func() {
		if err != nil {
			_ = file.Close()
		}
	}()
	for _, grant := range []struct {
		paths    []string
		rights   uint64
		optional bool
	}{
		{rules.Exec, execRights, false},
		{rules.Read, readRights, false},
		{rules.Write, handled.Handled_access_fs &^ never, false},
		{rules.System, readRights, true},
		{rules.Programs, execRights, true},
	} {
		for _, path := range grant.paths {
			err := allowPath(fd, path, grant.rights)
			if os.IsNotExist(err) && grant.optional {
				continue
			}
			if err != nil {
				return nil, fmt.Errorf("allow %s: %w", path, err)
			}
		}
	}
	if handled.Handled_access_net&unix.LANDLOCK_ACCESS_NET_CONNECT_TCP != 0 {
		for _, port := range rules.Connect {
			rule := portRule{unix.LANDLOCK_ACCESS_NET_CONNECT_TCP, uint64(port)}
			if err := addRule(fd, rulePort, unsafe.Pointer(&rule)); err != nil {
				return nil, fmt.Errorf("allow port %d: %w", port, err)
			}
		}
	}
	return file, nil
}

func allowPath(ruleset uintptr, path string, rights uint64) error {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	var stat unix.Stat_t
	if err := unix.Fstat(fd, &stat); err != nil {
		return err
	}
	if stat.Mode&unix.S_IFMT != unix.S_IFDIR {
		rights &= fileRights
	}
	rule := unix.LandlockPathBeneathAttr{Allowed_access: rights, Parent_fd: int32(fd)} //nolint:gosec // a descriptor
	return addRule(ruleset, unix.LANDLOCK_RULE_PATH_BENEATH, unsafe.Pointer(&rule))
}

func addRule(ruleset, kind uintptr, rule unsafe.Pointer) error {
	if _, _, errno := unix.Syscall6(unix.SYS_LANDLOCK_ADD_RULE, ruleset, kind, uintptr(rule), 0, 0, 0); errno != 0 {
		return errno
	}
	return nil
}
