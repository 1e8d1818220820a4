//go:build amd64 || arm64

package confine

import (
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// datagrams deny UDP, but for DNS, to programs whose rules have a list of ports. They are
// small BPF programs, attached to the control group of such a program: the kernel runs them
// at each connect and sendto of a socket that was made in the group. They go with it.
type datagrams struct {
	dir      string           // of version 2, in which groups are made
	programs map[int]*os.File // by where they are attached
}

// findDatagrams loads the BPF programs, and tries whether they can be attached.
func findDatagrams() (*datagrams, error) {
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	own, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return nil, err
	}
	var second strings.Builder
	for line := range strings.Lines(string(mounts)) {
		if strings.Contains(line, " - cgroup2 ") {
			second.WriteString(line)
		}
	}
	found := hierarchies(second.String(), string(own))
	if len(found) == 0 {
		return nil, errors.New("no control groups of version 2 are mounted")
	}
	d := &datagrams{dir: found[0].dir, programs: make(map[int]*os.File)}
	sweep(d.dir)
	for _, hook := range []int{unix.BPF_CGROUP_INET4_CONNECT, unix.BPF_CGROUP_INET6_CONNECT, unix.BPF_CGROUP_UDP4_SENDMSG, unix.BPF_CGROUP_UDP6_SENDMSG} {
		if d.programs[hook], err = loadDatagrams(hook); err != nil {
			return nil, err
		}
	}
	var probe group
	folder, err := d.join(&probe)
	if err == nil {
		err = folder.Close()
	}
	return d, errors.Join(err, probe.remove())
}

// join attaches them to a program's group of version 2, which it makes if there is none. It
// returns the group's folder, in which the program is to begin. The caller closes it.
func (d *datagrams) join(made *group) (folder *os.File, err error) {
	dir := ""
	for _, one := range *made {
		if filepath.Dir(one) == d.dir {
			dir = one
		}
	}
	if dir == "" {
		if dir, err = os.MkdirTemp(d.dir, freePrefix+maker()); err != nil {
			return nil, err
		}
		*made = append(*made, dir)
	}
	if folder, err = os.Open(dir); err != nil {
		return nil, err
	}
	for hook, program := range d.programs {
		// target_fd, attach_bpf_fd, attach_type, attach_flags of bpf(2)
		attr := [4]uint32{uint32(folder.Fd()), uint32(program.Fd()), uint32(hook), unix.BPF_F_ALLOW_MULTI} //nolint:gosec // descriptors
		if _, err := bpf(unix.BPF_PROG_ATTACH, unsafe.Pointer(&attr), unsafe.Sizeof(attr)); err != nil {
			return nil, errors.Join(err, folder.Close())
		}
	}
	return folder, nil
}

// The instructions of BPF that are needed, and the offsets of what they read in struct
// bpf_sock_addr.
const (
	bpfLoad         = unix.BPF_LDX | unix.BPF_MEM | unix.BPF_W
	bpfJumpEqual    = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
	bpfJumpNotEqual = unix.BPF_JMP | 0x50 | unix.BPF_K
	bpfMove         = 0x07 | 0xb0 | unix.BPF_K
	bpfExit         = unix.BPF_JMP | 0x90

	addrPort = 24
	addrType = 32
)

// dns is the port of DNS, as in an address.
const dns = 53 << 8

// loadDatagrams loads the program for a hook. It allows everything but datagrams, and of
// those what goes to the port of DNS.
func loadDatagrams(hook int) (*os.File, error) {
	var text []byte
	add := func(code, registers byte, jump uint16, value uint32) {
		text = append(text, code, registers)
		text = binary.LittleEndian.AppendUint16(text, jump)
		text = binary.LittleEndian.AppendUint32(text, value)
	}
	add(bpfLoad, 0x12, addrType, 0) // r2 = type
	add(bpfJumpNotEqual, 2, 4, unix.SOCK_DGRAM)
	add(bpfLoad, 0x12, addrPort, 0) // r2 = port
	add(bpfJumpEqual, 2, 2, dns)
	add(bpfMove, 0, 0, 0) // EPERM
	add(bpfExit, 0, 0, 0)
	add(bpfMove, 0, 0, 1)
	add(bpfExit, 0, 0, 0)
	license := [4]byte{}
	var pins runtime.Pinner
	defer pins.Unpin()
	pins.Pin(&text[0])
	pins.Pin(&license)
	attr := struct { // of BPF_PROG_LOAD
		kind, count   uint32
		text, license uintptr
		_             [4]uint32
		_             [2]uint32
		name          [16]byte
		_, hook       uint32
	}{
		kind: unix.BPF_PROG_TYPE_CGROUP_SOCK_ADDR, count: uint32(len(text) / 8), //nolint:gosec // few
		text: uintptr(unsafe.Pointer(&text[0])), license: uintptr(unsafe.Pointer(&license)), hook: uint32(hook), //nolint:gosec // small
	}
	copy(attr.name[:], "ryo_no_udp")
	fd, err := bpf(unix.BPF_PROG_LOAD, unsafe.Pointer(&attr), unsafe.Sizeof(attr))
	if err != nil {
		return nil, err
	}
	return os.NewFile(fd, "ryo_no_udp"), nil
}

func bpf(command uintptr, attr unsafe.Pointer, size uintptr) (uintptr, error) {
	result, _, errno := unix.Syscall(unix.SYS_BPF, command, uintptr(attr), size)
	if errno != 0 {
		return 0, errno
	}
	return result, nil
}
