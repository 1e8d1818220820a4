//go:build amd64 || arm64

package confine

import (
	"fmt"
	"os"
	"path"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// apart is how programs of ForkExec are put into namespaces of their own.
type apart struct {
	clone   uintptr  // flags of clone(2): CLONE_NEWPID, and CLONE_NEWUSER for an agent that is not root's
	network *os.File // a network namespace that all programs without a network share; nil: each makes its own
	user    uint32   // the user with which Prove has shown that programs can have users of their own; 0: they cannot
	folder  string   // the files of programs lie in it
	closed  string   // the topmost folder on the way to it that other users cannot enter; or folder itself

	mu     sync.Mutex          // guards the fields below
	owners map[uint32]*os.File // user namespaces by user: see owner
}

// Separate puts the programs of ForkExec into namespaces of their own from now on, as
// far as this process can:
//   - of processes, except for programs with Children;
//   - of mounts: a program sees what its rules name, and the folders of the system that
//     programs need, and nothing else;
//   - of host names and of shared memory;
//   - of networks, for programs whose rules allow no network.
//
// The files of the programs lie in folder. user is a user that programs may have; 0: none.
// FreeLayers says what of this works here. Call Separate before the first ForkExec.
func (l *Launcher) Separate(folder string, user uint32) {
	users := Layer{Users, Off, "programs run as the agent's user, and only root can give them others", "run the agent as root"}
	var failed error
	for _, try := range []struct {
		clone uintptr
		user  uint32
	}{{unix.CLONE_NEWPID, user}, {unix.CLONE_NEWPID, 0}, {unix.CLONE_NEWPID | unix.CLONE_NEWUSER, 0}} {
		if user != 0 && try.user == 0 && try.clone == unix.CLONE_NEWPID && os.Geteuid() == 0 {
			users.Reason = fmt.Sprintf("programs run as the agent's user, since their files in %s cannot be given to another: %v", folder, failed)
			users.Remedy = "run the agent as root with all capabilities, with its folder on ext4, xfs or btrfs"
		}
		l.apart = &apart{clone: try.clone, user: try.user, folder: folder, closed: closedFolder(folder), owners: make(map[uint32]*os.File)}
		if try.clone&unix.CLONE_NEWUSER == 0 {
			l.apart.network, _ = emptyNetwork() // else each program makes its own
		}
		if failed = l.Prove(); failed == nil {
			break
		}
		l.apart.close()
		l.apart = nil
	}
	spaces := Layer{Name: Namespaces, State: On}
	if l.apart == nil {
		spaces = Layer{Namespaces, Off, fmt.Sprintf("programs see the processes and files of the machine: no namespaces can be made (%v)", failed), "run the agent as root, or allow user namespaces"}
	} else if l.apart.user != 0 {
		users = Layer{Name: Users, State: On}
	}
	l.free = slices.DeleteFunc(l.free, func(layer Layer) bool { return layer.Name == Namespaces || layer.Name == Users }) // of a call before
	l.free = append([]Layer{spaces, users}, l.free...)
	if l.apart == nil || !counts(l.apart.clone, l.abi) {
		return
	}
	for i, layer := range l.free {
		if layer.Name == Processes {
			l.free[i] = Layer{Name: Processes, State: On}
		}
	}
}

// closedFolder returns the topmost folder on the way to a folder that other users cannot
// enter. If they can enter all of them, it returns the folder itself.
func closedFolder(folder string) string {
	for at := 1; at < len(folder); at++ {
		if folder[at] != '/' {
			continue
		}
		if info, err := os.Stat(folder[:at]); err != nil || info.Mode().Perm()&1 == 0 {
			return folder[:at]
		}
	}
	return folder
}

func (a *apart) close() {
	if a.network != nil {
		_ = a.network.Close()
	}
	for _, owner := range a.owners {
		_ = owner.Close()
	}
}

// emptyNetwork makes a network namespace with a loopback device and nothing else. All
// programs without a network can share it, since they can make no sockets. To enter it
// takes a hundredth of the time that it takes to make one.
func emptyNetwork() (network *os.File, err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // and never again: the thread ends with the goroutine
		if err = unix.Unshare(unix.CLONE_NEWNET); err == nil {
			err = loopback()
		}
		if err == nil {
			network, err = os.Open("/proc/thread-self/ns/net")
		}
	}()
	<-done
	return network, err
}

