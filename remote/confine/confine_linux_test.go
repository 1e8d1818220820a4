package confine

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/Ishan27g/ryo-faas/internal/testkit"
)

// helper is the program of testdata/attack, statically linked.
var helper string

func TestMain(m *testing.M) { goleak.VerifyTestMain(testkit.Guarded(withHelper{m})) }

type withHelper struct{ *testing.M }

func (w withHelper) Run() int {
	if helper = os.Getenv("ATTACK"); helper != "" {
		return w.M.Run()
	}
	dir, err := os.MkdirTemp("", "attack-")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	helper = filepath.Join(dir, "attack")
	cmd := exec.Command("go", "build", "-o", helper, "./testdata/attack")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		panic(string(out))
	}
	if err := errors.Join(os.Chmod(dir, 0o755), os.Chmod(helper, 0o755)); err != nil { //nolint:gosec // plain users run it
		panic(err)
	}
	return w.M.Run()
}

const patience = testkit.Patience

// nobody is a plain user.
const nobody = 65534

// user is who a program is started as.
type user struct {
	name string
	cred *syscall.Credential
}

// users are all that this process can start programs as: itself, and as root a
// plain user too.
func users() []user {
	list := []user{{"as " + strconv.Itoa(os.Getuid()), nil}}
	if os.Getuid() == 0 {
		list = append(list, user{"as a plain user", &syscall.Credential{Uid: nobody, Gid: nobody}})
	}
	return list
}

// folder is a folder of a user's own.
func (u user) folder(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "confine-") //nolint:usetesting // a plain user cannot reach those of testing
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	u.own(t, dir)
	return dir
}

func (u user) own(t *testing.T, path string) {
	t.Helper()
	if u.cred != nil {
		require.NoError(t, os.Chown(path, int(u.cred.Uid), int(u.cred.Gid)))
	}
}

func (u user) file(t *testing.T, path, content string) string {
	t.Helper()
	require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
	u.own(t, path)
	return path
}

// starter is os.StartProcess, or the launcher's.
type starter func(path string, argv []string, attr *syscall.ProcAttr) (*os.Process, error)

func bare(path string, argv []string, attr *syscall.ProcAttr) (*os.Process, error) {
	pid, err := syscall.ForkExec(path, argv, attr)
	if err != nil {
		return nil, err
	}
	return os.FindProcess(pid)
}

func under(l *Launcher, rules Rules) starter {
	return func(path string, argv []string, attr *syscall.ProcAttr) (*os.Process, error) {
		return l.Start(path, argv, attr, rules)
	}
}

// start starts the helper. What it returns as out is all that it and its children print.
func (u user) start(t *testing.T, start starter, args ...string) (p *os.Process, out *os.File) {
	t.Helper()
	null, err := os.Open(os.DevNull)
	require.NoError(t, err)
	defer null.Close()
	out, w, err := os.Pipe()
	require.NoError(t, err)
	t.Cleanup(func() { _ = out.Close() })
	defer w.Close()
	p, err = start(helper, append([]string{helper}, args...), &syscall.ProcAttr{
		Env: []string{"GIVEN=1"}, Files: []uintptr{null.Fd(), w.Fd(), w.Fd()},
		Sys: &syscall.SysProcAttr{Setpgid: true, Credential: u.cred},
	})
	require.NoError(t, err)
	return p, out
}

// attempt runs an attack and returns what it said: one line, or the signal that
// ended it.
func (u user) attempt(t *testing.T, start starter, attack, arg string) string {
	t.Helper()
	p, out := u.start(t, start, attack, arg)
	late := time.AfterFunc(patience, func() { _ = syscall.Kill(-p.Pid, syscall.SIGKILL) })
	defer late.Stop()
	said, err := io.ReadAll(out)
	require.NoError(t, err)
	state, err := p.Wait()
	require.NoError(t, err)
	if status := state.Sys().(syscall.WaitStatus); status.Signaled() {
		return unix.SignalName(status.Signal())
	}
	return strings.TrimSpace(string(said))
}

// scene is what attacks are aimed at.
type scene struct {
	own      string // a folder that rules let the program write to
	data     string // a file that they let it read
	foreign  string // a folder that they do not name
	secret   string // a file in it
	shell    string // another program
	open     string // an address whose port may be dialled
	shut     string // another one
	socket   string // a unix socket, by path
	abstract string // another one, by name
	victim   string // the number of a process of the same user
}

// set lays out what attacks need, and the rules of a function with a network.
func (u user) set(t *testing.T) (*scene, Rules) {
	t.Helper()
	s := &scene{own: u.folder(t), foreign: u.folder(t)}
	s.data = u.file(t, filepath.Join(u.folder(t), "data"), "data")
	s.secret = u.file(t, filepath.Join(s.foreign, "secret"), "secret")
	s.shell = "/bin/sh"
	s.socket = filepath.Join(s.foreign, "socket")
	s.abstract = "@ryo-test-" + filepath.Base(s.foreign)
	s.open, s.shut = listen(t, "tcp", "127.0.0.1:0"), listen(t, "tcp", "127.0.0.1:0")
	listen(t, "unix", s.socket)
	listen(t, "unix", s.abstract)
	u.own(t, s.socket)
	victim := exec.Command(helper, "sleep")
	victim.SysProcAttr = &syscall.SysProcAttr{Credential: u.cred}
	require.NoError(t, victim.Start())
	t.Cleanup(func() { _ = victim.Process.Kill(); _ = victim.Wait() })
	s.victim = strconv.Itoa(victim.Process.Pid)
	return s, Rules{
		Exec: []string{helper}, Read: []string{s.data}, Write: []string{s.own, os.DevNull},
		System: []string{"/etc/hosts", "/missing"}, Connect: []uint16{port(t, s.open)}, Attributes: true,
	}
}

