// Command attack tries what a confined program must not be able to do. Its
// arguments are the attack's name and what it is aimed at. It prints "worked",
// the name of the error that stopped it, or what it was asked to count.
package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

var attacks = map[string]func(arg string) error{
	"read":     func(path string) error { _, err := os.ReadFile(path); return err },
	"list":     func(path string) error { _, err := os.ReadDir(path); return err },
	"write":    func(path string) error { return os.WriteFile(path, []byte("x"), 0o600) },
	"truncate": func(path string) error { return os.Truncate(path, 0) },
	"remove":   os.Remove,
	"mkdir":    func(path string) error { return os.Mkdir(path, 0o700) },
	"rename":   func(paths string) error { from, to, _ := strings.Cut(paths, ","); return os.Rename(from, to) },
	"link":     func(paths string) error { from, to, _ := strings.Cut(paths, ","); return os.Link(from, to) },
	"exec":     func(path string) error { return unix.Exec(path, []string{path, "say", "worked"}, nil) },
	"copyexec": copyExec,
	"fork":     func(path string) error { return exec.Command(path, "say", "").Run() },
	"ioctl": func(path string) error {
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		_, err = unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
		return err
	},

	"tcp": func(addr string) error { return dial("tcp", addr) },
	"udp": func(addr string) error { return dial("udp", addr) },
	"sendto": func(addr string) error {
		to, err := net.ResolveUDPAddr("udp", addr)
		if err != nil {
			return err
		}
		conn, err := net.ListenUDP("udp", nil)
		if err != nil {
			return err
		}
		_, err = conn.WriteTo([]byte("x"), to)
		return err
	},
	"unix":   func(path string) error { return dial("unix", path) },
	"listen": func(addr string) error { _, err := net.Listen("tcp", addr); return err },
	"autolisten": func(string) error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
		if err != nil {
			return err
		}
		return unix.Listen(fd, 1)
	},
	"socketpair": func(string) error { _, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0); return err },
	"run":        func(path string) error { return exec.Command(path).Run() },
	"itself": func(string) error {
		name, err := os.Executable()
		if err != nil {
			return err
		}
		return say(name)
	},
	"user": func(string) error {
		groups, _ := os.Getgroups()
		return say(fmt.Sprintf("uid=%d gid=%d groups=%v", os.Getuid(), os.Getgid(), groups))
	},
	"mptcp":    func(addr string) error { return connect(addr, unix.IPPROTO_MPTCP) },
	"tfo":      func(addr string) error { return fastOpenOption(addr) },
	"fastopen": fastOpen,
	"raw":      socket(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_ICMP),
	"rawhigh":  socket(unix.AF_INET, 1<<32|unix.SOCK_RAW, unix.IPPROTO_ICMP),
	"unixhigh": socket(1<<32|unix.AF_UNIX, unix.SOCK_STREAM, 0),
	"tcphigh":  socket(1<<32|unix.AF_INET, unix.SOCK_STREAM, 0),
	"icmp":     socket(unix.AF_INET, unix.SOCK_DGRAM, unix.IPPROTO_ICMP),
	"packet":   socket(unix.AF_PACKET, unix.SOCK_RAW, 0),
	"vsock":    socket(unix.AF_VSOCK, unix.SOCK_STREAM, 0),
	"netlink":  socket(unix.AF_NETLINK, unix.SOCK_RAW, 0),
	"alg":      socket(unix.AF_ALG, unix.SOCK_SEQPACKET, 0),
	"x32":      func(string) error { return raw(0x40000000|unix.SYS_SOCKET, unix.AF_UNIX, unix.SOCK_STREAM, 0) },
	"int80":    int80,

	"signal":  func(pid string) error { return unix.Kill(number(pid), 0) },
	"ptrace":  ptrace,
	"vmread":  vmRead,
	"prlimit": prlimit,
	"nice":    func(pid string) error { return unix.Setpriority(unix.PRIO_PROCESS, number(pid), 19) },
	"affinity": func(pid string) error {
		set := unix.CPUSet{}
		set.Set(0)
		return unix.SchedSetaffinity(number(pid), &set)
	},
	"pidfd":     func(pid string) error { return pidfdGet(number(pid)) },
	"abstract":  func(addr string) error { return dial("unix", addr) },
	"mount":     func(dir string) error { return unix.Mount("x", dir, "nosuch", 0, "") },
	"unshare":   func(string) error { runtime.LockOSThread(); return unix.Unshare(unix.CLONE_NEWUTS) },
	"userns":    func(string) error { runtime.LockOSThread(); return raw(unix.SYS_UNSHARE, unix.CLONE_NEWUSER, 0, 0) },
	"cloneuser": func(path string) error { return namespaced(path, unix.CLONE_NEWUSER) },
	"clonepid":  func(path string) error { return namespaced(path, unix.CLONE_NEWPID) },
	"clone3":    func(string) error { return raw(unix.SYS_CLONE3, 0, 0, 0) },
	"setns":     func(string) error { return unix.Setns(-1, 0) },
	"chroot":    unix.Chroot,
	"setuid":    func(string) error { return raw(unix.SYS_SETUID, 0, 0, 0) },
	"bpf":       func(string) error { return raw(unix.SYS_BPF, 9999, 0, 0) },
	"iouring":   func(string) error { return raw(unix.SYS_IO_URING_SETUP, 0, 0, 0) },
	"keyctl":    func(string) error { return raw(unix.SYS_KEYCTL, unix.KEYCTL_GET_KEYRING_ID, ^uintptr(2), 0) },
	"perf":      func(string) error { return raw(unix.SYS_PERF_EVENT_OPEN, 0, 0, 0) },
	"uffd":      func(string) error { return raw(unix.SYS_USERFAULTFD, 0, 0, 0) },
	"memfd":     func(string) error { _, err := unix.MemfdCreate("x", 0); return err },
	"mknod":     func(path string) error { return unix.Mknod(path, unix.S_IFIFO|0o600, 0) },
	"kexec":     func(string) error { return raw(unix.SYS_KEXEC_LOAD, 0, 99, 0) },
	"module":    func(string) error { return raw(unix.SYS_INIT_MODULE, 0, 0, 0) },
	"landlock": func(string) error {
		return raw(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	},
	"setsid":  func(path string) error { return started(path, &syscall.SysProcAttr{Setsid: true}) },
	"setpgid": func(path string) error { return started(path, &syscall.SysProcAttr{Setpgid: true}) },

	"say":    func(text string) error { return say(text) },
	"fds":    func(string) error { return say(openFiles()) },
	"state":  func(string) error { return say(state()) },
	"env":    func(string) error { return say(strings.Join(os.Environ(), " ")) },
	"hold":   func(dir string) error { return hold(dir) },
	"size":   fileSize,
	"memory": memory,
	"burn": func(string) error {
		for { //nolint:revive // until the limit
		}
	},
	"tree":    tree,
	"threads": threads,
	"sleep":   func(string) error { time.Sleep(time.Hour); return nil }, //nolint:forbidigo // a target

	"work": work,
}

