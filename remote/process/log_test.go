package process

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func openTestLog(t *testing.T, keep int64) *Log {
	t.Helper()
	l, err := OpenLog(filepath.Join(t.TempDir(), "log"), keep)
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	return l
}

func TestTail(t *testing.T) {
	for name, c := range map[string]struct {
		content   string
		n         int64
		want      string
		truncated bool
	}{
		"empty":                    {"", 10, "", false},
		"all":                      {"one\ntwo\n", 8, "one\ntwo\n", false},
		"from a line's middle":     {"one\ntwo\n", 6, "two\n", true},
		"from a line's beginning":  {"one\ntwo\n", 4, "two\n", true},
		"from a newline":           {"one\ntwo\n", 5, "two\n", true},
		"no newline at the end":    {"one\ntwo", 4, "two", true},
		"one huge line":            {"0123456789", 4, "6789", true},
		"one huge line, ended":     {"0123456789\n", 4, "789\n", true},
		"nothing asked for":        {"one\n", 0, "", true},
		"less than nothing":        {"one\n", -1, "", true},
		"binary":                   {"a\xff\xfe\x00b\n", 10, "a\uFFFD\x00b\n", false},
		"a letter's middle":        {"xxé", 1, "\uFFFD", true},
		"carriage returns are not": {"one\rtwo\n", 3, "wo\n", true},
	} {
		t.Run(name, func(t *testing.T) {
			l := openTestLog(t, 1<<20)
			require.NoError(t, os.WriteFile(l.file.Name(), []byte(c.content), 0o600))
			text, truncated, err := l.Tail(c.n)
			require.NoError(t, err)
			assert.Equal(t, c.want, text)
			assert.Equal(t, c.truncated, truncated)
		})
	}
}

func TestTailOfAFileOfHoles(t *testing.T) {
	l := openTestLog(t, 1<<20)
	require.NoError(t, l.file.Truncate(1<<40))
	text, truncated, err := l.Tail(1 << 20)
	require.NoError(t, err)
	assert.Empty(t, text)
	assert.True(t, truncated)
}

func TestTrimFreesTheHead(t *testing.T) {
	l := openTestLog(t, 256<<10)
	line := strings.Repeat("x", 99) + "\n"
	for range 20 {
		_, err := l.file.WriteString(strings.Repeat(line, 1000))
		require.NoError(t, err)
		require.NoError(t, l.trim())
		require.LessOrEqual(t, allocated(t, l), int64(256<<10+2*block))
	}
	text, truncated, err := l.Tail(256 << 10)
	require.NoError(t, err)
	assert.True(t, truncated)
	assert.Equal(t, strings.Repeat(line, 256<<10/100), text)

	text, truncated, err = l.Tail(1 << 30)
	require.NoError(t, err)
	assert.True(t, truncated)
	assert.True(t, strings.HasPrefix(text, line), "it starts at a line's beginning, without the hole")

	// Another generation, of a later agent, appends.
	again, err := OpenLog(l.file.Name(), 256<<10)
	require.NoError(t, err)
	defer again.Close()
	require.NoError(t, again.trim())
	_, err = again.file.WriteString("again\n")
	require.NoError(t, err)
	text, _, err = l.Tail(6)
	require.NoError(t, err)
	assert.Equal(t, "again\n", text)

	require.NoError(t, os.Truncate(l.file.Name(), 0))
	require.NoError(t, l.trim(), "somebody truncated it")
	assert.Zero(t, l.freed)
}

// allocated is what the log takes on the disk, in bytes.
func allocated(t *testing.T, l *Log) int64 {
	t.Helper()
	info, err := os.Stat(l.file.Name())
	require.NoError(t, err)
	return info.Sys().(*syscall.Stat_t).Blocks * 512
}

func TestFloodNeitherBlocksNorFillsTheDisk(t *testing.T) {
	s := newStage(t)
	k := &Keeper{}
	k.Add(s.Log)
	ctx, cancel := context.WithCancel(t.Context())
	kept := make(chan struct{})
	go func() {
		defer close(kept)
		k.Run(ctx)
	}()
	s.start("flood")
	const written = 4 << 30
	require.Eventually(t, func() bool {
		text, _, err := s.Log.Tail(64 << 10)
		require.NoError(t, err)
		require.NotContains(t, text, "\x00")
		info, err := s.Log.file.Stat()
		require.NoError(t, err)
		require.Less(t, allocated(t, s.Log), int64(written/2))
		return info.Size() > written
	}, time.Minute, 20*time.Millisecond)
	cancel()
	within(t, kept)
}

func TestKeeperForgetsClosedLogs(t *testing.T) {
	k := &Keeper{}
	closed, open := openTestLog(t, 1), openTestLog(t, 1)
	k.Add(closed)
	k.Add(open)
	require.NoError(t, closed.Close())
	k.look()
	assert.Equal(t, []*Log{open}, k.logs)
}

func FuzzTailText(f *testing.F) {
	f.Add([]byte("one\ntwo\n"), true)
	f.Add([]byte("\n"), true)
	f.Add([]byte("\xff\xfe\x00"), false)
	f.Add([]byte{}, true)
	f.Fuzz(func(t *testing.T, data []byte, cut bool) {
		text := tailText(data, cut)
		if !utf8.ValidString(text) {
			t.Errorf("%q is not UTF-8", text)
		}
		if !cut && utf8.Valid(data) && text != string(data) {
			t.Errorf("%q became %q", data, text)
		}
		if cut && len(data) > 1 && text == "" {
			t.Errorf("nothing is left of %q", data)
		}
	})
}
