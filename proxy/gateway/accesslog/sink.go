package accesslog

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// sink is where lines go.
type sink struct {
	to    io.Writer // instead of a file
	path  string
	limit int64 // of a file
	keep  int

	file    *os.File // nil: there is none
	regular bool     // the file can be rotated and cut
	size    int64
	looked  time.Time // when the file was last seen at its path
	torn    bool      // the last line is not whole
}

// begin opens the file for the first time.
func (s *sink) begin(path string) (err error) {
	if s.path, err = filepath.Abs(path); err != nil {
		return err
	}
	s.path = target(s.path)
	if err := s.open(); err != nil {
		return err
	}
	old := s.regular
	for i := s.keep + 1; old; i++ { // of a time when more were kept
		old = os.Remove(s.numbered(i)) == nil
	}
	return nil
}

// target is where a link leads, which would else be rotated instead of its file.
func target(path string) string {
	if file, err := filepath.EvalSymlinks(path); err == nil {
		return file
	}
	return path
}

func (s *sink) close() {
	if s.file != nil {
		s.file.Close()
		s.file = nil
	}
}

// open opens the file, or creates it.
func (s *sink) open() error {
	s.close()
	// Without O_NONBLOCK a fifo that nobody reads would hold the program up.
	file, err := os.OpenFile(s.path, os.O_WRONLY|os.O_APPEND|os.O_CREATE|syscall.O_NONBLOCK, 0o600)
	if err != nil {
		return err
	}
	info, err := file.Stat()
	if err != nil {
		file.Close()
		return err
	}
	s.file, s.regular, s.size, s.looked = file, info.Mode().IsRegular(), info.Size(), time.Now()
	s.torn = s.regular && s.size > 0 && !endsWhole(s.path, s.size)
	return nil
}

// endsWhole says whether the last line of a file is whole.
func endsWhole(path string, size int64) bool {
	var last [1]byte
	file, err := os.Open(path)
	if err != nil {
		return false // a line too many does no harm
	}
	defer file.Close()
	_, err = file.ReadAt(last[:], size-1)
	return err == nil && last[0] == '\n'
}

// write writes lines and returns how many bytes of them are written, in whole lines.
func (s *sink) write(lines []byte) (n int, err error) {
	to := s.to
	if to == nil {
		if err := s.ready(len(lines)); err != nil {
			return 0, err
		}
		to = s.file
	}
	if s.torn {
		if _, err := to.Write([]byte{'\n'}); err != nil {
			return 0, err
		}
		s.torn = false
		s.size++
	}
	n, err = to.Write(lines)
	if err == nil {
		s.size += int64(n)
		return n, nil
	}
	whole := bytes.LastIndexByte(lines[:n], '\n') + 1
	s.size += int64(whole)
	s.torn = whole < n && (!s.regular || s.file.Truncate(s.size) != nil)
	return whole, err
}

// ready makes the file one that lines can be written to.
func (s *sink) ready(length int) error {
	if s.file == nil || time.Since(s.looked) >= period {
		if err := s.look(); err != nil {
			return err
		}
	}
	if s.regular && s.size > 0 && s.size+int64(length) > s.limit {
		return s.rotate()
	}
	return nil
}

// look opens the file anew if it no longer lies at its path.
func (s *sink) look() error {
	if s.file == nil {
		return s.open()
	}
	there, err := os.Stat(s.path)
	if errors.Is(err, fs.ErrNotExist) {
		return s.open()
	}
	if err != nil {
		return err
	}
	own, err := s.file.Stat()
	if err != nil || !os.SameFile(there, own) {
		return s.open()
	}
	s.size, s.looked = own.Size(), time.Now()
	return nil
}

// rotate begins a new file.
func (s *sink) rotate() error {
	if s.keep == 0 {
		if err := os.Remove(s.path); err != nil {
			return fmt.Errorf("rotate it: %w", err)
		}
	}
	for i := s.keep; i > 0; i-- {
		if err := os.Rename(s.numbered(i-1), s.numbered(i)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("rotate it: %w", err)
		}
	}
	return s.open()
}

// numbered returns the path of a file that was rotated, by age from 1. 0 is the file that
// is written.
func (s *sink) numbered(i int) string {
	if i == 0 {
		return s.path
	}
	return fmt.Sprintf("%s.%d", s.path, i)
}