func main() {
	attack, ok := attacks[os.Args[1]]
	if !ok {
		fmt.Println("no such attack")
		return
	}
	arg := ""
	if len(os.Args) > 2 {
		arg = os.Args[2]
	}
	err := attack(arg)
	var errno syscall.Errno
	switch {
	case err == nil:
		fmt.Println("worked")
	case errors.Is(err, errSaid):
	case errors.As(err, &errno):
		fmt.Println(unix.ErrnoName(errno))
	default:
		fmt.Println(err)
	}
}

// errSaid ends an attack that has printed its own outcome.
var errSaid = errors.New("said")

func say(text string) error { fmt.Println(text); return errSaid }

func number(text string) int { n, _ := strconv.Atoi(text); return n }

func raw(call, a, b, c uintptr) error {
	if _, _, errno := unix.Syscall6(call, a, b, c, 0, 0, 0); errno != 0 {
		return errno
	}
	return nil
}

func socket(family, kind, protocol uintptr) func(string) error {
	return func(string) error { return raw(unix.SYS_SOCKET, family, kind, protocol) }
}

func dial(network, addr string) error {
	conn, err := net.DialTimeout(network, addr, time.Second)
	if err == nil {
		err = conn.Close()
	}
	return err
}

func address(text string) *unix.SockaddrInet4 {
	_, port, _ := net.SplitHostPort(text)
	return &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}, Port: number(port)}
}

func connect(addr string, protocol int) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, protocol)
	if err != nil {
		return err
	}
	return unix.Connect(fd, address(addr))
}

func fastOpenOption(addr string) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	if err != nil {
		return err
	}
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_FASTOPEN_CONNECT, 1); err != nil {
		return err
	}
	if err := unix.Connect(fd, address(addr)); err != nil {
		return err
	}
	_, err = unix.Write(fd, []byte("x"))
	return err
}

func fastOpen(addr string) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	if err != nil {
		return err
	}
	return unix.Sendto(fd, []byte("x"), unix.MSG_FASTOPEN, address(addr))
}

// int80 asks for a unix socket as a program of 32 bits would. Kernels that were made or
// started without such calls take it for a fault.
func int80(string) (err error) {
	debug.SetPanicOnFault(true)
	defer func() {
		if recover() != nil {
			err = syscall.ENOSYS
		}
	}()
	if got := int80Call(359, unix.AF_UNIX, unix.SOCK_STREAM, 0); got < 0 {
		return syscall.Errno(-got)
	}
	return nil
}