func listen(t *testing.T, network, addr string) string {
	t.Helper()
	l, err := net.Listen(network, addr)
	require.NoError(t, err)
	t.Cleanup(func() { l.Close() })
	return l.Addr().String()
}

func port(t *testing.T, addr string) uint16 {
	t.Helper()
	_, text, err := net.SplitHostPort(addr)
	require.NoError(t, err)
	n, err := strconv.ParseUint(text, 10, 16)
	require.NoError(t, err)
	return uint16(n)
}

// denials are attacks, what they are aimed at, and what stops them. Each is also
// made without a launcher, where it must come to something else.
var denials = []struct {
	attack string
	at     func(*scene) string
	want   string
}{
	{"read", func(s *scene) string { return s.secret }, "EACCES"},
	{"read", func(*scene) string { return "/etc/passwd" }, "EACCES"},
	{"read", func(*scene) string { return "/proc/self/environ" }, "EACCES"},
	{"read", func(s *scene) string { return "/proc/" + s.victim + "/environ" }, "EACCES"},
	{"list", func(s *scene) string { return s.foreign }, "EACCES"},
	{"list", func(*scene) string { return "/" }, "EACCES"},
	{"list", func(*scene) string { return "/proc" }, "EACCES"},
	{"list", func(*scene) string { return "/dev/shm" }, "EACCES"},
	{"write", func(s *scene) string { return s.secret }, "EACCES"},
	{"write", func(s *scene) string { return filepath.Join(s.foreign, "new") }, "EACCES"},
	{"write", func(s *scene) string { return s.data }, "EACCES"},
	{"truncate", func(s *scene) string { return s.data }, "EACCES"},
	{"rename", func(s *scene) string { return s.secret + "," + filepath.Join(s.own, "secret") }, "EACCES"},
	{"link", func(s *scene) string { return s.secret + "," + filepath.Join(s.own, "linked") }, "EXDEV"},
	{"mkdir", func(s *scene) string { return filepath.Join(s.foreign, "dir") }, "EACCES"},
	{"remove", func(s *scene) string { return s.secret }, "EACCES"},
	{"mknod", func(s *scene) string { return filepath.Join(s.own, "pipe") }, "EPERM"},
	{"exec", func(s *scene) string { return s.shell }, "EACCES"},
	{"copyexec", func(s *scene) string { return s.own }, "EACCES"},
	{"fork", func(*scene) string { return helper }, "EPERM"},
	{"setsid", func(*scene) string { return helper }, "EPERM"},

	{"tcp", func(s *scene) string { return s.shut }, "EACCES"},
	{"tfo", func(s *scene) string { return s.shut }, "EACCES"},
	{"fastopen", func(s *scene) string { return s.shut }, "EPERM"},
	{"mptcp", func(s *scene) string { return s.shut }, "EACCES"},
	{"mptcp", func(s *scene) string { return s.open }, "EACCES"},
	{"listen", func(*scene) string { return "127.0.0.1:0" }, "EACCES"},
	{"unix", func(s *scene) string { return s.socket }, "EACCES"},
	{"unixhigh", nil, "EACCES"},
	{"tcphigh", nil, "EACCES"},
	{"rawhigh", nil, "EACCES"},
	{"packet", nil, "EACCES"},
	{"netlink", nil, "EACCES"},
	{"alg", nil, "EACCES"},
	{"abstract", func(s *scene) string { return s.abstract }, "EACCES"},
	{"x32", nil, "EPERM"},
	{"int80", nil, "SIGSYS"},

	{"signal", func(s *scene) string { return s.victim }, "EPERM"},
	{"ptrace", func(s *scene) string { return s.victim }, "EPERM"},
	{"vmread", func(s *scene) string { return s.victim }, "EPERM"},
	{"prlimit", func(s *scene) string { return s.victim }, "EPERM"},
	{"nice", func(s *scene) string { return s.victim }, "EPERM"},
	{"affinity", func(s *scene) string { return s.victim }, "EPERM"},
	{"pidfd", func(s *scene) string { return s.victim }, "EPERM"},

	{"clone3", nil, "ENOSYS"},
	{"iouring", nil, "EPERM"},
	{"keyctl", nil, "EPERM"},
	{"memfd", nil, "EPERM"},
	{"landlock", nil, "EPERM"},
	{"setns", nil, "EPERM"},
	{"userns", nil, "EPERM"},
}

// A plain user may not do these in any case.
var rootDenials = []struct {
	attack string
	at     func(*scene) string
	want   string
}{
	{"raw", nil, "EACCES"},
	{"mount", func(s *scene) string { return s.own }, "EPERM"},
	{"unshare", nil, "EPERM"},
	{"cloneuser", func(*scene) string { return helper }, "EPERM"},
	{"clonepid", func(*scene) string { return helper }, "EPERM"},
	{"chroot", func(s *scene) string { return s.own }, "EPERM"},
	{"setuid", nil, "EPERM"},
	{"bpf", nil, "EPERM"},
	{"perf", nil, "EPERM"},
	{"uffd", nil, "EPERM"},
	{"kexec", nil, "EPERM"},
	{"module", nil, "EPERM"},
}

func TestAttacksAreStopped(t *testing.T) {
	for _, u := range users() {
		t.Run(u.name, func(t *testing.T) {
			list := denials
			if u.cred == nil && os.Getuid() == 0 {
				list = append(list, rootDenials...)
			}
			for _, d := range list {
				s, rules := u.set(t)
				arg := ""
				if d.at != nil {
					arg = d.at(s)
				}
				name := d.attack + " " + arg
				stopped := u.attempt(t, under(New(), rules), d.attack, arg)
				unstopped := u.attempt(t, bare, d.attack, arg)
				if d.attack == "int80" && unstopped == "ENOSYS" {
					t.Log("this kernel has no calls of 32 bits, which are to be stopped")
					continue
				}
				assert.Equal(t, d.want, stopped, name)
				assert.NotEqual(t, d.want, unstopped, name+", without a launcher")
			}
		})
	}
}

