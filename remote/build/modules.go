package build

import (
	"bytes"
	"embed"
	"errors"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
)

//go:generate sh modules.sh modules/proxy

// shipped has the modules that every program needs in modules/proxy, unless this
// program was built without them.
//
//go:embed modules
var shipped embed.FS

// modules is where builds get modules from: from the files of proxy, then from
// where GOPROXY says. It is empty when there are no such files.
func modules(proxy fs.FS, dir string) (string, error) {
	if proxy == nil {
		var err error
		if proxy, err = fs.Sub(shipped, "modules/proxy"); err != nil {
			return "", err
		}
	}
	if entries, err := fs.ReadDir(proxy, "."); err != nil || len(entries) == 0 {
		return "", nil //nolint:nilerr // there are none
	}
	if err := unpack(proxy, dir); err != nil {
		return "", err
	}
	u := url.URL{Scheme: "file", Path: filepath.ToSlash(dir)}
	return strings.ReplaceAll(u.String(), ",", "%2C"), nil // a comma begins the next proxy
}

// unpack brings a folder up to date with fsys. Agents that share the folder may
// do it at one time, and a file that a loss of power has damaged is written anew.
func unpack(fsys fs.FS, dir string) error {
	return fs.WalkDir(fsys, ".", func(name string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		file := filepath.Join(dir, filepath.FromSlash(name))
		if e.IsDir() {
			return os.MkdirAll(file, 0o700)
		}
		content, err := fs.ReadFile(fsys, name)
		if err != nil {
			return err
		}
		if have, err := os.ReadFile(file); err == nil && bytes.Equal(have, content) {
			return nil
		}
		return replace(file, content, 0o600)
	})
}

// replace writes a file so that it appears whole.
func replace(name string, content []byte, mode os.FileMode) (err error) {
	f, err := os.CreateTemp(filepath.Dir(name), "tmp-")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	_, err = f.Write(content)
	if err := errors.Join(err, f.Chmod(mode), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), name)
}
