package confine

import (
	"encoding/binary"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// verdict runs a filter as the kernel does.
func verdict(t testing.TB, prog []instr, arch, call uint32, args ...uint64) uint32 {
	t.Helper()
	data := binary.LittleEndian.AppendUint32(nil, call)
	data = binary.LittleEndian.AppendUint32(data, arch)
	data = binary.LittleEndian.AppendUint64(data, 0)
	for i := range 6 {
		if i < len(args) {
			data = binary.LittleEndian.AppendUint64(data, args[i])
		} else {
			data = binary.LittleEndian.AppendUint64(data, 0)
		}
	}
	var a uint32
	for pc := 0; pc < len(prog); pc++ {
		i := prog[pc]
		skip := func(test bool) {
			if pc += int(i.Jf); test {
				pc += int(i.Jt) - int(i.Jf)
			}
		}
		switch i.Code {
		case unix.BPF_LD | unix.BPF_W | unix.BPF_ABS:
			a = binary.LittleEndian.Uint32(data[i.K:])
		case unix.BPF_ALU | unix.BPF_AND | unix.BPF_K:
			a &= i.K
		case unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K:
			skip(a == i.K)
		case unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K:
			skip(a >= i.K)
		case unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K:
			skip(a&i.K != 0)
		case unix.BPF_RET | unix.BPF_K:
			return i.K
		default:
			require.Failf(t, "unknown instruction", "%#v", i)
		}
	}
	require.Fail(t, "the filter has no end")
	return 0
}

func TestEachCallOfTheListIsDenied(t *testing.T) {
	calls, metadata := slices.Concat(forbidden, forbiddenHere), slices.Concat(attributes, attributesHere)
	assert.Len(t, slices.Compact(slices.Sorted(slices.Values(calls))), len(calls), "each once")
	for _, rules := range []Rules{{}, {Connect: []uint16{80}, Children: true, Attributes: true}} {
		prog := filter(rules, false)
		for call := range uint32(600) {
			got := verdict(t, prog, auditArch, call)
			switch call {
			case unix.SYS_CLONE3:
				assert.Equal(t, enos, got)
			case unix.SYS_SOCKET, unix.SYS_SOCKETPAIR, unix.SYS_LISTEN:
				assert.Equal(t, eacc, got, "family 0")
			case unix.SYS_SETSID, unix.SYS_SETPGID:
				assert.Equal(t, rules.Children, got == eperm)
			case unix.SYS_CLONE:
				assert.Equal(t, !rules.Children, got == eperm)
			default:
				forks := !rules.Children && slices.Contains(forks, call)
				changes := !rules.Attributes && slices.Contains(metadata, call)
				assert.Equal(t, forks || changes || slices.Contains(calls, call), got == eperm, "call %d", call)
			}
		}
	}
}

func TestFilterOfArguments(t *testing.T) {
	const top = 1 << 32
	network, none := filter(Rules{Connect: []uint16{80}}, false), filter(Rules{}, false)
	unixes := filter(Rules{AnyPort: true, Unix: true}, false)
	children, own := filter(Rules{Children: true}, false), filter(Rules{}, true)
	for _, c := range []struct {
		what string
		prog []instr
		want uint32
		call uint32
		args []uint64
	}{
		{"tcp", network, allow, unix.SYS_SOCKET, []uint64{unix.AF_INET, unix.SOCK_STREAM | unix.SOCK_NONBLOCK | unix.SOCK_CLOEXEC, 6}},
		{"udp 6", network, allow, unix.SYS_SOCKET, []uint64{unix.AF_INET6, unix.SOCK_DGRAM, 17}},
		{"mptcp", network, eacc, unix.SYS_SOCKET, []uint64{unix.AF_INET, unix.SOCK_STREAM, unix.IPPROTO_MPTCP}},
		{"sctp", network, eacc, unix.SYS_SOCKET, []uint64{unix.AF_INET, unix.SOCK_SEQPACKET, 132}},
		{"unix", unixes, allow, unix.SYS_SOCKET, []uint64{unix.AF_UNIX, unix.SOCK_STREAM, 0}},
		{"high family, unix", unixes, eacc, unix.SYS_SOCKET, []uint64{top | unix.AF_UNIX, unix.SOCK_STREAM, 0}},
		{"tcp beside unix", unixes, allow, unix.SYS_SOCKET, []uint64{unix.AF_INET, unix.SOCK_STREAM, 0}},
		{"netlink beside unix", unixes, eacc, unix.SYS_SOCKET, []uint64{unix.AF_NETLINK, unix.SOCK_RAW, 0}},
		{"unix alone", filter(Rules{Unix: true}, false), eacc, unix.SYS_SOCKET, []uint64{unix.AF_INET, unix.SOCK_STREAM, 0}},
		{"high family", network, eacc, unix.SYS_SOCKET, []uint64{top | unix.AF_INET, unix.SOCK_STREAM, 0}},
		{"high type", network, eacc, unix.SYS_SOCKET, []uint64{unix.AF_INET, top | unix.SOCK_STREAM, 0}},
		{"high protocol", network, eacc, unix.SYS_SOCKET, []uint64{unix.AF_INET, unix.SOCK_STREAM, top}},
		{"unknown flag of type", network, eacc, unix.SYS_SOCKET, []uint64{unix.AF_INET, unix.SOCK_STREAM | 0x100, 0}},
		{"tcp without a network", none, eacc, unix.SYS_SOCKET, []uint64{unix.AF_INET, unix.SOCK_STREAM, 0}},
		{"udp without a network", none, eacc, unix.SYS_SOCKET, []uint64{unix.AF_INET, unix.SOCK_DGRAM, 0}},
		{"sendto", network, allow, unix.SYS_SENDTO, []uint64{3, 0, 0, unix.MSG_NOSIGNAL}},
		{"sendto, fast open", network, eperm, unix.SYS_SENDTO, []uint64{3, 0, 0, top | unix.MSG_FASTOPEN | unix.MSG_NOSIGNAL}},
		{"sendmsg, fast open", network, eperm, unix.SYS_SENDMSG, []uint64{3, 0, unix.MSG_FASTOPEN}},
		{"sendmmsg, fast open", network, eperm, unix.SYS_SENDMMSG, []uint64{3, 0, 0, unix.MSG_FASTOPEN}},
		{"thread", none, allow, unix.SYS_CLONE, []uint64{unix.CLONE_VM | unix.CLONE_THREAD}},
		{"child", none, eperm, unix.SYS_CLONE, []uint64{unix.CLONE_VM | unix.CLONE_VFORK}},
		{"thread bit in the high half", none, eperm, unix.SYS_CLONE, []uint64{unix.CLONE_THREAD << 32}},
		{"child of one who may", children, allow, unix.SYS_CLONE, []uint64{unix.CLONE_VM | unix.CLONE_VFORK | unix.CLONE_PIDFD}},
		{"namespace", children, eperm, unix.SYS_CLONE, []uint64{unix.CLONE_NEWUSER}},
		{"thread with a namespace", none, eperm, unix.SYS_CLONE, []uint64{unix.CLONE_THREAD | unix.CLONE_NEWNET}},
		{"own limits", none, allow, unix.SYS_PRLIMIT64, []uint64{0}},
		{"limits of another", none, eperm, unix.SYS_PRLIMIT64, []uint64{1}},
		{"signals are Landlock's", none, allow, unix.SYS_KILL, []uint64{1, 9}},
		{"own signal", own, allow, unix.SYS_TGKILL, []uint64{ownPid, 78, 9}},
		{"signal to another", own, eperm, unix.SYS_KILL, []uint64{78, 9}},
		{"signal to a group", own, eperm, unix.SYS_KILL, []uint64{1<<64 - ownPid, 9}},
		{"queued signal", own, eperm, unix.SYS_RT_SIGQUEUEINFO, []uint64{ownPid}},
	} {
		assert.Equal(t, c.want, verdict(t, c.prog, auditArch, c.call, c.args...), c.what)
	}
	assert.Equal(t, uint32(kill), verdict(t, none, auditArch+1, unix.SYS_READ))
	if x32 != 0 {
		assert.Equal(t, eperm, verdict(t, none, auditArch, x32|unix.SYS_READ))
		assert.Equal(t, eperm, verdict(t, none, auditArch, 1<<32-1))
	}
}

func BenchmarkFilter(b *testing.B) {
	for b.Loop() {
		filter(Rules{Connect: []uint16{80}}, false)
	}
}
