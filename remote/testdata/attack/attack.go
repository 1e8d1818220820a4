// Package attack is a function that tries what functions must not be able to do.
package attack

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
	"unsafe"
)

// A process may attack before it serves, too.
func init() {
	if size := os.Getenv("FILL"); size != "" {
		_ = fill(size, false)
	}
}

// Attack makes the attack of the query's try, at what its at says, and answers "worked",
// the name of the error that stopped it, or what it was asked to count.
func Attack(w http.ResponseWriter, r *http.Request) {
	attack, ok := attacks[r.URL.Query().Get("try")]
	if !ok {
		fmt.Fprint(w, "no such attack")
		return
	}
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never again: what an attack changes ends with its thread
		done <- attack(r.URL.Query().Get("at"))
	}()
	err := <-done
	var errno syscall.Errno
	var said says
	switch {
	case err == nil:
		fmt.Fprint(w, "worked")
	case errors.As(err, &said):
		fmt.Fprint(w, string(said))
	case errors.As(err, &errno):
		fmt.Fprint(w, names[errno])
		if names[errno] == "" {
			fmt.Fprint(w, errno)
		}
	default:
		fmt.Fprint(w, err)
	}
}

var names = map[syscall.Errno]string{
	syscall.EACCES: "EACCES", syscall.EPERM: "EPERM", syscall.ENOSYS: "ENOSYS", syscall.ENOENT: "ENOENT", syscall.EXDEV: "EXDEV",
	syscall.ECONNREFUSED: "ECONNREFUSED", syscall.EMFILE: "EMFILE", syscall.ESRCH: "ESRCH", syscall.ENOSPC: "ENOSPC", syscall.EAGAIN: "EAGAIN", syscall.EROFS: "EROFS",
}

// says is what an attack says that is no error.
type says string

func (s says) Error() string { return string(s) }

// Of the kernel, where package syscall does not know them.
const (
	familyVsock   = 40
	protoMPTCP    = 262
	msgFastOpen   = 0x20000000
	tcpFastOpenTo = 30
	cloneUser     = 0x10000000
	sysBPF        = 321
	sysIOURing    = 425
	sysKeyctl     = 250
	sysMemfd      = 319
	sysVMRead     = 310
	sysPidfdOpen  = 434
	sysPidfdGet   = 438
)

