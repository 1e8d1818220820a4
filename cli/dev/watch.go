package dev

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/fsnotify/fsnotify"
)

// watcher tells of changes in folders. Folders, not files: editors put a new file
// in the place of the old one.
type watcher struct{ *fsnotify.Watcher }

// cover watches the folders of a snapshot, and those between them and its root, in
// which they may be made anew. What is watched already stays so.
func (w watcher) cover(s snapshot) error {
	var errs []error
	seen := map[string]bool{}
	for _, file := range s.files {
		for dir := filepath.Dir(file); !seen[dir]; dir = filepath.Dir(dir) {
			seen[dir] = true
			errs = append(errs, w.add(dir))
			if dir == s.root {
				break
			}
		}
	}
	return errors.Join(errs...)
}

// grow watches a folder that was just made, with those in it: what a source wants
// may come to lie there.
func (w watcher) grow(dir string) {
	_ = filepath.WalkDir(dir, func(name string, e fs.DirEntry, err error) error {
		switch {
		case err != nil || !e.IsDir():
			return nil //nolint:nilerr // it has gone again
		case strings.HasPrefix(e.Name(), ".") || e.Name() == "node_modules":
			return fs.SkipDir
		}
		_ = w.add(name) // cover says what cannot be watched
		return nil
	})
}

func (w watcher) add(dir string) error {
	if err := w.Add(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// seen takes notice of an event and returns the file that it is about, "" when
// nothing can come of it.
func (w watcher) seen(e fsnotify.Event) string {
	if e.Op == fsnotify.Chmod {
		return ""
	}
	if e.Has(fsnotify.Create) {
		if info, err := os.Lstat(e.Name); err == nil && info.IsDir() {
			w.grow(e.Name)
		}
	}
	return e.Name
}