func TestWhatRulesAllowWorks(t *testing.T) {
	for _, u := range users() {
		t.Run(u.name, func(t *testing.T) {
			s, rules := u.set(t)
			start := under(New(), rules)
			for attack, arg := range map[string]string{
				"work": s.own, "read": s.data, "write": filepath.Join(s.own, "f"), "list": s.own, "exec": helper,
				"tcp": s.open, "tfo": s.open, "udp": s.open, "signal": "0",
			} {
				assert.Equal(t, "worked", u.attempt(t, start, attack, arg), attack)
			}
			assert.Equal(t, "worked", u.attempt(t, start, "read", "/etc/hosts"), "a system file")
			rules.Children = true
			for _, attack := range []string{"fork", "exec"} {
				assert.Equal(t, "worked", u.attempt(t, under(New(), rules), attack, helper), attack)
			}
			for _, attack := range []string{"setsid", "setpgid", "cloneuser", "clonepid"} {
				assert.Equal(t, "EPERM", u.attempt(t, under(New(), rules), attack, helper), attack)
			}
		})
	}
}

func TestWithoutPortsThereIsNoSocket(t *testing.T) {
	u := users()[0]
	s, rules := u.set(t)
	rules.Connect = nil
	for attack, arg := range map[string]string{"tcp": s.open, "udp": s.open, "unix": s.socket, "raw": "", "netlink": "", "mptcp": s.open, "fastopen": s.open} {
		assert.Equal(t, "EACCES", u.attempt(t, under(New(), rules), attack, arg), attack)
	}
	assert.Equal(t, "worked", u.attempt(t, under(New(), rules), "work", s.own))
}

// An older kernel is asked for what it has, and stops what it can.
func TestEachVersionOfLandlock(t *testing.T) {
	l := New()
	for _, u := range users() {
		s, rules := u.set(t)
		for abi := 0; abi <= l.abi; abi++ {
			older := &Launcher{abi: abi, calls: true}
			stops := func(since int, want, attack, arg string) {
				t.Helper()
				got := u.attempt(t, under(older, rules), attack, arg)
				if abi >= since {
					assert.Equal(t, want, got, "ABI %d: %s", abi, attack)
				} else {
					assert.Equal(t, "worked", got, "ABI %d: %s", abi, attack)
				}
			}
			works := "worked"
			if abi == 1 {
				works = "EXDEV" // knows no right to move files between folders
			}
			assert.Equal(t, works, u.attempt(t, under(older, rules), "work", s.own), "ABI %d", abi)
			stops(1, "EACCES", "read", s.secret)
			stops(3, "EACCES", "truncate", s.data)
			stops(4, "EACCES", "tcp", s.shut)
			stops(0, "EPERM", "signal", s.victim) // by the filter, below 6
		}
		// With children the filter cannot tell whose signal it is.
		rules.Children = true
		assert.Equal(t, "worked", u.attempt(t, under(&Launcher{abi: 5, calls: true}, rules), "signal", s.victim))
		assert.Equal(t, "EPERM", u.attempt(t, under(&Launcher{abi: 6, calls: true}, rules), "signal", s.victim))
		// Scopes stop abstract sockets by themselves.
		assert.Equal(t, "EPERM", u.attempt(t, under(&Launcher{abi: 6}, rules), "abstract", s.abstract))
		assert.Equal(t, "worked", u.attempt(t, under(&Launcher{abi: 5}, rules), "abstract", s.abstract))
	}
}

func TestNothingOfTheAgentReachesTheProgram(t *testing.T) {
	t.Setenv("SECRET", "1")
	leak, err := unix.Open(os.DevNull, unix.O_RDONLY, 0) // without O_CLOEXEC
	require.NoError(t, err)
	defer unix.Close(leak)
	for _, u := range users() {
		_, rules := u.set(t)
		start := under(New(), rules)
		assert.Contains(t, u.attempt(t, bare, "fds", ""), strconv.Itoa(leak))
		assert.Equal(t, "fds:", u.attempt(t, start, "fds", ""))
		assert.Equal(t, "GIVEN=1", u.attempt(t, start, "env", ""))
		assert.Contains(t, u.attempt(t, start, "state", ""), "nnp=1 ")
		assert.Contains(t, u.attempt(t, start, "state", ""), "effective=0 umask=77")
		if u.cred == nil && os.Getuid() == 0 {
			assert.Contains(t, u.attempt(t, start, "state", ""), "bounding=0")
		}
	}
}

func TestFilesThatAreMeantAreHandedOn(t *testing.T) {
	s, rules := users()[0].set(t)
	file, err := os.Open(s.secret)
	require.NoError(t, err)
	defer file.Close()
	start := func(path string, argv []string, attr *syscall.ProcAttr) (*os.Process, error) {
		attr.Files = append(attr.Files, file.Fd())
		return New().Start(path, argv, attr, rules)
	}
	assert.Equal(t, "fds:3", users()[0].attempt(t, start, "fds", ""))
}

