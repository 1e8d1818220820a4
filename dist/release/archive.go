package main

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"time"
)

// file is one file of an archive.
type file struct {
	content []byte
	mode    fs.FileMode
}

// gather returns the files of a system's archive, by their names in it.
func gather(ps programs, system string, texts map[string][]byte) (map[string]file, error) {
	content := map[string]file{}
	add := func(name, from string, mode fs.FileMode) error {
		data, err := os.ReadFile(from)
		content[name] = file{data, mode}
		return err
	}
	for _, p := range ps {
		if err := add(filepath.Base(p.path), p.path, 0o755); err != nil {
			return nil, err
		}
	}
	for _, pattern := range files {
		names, err := filepath.Glob(pattern)
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			if err := add(filepath.ToSlash(name), name, 0o644); err != nil {
				return nil, err
			}
		}
	}
	if system == "linux" {
		units, err := filepath.Glob("dist/*.service")
		if err != nil {
			return nil, err
		}
		for _, unit := range units {
			if err := add("units/"+filepath.Base(unit), unit, 0o644); err != nil {
				return nil, err
			}
		}
	}
	for name, text := range texts {
		if system == "linux" || path.Dir(name) != "man/man8" { // programs that the system does not have
			content[name] = file{text, 0o644}
		}
	}
	return content, nil
}

// archive writes files below a folder of the name to base.tar.gz, or base.zip.
func archive(base, folder string, zipped bool, content map[string]file, when time.Time) error {
	var b bytes.Buffer
	write, extension := writeTar, ".tar.gz"
	if zipped {
		write, extension = writeZip, ".zip"
	}
	if err := write(&b, folder, content, when); err != nil {
		return err
	}
	return os.WriteFile(base+extension, b.Bytes(), 0o644) //nolint:gosec // it is for everybody
}

func writeTar(b *bytes.Buffer, folder string, content map[string]file, when time.Time) error {
	packed := gzip.NewWriter(b)
	w := tar.NewWriter(packed)
	for _, name := range slices.Sorted(maps.Keys(content)) {
		f := content[name]
		// The owner is root, whoever builds.
		if err := w.WriteHeader(&tar.Header{
			Typeflag: tar.TypeReg, Name: path.Join(folder, name), Size: int64(len(f.content)),
			Mode: int64(f.mode), ModTime: when, Uname: "root", Gname: "root", Format: tar.FormatUSTAR,
		}); err != nil {
			return err
		}
		if _, err := w.Write(f.content); err != nil {
			return err
		}
	}
	if err := w.Close(); err != nil {
		return err
	}
	return packed.Close()
}

func writeZip(b *bytes.Buffer, folder string, content map[string]file, when time.Time) error {
	w := zip.NewWriter(b)
	for _, name := range slices.Sorted(maps.Keys(content)) {
		f := content[name]
		header := &zip.FileHeader{Name: path.Join(folder, name), Method: zip.Deflate, Modified: when}
		header.SetMode(f.mode)
		entry, err := w.CreateHeader(header)
		if err != nil {
			return err
		}
		if _, err := entry.Write(f.content); err != nil {
			return err
		}
	}
	return w.Close()
}