var attacks = map[string]func(at string) error{
	"read":  func(path string) error { _, err := os.ReadFile(path); return err },
	"stat":  func(path string) error { _, err := os.Stat(path); return err },
	"list":  func(path string) error { _, err := os.ReadDir(path); return err },
	"write": func(path string) error { return os.WriteFile(path, []byte("x"), 0o600) },
	"env":   func(string) error { return says(strings.Join(os.Environ(), "\n")) },

	"tcp":      func(addr string) error { return dial("tcp", addr) },
	"control":  control,
	"udp":      func(addr string) error { return dial("udp", addr) },
	"unix":     func(path string) error { return dial("unix", path) },
	"listen":   func(addr string) error { _, err := net.Listen("tcp", addr); return err },
	"mptcp":    func(addr string) error { return connect(addr, protoMPTCP) },
	"tfo":      fastOpenOption,
	"fastopen": fastOpen,
	"raw":      socket(syscall.AF_INET, syscall.SOCK_RAW, syscall.IPPROTO_ICMP),
	"packet":   socket(syscall.AF_PACKET, syscall.SOCK_RAW, 0),
	"vsock":    socket(familyVsock, syscall.SOCK_STREAM, 0),
	"netlink":  socket(syscall.AF_NETLINK, syscall.SOCK_RAW, 0),

	"chmod": func(path string) error { return os.Chmod(path, 0o644) },
	"fchmod": func(path string) error {
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		return f.Chmod(0o644)
	},
	"touch": func(path string) error { return os.Chtimes(path, time.Now(), time.Now()) },
	"xattr": func(path string) error { return syscall.Setxattr(path, "user.attack", []byte("x"), 0) },
	"watch": func(path string) error {
		fd, err := syscall.InotifyInit()
		if err != nil {
			return err
		}
		defer syscall.Close(fd)
		_, err = syscall.InotifyAddWatch(fd, path, syscall.IN_CREATE)
		return err
	},
	"signal": func(pid string) error { return syscall.Kill(number(pid), 0) },
	"ptrace": func(pid string) error {
		if err := syscall.PtraceAttach(number(pid)); err != nil {
			return err
		}
		_, _ = syscall.Wait4(number(pid), nil, 0, nil)
		return syscall.PtraceDetach(number(pid))
	},
	"vmread": vmRead,
	"limits": func(pid string) error {
		var limit syscall.Rlimit
		return call(syscall.SYS_PRLIMIT64, uintptr(number(pid)), syscall.RLIMIT_CORE, 0, uintptr(unsafe.Pointer(&limit)))
	},
	"nice": func(pid string) error { return syscall.Setpriority(syscall.PRIO_PROCESS, number(pid), 19) },
	"steal": func(pid string) error {
		fd, _, errno := syscall.Syscall(sysPidfdOpen, uintptr(number(pid)), 0, 0)
		if errno != 0 {
			return errno
		}
		return call(sysPidfdGet, fd, 3, 0, 0)
	},

	"mount":   func(dir string) error { return syscall.Mount("tmpfs", dir, "tmpfs", 0, "") },
	"setuid":  func(string) error { return call(syscall.SYS_SETUID, 0, 0, 0, 0) },
	"chroot":  syscall.Chroot,
	"unshare": func(string) error { return call(syscall.SYS_UNSHARE, syscall.CLONE_NEWUTS, 0, 0, 0) },
	"userns":  func(string) error { return call(syscall.SYS_UNSHARE, cloneUser, 0, 0, 0) },
	"bpf":     func(string) error { return call(sysBPF, 9999, 0, 0, 0) },
	"iouring": func(string) error { return call(sysIOURing, 0, 0, 0, 0) },
	"keyctl":  func(string) error { return call(sysKeyctl, 0, ^uintptr(2), 0, 0) },
	"memfd": func(string) error {
		name := [2]byte{'x'}
		return call(sysMemfd, uintptr(unsafe.Pointer(&name[0])), 0, 0, 0)
	},
	"exec": func(path string) error { return exec.Command(path).Run() },
	"become": func(path string) error {
		return syscall.Exec(path, []string{path, "-c", "exit 3"}, nil)
	},
	"copy": copyAndRun,

	"work": work,

	"fds":      holdFiles,
	"file":     bigFile,
	"fill":     func(size string) error { return fill(size, false) },
	"ghost":    func(size string) error { return fill(size, true) },
	"children": children,
	"threads":  threads,
	"memory":   memory,
	"hog": func(size string) error { // bit by bit, so that Go's runtime is given each
		var blocks [][]byte
		for range number(size) {
			block := make([]byte, 1<<20)
			for i := 0; i < len(block); i += 4096 {
				block[i] = 1
			}
			blocks = append(blocks, block)
		}
		return says(strconv.Itoa(len(blocks)))
	},
	"burn": func(text string) error {
		limit, _ := time.ParseDuration(text)
		var used, began syscall.Rusage
		_ = syscall.Getrusage(syscall.RUSAGE_SELF, &began)
		for start := time.Now(); time.Since(start) < limit; { //nolint:revive // it burns
		}
		_ = syscall.Getrusage(syscall.RUSAGE_SELF, &used)
		return says(strconv.FormatInt((used.Utime.Nano()-began.Utime.Nano())/1e6, 10))
	},
}

func number(text string) int { n, _ := strconv.Atoi(text); return n }

func call(number, a, b, c, d uintptr) error {
	if _, _, errno := syscall.Syscall6(number, a, b, c, d, 0, 0); errno != 0 {
		return errno
	}
	return nil
}

func socket(family, kind, protocol int) func(string) error {
	return func(string) error {
		fd, err := syscall.Socket(family, kind, protocol)
		if err == nil {
			err = syscall.Close(fd)
		}
		return err
	}
}

func dial(network, addr string) error {
	conn, err := net.DialTimeout(network, addr, time.Second)
	if err == nil {
		err = conn.Close()
	}
	return err
}

func address(addr string) *syscall.SockaddrInet4 {
	_, port, _ := net.SplitHostPort(addr)
	return &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}, Port: number(port)}
}

// control asks an agent or a proxy to stop a function of others.
func control(addr string) error {
	rsp, err := http.Post("http://"+addr+"/stop", "application/json", strings.NewReader(`{"name": "Victim"}`))
	if err != nil {
		return err
	}
	defer rsp.Body.Close()
	return says(strconv.Itoa(rsp.StatusCode))
}

// tcp makes a socket, of which close is to be called.
func tcp(protocol int) (fd int, err error) {
	return syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, protocol)
}

func connect(addr string, protocol int) error {
	fd, err := tcp(protocol)
	if err != nil {
		return err
	}
	defer syscall.Close(fd)
	return syscall.Connect(fd, address(addr))
}

func fastOpenOption(addr string) error {
	fd, err := tcp(0)
	if err != nil {
		return err
	}
	defer syscall.Close(fd)
	if err := syscall.SetsockoptInt(fd, syscall.IPPROTO_TCP, tcpFastOpenTo, 1); err != nil {
		return err
	}
	if err := syscall.Connect(fd, address(addr)); err != nil {
		return err
	}
	_, err = syscall.Write(fd, []byte("x"))
	return err
}