func TestLimits(t *testing.T) {
	for _, u := range users() {
		s, rules := u.set(t)
		rules.Limits = Limits{CPU: time.Second, Data: 1536 << 20, File: 32 << 20, Files: 256}
		start := under(New(), rules)
		assert.Equal(t, "worked", u.attempt(t, start, "memory", "64"))
		// Go dies of it in more than one way.
		assert.NotContains(t, u.attempt(t, start, "memory", "2048"), "worked")
		assert.Equal(t, "EFBIG", u.attempt(t, start, "size", filepath.Join(s.own, "big")))
		assert.Equal(t, "more than 200", u.attempt(t, start, "hold", s.own))
		assert.Contains(t, []string{"SIGKILL", "SIGXCPU"}, u.attempt(t, start, "burn", ""))
	}
}

// tree starts a program with children and returns it when all run. What it returns
// as out ends when all have.
func (u user) tree(t *testing.T, l *Launcher) (p *os.Process, out *os.File) {
	t.Helper()
	_, rules := u.set(t)
	rules.Children = true
	p, out = u.start(t, under(l, rules), "tree", "2")
	for range 3 {
		var pid int
		_, err := fmt.Fscan(out, &pid)
		require.NoError(t, err)
	}
	return p, out
}

func TestChildrenCannotLeaveTheGroup(t *testing.T) {
	for _, u := range users() {
		for _, held := range []uintptr{0, New().held} {
			l := New()
			l.held = held
			p, out := u.tree(t, l)
			require.NoError(t, syscall.Kill(-p.Pid, syscall.SIGKILL))
			_, err := io.Copy(io.Discard, out)
			require.NoError(t, err)
			_, err = p.Wait()
			require.NoError(t, err)
		}
	}
}

func TestChildrenEndWithTheirProgram(t *testing.T) {
	for _, u := range users() {
		p, out := u.tree(t, New())
		require.NoError(t, p.Kill())
		_, err := io.Copy(io.Discard, out)
		require.NoError(t, err)
		_, err = p.Wait()
		require.NoError(t, err)
	}
}

// onThread calls f on a thread that ends with it: not on the first one, which the
// runtime keeps.
func onThread(f func() error) error {
	result := make(chan error)
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() != unix.Getpid() {
			result <- f()
			return
		}
		result <- onThread(f) // while this one is held
		runtime.UnlockOSThread()
	}()
	return <-result
}

func TestProgramsWithChildrenEndWithTheirThread(t *testing.T) {
	for _, u := range users() {
		_, rules := u.set(t)
		rules.Children = true
		l, attr := New(), &syscall.ProcAttr{Files: []uintptr{0, 1, 2}, Sys: &syscall.SysProcAttr{Credential: u.cred}}
		var p *os.Process
		require.NoError(t, onThread(func() (err error) {
			p, err = l.Start(helper, []string{helper, "sleep"}, attr, rules)
			return err
		}))
		state, err := p.Wait()
		require.NoError(t, err)
		assert.Equal(t, syscall.SIGKILL, state.Sys().(syscall.WaitStatus).Signal())
	}
}

func TestThreadBombsAreBounded(t *testing.T) {
	if l := New(); !counts(l.held, l.abi) && l.groups == nil {
		t.Skip("this user can neither make control groups nor have the kernel count")
	}
	u := users()[0]
	_, rules := u.set(t)
	rules.Children = true
	rules.Limits.Tasks = 64
	said := u.attempt(t, under(New(), rules), "threads", "300")
	assert.Contains(t, said, "failed to create new OS thread")
	rules.Limits.Tasks = 400
	assert.Equal(t, "worked", u.attempt(t, under(New(), rules), "threads", "300"))
	assert.Equal(t, "worked", u.attempt(t, bare, "threads", "300"))
}

func TestMemoryOfAllProcessesIsBounded(t *testing.T) {
	l := New()
	if l.groups == nil {
		t.Skip("this user cannot make control groups")
	}
	u := users()[0]
	_, rules := u.set(t)
	rules.Children = true
	rules.Limits.Memory = 256 << 20
	assert.Equal(t, "worked", u.attempt(t, under(l, rules), "memory", "64"))
	assert.Equal(t, "SIGKILL", u.attempt(t, under(l, rules), "memory", "512"))
}

func TestControlGroupsAreRemoved(t *testing.T) {
	l := New()
	if l.groups == nil {
		t.Skip("this user cannot make control groups")
	}
	u := users()[0]
	_, rules := u.set(t)
	rules.Children = true
	left := func() (n int) {
		for _, h := range l.groups.hierarchies {
			found, err := filepath.Glob(filepath.Join(h.dir, heldPrefix+maker()+"*"))
			require.NoError(t, err)
			n += len(found)
		}
		return n
	}
	before := left()
	for range 5 {
		assert.Equal(t, "worked", u.attempt(t, under(l, rules), "say", "worked"))
	}
	assert.Equal(t, before+len(l.groups.hierarchies), left(), "but for the last one")
	failing := rules
	failing.Read = append(failing.Read, "/missing/own")
	_, err := l.Start(helper, []string{helper}, new(syscall.ProcAttr), failing)
	require.Error(t, err)
	assert.Equal(t, before+len(l.groups.hierarchies), left())

	// Those of an agent that is no more go with the next one.
	gone := exec.Command("/bin/true")
	require.NoError(t, gone.Run())
	group := func(space string) string {
		dir := filepath.Join(l.groups.hierarchies[0].dir, heldPrefix+space+"-"+strconv.Itoa(gone.Process.Pid)+"-1")
		require.NoError(t, os.Mkdir(dir, 0o700))
		t.Cleanup(func() { _ = os.Remove(dir) })
		return dir
	}
	own, err := namespace("self")
	require.NoError(t, err)
	old := group(own)
	New()
	assert.NoDirExists(t, old)

	// A container's pids are others: there the number may be one that runs.
	contained := exec.Command(helper, "sleep")
	contained.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID}
	require.NoError(t, contained.Start())
	stop := func() { _ = contained.Process.Kill(); _ = contained.Wait() }
	defer stop()
	theirs, err := namespace(strconv.Itoa(contained.Process.Pid))
	require.NoError(t, err)
	foreign := group(theirs)
	New()
	assert.DirExists(t, foreign)
	stop()
	New()
	if own == firstNamespace {
		assert.NoDirExists(t, foreign, "nobody is left who could have made it")
	}
	assert.False(t, exited(firstNamespace, "1", "1"), "a container does not see its host's")
}

