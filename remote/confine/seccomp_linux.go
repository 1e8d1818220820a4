//go:build amd64 || arm64

package confine

import (
	"slices"
	"unsafe"

	"golang.org/x/sys/unix"
)

// instr is an instruction of classic BPF, which the kernel runs at each system
// call on struct seccomp_data: the number, the architecture, the instruction
// pointer and six arguments of 64 bits, all little-endian here.
type instr = unix.SockFilter

const (
	offNumber = 0
	offArch   = 4
	offArgs   = 16
)

// The denials. EACCES is what a firewall answers.
const (
	allow = unix.SECCOMP_RET_ALLOW
	kill  = unix.SECCOMP_RET_KILL_PROCESS
	eperm = unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)
	eacc  = unix.SECCOMP_RET_ERRNO | uint32(unix.EACCES)
	enos  = unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)
)

func ret(action uint32) instr { return instr{Code: unix.BPF_RET | unix.BPF_K, K: action} }

// load reads a word of the data into the register on which the next instructions work.
func load(offset int) instr {
	return instr{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: uint32(offset)} //nolint:gosec // below 64
}

func low(arg int) instr  { return load(offArgs + 8*arg) }
func high(arg int) instr { return load(offArgs + 8*arg + 4) }
func mask(k uint32) instr {
	return instr{Code: unix.BPF_ALU | unix.BPF_AND | unix.BPF_K, K: k}
}

// jump skips instructions: one number of them if the test holds, another if not.
func jump(test uint16, k uint32, then, otherwise int) instr {
	return instr{Code: unix.BPF_JMP | test | unix.BPF_K, Jt: uint8(then), Jf: uint8(otherwise), K: k} //nolint:gosec // bodies are short
}

// on runs body for one system call. Every way through it must end with a ret, since what
// comes next expects the number of the call in the register.
func on(call uint32, body ...instr) []instr {
	return slices.Insert(body, 0, jump(unix.BPF_JEQ, call, 0, len(body)))
}

// oneOf denies a call unless an argument, without some bits, has one of the values. The
// kernel reads the low 32 bits alone, so a high half that is not zero is a trick.
func oneOf(denial uint32, arg int, without uint32, values ...uint32) []instr {
	body := []instr{high(arg), jump(unix.BPF_JEQ, 0, 1, 0), ret(denial), low(arg), mask(^without)}
	for i, v := range values {
		body = append(body, jump(unix.BPF_JEQ, v, len(values)-i, 0))
	}
	return append(body, ret(denial))
}

// without denies a call whose argument has one of some bits.
func without(arg int, bits uint32) []instr {
	return []instr{low(arg), jump(unix.BPF_JSET, bits, 0, 1), ret(eperm)}
}

// namespaces are the flags of clone(2) that make one.
const namespaces = unix.CLONE_NEWNS | unix.CLONE_NEWCGROUP | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC |
	unix.CLONE_NEWUSER | unix.CLONE_NEWPID | unix.CLONE_NEWNET

// ownPid stands in a filter for the pid of its process, which is put in when that is known.
const ownPid = 1<<32 - 1

// filter is the program for rules. With ownSignals the process may signal itself alone;
// else that is up to Landlock.
func filter(rules Rules, ownSignals bool) []instr {
	prog := []instr{
		// Numbers of another architecture mean other calls.
		load(offArch), jump(unix.BPF_JEQ, auditArch, 1, 0), ret(kill),
		load(offNumber),
	}
	if x32 != 0 { // calls of this kind have the same architecture, and numbers of their own
		prog = append(prog, jump(unix.BPF_JGE, x32, 0, 1), ret(eperm))
	}
	add := func(call uint32, bodies ...[]instr) { prog = append(prog, on(call, slices.Concat(bodies...)...)...) }
	allowed, denied := []instr{ret(allow)}, []instr{ret(eperm)}

	for _, call := range slices.Concat(forbidden, forbiddenHere) {
		add(call, denied)
	}
	add(unix.SYS_SOCKET, sockets(rules)...)
	if !rules.Unix {
		// A descriptor that is sent through one is, on its way, in no process's table, where
		// the agent looks for the owner of a connection.
		add(unix.SYS_SOCKETPAIR, []instr{ret(eacc)})
	}
	if !rules.Attributes {
		for _, call := range slices.Concat(attributes, attributesHere) {
			add(call, denied)
		}
	}
	if !rules.Listen {
		// Also on a socket without a port, which gets one that Landlock does not see.
		add(unix.SYS_LISTEN, []instr{ret(eacc)})
	}
	// With this flag they open a connection, which Landlock does not see.
	add(unix.SYS_SENDTO, without(3, unix.MSG_FASTOPEN), allowed)
	add(unix.SYS_SENDMSG, without(2, unix.MSG_FASTOPEN), allowed)
	add(unix.SYS_SENDMMSG, without(3, unix.MSG_FASTOPEN), allowed)

	// Flags of clone3 lie in memory, where a filter cannot look; callers fall back.
	add(unix.SYS_CLONE3, []instr{ret(enos)})
	if rules.Children {
		add(unix.SYS_CLONE, without(0, namespaces), allowed)
		// A process that leaves would survive the kill of the others.
		add(unix.SYS_SETSID, denied)
		if !rules.Groups {
			add(unix.SYS_SETPGID, denied)
		}
	} else {
		add(unix.SYS_CLONE, without(0, namespaces),
			[]instr{low(0), jump(unix.BPF_JSET, unix.CLONE_THREAD, 1, 0), ret(eperm)}, allowed)
		for _, call := range forks {
			add(call, denied)
		}
	}
	// For the process itself (0), not for others of the same user, such as the agent.
	for _, call := range ofSelf {
		add(call, oneOf(eperm, 0, 0, 0), allowed)
	}
	if ownSignals {
		own := oneOf(eperm, 0, 0, ownPid)
		add(unix.SYS_KILL, own, allowed)
		add(unix.SYS_TGKILL, own, allowed)
		for _, call := range otherSignals {
			add(call, denied)
		}
	}
	return append(prog, ret(allow))
}

// sockets are the bodies for socket(2).
func sockets(rules Rules) (bodies [][]instr) {
	if rules.Unix {
		bodies = append(bodies, []instr{high(0), jump(unix.BPF_JEQ, 0, 0, 3), low(0), jump(unix.BPF_JEQ, unix.AF_UNIX, 0, 1), ret(allow)})
	}
	if !rules.network() {
		return append(bodies, []instr{ret(eacc)})
	}
	return append(bodies,
		oneOf(eacc, 0, 0, unix.AF_INET, unix.AF_INET6),
		oneOf(eacc, 1, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, unix.SOCK_STREAM, unix.SOCK_DGRAM),
		// Neither raw nor MPTCP, which Landlock's rules for ports do not see.
		oneOf(eacc, 2, 0, unix.IPPROTO_IP, unix.IPPROTO_TCP, unix.IPPROTO_UDP),
		[]instr{ret(allow)})
}

// seccompWorks says why system calls cannot be filtered, or nil.
func seccompWorks() error {
	action := uint32(kill)
	_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_GET_ACTION_AVAIL, 0, uintptr(unsafe.Pointer(&action)))
	if errno != 0 {
		return errno
	}
	return nil
}
