package testkit

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

const (
	// guardVariable makes a process the guard of the root that it names.
	guardVariable = "RYO_TESTKIT_GUARD"
	// guardedVariable is set in processes of guarded tests. They start no guard of their
	// own: a test may kill them, and that guard would hide what outlives them.
	guardedVariable = "RYO_TESTKIT_GUARDED"
	// rootPattern names roots. It is short: paths of sockets may have 108 bytes.
	rootPattern = "ryo-test-*"
	// lockName is a file in a root that is locked while its tests or its guard run.
	lockName = ".lock"
	// undoName is a file in a root, of commands that undo what the kernel would keep.
	undoName = ".undo"
	// exitLimit is how long the processes of a run may take to exit after it. The holder of
	// an agent that was killed looks every 15 s whether it is still needed.
	exitLimit = 20 * time.Second
	// pause is the time between two looks at what still runs.
	pause = 20 * time.Millisecond
)

// Runner runs tests, as testing.M does.
type Runner interface{ Run() int }

// Guarded returns tests that nothing outlives. TestMain calls it first of all: in the
// process that is the guard, or a Relay, it does not return.
func Guarded(m Runner) Runner {
	relayMain()
	if root := os.Getenv(guardVariable); root != "" {
		os.Exit(guard(root, os.Stdin, os.Stderr)) //nolint:forbidigo,revive // this process is no test
	}
	return guarded{m}
}

type guarded struct{ Runner }

func (g guarded) Run() int {
	if os.Getenv(guardedVariable) != "" {
		return g.Runner.Run()
	}
	cleanOld(os.TempDir())
	stop, err := begin()
	if err != nil {
		fmt.Fprintln(os.Stderr, "start the guard of the tests:", err)
		return 1
	}
	code := g.Runner.Run()
	if err := stop(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, "the tests left something behind:", err)
		return 1
	}
	return code
}

// begin makes a root, leads temporary files there, and starts its guard.
func begin() (stop func() error, err error) {
	root, lock, err := newRoot("")
	if err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self)
	cmd.Dir = "/"
	cmd.Env = append(os.Environ(), guardVariable+"="+root, "GORACE=atexit_sleep_ms=0")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.ExtraFiles = []*os.File{lock}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	alive, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	if os.Getenv("GOTMPDIR") != "" { // where testing.T makes folders, if it is set
		err = os.Setenv("GOTMPDIR", root)
	}
	if err := errors.Join(err, os.Setenv("TMPDIR", root), os.Setenv(guardedVariable, "1")); err != nil {
		return nil, err
	}
	return func() error {
		_, err := io.WriteString(alive, "done\n")
		return errors.Join(err, alive.Close(), cmd.Wait(), lock.Close())
	}, nil
}

// newRoot makes a root in a folder and locks it. Until it is locked, another run may take
// it for an old one, and remove it.
func newRoot(dir string) (root string, lock *os.File, err error) {
	for range 10 {
		if root, err = os.MkdirTemp(dir, rootPattern); err != nil {
			return "", nil, err
		}
		if lock, err = lockRoot(root, os.O_CREATE); err != nil {
			continue
		}
		if err = os.Chmod(root, 0o777|os.ModeSticky); err == nil && locks(lock, root) { // as /tmp is: some tests become other users
			return root, lock, nil
		}
		_ = lock.Close()
	}
	return "", nil, fmt.Errorf("make a folder for the tests that no other run removes: %w", err)
}

// locks reports whether a lock is that of the root which is there.
func locks(lock *os.File, root string) bool {
	own, err := lock.Stat()
	there, thereErr := os.Stat(filepath.Join(root, lockName))
	return errors.Join(err, thereErr) == nil && os.SameFile(own, there)
}

// lockRoot locks a root, whose lock flags may create. The error is EWOULDBLOCK while
// another process has it.
func lockRoot(root string, flags int) (*os.File, error) {
	lock, err := os.OpenFile(filepath.Join(root, lockName), flags|os.O_RDWR|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = lock.Close()
		return nil, err
	}
	return lock, nil
}

