package isolation

import (
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
)

// entrySize is what a file is reckoned to take beside its content, in bytes, so that
// empty ones are not free.
const entrySize = 4 << 10

// blockSize is the unit of what the kernel says a file takes, in bytes.
const blockSize = 512

// listable is the mode without which an owner cannot see what a folder has.
const listable = 0o500

// Takes reports whether the files in a folder, and those without a name that a process
// has open, take more than limit, in bytes of the disk. It stops looking when they do.
// Folders that are closed to their owner are opened. What goes away meanwhile counts
// nothing.
func Takes(folder string, pid int, limit int64) bool {
	var taken int64
	_ = filepath.WalkDir(folder, func(path string, e fs.DirEntry, err error) error {
		if err != nil || path == folder {
			return nil //nolint:nilerr // it has gone
		}
		taken += entrySize
		if info, err := e.Info(); err == nil {
			taken += blocks(info)
			if info.IsDir() && info.Mode().Perm()&listable != listable {
				unlock(folder, path) // it is listed after that
			}
		}
		if taken > limit {
			return fs.SkipAll
		}
		return nil
	})
	open := "/proc/" + strconv.Itoa(pid) + "/fd"
	entries, _ := os.ReadDir(open) // there is none on other systems than Linux
	for _, e := range entries {
		if info, err := os.Stat(filepath.Join(open, e.Name())); err == nil && info.Mode().IsRegular() && nameless(info) {
			taken += blocks(info)
		}
	}
	return taken > limit
}

// unlock opens a folder, which is closed to its owner, below another one. The process may
// put a link in its place meanwhile, so nothing elsewhere is changed.
func unlock(below, path string) {
	root, err := os.OpenRoot(below)
	if err != nil {
		return
	}
	defer root.Close()
	if name, err := filepath.Rel(below, path); err == nil {
		_ = root.Chmod(name, 0o700)
	}
}

func blocks(info fs.FileInfo) int64 {
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		return stat.Blocks * blockSize
	}
	return info.Size()
}

func nameless(info fs.FileInfo) bool {
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && stat.Nlink == 0
}