func TestHierarchies(t *testing.T) {
	const (
		first = "35 31 0:32 /a /cg/memory rw - cgroup cgroup rw,memory\n39 31 0:36 / /cg/pids rw - cgroup cgroup rw,pids\n"
		cpu   = "36 31 0:33 / /cg/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
		// All in one, and mounted twice.
		both   = "35 31 0:32 / /cg/all rw - cgroup cgroup rw,memory,pids\n36 31 0:32 / /other/all rw - cgroup cgroup rw,memory,pids\n"
		second = "41 31 0:38 / /cg/unified rw shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"
	)
	memory := hierarchy{dir: "/cg/memory/b", memory: "memory.limit_in_bytes"}
	tasks := hierarchy{dir: "/cg/pids/c:d", tasks: "pids.max"}
	assert.Equal(t, []hierarchy{memory, tasks}, hierarchies(first+second, "4:memory:/a/b\n8:pids:/c:d\n0::/\n"))
	assert.Equal(t, []hierarchy{memory, tasks, {dir: "/cg/cpu,cpuacct/e", cpu: "cpu.cfs_quota_us"}},
		hierarchies(first+second+cpu, "4:memory:/a/b\n8:pids:/c:d\n2:cpu,cpuacct:/e\n0::/\n"))
	assert.Equal(t, []hierarchy{{dir: "/cg/all/x", tasks: "pids.max", memory: "memory.limit_in_bytes"}}, hierarchies(both, "3:memory,pids:/x\n"))
	v2 := hierarchy{dir: "/cg/unified/s", tasks: "pids.max", memory: "memory.max", cpu: "cpu.max", second: true}
	assert.Equal(t, []hierarchy{v2}, hierarchies(second, "0::/s/agent\n"))
	v2.dir = "/cg/unified"
	assert.Equal(t, []hierarchy{v2}, hierarchies(second+cpu, "0::/\n"))
	assert.Empty(t, hierarchies("", ""))
	assert.Empty(t, hierarchies("- - -\nx\n", "x\n1:2\n"))
}

// All of this must hold for an agent that is a plain user as well.
func TestAllOfThisAsAPlainUser(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("it is one")
	}
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe", "-test.v="+strconv.FormatBool(testing.Verbose()))
	cmd.Env = append(os.Environ(), "ATTACK="+helper, "HOME="+users()[1].folder(t))
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: users()[1].cred}
	output, err := cmd.CombinedOutput()
	require.NoError(t, err, string(output))
	t.Log(string(output))
}

func TestWhatCannotBeConfinedIsNotRun(t *testing.T) {
	s, rules := users()[0].set(t)
	for name, c := range map[string]struct {
		l      *Launcher
		change func(*Rules)
		path   string
		want   string
	}{
		"a path of the rules is missing":  {New(), func(r *Rules) { r.Read = append(r.Read, "/missing/own") }, helper, "allow /missing/own: no such file"},
		"the kernel refuses the ruleset":  {&Launcher{abi: 1}, func(r *Rules) { r.Exec = append(r.Exec, "") }, helper, "allow : no such file"},
		"the program is missing":          {New(), func(*Rules) {}, filepath.Join(s.own, "none"), "none: no such file"},
		"the program is not in the rules": {New(), func(*Rules) {}, "/bin/sh", "permission denied"},
	} {
		t.Run(name, func(t *testing.T) {
			rules := rules
			c.change(&rules)
			_, err := c.l.Start(c.path, []string{c.path, "write", filepath.Join(s.own, "ran")}, &syscall.ProcAttr{Files: []uintptr{0, 1, 2}}, rules)
			require.ErrorContains(t, err, c.want)
			require.ErrorContains(t, err, "confine "+c.path)
			assert.NoFileExists(t, filepath.Join(s.own, "ran"))
		})
	}
}

func TestLayersSayWhatIsMissingAndHow(t *testing.T) {
	for _, layer := range New().Layers() {
		if layer.Name == Processes || layer.Name == Memory {
			continue // as the user may, see below
		}
		assert.Equal(t, Layer{Name: layer.Name, State: On}, layer, "on a machine where tests run")
	}
	states := func(list []Layer) (s string) {
		for _, l := range list {
			s += l.Name + "=" + string(l.State) + " "
			assert.Equal(t, l.State == On, l.Reason == "" && l.Remedy == "", l.Name)
		}
		return strings.TrimSpace(s)
	}
	assert.Equal(t, "files=off ports=off signals=off calls=off privileges=on limits=on", states(layers(0, unix.ENOSYS, unix.EINVAL)))
	assert.Equal(t, "files=degraded ports=degraded signals=degraded calls=on privileges=on limits=on", states(layers(2, nil, nil)))
	assert.Equal(t, "files=on ports=on signals=degraded calls=on privileges=on limits=on", states(layers(5, nil, nil)))

	users := uintptr(unix.CLONE_NEWPID | unix.CLONE_NEWUSER)
	held := func(flags uintptr, g *groups) string {
		l := &Launcher{abi: 7, held: flags, groups: g}
		return states(l.heldLayers(unix.EPERM, unix.EROFS))
	}
	assert.Equal(t, "lifetime=on processes=on memory=on", held(users, new(groups)))
	assert.Equal(t, "processes=off memory=degraded cpu=off udp=off", states(new(Launcher).freeLayers(unix.EROFS, unix.EPERM)))
	assert.Equal(t, "processes=on memory=on cpu=off udp=off", states((&Launcher{groups: new(groups)}).freeLayers(nil, unix.EPERM)))
	assert.Equal(t, "processes=on memory=on cpu=on udp=on", states((&Launcher{groups: &groups{cpu: true}, udp: new(datagrams)}).freeLayers(nil, nil)))
	assert.Equal(t, "lifetime=degraded processes=degraded memory=degraded", held(0, nil))
	assert.Equal(t, "lifetime=degraded processes=on memory=on", held(0, new(groups)))
	if os.Getuid() != 0 {
		assert.Equal(t, "lifetime=on processes=on memory=degraded", held(users, nil))
	}
}

