package accesslog

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// running runs a log until stop is called or the test ends.
func running(t *testing.T, cfg Config) (l *Log, stop func()) {
	t.Helper()
	if cfg.Logger == nil {
		cfg.Logger = hclog.NewNullLogger()
	}
	if cfg.Size == 0 {
		cfg.Size = MinSize
	}
	l, err := Open(cfg)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	var done sync.WaitGroup
	done.Go(func() { l.Run(ctx) })
	stop = func() { cancel(); done.Wait() }
	t.Cleanup(stop)
	return l, stop
}

// passes lets the period pass, in a bubble.
func passes() {
	<-time.After(period)
	synctest.Wait()
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	return string(text)
}

func TestLinesAreWrittenWithinASecondAndAtTheEnd(t *testing.T) {
	path := filepath.Join(t.TempDir(), "access.log")
	synctest.Test(t, func(t *testing.T) {
		l, stop := running(t, Config{Path: path})
		l.Add([]byte("1\n"))
		assert.Empty(t, read(t, path), "no call waits for the disk")
		passes()
		assert.Equal(t, "1\n", read(t, path))
		l.Add([]byte("2\n"))
		stop()
		assert.Equal(t, "1\n2\n", read(t, path))
		assert.Zero(t, l.Dropped())
	})
	info, err := os.Stat(path)
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o600), info.Mode())
}

func TestABatchIsWrittenAtOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "access.log")
	synctest.Test(t, func(t *testing.T) {
		l, _ := running(t, Config{Path: path})
		l.Add(bytes.Repeat([]byte("x"), batch-1))
		synctest.Wait()
		assert.Empty(t, read(t, path))
		l.Add([]byte("\n"))
		synctest.Wait() // no time passes
		assert.Len(t, read(t, path), batch)
	})
}

func TestFilesAreRotatedBySizeAndNumber(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "access.log")
	for _, old := range []string{".3", ".4", ".5"} { // of a time when 5 were kept
		require.NoError(t, os.WriteFile(path+old, nil, 0o600))
	}
	synctest.Test(t, func(t *testing.T) {
		l, stop := running(t, Config{Path: path, Keep: 2})
		for i := range 60 {
			for range 1000 {
				l.Add(fmt.Appendf(nil, "%2d%s\n", i, strings.Repeat("x", 97)))
			}
			passes()
		}
		stop()
		assert.Zero(t, l.Dropped())
	})
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	assert.Equal(t, []string{"access.log", "access.log.1", "access.log.2"}, names)
	last := 60
	for _, name := range names {
		text := read(t, filepath.Join(dir, name))
		assert.LessOrEqual(t, len(text), MinSize)
		lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
		for _, line := range slices.Backward(lines) {
			require.Len(t, line, 99)
			var i int
			_, err := fmt.Sscan(line[:2], &i)
			require.NoError(t, err)
			require.Contains(t, []int{last, last - 1}, i, "none is missing")
			last = i
		}
	}
	assert.Less(t, last, 40)
}

// slow is a disk that takes nothing before it is told to.
type slow struct {
	released chan struct{}
	bytes.Buffer
}

func (s *slow) Write(p []byte) (int, error) {
	<-s.released
	return s.Buffer.Write(p)
}

func TestNoCallWaitsForASlowDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := &slow{released: make(chan struct{})}
		l, stop := running(t, Config{To: disk})
		line := []byte(strings.Repeat("x", 99) + "\n")
		begun := time.Now()
		for range batch/len(line) + 1 {
			l.Add(line)
		}
		synctest.Wait() // they are being written
		const more = 2 * backlog / 100
		for range more {
			l.Add(line)
		}
		assert.Zero(t, time.Since(begun))
		assert.EqualValues(t, more-backlog/100, l.Dropped())
		close(disk.released)
		stop()
		assert.Equal(t, (batch/100+1+backlog/100)*100, disk.Len())
		assert.EqualValues(t, more-backlog/100, l.Dropped())
	})
}

func TestTheEndIsNotHeldUpByAPipeThatNobodyReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, w := io.Pipe()
		l, stop := running(t, Config{To: w})
		l.Add([]byte("1\n"))
		begun := time.Now()
		stop()
		assert.Equal(t, lastWrite, time.Since(begun))
		r.Close() // ends the goroutine
	})
}

