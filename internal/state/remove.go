package state

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// RemoveAll is os.RemoveAll, and also removes folders that a program of this user has
// made so that their owner may not list them or write to them.
func RemoveAll(path string) error {
	err := os.RemoveAll(path)
	if !errors.Is(err, fs.ErrPermission) {
		return err
	}
	// A root, since such a program may put a link in a folder's place meanwhile.
	root, err := os.OpenRoot(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer root.Close()
	_ = fs.WalkDir(root.FS(), filepath.Base(path), func(name string, e fs.DirEntry, err error) error {
		if err == nil && e.IsDir() { // it is listed after that
			_ = root.Chmod(name, 0o700)
		}
		return nil // the second attempt says what is left
	})
	return os.RemoveAll(path)
}
