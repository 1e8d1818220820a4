package programs

import (
	"fmt"
	"io/fs"
	"os"
	"sync"

	"github.com/Ishan27g/ryo-faas/internal/state"
	"github.com/Ishan27g/ryo-faas/remote/build"
)

// checkedMost bounds how many files are remembered: more than a machine has versions.
const checkedMost = 8192

// checked remembers the digests of files that have been read: for a program of 8 MB
// that takes 15 ms, about as long as the rest of a cold start, and a look whether
// the file is still the same takes 15 µs.
//
// A digest holds as long as the file's identity does. Every change of a file's bytes
// changes its ctime, which no call can set; so does a new link, after which the file is
// read once more. Two ways round that exist. One is to write to the raw disk or to set
// the clock back; root alone can, and root can replace the agent as well. The other is
// to write between the check and execve(2); only the agent's user and root can write to
// the folder, since a folder that others may write to is refused at the start.
type checked struct {
	mu    sync.Mutex // guards the fields below
	files map[string]digested
}

type digested struct {
	identity
	digest string
}

// digest is that of a file's bytes.
func (c *checked) digest(file string) (string, error) {
	f, err := os.Open(file)
	if err != nil {
		return "", err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return "", err
	}
	is := identify(info)
	c.mu.Lock()
	was := c.files[file]
	c.mu.Unlock()
	if was.identity == is {
		return was.digest, nil
	}
	digest, err := build.Digest(f)
	if err != nil {
		return "", err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.files == nil || len(c.files) >= checkedMost {
		c.files = make(map[string]digested)
	}
	c.files[file] = digested{is, digest}
	return digest, nil
}

// Verify finds out whether a file is the program of a digest. The error is
// fs.ErrNotExist when there is no file, and state.ErrDamaged when it has another
// digest.
func (m *Maker) Verify(file, digest string) error {
	info, err := os.Lstat(file)
	if err != nil {
		return err
	}
	if info.Mode().Type()&^fs.ModeIrregular != 0 {
		return fmt.Errorf("program %s: %w: it is no file", file, state.ErrDamaged)
	}
	got, err := m.checked.digest(file)
	if err != nil {
		return fmt.Errorf("program %s: %w", file, err)
	}
	if got != digest {
		return fmt.Errorf("program %s: %w: its digest is %s and should be %s", file, state.ErrDamaged, got, digest)
	}
	return nil
}