// Undo names a command that is run after tests that were interrupted, for what no exit
// of a process undoes, such as a network namespace with a name.
func Undo(t testing.TB, command ...string) {
	t.Helper()
	file, err := os.OpenFile(filepath.Join(os.TempDir(), undoName), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	_, err = fmt.Fprintln(file, strings.Join(command, " "))
	if err := errors.Join(err, file.Close()); err != nil {
		t.Fatal(err)
	}
}

// guard waits until the tests have exited and cleans up after them. It prints what
// tests that were not interrupted left, and then returns 1.
func guard(root string, tests io.Reader, w io.Writer) (code int) {
	said, _ := bufio.NewReader(tests).ReadString('\n')
	finished := said != ""
	if finished {
		for deadline := time.Now().Add(exitLimit); time.Now().Before(deadline); <-time.After(pause) {
			if len(belonging(root)) == 0 {
				break
			}
		}
		for _, pid := range belonging(root) {
			command, _ := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cmdline")
			fmt.Fprintf(w, "process %d: %q\n", pid, command)
			code = 1
		}
		for _, name := range files(root) {
			fmt.Fprintf(w, "file %s\n", name)
			code = 1
		}
	}
	if err := clean(root, !finished); err != nil {
		fmt.Fprintf(w, "clean up after tests: %v\n", err)
		code = 1
	}
	return code
}

// files returns what tests left in a root.
func files(root string) (names []string) {
	entries, _ := os.ReadDir(root)
	for _, entry := range entries {
		if name := entry.Name(); name != lockName && name != undoName && name != poolName {
			names = append(names, filepath.Join(root, name))
		}
	}
	return names
}

// cleanOld cleans up after runs whose guards were killed with them.
func cleanOld(dir string) {
	roots, _ := filepath.Glob(filepath.Join(dir, rootPattern))
	for _, root := range roots {
		info, err := os.Lstat(root)
		if err != nil || !info.IsDir() {
			continue
		}
		if stat, ok := info.Sys().(*syscall.Stat_t); !ok || int(stat.Uid) != os.Geteuid() {
			continue
		}
		// One without a lock is about to be locked, or removed.
		if lock, err := lockRoot(root, 0); err == nil {
			_ = clean(root, true) // the next run tries again
			_ = lock.Close()
		}
	}
}

// clean kills all that belongs to a run, and removes its root.
func clean(root string, interrupted bool) error {
	// What is killed may just have started another process.
	for deadline, quiet := time.Now().Add(exitLimit), 0; quiet < 2 && time.Now().Before(deadline); <-time.After(pause) {
		pids := belonging(root)
		for _, pid := range pids {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		quiet++
		if len(pids) > 0 {
			quiet = 0
		}
	}
	if interrupted {
		undo(root)
	}
	return os.RemoveAll(root)
}

// undo unmounts what is mounted below a root and runs the commands of Undo.
func undo(root string) {
	mounts, _ := os.ReadFile("/proc/self/mounts")
	for line := range strings.Lines(string(mounts)) {
		if fields := strings.Fields(line); len(fields) > 1 && strings.HasPrefix(fields[1], root+"/") {
			_ = exec.Command("umount", "-l", fields[1]).Run()
		}
	}
	commands, _ := os.ReadFile(filepath.Join(root, undoName))
	for line := range strings.Lines(string(commands)) {
		if words := strings.Fields(line); len(words) > 0 {
			_ = exec.Command(words[0], words[1:]...).Run() // it may have been done
		}
	}
}

// belonging returns the processes that belong to the run of a root, but for this one
// and its parent.
func belonging(root string) (pids []int) {
	entries, _ := os.ReadDir("/proc")
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil || pid == os.Getpid() || pid == os.Getppid() {
			continue
		}
		proc := "/proc/" + entry.Name()
		exe, _ := os.Readlink(proc + "/exe")
		cwd, _ := os.Readlink(proc + "/cwd")
		cmdline, _ := os.ReadFile(proc + "/cmdline")
		environ, _ := os.ReadFile(proc + "/environ")
		if names(exe, root) || names(cwd, root) || names(string(cmdline), root) || names(string(environ), root) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// names reports whether a text holds the path of a folder or of what lies below it.
func names(text, folder string) bool {
	for {
		_, after, found := strings.Cut(text, folder)
		if !found {
			return false
		}
		if after == "" || strings.IndexByte("\x00/ :", after[0]) >= 0 {
			return true
		}
		text = after
	}
}
