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

// cover watches the folders of a snapshot, and their parents up to its root, where they
// may be made anew. Folders that are watched already stay so.
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

// grow watches a new folder and those in it: sources may come to lie there.
func (w watcher) grow(dir string) {
	_ = filepath.WalkDir(dir, func(name string, e fs.DirEntry, err error) error {
		switch {
		case err != nil || !e.IsDir():
			return nil //nolint:nilerr // it was removed again
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

// seen watches the folder of an event that makes one, and returns the event's file;
// "" if the event changes no source.
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