func TestAFileThatWasMovedIsBegunAnew(t *testing.T) {
	for name, change := range map[string]func(path string) error{
		"renamed":   func(path string) error { return os.Rename(path, path+"-1") },
		"removed":   os.Remove,
		"truncated": func(path string) error { return os.Truncate(path, 0) },
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "access.log")
			synctest.Test(t, func(t *testing.T) {
				l, _ := running(t, Config{Path: path})
				l.Add([]byte("1\n"))
				passes()
				require.NoError(t, change(path))
				l.Add([]byte("2\n"))
				passes()
				assert.Equal(t, "2\n", read(t, path))
			})
		})
	}
}

func TestALinkIsNotRotatedButItsFile(t *testing.T) {
	dir := t.TempDir()
	path, link := filepath.Join(dir, "disk", "real.log"), filepath.Join(dir, "access.log")
	require.NoError(t, os.Mkdir(filepath.Dir(path), 0o700))
	require.NoError(t, os.WriteFile(path, []byte("cut"), 0o600))
	require.NoError(t, os.Symlink(path, link))
	synctest.Test(t, func(t *testing.T) {
		l, stop := running(t, Config{Path: link, Keep: 1})
		l.Add([]byte("1\n"))
		passes()
		assert.Equal(t, "cut\n1\n", read(t, path), "the line that a killed process has cut stays one of its own")
		l.Add(append(bytes.Repeat([]byte("x"), MinSize-1), '\n'))
		stop()
		assert.Equal(t, "cut\n1\n", read(t, path+".1"))
	})
}

// full is a disk that has room for some bytes.
type full struct {
	room int
	bytes.Buffer
}

func (f *full) Write(p []byte) (int, error) {
	n := min(f.room, len(p))
	f.room -= n
	f.Buffer.Write(p[:n])
	if n < len(p) {
		return n, errors.New("no room")
	}
	return n, nil
}

func TestLinesThatCannotBeWrittenAreCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var said bytes.Buffer
		disk := &full{room: 10}
		l, _ := running(t, Config{To: disk, Logger: hclog.New(&hclog.LoggerOptions{Output: &said})})
		add := func(lines string) {
			l.Add([]byte(lines))
			passes()
		}
		add("1234\n1234\n1234\n")
		add("5678\n")
		assert.EqualValues(t, 2, l.Dropped())
		disk.room = 13
		add("5678\n123456789\n")
		disk.room = 100
		add("last\n")
		assert.Equal(t, "1234\n1234\n5678\n12345678\nlast\n", disk.String(), "the rest of a line ends before the next")
		assert.EqualValues(t, 3, l.Dropped())
		assert.Equal(t, 1, strings.Count(said.String(), "is not written"), said.String())
		assert.Equal(t, 1, strings.Count(said.String(), "written again"), said.String())
	})
	synctest.Test(t, func(t *testing.T) {
		l, stop := running(t, Config{Path: "/dev/full"})
		l.Add([]byte("1\n2\n"))
		stop()
		assert.EqualValues(t, 2, l.Dropped())
	})
}

func TestWithoutRotationNothingIsWritten(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "access.log")
	require.NoError(t, os.MkdirAll(filepath.Join(path+".1", "in the way"), 0o700))
	synctest.Test(t, func(t *testing.T) {
		l, _ := running(t, Config{Path: path, Keep: 1})
		for range 3 {
			l.Add(append(bytes.Repeat([]byte("x"), MinSize-1), '\n'))
			passes()
		}
		assert.EqualValues(t, 2, l.Dropped())
		assert.Len(t, read(t, path), MinSize)
		require.NoError(t, os.RemoveAll(path+".1"))
		l.Add([]byte("1\n"))
		passes()
		assert.Equal(t, "1\n", read(t, path))
	})
}

func TestSampling(t *testing.T) {
	for sample, most := range map[float64][2]int{0: {0, 0}, 0.5: {4000, 6000}, 1: {10000, 10000}} {
		l, err := Open(Config{To: io.Discard, Sample: sample})
		require.NoError(t, err)
		n := 0
		for range 10000 {
			if l.Sampled() {
				n++
			}
		}
		assert.GreaterOrEqual(t, n, most[0])
		assert.LessOrEqual(t, n, most[1])
	}
}

func TestAFileThatCannotBeOpenedIsAnError(t *testing.T) {
	dir := t.TempDir()
	for _, path := range []string{dir, filepath.Join(dir, "no", "such")} {
		_, err := Open(Config{Path: path})
		require.ErrorContains(t, err, path)
	}
}
