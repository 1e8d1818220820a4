package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// programsAt is where packages have the programs: together, since proxyCli up starts
// those that are beside it, and not in /usr/bin, where agent and proxy would mean
// anything. There are links to them, with names of their own.
const programsAt = "/usr/lib/ryo-faas/"

// scripts are run before and after packages are installed and removed.
var scripts = []string{"postinstall", "preremove", "postremove"}

// services have those scripts; each has its units, and the folders of its data below
// /var/lib/ryo.
var services = []struct{ program, units, folders string }{
	{"agent", "ryo-agent.service", "agent"},
	{"proxy", "ryo-proxy.service ryo-engine.service", "proxy engine"},
}

// packages makes a deb and an rpm of each definition in dist/packages from the files of an
// archive.
func packages(ctx context.Context, nfpm, out, stage, version, processor string, content map[string]file, when time.Time) error {
	root := filepath.Join(stage, "root")
	put := func(name string, data []byte) error {
		at := filepath.Join(root, filepath.FromSlash(name))
		return errors.Join(os.MkdirAll(filepath.Dir(at), 0o755), os.WriteFile(at, data, 0o644)) //nolint:gosec // definitions say the modes
	}
	for name, f := range content {
		data := f.content
		var err error
		switch {
		case strings.HasPrefix(name, "units/"):
			data, err = packagedUnit(data)
		case strings.HasPrefix(name, "man/"):
			name += ".gz"
			data, err = packed(data)
		}
		if err := errors.Join(err, put(name, data)); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	for _, name := range scripts {
		script, err := os.ReadFile(filepath.Join("dist", "packages", name))
		if err != nil {
			return err
		}
		for _, s := range services {
			filled := strings.NewReplacer("@program@", s.program, "@units@", s.units, "@folders@", s.folders).Replace(string(script))
			if err := put("scripts/"+s.program+"/"+name, []byte(filled)); err != nil {
				return err
			}
		}
	}

	words := map[string]string{"FILES": root, "VERSION": version, "ARCH": processor, "TIME": when.Format(time.RFC3339)}
	definitions, err := filepath.Glob("dist/packages/*.yaml")
	if err != nil {
		return err
	}
	for _, definition := range definitions {
		text, err := os.ReadFile(definition)
		if err != nil {
			return err
		}
		name := filepath.Base(definition)
		if err := put(name, []byte(os.Expand(string(text), func(word string) string { return words[word] }))); err != nil {
			return err
		}
		for _, kind := range []string{"deb", "rpm"} {
			env := []string{fmt.Sprintf("SOURCE_DATE_EPOCH=%d", when.Unix())}
			if _, err := command(ctx, env, nfpm, "package", "-f", filepath.Join(root, name), "-p", kind, "-t", out); err != nil {
				return err
			}
		}
	}
	return nil
}

// packed is data as gzip has it, without a time.
func packed(data []byte) ([]byte, error) {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, err := w.Write(data)
	err = errors.Join(err, w.Close())
	return b.Bytes(), err
}

// packagedUnit is a unit for the programs of packages, without the lines that say how to
// install it by hand.
func packagedUnit(unit []byte) ([]byte, error) {
	const byHand = "/usr/local/bin/"
	at := bytes.Index(unit, []byte("[Unit]"))
	if at < 0 || !bytes.Contains(unit, []byte("ExecStart="+byHand)) {
		return nil, errors.New("a unit has a part [Unit], and starts a program of " + byHand)
	}
	return bytes.ReplaceAll(unit[at:], []byte("="+byHand), []byte("="+programsAt)), nil
}