// loopbackUp is a request to start the only device of an empty network (netdevice(7)).
type loopbackUp struct {
	name  [unix.IFNAMSIZ]byte
	flags uint16
	_     [22]byte
}

func newLoopbackUp() *loopbackUp {
	return &loopbackUp{name: [unix.IFNAMSIZ]byte{'l', 'o'}, flags: unix.IFF_UP | unix.IFF_RUNNING}
}

func loopback() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCSIFFLAGS, uintptr(unsafe.Pointer(newLoopbackUp())))
	if errno != 0 {
		return errno
	}
	return nil
}

// flags are those of clone(2) for a program.
func (a *apart) flags(rules *Rules) uintptr {
	if rules.Children { // the first of a namespace would have to reap the orphans of all others
		return a.clone &^ unix.CLONE_NEWPID
	}
	return a.clone
}

// newRoot is where the root of a program is put together: a folder that every machine has,
// and of which programs see nothing.
const newRoot = "/proc"

// enter adds the calls that put a child into namespaces, and into a root of its own. The
// caller closes the trees when the calls are made.
func (a *apart) enter(c *calls, rules *Rules) (trees []int, err error) {
	c.stay(a.clone)
	spaces := uintptr(unix.CLONE_NEWNS | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS)
	if !rules.network() && a.network == nil {
		spaces |= unix.CLONE_NEWNET
	}
	c.add("make namespaces", unix.SYS_UNSHARE, spaces)
	switch {
	case rules.network():
	case a.network != nil:
		c.add("enter an empty network", unix.SYS_SETNS, a.network.Fd(), unix.CLONE_NEWNET)
	default:
		opened := c.add("open a socket", unix.SYS_SOCKET, unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		c.handOn = append(c.handOn, [2]int{opened, c.add("start the loopback", unix.SYS_IOCTL, 0, unix.SIOCSIFFLAGS, at(c, newLoopbackUp()))})
	}
	// What the machine unmounts goes here, too; what is mounted here does not show there.
	c.mount("", "/", "", unix.MS_REC|unix.MS_SLAVE)
	c.mount("root", newRoot, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC)
	c.add("set the file mode creation mask", unix.SYS_UMASK, 0) // so that every user can enter the folders that are made
	var owner *os.File
	if a.user != 0 && rules.User != 0 {
		if owner, err = a.owner(rules.User); err != nil {
			return nil, fmt.Errorf("make a namespace of the user %d: %w", rules.User, err)
		}
	}
	if trees, err = a.furnish(c, rules, owner); err != nil {
		return trees, err
	}
	here := int(unix.AT_FDCWD)
	c.add("enter the new root", unix.SYS_CHDIR, c.text(newRoot))
	c.add("change the root", unix.SYS_PIVOT_ROOT, c.text("."), c.text("."))
	c.add("leave the root of the machine", unix.SYS_UMOUNT2, c.text("."), unix.MNT_DETACH) // it lies on top
	c.attributes(uintptr(here), "/", 0, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY})
	return trees, nil
}

// mount adds a call of mount(2). With a kind it mounts a new file system; without, the
// flags say what it does.
func (c *calls) mount(source, target, kind string, flags uintptr) {
	data := uintptr(0)
	if kind != "" {
		data = c.text("mode=755,size=1m")
	}
	c.add("mount "+target, unix.SYS_MOUNT, c.text(source), c.text(target), c.text(kind), flags, data)
}

func (c *calls) attributes(folder uintptr, target string, flags uintptr, attr *unix.MountAttr) {
	c.add("set attributes of "+target, unix.SYS_MOUNT_SETATTR, folder, c.text(target), flags, at(c, attr), unsafe.Sizeof(*attr))
}

