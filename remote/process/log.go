package process

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// block is a multiple of the block size of common file systems, in bytes. The
// head of a log is freed in whole blocks: less would only be zeroed.
const block = 64 << 10

// Log is the output of one function, over all its processes: a file that they
// append to directly. A Keeper bounds it. All methods may be called concurrently.
type Log struct {
	keep int64 // bytes
	file *os.File

	freed int64 // the keeper's: offset up to which the file was given back
}

// OpenLog opens or creates the log at path, of which a Keeper keeps at least the
// last keep bytes.
func OpenLog(path string, keep int64) (*Log, error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	return &Log{keep: keep, file: file}, nil
}

// Close closes the log here; processes that were started with it go on writing.
func (l *Log) Close() error { return l.file.Close() }

// Tail returns what the last n bytes of the log say, and whether there was more
// before them. It then starts at the beginning of a line, unless one line fills
// it. Each run of bytes that are not UTF-8 reads as U+FFFD.
func (l *Log) Tail(n int64) (text string, truncated bool, err error) {
	info, err := l.file.Stat()
	if err != nil {
		return "", false, err
	}
	from := max(info.Size()-max(n, 0), 0)
	// The byte before tells whether from is the beginning of a line.
	start := max(from-1, 0)
	data := make([]byte, info.Size()-start)
	read, err := l.file.ReadAt(data, start)
	if err != nil && !errors.Is(err, io.EOF) {
		return "", false, err
	}
	data = data[:read]
	// Asked after reading, since a keeper may free the head at any time.
	hole, err := l.hole(start)
	if err != nil {
		return "", false, err
	}
	truncated = from > 0 || hole > 0
	data = data[min(hole, int64(len(data))):]
	return tailText(data, truncated), truncated, nil
}

// hole is the length of the freed part of the file that begins at an offset.
func (l *Log) hole(from int64) (int64, error) {
	data, err := l.file.Seek(from, unix.SEEK_DATA) // writers append wherever it points
	switch {
	case errors.Is(err, unix.ENXIO): // nothing but hole, or the end of the file
		end, err := l.file.Seek(0, io.SeekEnd)
		return max(end-from, 0), err
	case errors.Is(err, unix.EINVAL): // the file system has no holes
		return 0, nil
	}
	return data - from, err
}

// tailText makes text of a log's end. One that is cut begins with the end of a
// line, or the newline of the line before, which is left out unless it is all.
func tailText(data []byte, cut bool) string {
	if cut {
		_, lines, _ := bytes.Cut(data, []byte("\n"))
		if len(lines) == 0 {
			lines = data[min(1, len(data)):]
		}
		data = lines
	}
	return strings.ToValidUTF8(string(data), "\uFFFD")
}

// trim gives the head of a log that is above its limit back to the disk.
func (l *Log) trim() error {
	info, err := l.file.Stat()
	if err != nil {
		return err
	}
	if info.Size() < l.freed {
		l.freed = 0 // it was truncated
	}
	head := (info.Size() - l.keep) / block * block
	if head <= l.freed {
		return nil
	}
	if err := punch(l.file, l.freed, head); err != nil {
		// Not on this file system: rather lose the output than fill the disk.
		if truncErr := l.file.Truncate(0); truncErr != nil {
			return fmt.Errorf("free the head of %s: %w", l.file.Name(), errors.Join(err, truncErr))
		}
		head = 0
	}
	l.freed = head
	return nil
}