func TestWhatMayBeOpened(t *testing.T) {
	for _, u := range users() {
		s, rules := u.set(t)
		attempt := func(attack, arg string) string { return u.attempt(t, under(New(), rules), attack, arg) }
		rules.Connect, rules.AnyPort = nil, true
		assert.Equal(t, "worked", attempt("tcp", s.shut), "any port")
		assert.Equal(t, "EACCES", attempt("listen", "127.0.0.1:0"))
		assert.Equal(t, "EACCES", attempt("autolisten", ""), "without a port")
		assert.Equal(t, "EACCES", attempt("mptcp", s.open))
		assert.Equal(t, "EACCES", attempt("socketpair", ""))
		rules.Listen = true
		assert.Equal(t, "worked", attempt("listen", "127.0.0.1:0"))
		assert.Equal(t, "worked", attempt("autolisten", ""))
		assert.Equal(t, "EACCES", attempt("unix", s.socket))
		rules.AnyPort, rules.Unix = false, true
		assert.Equal(t, "worked", attempt("unix", s.socket))
		assert.Equal(t, "worked", attempt("socketpair", ""))
		assert.Equal(t, "EACCES", attempt("unixhigh", ""))
		assert.Equal(t, "EACCES", attempt("tcp", s.open))
		assert.Equal(t, "EPERM", attempt("abstract", s.abstract))
		rules.Children, rules.Programs = true, []string{"/bin", "/usr", "/lib", "/lib64", "/missing"}
		assert.Equal(t, "worked", attempt("run", "/bin/true"))
		assert.Equal(t, "EACCES", attempt("copyexec", s.own))
		rules.Groups = true
		assert.Equal(t, "worked", attempt("setpgid", helper))
		assert.Equal(t, "EPERM", attempt("setsid", helper))
	}
}

// A program that was just written is run, although another child may have it open.
func TestAProgramThatIsOpenForWritingIsWaitedFor(t *testing.T) {
	u := users()[0]
	_, rules := u.set(t)
	content, err := os.ReadFile(helper)
	require.NoError(t, err)
	program := filepath.Join(u.folder(t), "program")
	require.NoError(t, os.WriteFile(program, content, 0o700)) //nolint:gosec // a program
	rules.Exec = []string{program}
	open, err := os.OpenFile(program, os.O_WRONLY, 0)
	require.NoError(t, err)
	_, err = New().Start(program, []string{program}, &syscall.ProcAttr{Files: []uintptr{0, 1, 2}}, rules)
	require.ErrorIs(t, err, unix.ETXTBSY)
	closed := time.AfterFunc(5*time.Millisecond, func() { _ = open.Close() })
	defer closed.Stop()
	assert.Equal(t, "worked", u.attempt(t, func(_ string, argv []string, attr *syscall.ProcAttr) (*os.Process, error) {
		return New().Start(program, argv, attr, rules)
	}, "say", "worked"))
}

// What is laid out for a child is given up when there is none, also before it is forked.
func TestWhatIsNotStartedTakesNoMemory(t *testing.T) {
	l, attr := New(), &syscall.ProcAttr{Files: []uintptr{0, 1, 2}}
	heap := func() int64 {
		var stats runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&stats)
		return int64(stats.HeapAlloc) //nolint:gosec // less than there is
	}
	before := heap()
	for range 1000 {
		_, err := l.Start(helper, []string{helper}, attr, Rules{Read: []string{"/missing/own"}})
		require.Error(t, err)
	}
	assert.Less(t, heap()-before, int64(2<<20))
}

// A process that is forked keeps its pid and its descriptors, and needs nobody who waits.
func TestForkExec(t *testing.T) {
	l := New()
	_, rules := users()[0].set(t)
	rules.AnyPort = true // no group more
	r, w, err := os.Pipe()
	require.NoError(t, err)
	defer r.Close()
	null, err := os.Open(os.DevNull)
	require.NoError(t, err)
	defer null.Close()
	var pidfd int
	pid, release, err := l.ForkExec(helper, []string{helper, "tree", "0"}, &syscall.ProcAttr{
		Env: []string{"A=1"}, Files: []uintptr{null.Fd(), w.Fd(), null.Fd()}, Sys: &syscall.SysProcAttr{Setsid: true, PidFD: &pidfd},
	}, rules)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	var said int
	_, err = fmt.Fscan(r, &said)
	require.NoError(t, err)
	assert.Equal(t, pid, said)
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	require.NoError(t, err)
	assert.Contains(t, string(status), "Seccomp_filters:\t1\n")
	assert.Contains(t, string(status), "SigBlk:\t0000000000000000\n")
	if l.groups != nil {
		member, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
		require.NoError(t, err)
		assert.Equal(t, len(l.groups.hierarchies), strings.Count(string(member), "/"+freePrefix+maker()), "%s", member)
	}
	require.NoError(t, unix.PidfdSendSignal(pidfd, unix.SIGKILL, nil, 0))
	require.NoError(t, unix.Close(pidfd))
	require.ErrorContains(t, reap(pid), "killed")
	release()
	if l.groups != nil {
		left, err := filepath.Glob(filepath.Join(l.groups.hierarchies[0].dir, freePrefix+maker()+"*"))
		require.NoError(t, err)
		assert.Empty(t, left)
	}
	_, _, err = l.ForkExec("/bin/sh", []string{"sh"}, &syscall.ProcAttr{Files: []uintptr{0, 1, 2}, Sys: new(syscall.SysProcAttr)}, rules)
	require.EqualError(t, err, "confine /bin/sh: run /bin/sh: permission denied")
}