func fastOpen(addr string) error {
	fd, err := tcp(0)
	if err != nil {
		return err
	}
	defer syscall.Close(fd)
	return syscall.Sendto(fd, []byte("x"), msgFastOpen, address(addr))
}

func vmRead(pid string) error {
	var buf [8]byte
	local := syscall.Iovec{Base: &buf[0], Len: 8}
	remote := struct{ base, size uintptr }{0x400000, 8} // where Go programs begin
	if _, _, errno := syscall.Syscall6(sysVMRead, uintptr(number(pid)), uintptr(unsafe.Pointer(&local)), 1, uintptr(unsafe.Pointer(&remote)), 1, 0); errno != 0 {
		return errno
	}
	return nil
}

// copyAndRun copies a program to where it may write, and runs that.
func copyAndRun(program string) error {
	content, err := os.ReadFile(program)
	if err != nil {
		return err
	}
	path := filepath.Join(os.TempDir(), "copy")
	if err := os.WriteFile(path, content, 0o700); err != nil {
		return err
	}
	return syscall.Exec(path, []string{path, "-c", "exit 3"}, nil)
}

// work is what functions do that attack nobody. at is a host and the port of a TLS server.
func work(at string) error {
	if _, err := time.LoadLocation("Asia/Tokyo"); err != nil {
		return err
	}
	if _, err := user.Current(); err != nil {
		return err
	}
	included, err := os.ReadFile("data.txt")
	if err != nil {
		return err
	}
	temp, err := os.CreateTemp("", "work-*")
	if err != nil {
		return err
	}
	_, err = temp.Write(included)
	err = errors.Join(err, temp.Close(), os.Rename(temp.Name(), temp.Name()+".new"), os.Mkdir(temp.Name(), 0o700), os.RemoveAll(temp.Name()), os.Remove(temp.Name()+".new"))
	if err != nil {
		return err
	}
	pool, err := x509.SystemCertPool()
	if err != nil || pool.Equal(x509.NewCertPool()) {
		return fmt.Errorf("no certificates of authorities: %w", err)
	}
	conn, err := tls.Dial("tcp", at, &tls.Config{InsecureSkipVerify: true}) // it is the test's own server
	if err != nil {
		return err
	}
	defer conn.Close()
	answers := make(chan int)
	for i := range 1000 {
		go func() { time.Sleep(time.Millisecond); answers <- i }()
	}
	for range 1000 {
		<-answers
	}
	runtime.GC()
	return nil
}

// holdFiles opens files until it may not, and says how many in thousands.
func holdFiles(string) error {
	var open []*os.File
	defer func() {
		for _, f := range open {
			_ = f.Close()
		}
	}()
	for len(open) < 20_000 {
		f, err := os.Open(os.DevNull)
		if err != nil {
			return says(strconv.Itoa((len(open) + 500) / 1000))
		}
		open = append(open, f)
	}
	return nil
}

// bigFile writes as many MiB as it is told to one file.
func bigFile(size string) error {
	f, err := os.Create(filepath.Join(os.TempDir(), "big"))
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	part := make([]byte, 1<<20)
	for range number(size) {
		if _, err := f.Write(part); err != nil {
			return err
		}
	}
	return nil
}

// fill writes as many MiB as it is told to a file, which may have no name, and waits.
func fill(size string, nameless bool) error {
	f, err := os.Create(filepath.Join(os.TempDir(), "full"))
	if err != nil {
		return err
	}
	defer f.Close()
	if nameless {
		if err := os.Remove(f.Name()); err != nil {
			return err
		}
	}
	part := make([]byte, 1<<20)
	for range number(size) {
		if _, err := f.Write(part); err != nil {
			return err
		}
	}
	time.Sleep(time.Minute)
	return nil
}

// children starts as many of its own program as it is told.
func children(count string) error {
	var started []*exec.Cmd
	defer func() {
		for _, cmd := range started {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
	}()
	for range number(count) {
		cmd := exec.Command("/bin/sleep", "60")
		if err := cmd.Start(); err != nil {
			return err
		}
		started = append(started, cmd)
	}
	return nil
}

// threads holds a number of threads.
func threads(count string) error {
	var begun, end sync.WaitGroup
	end.Add(1)
	for range number(count) {
		begun.Add(1)
		go func() {
			runtime.LockOSThread()
			begun.Done()
			end.Wait()
		}()
	}
	begun.Wait()
	end.Done()
	return nil
}

// memory touches as many MiB as it is told.
func memory(size string) error {
	block := make([]byte, number(size)<<20)
	for i := 0; i < len(block); i += 4096 {
		block[i] = 1
	}
	if block[0] == 0 {
		return errors.New("it was not touched")
	}
	return nil
}