// Attributes of mounts.
const (
	readOnly = unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV
	noExec   = unix.MOUNT_ATTR_NOEXEC | unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV
	device   = unix.MOUNT_ATTR_NOEXEC | unix.MOUNT_ATTR_NOSUID
)

// shared are the folders that programs see of the machine, as far as they exist. What
// they may read there is up to the other layers.
var shared = []string{"/etc", "/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/nix", "/gnu"}

// hidden are the folders that no program sees, whatever its rules allow. A program with
// Unix sees all others, since the unix sockets of a machine may lie anywhere there.
var hidden = []string{"/dev", "/proc", "/sys"}

// seen are the folders in the root that a program sees.
func seen(rules *Rules) []string {
	if !rules.Unix {
		return shared
	}
	entries, _ := os.ReadDir("/")
	var list []string
	for _, e := range entries {
		if top := "/" + e.Name(); !slices.Contains(hidden, top) && (e.IsDir() || e.Type() == os.ModeSymlink) {
			list = append(list, top)
		}
	}
	return list
}

// furnish adds the calls that mount in the new root everything that a program sees. With
// an owner, what lies in the agent's folder belongs to the program's user there. The caller
// closes the trees.
func (a *apart) furnish(c *calls, rules *Rules, owner *os.File) (trees []int, err error) {
	f := furniture{c: c, made: make(map[string]bool)}
	seen := seen(rules)
	there := func(name string) bool {
		return slices.ContainsFunc(seen, func(top string) bool { return below(name, top) })
	}
	for _, top := range seen {
		if to, err := os.Readlink(top); err == nil {
			c.add("link "+top, unix.SYS_SYMLINKAT, c.text(strings.TrimPrefix(to, "/")), uintptr(f.here()), c.text(newRoot+top))
			continue
		}
		f.bind(top, readOnly)
	}
	for _, name := range slices.Concat(rules.System, rules.Programs) {
		switch {
		case below(name, "/dev"):
			f.bind(name, device)
		case !there(name):
			f.bind(name, readOnly)
		}
		to, err := os.Readlink(name)
		if err == nil && !path.IsAbs(to) {
			to = path.Join(path.Dir(name), to)
		}
		if err == nil && !there(to) {
			f.bind(to, readOnly)
		}
	}
	if rules.Unix {
		f.bind("/dev/log", device) // of syslog, which lies among devices for old times' sake
	}
	f.itself(rules)
	if there(a.closed) {
		f.folder(a.closed)
		c.mount("empty", newRoot+a.closed, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC)
		f.made = make(map[string]bool)
	}
	for i, name := range slices.Concat(rules.Write, rules.Exec, rules.Read) {
		attributes := uint64(readOnly)
		switch {
		case below(name, "/dev"):
			attributes = device
		case i < len(rules.Write):
			attributes = noExec
		}
		if owner == nil || !below(name, a.folder) {
			f.bind(name, attributes)
			continue
		}
		if !f.point(name) {
			continue
		}
		tree, err := unix.OpenTree(unix.AT_FDCWD, name, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
		if err != nil {
			return trees, fmt.Errorf("open %s: %w", name, err)
		}
		trees = append(trees, tree)
		owned := &unix.MountAttr{Attr_set: attributes | unix.MOUNT_ATTR_IDMAP, Userns_fd: uint64(owner.Fd())}
		if err := unix.MountSetattr(tree, "", unix.AT_EMPTY_PATH, owned); err != nil {
			return trees, fmt.Errorf("give %s to the user %d: %w", name, rules.User, err)
		}
		c.add("mount "+name, unix.SYS_MOVE_MOUNT, uintptr(tree), c.text(""), uintptr(f.here()), c.text(newRoot+name), unix.MOVE_MOUNT_F_EMPTY_PATH)
	}
	return trees, nil
}

// furniture is what is mounted in a new root.
type furniture struct {
	c    *calls
	made map[string]bool // mount points, and folders above them
}

func (f *furniture) here() int { return unix.AT_FDCWD }

// bind adds the calls that mount a file or folder in the new root, once, if it exists. That
// a missing one is an error is seen to by Landlock's rules (ruleset).
func (f *furniture) bind(name string, attributes uint64) {
	if !f.point(name) {
		return
	}
	f.c.mount(name, newRoot+name, "", unix.MS_BIND|unix.MS_REC)
	f.c.attributes(uintptr(f.here()), newRoot+name, unix.AT_RECURSIVE, &unix.MountAttr{Attr_set: attributes})
}

// itself adds the calls that make the link /proc/self/exe, by which a program finds its own
// file, as os.Executable does. Nothing else of /proc is needed: Landlock lets programs read
// nothing there. For a program with Children the link would be wrong in the children. It gets
// a real /proc, if the kernel can make one that shows only processes that one may trace.
func (f *furniture) itself(rules *Rules) {
	f.folder("/proc")
	if rules.Children {
		f.c.try(unix.SYS_MOUNT, f.c.text("proc"), f.c.text(newRoot+"/proc"), f.c.text("proc"),
			unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, f.c.text("hidepid=ptraceable,subset=pid"))
		return
	}
	if len(rules.Exec) == 0 {
		return
	}
	f.folder("/proc/self")
	f.c.try(unix.SYS_SYMLINKAT, f.c.text(rules.Exec[0]), uintptr(f.here()), f.c.text(newRoot+"/proc/self/exe"))
}

// point adds the calls that make a mount point for a file or folder. It returns false if
// that does not exist, or has a mount point already.
func (f *furniture) point(name string) bool {
	info, err := os.Stat(name)
	if err != nil || f.made[name] {
		return false
	}
	if info.IsDir() {
		f.folder(name)
		return true
	}
	f.folder(path.Dir(name))
	f.made[name] = true
	f.c.try(unix.SYS_MKNODAT, uintptr(f.here()), f.c.text(newRoot+name), unix.S_IFREG|0o444, 0) // it may be in a folder that is seen
	return true
}

// folder adds the calls that make a folder, and those above it, unless they are there.
func (f *furniture) folder(name string) {
	if name == "/" || f.made[name] {
		return
	}
	f.folder(path.Dir(name))
	f.made[name] = true
	f.c.try(unix.SYS_MKDIRAT, uintptr(f.here()), f.c.text(newRoot+name), 0o755)
}

// below reports whether a path is a folder, or of something in it.
func below(name, folder string) bool {
	return name == folder || strings.HasPrefix(name, strings.TrimSuffix(folder, "/")+"/")
}

func closeFDs(fds []int) {
	for _, fd := range fds {
		_ = unix.Close(fd)
	}
}

// owner returns a user namespace that maps the user of this process to another one: in a
// mount with it, the files of the first belong to the other. It is made once for each user.
func (a *apart) owner(user uint32) (*os.File, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if made := a.owners[user]; made != nil {
		return made, nil
	}
	made, err := newOwner(user)
	if err == nil {
		a.owners[user] = made
	}
	return made, err
}

func newOwner(user uint32) (made *os.File, err error) {
	c := new(calls)
	c.withoutHandlers()
	c.endWithThread()
	c.add("wait", unix.SYS_PPOLL, 0, 0, 0, 0)
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	pid, err := c.leave(unix.CLONE_NEWUSER)
	if err != nil {
		return nil, err
	}
	defer func() {
		_ = unix.Kill(pid, unix.SIGKILL)
		_ = reap(pid)
	}()
	dir := "/proc/" + strconv.Itoa(pid)
	for name, id := range map[string]int{"uid_map": os.Geteuid(), "gid_map": os.Getegid()} {
		if err := os.WriteFile(dir+"/"+name, fmt.Appendf(nil, "%d %d 1", id, user), 0); err != nil {
			return nil, err
		}
	}
	return os.Open(dir + "/ns/user")
}

// Forget closes what is kept for a user, whose programs have exited for good.
func (l *Launcher) Forget(user uint32) {
	if l.apart == nil {
		return
	}
	l.apart.mu.Lock()
	defer l.apart.mu.Unlock()
	if owner := l.apart.owners[user]; owner != nil {
		_ = owner.Close()
		delete(l.apart.owners, user)
	}
}