// Descriptors are handed on wherever they lie, also where others are to be.
func TestFilesChangePlaces(t *testing.T) {
	l := New()
	_, rules := users()[0].set(t)
	var files []uintptr
	for range 8 {
		r, w, err := os.Pipe()
		require.NoError(t, err)
		defer r.Close()
		defer w.Close()
		files = append(files, r.Fd(), w.Fd())
	}
	slices.Reverse(files)
	p, err := l.Start(helper, []string{helper, "sleep"}, &syscall.ProcAttr{Files: files}, rules)
	require.NoError(t, err)
	for i, fd := range files {
		ours, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd))
		require.NoError(t, err)
		theirs, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/%d", p.Pid, i))
		require.NoError(t, err)
		assert.Equal(t, ours, theirs, "descriptor %d", i)
	}
	require.NoError(t, p.Kill())
	_, err = p.Wait()
	require.NoError(t, err)
}

// Many start at a time while signals come and memory is collected.
func TestProgramsStartUnderLoad(t *testing.T) {
	l := New()
	u := users()[0]
	_, rules := u.set(t)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, unix.SIGUSR1)
	defer signal.Stop(signals)
	done := make(chan struct{})
	var busy, starts sync.WaitGroup
	busy.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
				_ = unix.Kill(os.Getpid(), unix.SIGUSR1)
				runtime.GC()
			}
		}
	})
	for range 4 {
		starts.Go(func() {
			for range 25 {
				assert.Equal(t, "worked", u.attempt(t, under(l, rules), "say", "worked"))
			}
		})
	}
	starts.Wait()
	close(done)
	busy.Wait()
}

func TestLayersAreProven(t *testing.T) {
	l := New()
	require.NoError(t, l.Prove())
	for abi := range l.abi {
		require.NoError(t, (&Launcher{abi: abi, calls: true}).Prove(), "ABI %d", abi)
		require.NoError(t, (&Launcher{abi: abi}).Prove(), "ABI %d", abi)
	}
	l.apart, l.udp = &apart{user: 1}, new(datagrams)
	for _, a := range attempts {
		came := make(map[string]syscall.Errno)
		for _, b := range attempts {
			if b.name != a.name {
				came[b.name] = b.want
			}
		}
		require.ErrorContains(t, l.judge(came), a.name, "not tried")
		came[a.name] = 0
		require.ErrorContains(t, l.judge(came), a.name, "it worked")
		came[a.name] = a.want
		require.NoError(t, l.judge(came))
		came[a.name] = unix.EROFS
		assert.Equal(t, !slices.Contains([]string{Files, Ports}, a.layer), l.judge(came) != nil, "%s, of a file system that cannot be written to", a.name)
	}
}

// in starts the helper of ForkExec in a folder, and returns what it says.
func in(t *testing.T, l *Launcher, rules Rules, dir string, attempt ...string) string {
	t.Helper()
	return users()[0].attempt(t, func(path string, argv []string, attr *syscall.ProcAttr) (*os.Process, error) {
		attr.Dir = dir
		pid, release, err := l.ForkExec(path, argv, attr, rules)
		if err != nil {
			return nil, err
		}
		p, err := os.FindProcess(pid)
		t.Cleanup(release)
		return p, err
	}, attempt[0], attempt[1])
}

// A list of ports leaves DNS alone of UDP, where the kernel can be told so.
func TestUDPWithAListOfPorts(t *testing.T) {
	l := New()
	if l.udp == nil {
		t.Skip(l.FreeLayers())
	}
	_, rules := users()[0].set(t)
	rules.Connect = []uint16{443}
	t.Cleanup(func() { // after the release of all
		left, err := filepath.Glob(filepath.Join(l.udp.dir, freePrefix+maker()+"*"))
		require.NoError(t, err)
		assert.Empty(t, left)
	})
	for _, at := range []string{"127.0.0.1:443", "[::1]:443", "[::ffff:127.0.0.1]:5353"} {
		assert.Equal(t, "EPERM", in(t, l, rules, "", "udp", at), at)
	}
	assert.Equal(t, "EPERM", in(t, l, rules, "", "sendto", "127.0.0.1:443"))
	assert.Equal(t, "EPERM", in(t, l, rules, "", "sendto", "[::ffff:127.0.0.1]:443"))
	assert.Equal(t, "worked", in(t, l, rules, "", "udp", "127.0.0.1:53"))
	assert.Equal(t, "worked", in(t, l, rules, "", "sendto", "127.0.0.1:53"))
	rules.AnyPort = true
	assert.Equal(t, "worked", in(t, l, rules, "", "udp", "127.0.0.1:443"))
}

