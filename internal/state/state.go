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
	"syscall"

	"github.com/Ishan27g/ryo-faas/proto"
)

// Dir is a folder that this process holds.
type Dir struct {
	path string
	lock *os.File
}

// Open makes the folder if need be, readable by its owner alone, and locks it. A
// folder that another process holds is an ErrConflict that names the process.
// The lock is the kernel's: it ends with the process, however that ends.
func Open(path string) (*Dir, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, fmt.Errorf("make the state folder: %w", err)
	}
	lock, err := os.OpenFile(filepath.Join(path, "LOCK"), os.O_RDWR|os.O_CREATE, 0o600)
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
			WithHint("end that process, or choose another folder with -dir")
	}
	d := &Dir{path: path, lock: lock}
	if err := errors.Join(lock.Truncate(0), writeAt(lock, fmt.Sprintln(os.Getpid()))); err != nil {
		d.Close()
		return nil, fmt.Errorf("write %s: %w", lock.Name(), err)
	}
	return d, nil
}

func writeAt(f *os.File, text string) error {
	_, err := f.WriteAt([]byte(text), 0)
	return err
}

// Close gives the folder up.
func (d *Dir) Close() error { return d.lock.Close() }

// Path is the absolute path of a file or folder below the folder.
func (d *Dir) Path(elem ...string) string {
	return filepath.Join(append([]string{d.path}, elem...)...)
}

// Write stores v as JSON under a slash-separated name. When it returns, either
// the new content is on the disk or the old is still there.
func (d *Dir) Write(name string, v any) error { return d.write(name, v, (*os.File).Sync, syncFolder) }

// Note is Write for what is worth nothing after a loss of power, by which alone it
// may be lost, or damaged. It does not wait for the disk.
func (d *Dir) Note(name string, v any) error {
	return d.write(name, v, func(*os.File) error { return nil }, func(string) error { return nil })
}

func (d *Dir) write(name string, v any, sync func(*os.File) error, syncFolder func(string) error) (err error) {
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	path := d.Path(filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), ".tmp-*")
	if err != nil {
		return err
	}
	_, err = tmp.Write(append(data, '\n'))
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
func (d *Dir) Read(name string, v any) (bool, error) {
	data, err := os.ReadFile(d.Path(filepath.FromSlash(name)))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if err := json.Unmarshal(data, v); err != nil {
		return false, fmt.Errorf("read %s: %w", d.Path(filepath.FromSlash(name)), err)
	}
	return true, nil
}

// syncFolder makes a rename last: it is a change of the folder.
func syncFolder(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
