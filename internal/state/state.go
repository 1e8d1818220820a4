package state

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/Ishan27g/ryo-faas/proto"
)

// ErrDamaged is the error of a file that holds what this package did not store.
var ErrDamaged = errors.New("it is damaged")

// maxFile is what a file may have, in bytes; Write is for small ones.
const maxFile = 64 << 20

// TempPrefix begins the names of files that Write had not finished.
const TempPrefix = ".tmp-"

// DamagedSuffix comes between the name of a file that is set aside and the time.
const DamagedSuffix = ".damaged-"

// DamagedTime is the layout of that time, in UTC.
const DamagedTime = "20060102T150405.000Z"

// ErrLent is the error of a change that comes after Lend.
var ErrLent = proto.Errorf(proto.ErrUnavailable, "another process has taken over").WithHint("ask again")

// Dir is a folder that this process holds.
type Dir struct {
	path string
	lock *os.File

	mu   sync.RWMutex // held for reading by each change; guards the field below:
	lent bool
}

// Lend gives the folder to another process, which calls Take with the lock that is returned.
// Changes under way end first; those that come later are ErrLent, until Reclaim. The lock
// is this folder's, until Close.
func (d *Dir) Lend() *os.File {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lent = true
	return d.lock
}

// Reclaim takes the folder back from a process that has ended.
func (d *Dir) Reclaim() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lent = false
	return d.sign()
}

// Take is Open for a folder that another process lends. The lock is the folder's then.
func Take(path string, lock *os.File) (*Dir, error) {
	path, err := filepath.Abs(path)
	if err == nil {
		err = Check(path)
	}
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	d := &Dir{path: path, lock: lock}
	here, err := os.Lstat(d.Path("LOCK"))
	if err == nil {
		var given os.FileInfo
		if given, err = lock.Stat(); err == nil && !os.SameFile(here, given) {
			err = proto.Errorf(proto.ErrConflict, "the lock that another process has lent is not that of %s", path)
		}
	}
	if err == nil { // it is ours as long as the other process's: both have the same opened file
		err = syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	}
	if err == nil {
		err = d.sign()
	}
	if err != nil {
		return nil, fmt.Errorf("take over %s: %w", path, errors.Join(err, lock.Close()))
	}
	return d, nil
}

// sign writes into the lock whose it is.
func (d *Dir) sign() error {
	return errors.Join(d.lock.Truncate(0), writeAt(d.lock, fmt.Sprintln(os.Getpid())))
}

// change lets a change begin, which ends with what it returns.
func (d *Dir) change() (end func(), err error) {
	d.mu.RLock()
	if d.lent {
		d.mu.RUnlock()
		return nil, ErrLent
	}
	return d.mu.RUnlock, nil
}

// Open makes the folder if need be, readable by its owner alone, and locks it. A
// folder that others own or may write to is an ErrForbidden, as Check says it; one
// that another process holds is an ErrConflict that names the process. The lock is
// the kernel's: it lasts no longer than the process, however that exits.
func Open(path string) (*Dir, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, proto.Errorf(proto.ErrForbidden, "make the state folder: %w", err).WithHint("choose another folder with -dir")
	}
	if err := Check(path); err != nil {
		return nil, err
	}
	lock, err := os.OpenFile(filepath.Join(path, "LOCK"), os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the state folder: %w", err)
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		defer lock.Close()
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("lock %s: %w", lock.Name(), err)
		}
		pid, _ := io.ReadAll(io.LimitReader(lock, 32))
		return nil, proto.Errorf(proto.ErrConflict, "the folder %s is in use by process %s", path, strings.TrimSpace(string(pid))).
			WithHint("stop that process, or choose another folder with -dir")
	}
	d := &Dir{path: path, lock: lock}
	if err := d.sign(); err != nil {
		d.Close()
		return nil, fmt.Errorf("write %s: %w", lock.Name(), err)
	}
	return d, nil
}

func writeAt(f *os.File, text string) error {
	_, err := f.WriteAt([]byte(text), 0)
	return err
}

// Close unlocks the folder.
func (d *Dir) Close() error { return d.lock.Close() }

// Path is the absolute path of a file or folder below the folder.
func (d *Dir) Path(elem ...string) string {
	return filepath.Join(append([]string{d.path}, elem...)...)
}

// Write stores v as JSON under a slash-separated name. When it returns, either
// the new content is on the disk or the old is still there.
func (d *Dir) Write(name string, v any) error { return d.write(name, v, (*os.File).Sync, syncFolder) }

// Note is Write for what has no worth after a loss of power. It does not wait for the
// disk, so a loss of power may remove or damage the file.
func (d *Dir) Note(name string, v any) error {
	return d.write(name, v, func(*os.File) error { return nil }, func(string) error { return nil })
}

// WriteFile is Write for what is no JSON.
func (d *Dir) WriteFile(name string, data []byte) error {
	return d.writeFile(name, data, (*os.File).Sync, syncFolder)
}

func (d *Dir) write(name string, v any, sync func(*os.File) error, syncFolder func(string) error) error {
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return d.writeFile(name, append(data, '\n'), sync, syncFolder)
}

func (d *Dir) writeFile(name string, data []byte, sync func(*os.File) error, syncFolder func(string) error) error {
	end, err := d.change()
	if err != nil {
		return err
	}
	defer end()
	path := d.Path(filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), TempPrefix+"*")
	if err != nil {
		return err
	}
	_, err = tmp.Write(data)
	if err == nil {
		err = sync(tmp)
	}
	if err = errors.Join(err, tmp.Close()); err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err != nil {
		os.Remove(tmp.Name())
		return fmt.Errorf("write %s: %w", path, err)
	}
	return syncFolder(filepath.Dir(path))
}

// Read fills v from what Write stored under name; it reports whether there was any.
// What Write cannot have stored is ErrDamaged; v may have been filled in part then.
func (d *Dir) Read(name string, v any) (bool, error) {
	data, err := d.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if err := json.Unmarshal(data, v); err != nil {
		return false, fmt.Errorf("read %s: %w: %w", d.Path(filepath.FromSlash(name)), ErrDamaged, err)
	}
	return true, nil
}

// ReadFile returns what a file holds. One that is a link, or that others may have
// written, is ErrDamaged.
func (d *Dir) ReadFile(name string) ([]byte, error) {
	path := d.Path(filepath.FromSlash(name))
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0) // a fifo would block
	if errors.Is(err, syscall.ELOOP) {
		return nil, fmt.Errorf("read %s: %w: it is a link", path, ErrDamaged)
	}
	if err != nil {
		return nil, err
	}
	defer file.Close()
	info, err := file.Stat()
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("read %s: %w: it is no file", path, ErrDamaged)
	case foreign(info) != "":
		return nil, fmt.Errorf("read %s: %w: %s", path, ErrDamaged, foreign(info))
	case info.Size() > maxFile:
		return nil, fmt.Errorf("read %s: %w: it has more than %d MiB", path, ErrDamaged, maxFile>>20)
	}
	data, err := io.ReadAll(io.LimitReader(file, maxFile))
	if errors.Is(err, syscall.EIO) {
		err = fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return data, err
}

// SetAside renames a damaged file or folder so that its name says so, and returns the
// new path. It is kept since a person may still read it.
func (d *Dir) SetAside(name string) (string, error) {
	end, err := d.change()
	if err != nil {
		return "", err
	}
	defer end()
	from := d.Path(filepath.FromSlash(name))
	to := from + DamagedSuffix + time.Now().UTC().Format(DamagedTime)
	return to, os.Rename(from, to)
}

// syncFolder makes a rename in a folder durable.
func syncFolder(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