// In namespaces of their own programs have nothing but what rules name, and folders of
// the system, and write as the user who started them.
func TestProgramsApart(t *testing.T) {
	const other = 200_001
	folder, elsewhere := users()[0].folder(t), users()[0].folder(t)
	own, written := filepath.Join(folder, "own"), filepath.Join(folder, "written")
	require.NoError(t, os.Mkdir(own, 0o700))
	require.NoError(t, os.Mkdir(written, 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(own, "file"), nil, 0o600))
	rules := Rules{Exec: []string{helper}, Read: []string{own}, Write: []string{written, os.DevNull}, System: []string{"/etc/hosts"}}
	for _, user := range []uint32{0, other} {
		l := New()
		l.Separate(folder, user)
		if l.apart == nil {
			t.Skip(l.FreeLayers())
		}
		if rules.User = l.apart.user; user != rules.User {
			continue // a plain user cannot
		}
		id := os.Getuid()
		if user != 0 {
			id = int(user)
		}
		assert.Contains(t, in(t, l, rules, own, "user", ""), fmt.Sprintf("uid=%d gid=%[1]d ", id))
		assert.Equal(t, "worked", in(t, l, rules, own, "read", "file"), "it begins in its folder")
		name := filepath.Join(written, strconv.Itoa(id))
		assert.Equal(t, "worked", in(t, l, rules, "", "write", name))
		info, err := os.Stat(name)
		require.NoError(t, err)
		assert.EqualValues(t, os.Getuid(), info.Sys().(*syscall.Stat_t).Uid, "of whoever removes it")
		for _, gone := range []string{elsewhere, "/sys", "/home", "/var", "/proc/self/environ", "/proc/" + strconv.Itoa(os.Getpid())} {
			assert.Equal(t, "ENOENT", in(t, l, rules, "", "read", gone), gone)
		}
		assert.Equal(t, helper, in(t, l, rules, "", "itself", ""))
		assert.Equal(t, "ESRCH", in(t, l, rules, "", "signal", strconv.Itoa(os.Getpid())))
		with := rules
		with.Children, with.Unix, with.AnyPort = true, true, true
		assert.Equal(t, "worked", in(t, l, with, own, "read", "file"), "among all that may have unix sockets")
		assert.Equal(t, "ENOENT", in(t, l, with, "", "read", filepath.Join(folder, "secret")))
		assert.NotEqual(t, "ENOENT", in(t, l, with, "", "read", "/var"))
		if l.apart.clone&unix.CLONE_NEWUSER == 0 {
			assert.Equal(t, helper, in(t, l, with, "", "itself", ""))
			assert.Equal(t, "EACCES", in(t, l, with, "", "read", "/proc/self/environ"))
			assert.Equal(t, "ENOENT", in(t, l, with, "", "read", "/proc/"+strconv.Itoa(os.Getpid())), "it may not be traced")
			assert.Equal(t, "ENOENT", in(t, l, with, "", "read", "/proc/cmdline"))
		}
		assert.Equal(t, "EPERM", in(t, l, with, "", "signal", strconv.Itoa(os.Getpid())), "orphans are not the first's to reap")
		l.Forget(user)
		assert.Empty(t, l.apart.owners)
	}
}

func TestPrivilegesOfAnotherUser(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("root alone can become another user")
	}
	u := users()[0]
	_, rules := u.set(t)
	rules.User = 200_001
	assert.Equal(t, "uid=200001 gid=200001 groups=[]", u.attempt(t, under(New(), rules), "user", ""))
	assert.Contains(t, u.attempt(t, under(New(), rules), "state", ""), "nnp=1 bounding=0 effective=0")
}

// BenchmarkForkExec tells the median from ForkExec to the exit of a program that does
// nothing, of all ways by turns.
func BenchmarkForkExec(b *testing.B) {
	l := New()
	alone := &Launcher{abi: l.abi, calls: l.calls}
	apart := func(groups *groups, user uint32) *Launcher {
		l := &Launcher{abi: l.abi, calls: l.calls, groups: groups}
		l.Separate(filepath.Dir(helper), user)
		return l
	}
	const user = 200_001
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	require.NoError(b, err)
	defer null.Close()
	attr := &syscall.ProcAttr{Files: []uintptr{null.Fd(), null.Fd(), null.Fd()}, Sys: &syscall.SysProcAttr{Setsid: true}}
	rules := Rules{
		Exec: []string{helper}, Write: []string{os.DevNull}, System: []string{"/etc/hosts", "/etc/ssl/certs", "/usr/share/zoneinfo"},
		AnyPort: true, Limits: Limits{Files: 1 << 10, Tasks: 1 << 10, Memory: 1 << 30, CPUs: 1},
	}
	argv := []string{helper, "say", ""}
	ways := []struct {
		name    string
		l       *Launcher
		offline bool
		took    []time.Duration
	}{
		{name: "bare"}, {name: "confined", l: alone}, {name: "confined,groups", l: l},
		{name: "confined,namespaces", l: apart(nil, 0)}, {name: "confined,namespaces,user", l: apart(nil, user)},
		{name: "all", l: apart(l.groups, user)}, {name: "all,offline", l: apart(l.groups, user), offline: true},
	}
	for b.Loop() {
		for i := range ways {
			w := &ways[i]
			var pid int
			var err error
			release := func() {}
			began := time.Now()
			if w.l == nil {
				pid, err = syscall.ForkExec(helper, argv, attr)
			} else {
				rules := rules
				rules.AnyPort = !w.offline
				if w.l.apart != nil {
					rules.User = w.l.apart.user
				}
				pid, release, err = w.l.ForkExec(helper, argv, attr, rules)
			}
			require.NoError(b, err)
			_ = reap(pid)
			w.took = append(w.took, time.Since(began))
			release()
		}
	}
	for _, w := range ways {
		slices.Sort(w.took)
		b.ReportMetric(float64(w.took[len(w.took)/2].Microseconds())/1000, w.name+"-p50-ms")
	}
}
