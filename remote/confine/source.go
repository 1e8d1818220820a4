package confine

import (
	"embed"
	"errors"
	"os"
	"path"
	"path/filepath"
)

// launcherSource is package launch.
//
//go:embed launch/doc.go launch/main_linux.go launch/main_other.go launch/order.go launch/probe_linux.go
var launcherSource embed.FS

// sourceMain makes a program of package launch.
const sourceMain = `package main

import (
	"os"

	"launcher/launch"
)

func main() {
	code, _ := launch.Main(os.Args)
	os.Exit(code)
}
`

// Source is the module of the launcher, as files by their paths: a program that Use
// takes, once it is built. It needs nothing but the standard library.
func Source() (map[string][]byte, error) {
	files := map[string][]byte{"main.go": []byte(sourceMain), "go.mod": []byte("module launcher\n\ngo 1.26\n")}
	entries, err := launcherSource.ReadDir("launch")
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		name := path.Join("launch", e.Name())
		if files[name], err = launcherSource.ReadFile(name); err != nil {
			return nil, err
		}
	}
	return files, nil
}

// WriteSource writes the launcher's module to a folder.
func WriteSource(dir string) error {
	files, err := Source()
	err = errors.Join(err, os.MkdirAll(filepath.Join(dir, "launch"), 0o700))
	for name, content := range files {
		err = errors.Join(err, os.WriteFile(filepath.Join(dir, filepath.FromSlash(name)), content, 0o600))
	}
	return err
}
