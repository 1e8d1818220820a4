package logs

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Output is where one process prints to.
type Output struct {
	Stdout, Stderr *os.File // write only, in append mode

	store *Store
	raws  [2]*raw // until Run has them
}

// Output makes the raw files of a process that is about to be started.
func (s *Store) Output(function string, version uint32) (*Output, error) {
	if _, err := s.journal(function); err != nil {
		return nil, err
	}
	s.mu.Lock()
	s.newest = max(s.newest+1, s.cfg.now().UnixNano())
	id := s.newest
	s.mu.Unlock()
	o := &Output{store: s}
	var files [2]*os.File
	for i := range files {
		r := &raw{function: function, version: version, source: source{id: id, stream: i + 1}}
		file, err := os.OpenFile(s.rawPath(r), os.O_WRONLY|os.O_APPEND|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return nil, errors.Join(err, o.Close())
		}
		o.raws[i], files[i] = r, file
		o.Stdout, o.Stderr = files[0], files[1]
	}
	return o, nil
}

// Started says that a process was started with the files, which are read from then on.
// What it prints is kept even if the agent is killed, and the files are removed when
// no process has them open.
func (o *Output) Started(pid int) error {
	raws := o.raws
	o.raws = [2]*raw{}
	var err error
	for _, r := range raws {
		before := o.store.rawPath(r)
		r.pid = pid
		if renameErr := os.Rename(before, o.store.rawPath(r)); renameErr != nil {
			r.pid = 0
			err = errors.Join(err, renameErr)
		}
	}
	return errors.Join(err, o.store.do(func() {
		for _, r := range raws {
			j, journalErr := o.store.journal(r.function)
			if journalErr != nil {
				err = errors.Join(err, journalErr)
				continue
			}
			o.store.add(r, j)
		}
	}), err)
}

// Close closes the files after a process was started with them. If none was, it removes
// them.
func (o *Output) Close() error {
	var err error
	for _, file := range []*os.File{o.Stdout, o.Stderr} {
		if file != nil {
			err = errors.Join(err, file.Close())
		}
	}
	for _, r := range o.raws {
		if r != nil {
			err = errors.Join(err, os.Remove(o.store.rawPath(r)))
		}
	}
	return err
}

// rawPath is the path of a raw file, whose name says all that a later agent needs.
func (s *Store) rawPath(r *raw) string { return filepath.Join(s.rawDir(), r.file()) }

func (r *raw) file() string {
	return fmt.Sprintf("%s.%d.%d.%d.%d", r.function, r.version, r.pid, r.id, r.stream)
}

func parseRaw(file string) (*raw, bool) {
	parts := strings.Split(file, ".")
	if len(parts) != 5 {
		return nil, false
	}
	version, err := strconv.ParseUint(parts[1], 10, 32)
	pid, pidErr := strconv.Atoi(parts[2])
	id, idErr := strconv.ParseInt(parts[3], 10, 64)
	stream, streamErr := strconv.Atoi(parts[4])
	r := &raw{function: parts[0], version: uint32(version), pid: pid, source: source{id: id, stream: stream}}
	return r, errors.Join(err, pidErr, idErr, streamErr) == nil && r.file() == file
}
