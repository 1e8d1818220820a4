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
	clone   uintptr  // flags of clone(2): CLONE_NEWPID, and CLONE_NEWUSER where it takes one
	network *os.File // an empty namespace of networks, of all programs without one; nil: each makes its own
	user    uint32   // with which it is proven that programs can have one of their own; 0: they cannot
	folder  string   // has the files of programs
	closed  string   // the folder above it that not all users can reach into, or itself

	mu     sync.Mutex          // guards the fields below
	owners map[uint32]*os.File // user namespaces by user: see owner
}

// Separate puts the programs of ForkExec into namespaces of their own from now on, as
// far as this process can: of processes, but for programs with Children; of mounts,
// where there is nothing but what rules name, and the folders of the system that
// programs need; of host names and shared memory; and of networks, for programs whose
// rules have none. folder has the files of the programs. user is one that programs may
// have; 0: none. The layers say what has come of it. Call it before the first ForkExec.
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

// closedFolder is the folder furthest up, of those that lead to a folder, that not all
// users can reach into, or else the folder.
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

// emptyNetwork makes a namespace of networks with nothing but a loopback. One for all
// costs a start a hundredth of what one for each does, and what is in it has no sockets.
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

// newRoot is where the root of a program is made: a folder that every machine has, and
// that programs get nothing of.
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
	// What is unmounted elsewhere is not kept here, and nothing gets out.
	c.mount("", "/", "", unix.MS_REC|unix.MS_SLAVE)
	c.mount("root", newRoot, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC)
	c.add("set the file mode creation mask", unix.SYS_UMASK, 0) // every user is to get through the folders
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

// mount adds a call of mount(2), of a file system without options but for folders.
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

// hidden are those that none sees, whatever rules allow: the unix sockets of a machine lie
// everywhere else.
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

// furnish adds the calls that bring to the new root all that there will be. What lies in
// the agent's folder belongs to owner there, if there is one.
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

// furniture is what is brought to a new root.
type furniture struct {
	c    *calls
	made map[string]bool // mount points, and folders above them
}

func (f *furniture) here() int { return unix.AT_FDCWD }

// bind adds the calls that bring a file or folder there, if it exists: another layer tells
// of what must. The second time is none.
func (f *furniture) bind(name string, attributes uint64) {
	if !f.point(name) {
		return
	}
	f.c.mount(name, newRoot+name, "", unix.MS_BIND|unix.MS_REC)
	f.c.attributes(uintptr(f.here()), newRoot+name, unix.AT_RECURSIVE, &unix.MountAttr{Attr_set: attributes})
}

// itself adds the calls by which a program finds its own file, as os.Executable does. In
// /proc nothing else is needed: what may be read there is Landlock's to say, and that is
// nothing. For children the name would lead to the wrong program; they get the kernel's
// own, where that can be had, of processes that they may trace.
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

// point adds the calls that make what a file or folder can be mounted on.
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

// owner is a user namespace in which the files of this process's user are another's. One
// is made for each user and kept.
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