func ptrace(pid string) error {
	runtime.LockOSThread()
	if err := unix.PtraceAttach(number(pid)); err != nil {
		return err
	}
	_, _ = unix.Wait4(number(pid), nil, 0, nil)
	return unix.PtraceDetach(number(pid))
}

func vmRead(pid string) error {
	var buf [8]byte
	local := []unix.Iovec{{Base: &buf[0], Len: 8}}
	// Go programs of one build have their code at the same address.
	code := number
	at := **(**uintptr)(unsafe.Pointer(&code))
	_, err := unix.ProcessVMReadv(number(pid), local, []unix.RemoteIovec{{Base: at, Len: 8}}, 0)
	return err
}

func prlimit(pid string) error {
	var limit unix.Rlimit
	if err := unix.Prlimit(number(pid), unix.RLIMIT_CORE, nil, &limit); err != nil {
		return err
	}
	return unix.Prlimit(number(pid), unix.RLIMIT_CORE, &limit, nil)
}

func pidfdGet(pid int) error {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return err
	}
	_, err = unix.PidfdGetfd(fd, 0, 0)
	return err
}

func started(path string, attr *syscall.SysProcAttr) error {
	cmd := exec.Command(path, "say", "")
	cmd.SysProcAttr = attr
	return cmd.Run()
}

func namespaced(path string, flags uintptr) error {
	return started(path, &syscall.SysProcAttr{Cloneflags: flags})
}

// copyExec copies this program into a folder that it can write to, and runs it.
func copyExec(dir string) error {
	program, err := os.ReadFile(os.Args[0])
	if err != nil {
		return err
	}
	path := filepath.Join(dir, "copy")
	if err := os.WriteFile(path, program, 0o700); err != nil {
		return err
	}
	return unix.Exec(path, []string{path, "say", "worked"}, nil)
}

// openFiles are the descriptors that this program was started with, from 3 on.
// Those of Go's own are close-on-exec.
func openFiles() string {
	var open []string
	for fd := 3; fd < 1024; fd++ {
		if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err == nil && flags&unix.FD_CLOEXEC == 0 {
			open = append(open, strconv.Itoa(fd))
		}
	}
	return "fds:" + strings.Join(open, ",")
}

func state() string {
	nnp, _ := unix.PrctlRetInt(unix.PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0)
	bounding := 0
	for c := uintptr(0); ; c++ {
		set, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, c, 0, 0, 0)
		if err != nil {
			break
		}
		bounding += set
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	_ = unix.Capget(&header, &data[0])
	return fmt.Sprintf("nnp=%d bounding=%d effective=%d umask=%o", nnp, bounding, data[0].Effective|data[1].Effective, unix.Umask(0))
}

// hold opens files until it may not, and says how many.
func hold(dir string) error {
	for n := 0; ; n++ {
		if _, err := os.OpenFile(filepath.Join(dir, strconv.Itoa(n)), os.O_CREATE|os.O_WRONLY, 0o600); err != nil {
			return say(fmt.Sprint("more than ", n/100*100))
		}
	}
}

func fileSize(path string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	return f.Truncate(64 << 20)
}

func memory(size string) error {
	block := make([]byte, number(size)<<20)
	for i := 0; i < len(block); i += 4096 {
		block[i] = 1
	}
	return nil
}

// tree starts a child that starts a child, and waits for both.
func tree(depth string) error {
	fmt.Println(os.Getpid())
	if depth == "0" {
		time.Sleep(time.Hour) //nolint:forbidigo // a target; a program that waits for nothing would exit
	}
	cmd := exec.Command(os.Args[0], "tree", strconv.Itoa(number(depth)-1))
	cmd.Stdout = os.Stdout
	return cmd.Run()
}

// threads holds a number of threads.
func threads(count string) error {
	var begun, done sync.WaitGroup
	done.Add(1)
	for range number(count) {
		begun.Add(1)
		go func() {
			runtime.LockOSThread()
			begun.Done()
			done.Wait()
		}()
	}
	begun.Wait()
	done.Done()
	return nil
}

// work is what every program does and must be able to do.
func work(dir string) error {
	path := filepath.Join(dir, "a", "b")
	if err := os.MkdirAll(path, 0o700); err != nil {
		return err
	}
	file := filepath.Join(path, "file")
	if err := os.WriteFile(file, []byte("x"), 0o600); err != nil {
		return err
	}
	moved := filepath.Join(dir, "moved")
	if err := errors.Join(os.Rename(file, moved), os.Chmod(moved, 0o700), os.Truncate(moved, 0), os.RemoveAll(filepath.Join(dir, "a"))); err != nil {
		return err
	}
	done := make(chan int)
	for i := range 1000 {
		go func() {
			runtime.Gosched()
			time.Sleep(time.Millisecond) //nolint:forbidigo // timers work
			done <- i
		}()
	}
	for range 1000 {
		<-done
	}
	runtime.GC()
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return null.Close()
}
