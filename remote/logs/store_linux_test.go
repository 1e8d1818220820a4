package logs

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/Ishan27g/ryo-faas/proto"
)

func TestALineSaysWhoPrintedItAndWhen(t *testing.T) {
	s := openStore(t, t.TempDir(), Config{})
	before := time.Now()
	pid := s.run("Hello", 7, sh(`echo out; echo err >&2; echo '{"severity":"ERROR","message":"m","logging.googleapis.com/labels":{"execution_id":"e1"}}'`))
	lines, lost := s.lines(&proto.LogsRequest{Name: "Hello"})
	assert.Zero(t, lost)
	require.Len(t, lines, 3)
	streams := map[string]int{}
	last := ""
	for _, l := range lines {
		assert.Equal(t, "Hello", l.Function)
		assert.EqualValues(t, 7, l.Version)
		assert.EqualValues(t, pid, l.Instance)
		at, err := time.Parse(time.RFC3339Nano, l.Time)
		require.NoError(t, err)
		assert.WithinRange(t, at, before, time.Now())
		assert.Greater(t, l.Time, last, "times rise")
		last = l.Time
		streams[l.Stream]++
	}
	assert.Equal(t, map[string]int{"stdout": 2, "stderr": 1}, streams)
	calls, _ := s.lines(&proto.LogsRequest{Name: "Hello", Id: "e1"})
	require.Len(t, calls, 1)
	assert.Equal(t, "ERROR", calls[0].Level)
	assert.Equal(t, "e1", calls[0].Id)
}

func TestLinesAreFiltered(t *testing.T) {
	s := openStore(t, t.TempDir(), Config{})
	s.run("Hello", 1, sh(`for i in 1 2 3; do echo one $i; done`))
	s.run("Other", 1, sh(`echo other`))
	middle := time.Now()
	s.run("Hello", 2, sh(`for i in 1 2 3; do echo two $i; done`))
	for name, c := range map[string]struct {
		req  *proto.LogsRequest
		want []string
	}{
		"all":              {&proto.LogsRequest{}, []string{"one 1", "one 2", "one 3", "two 1", "two 2", "two 3"}},
		"tail":             {&proto.LogsRequest{Tail: 2}, []string{"two 2", "two 3"}},
		"a tail of more":   {&proto.LogsRequest{Tail: 100}, []string{"one 1", "one 2", "one 3", "two 1", "two 2", "two 3"}},
		"version":          {&proto.LogsRequest{Version: 1}, []string{"one 1", "one 2", "one 3"}},
		"text":             {&proto.LogsRequest{Grep: " 2"}, []string{"one 2", "two 2"}},
		"tail of text":     {&proto.LogsRequest{Grep: " 2", Tail: 1}, []string{"two 2"}},
		"since a time":     {&proto.LogsRequest{Since: middle.Format(time.RFC3339Nano)}, []string{"two 1", "two 2", "two 3"}},
		"since a duration": {&proto.LogsRequest{Since: "1h", Version: 2}, []string{"two 1", "two 2", "two 3"}},
		"since now":        {&proto.LogsRequest{Since: "0s"}, []string{}},
		"nobody's id":      {&proto.LogsRequest{Id: "e"}, []string{}},
	} {
		t.Run(name, func(t *testing.T) {
			c.req.Name = "Hello"
			assert.Equal(t, c.want, s.texts(c.req))
		})
	}
	err := s.Lines(t.Context(), &proto.LogsRequest{Name: "Hello", Since: "yesterday"}, nil, nil)
	assert.ErrorIs(t, err, proto.ErrInvalid)
	err = s.Lines(t.Context(), &proto.LogsRequest{Name: "../raw"}, nil, nil)
	assert.ErrorIs(t, err, proto.ErrInvalid)
	assert.Empty(t, s.texts(&proto.LogsRequest{Name: "Silent"}))
}

func TestWhatProcessesPrint(t *testing.T) {
	long := strings.Repeat("é", maxLine)
	for name, c := range map[string]struct {
		script string
		lines  []string
		tail   string
	}{
		"no newline at the end": {`printf 'a\nb'`, []string{"a", "b"}, "a\nb"},
		"nothing":               {`:`, []string{}, ""},
		"empty lines":           {`printf '\n\na\n'`, []string{"", "", "a"}, "\n\na\n"},
		"carriage returns":      {`printf 'a\r\nb\n'`, []string{"a", "b"}, "a\r\nb\n"},
		"binary":                {`printf 'a\377\376\000b\n'`, []string{"a\uFFFD\x00b"}, "a\uFFFD\x00b\n"},
		"a long line": {
			`i=0; while [ $i -lt 1024 ]; do printf ` + strings.Repeat("é", 64) + `; i=$((i+1)); done; echo`,
			[]string{long[:maxLine] + "…", long[:maxLine]}, long + "\n",
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := openStore(t, t.TempDir(), Config{})
			s.run("Hello", 1, sh(c.script))
			assert.Equal(t, c.lines, s.texts(&proto.LogsRequest{Name: "Hello"}))
			assert.Equal(t, c.tail, s.tail("Hello", 1<<20))
		})
	}
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
		"a letter's middle":        {"xxé", 1, "\uFFFD", true},
		"carriage returns are not": {"one\rtwo\n", 3, "wo\n", true},
	} {
		t.Run(name, func(t *testing.T) {
			s := openStore(t, t.TempDir(), Config{})
			o, err := s.Output("Hello", 1)
			require.NoError(t, err)
			_, err = o.Stdout.WriteString(c.content)
			require.NoError(t, err)
			require.NoError(t, o.Started(os.Getpid()))
			require.NoError(t, o.Close())
			s.settled()
			text, truncated, err := s.Tail("Hello", c.n)
			require.NoError(t, err)
			assert.Equal(t, c.want, text)
			assert.Equal(t, c.truncated, truncated)
		})
	}
}

func TestALineWithoutEndIsTakenWhenNothingFollows(t *testing.T) {
	s := openStore(t, t.TempDir(), Config{})
	answer := fifo(t)
	s.start("Hello", 1, sh(`printf question; read x <`+answer+`; printf over >&2`))
	require.Eventually(t, func() bool { return s.tail("Hello", 100) == "question" }, patience, 10*time.Millisecond)
	assert.Len(t, s.files(), 2, "they are still written to")
	write(t, answer)
	s.settled()
	assert.Equal(t, "question\nover", s.tail("Hello", 100), "streams do not share a line")
}

func TestLastWordsAreWhole(t *testing.T) {
	s := openStore(t, t.TempDir(), Config{})
	s.run("Hello", 1, sh(`echo another process`))
	for range 20 {
		cmd := self("count:2000")
		pid := s.start("Hello", 1, cmd)
		_, err := cmd.Process.Wait()
		require.NoError(t, err)
		last := s.Last("Hello", pid, 2000)
		assert.LessOrEqual(t, len(last), 2000)
		assert.True(t, strings.HasPrefix(last, "line "), last)
		assert.True(t, strings.HasSuffix(last, fmt.Sprintf("line 1999 %s\n", strings.Repeat("x", 199))), last)
		require.NotContains(t, s.Last("Hello", pid, 1<<20), "another")
	}
	cmd := sh(`printf 'the end'`)
	pid := s.start("Hello", 1, cmd)
	_, err := cmd.Process.Wait()
	require.NoError(t, err)
	assert.Equal(t, "the end", s.Last("Hello", pid, 100))
	assert.Empty(t, s.Last("Hello", 1, 100))
}

func TestRawFilesStayAsLongAsAnybodyMayWrite(t *testing.T) {
	s := openStore(t, t.TempDir(), Config{})
	signal := fifo(t)
	cmd := sh(`echo parent; (read x <` + signal + `; echo child) & echo again >/dev/stdout`)
	s.start("Hello", 1, cmd)
	_, err := cmd.Process.Wait()
	require.NoError(t, err)
	assert.Contains(t, s.tail("Hello", 100), "again")
	assert.Len(t, s.files(), 2)
	write(t, signal)
	s.settled()
	assert.True(t, strings.HasSuffix(s.tail("Hello", 100), "child\n"))
}

func TestOutputThatNobodyWasStartedWithLeavesNothing(t *testing.T) {
	s := openStore(t, t.TempDir(), Config{})
	o, err := s.Output("Hello", 1)
	require.NoError(t, err)
	require.NoError(t, o.Close())
	assert.Empty(t, s.files())
}

// fifo is what a script can wait for: it reads a line of it.
func fifo(t *testing.T) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "fifo")
	require.NoError(t, syscall.Mkfifo(path, 0o600))
	return path
}

func write(t *testing.T, fifo string) {
	t.Helper()
	require.NoError(t, os.WriteFile(fifo, []byte("\n"), 0))
}

func TestFollow(t *testing.T) {
	s := openStore(t, t.TempDir(), Config{})
	s.run("Hello", 1, sh(`echo before`))
	ctx, cancel := context.WithCancel(t.Context())
	lines := make(chan string, 100)
	done := make(chan error)
	go func() {
		done <- s.Lines(ctx, &proto.LogsRequest{Name: "Hello", Follow: true}, nil, func(batch *proto.LogLines) error {
			for _, l := range batch.Lines {
				lines <- l.Text
			}
			return nil
		})
	}()
	assert.Equal(t, "before", <-lines)
	s.run("Hello", 2, sh(`echo after; echo more`))
	assert.Equal(t, "after", <-lines)
	assert.Equal(t, "more", <-lines)
	cancel()
	require.ErrorIs(t, <-done, context.Canceled)
}

func TestFollowersEndWithTheFunctionAndWithTheStore(t *testing.T) {
	s := openStore(t, t.TempDir(), Config{})
	follow := func() <-chan error {
		done, begun := make(chan error, 1), make(chan struct{})
		go func() {
			done <- s.Lines(t.Context(), &proto.LogsRequest{Name: "Hello", Follow: true}, nil, func(*proto.LogLines) error {
				close(begun)
				return nil
			})
		}()
		<-begun
		return done
	}
	s.run("Hello", 1, sh(`echo first`))
	done := follow()
	require.NoError(t, s.Remove("Hello"))
	require.NoError(t, <-done)
	assert.Empty(t, s.tail("Hello", 100))
	assert.NoDirExists(t, filepath.Join(s.linesDir(), "hello"))

	s.run("Hello", 1, sh(`echo second`))
	assert.Equal(t, "second\n", s.tail("Hello", 100))
	done = follow()
	s.stop()
	require.ErrorIs(t, <-done, proto.ErrUnavailable)
	require.ErrorIs(t, s.Remove("Hello"), proto.ErrUnavailable)
}

func TestRemovalTakesWhatIsNotYetRead(t *testing.T) {
	s := openStore(t, t.TempDir(), Config{})
	s.start("Hello", 1, sh(`echo x; exec sleep 100`))
	require.NoError(t, s.Remove("Hello"))
	assert.Empty(t, s.files())
}

func TestASlowFollowerHoldsUpNobodyAndIsToldWhatItLost(t *testing.T) {
	s := openStore(t, t.TempDir(), Config{Bytes: bytesMin})
	s.run("Hello", 1, sh(`echo first`))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	held, hold := make(chan struct{}), make(chan struct{})
	var seen, lost uint64
	done := make(chan error)
	const printed = 8 * 5000
	go func() {
		first := true
		done <- s.Lines(ctx, &proto.LogsRequest{Name: "Hello", Follow: true}, nil, func(batch *proto.LogLines) error {
			seen += uint64(len(batch.Lines))
			lost += batch.Lost
			if first {
				first = false
				close(held)
				<-hold
			}
			if seen+lost == printed+2 {
				cancel()
			}
			return nil
		})
	}()
	<-held
	for range 8 {
		s.run("Hello", 1, self("count:5000"))
	}
	s.run("Hello", 1, sh(`echo last`))
	close(hold)
	require.ErrorIs(t, <-done, context.Canceled)
	assert.Positive(t, lost)
	assert.Zero(t, s.Lost("Hello"), "it lost them alone")
}

func TestFloodIsBoundedAndCounted(t *testing.T) {
	// How far a flood is ahead for a moment depends on what else the machine does.
	most := int64(math.MaxInt64)
	for tries := 3; most >= 300<<20 && tries > 0; tries-- {
		most = flooded(t)
	}
	assert.Less(t, most, int64(300<<20), "bytes on the disk")
}

// flooded checks what a flood of 1 GiB leaves, and returns how much there was at most.
func flooded(t *testing.T) (most int64) {
	s := openStore(t, t.TempDir(), Config{Bytes: 2 << 20})
	const printed = 1 << 30
	flood := self(fmt.Sprint("flood:", printed))
	s.start("Flood", 1, flood)
	ended := make(chan struct{})
	go func() { _, _ = flood.Process.Wait(); close(ended) }()

	// Another one is heard all the same.
	slowest := time.Duration(0)
	for i := 0; ; i++ {
		began := time.Now()
		text := fmt.Sprint("calm ", i)
		cmd := sh("echo " + text)
		s.start("Calm", 1, cmd)
		require.Eventually(t, func() bool {
			return strings.HasSuffix(s.tail("Calm", 100), text+"\n")
		}, patience, time.Millisecond)
		slowest = max(slowest, time.Since(began))
		most = max(most, diskUsage(t, s.dir))
		select {
		case <-ended:
		default:
			continue
		}
		break
	}
	s.settled()
	t.Logf("slowest line of another function %v, most disk %d MiB", slowest, most>>20)
	assert.LessOrEqual(t, diskUsage(t, filepath.Join(s.linesDir(), "flood")), int64(2<<20))

	lines, lost := s.lines(&proto.LogsRequest{Name: "Flood"})
	marked := 0
	for _, l := range lines {
		if strings.Contains(l.Text, "were lost here: they came too fast]") {
			marked++
			continue
		}
		require.Equal(t, strings.Repeat("x", 99), l.Text)
	}
	// The first losses are in segments that were removed.
	assert.Equal(t, lost > 0, marked > 0)
	assert.Positive(t, s.Lost("Flood"))
	assert.Less(t, s.Lost("Flood"), uint64(printed/100))
	assert.InEpsilon(t, printed/100, s.journals["flood"].next, 0.05, "each line is kept or counted as lost")
	return most
}

func diskUsage(t *testing.T, dir string) (bytes int64) {
	t.Helper()
	require.NoError(t, filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		var stat syscall.Stat_t
		if err == nil && syscall.Lstat(path, &stat) == nil {
			bytes += stat.Blocks * 512
		}
		return nil
	}))
	return bytes
}

func TestLinesAreBoundedBySize(t *testing.T) {
	s := openStore(t, t.TempDir(), Config{Bytes: bytesMin})
	for range 8 {
		s.run("Hello", 1, self("count:5000"))
	}
	info, size := s.journals["hello"].starts(), int64(0)
	for _, start := range info {
		file, err := os.Stat(s.journals["hello"].path(start))
		require.NoError(t, err)
		size += file.Size()
	}
	assert.LessOrEqual(t, size, int64(bytesMin))
	assert.Greater(t, size, int64(bytesMin/2))
	texts := s.texts(&proto.LogsRequest{Name: "Hello"})
	for i, text := range texts {
		n := (8*5000 - len(texts) + i) % 5000
		require.Equal(t, fmt.Sprintf("line %d %s", n, strings.Repeat("x", n%200)), text)
	}
	_, truncated, err := s.Tail("Hello", 10<<20)
	require.NoError(t, err)
	assert.True(t, truncated)
	assert.Equal(t, texts[len(texts)-5000:], s.texts(&proto.LogsRequest{Name: "Hello", Tail: 5000}))
}

func TestLinesAreBoundedByAge(t *testing.T) {
	var ahead atomic.Int64
	clock := func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	s := openStore(t, t.TempDir(), Config{now: clock})
	s.run("Hello", 1, sh(`echo old`))
	ahead.Store(int64(6 * 24 * time.Hour))
	s.run("Hello", 1, sh(`echo newer`))
	assert.Len(t, s.journals["hello"].starts(), 2)
	assert.Equal(t, []string{"old", "newer"}, s.texts(&proto.LogsRequest{Name: "Hello"}))
	ahead.Store(int64(7*24*time.Hour + time.Hour))
	assert.Equal(t, []string{"newer"}, s.texts(&proto.LogsRequest{Name: "Hello"}), "it is not shown")
	require.NoError(t, s.do(s.bound))
	assert.Empty(t, s.journals["hello"].starts(), "the disk's clock says that both are old")
}

func TestAFullDiskStopsNobodyAndIsCounted(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("logs-test", dir, "tmpfs", 0, "size=3m"); err != nil {
		t.Skip("needs the right to mount:", err)
	}
	s := openStore(t, dir, Config{})
	t.Cleanup(func() { // before the store is stopped, after the processes have exited
		s.stop()
		assert.NoError(t, syscall.Unmount(dir, 0))
	})
	ballast := filepath.Join(dir, "ballast")
	require.NoError(t, os.WriteFile(ballast, make([]byte, 2<<20), 0o600))
	require.Eventually(t, func() bool { // what is read as fast as it is written finds room
		cmd := self("flood:67108864")
		pid := s.start("Hello", 1, cmd)
		state, err := cmd.Process.Wait()
		require.NoError(t, err)
		assert.True(t, state.Success())
		_ = s.Last("Hello", pid, 10)
		s.settled()
		return s.Lost("Hello") > 0
	}, patience, time.Millisecond)
	require.NoError(t, os.Remove(ballast))
	s.run("Hello", 1, sh(`echo here again`))
	_, lost := s.lines(&proto.LogsRequest{Name: "Hello"})
	assert.Equal(t, s.Lost("Hello"), lost)
	assert.NotEmpty(t, s.texts(&proto.LogsRequest{Name: "Hello", Grep: "were lost here: the disk was full"}))
	assert.Equal(t, []string{"here again"}, s.texts(&proto.LogsRequest{Name: "Hello", Tail: 1}))
}

func TestStreamsKeepTheirOrder(t *testing.T) {
	s := openStore(t, t.TempDir(), Config{})
	signal := fifo(t)
	want := "begin\n"
	script := "echo begin; read x <" + signal + "\n"
	for i := range 200 {
		n := strconv.Itoa(i)
		want += "out " + n + "\nerr " + n + "\n"
		script += "echo out " + n + "; echo err " + n + " >&2\n"
	}
	process := sh(script)
	s.start("Hello", 1, process)
	require.Eventually(t, func() bool { return s.tail("Hello", 100) == "begin\n" }, patience, time.Millisecond)
	require.NoError(t, os.WriteFile(signal, []byte("go\n"), 0))
	require.NoError(t, process.Wait())
	assert.Equal(t, want, s.tail("Hello", 1<<20))
}

func TestBraid(t *testing.T) {
	for _, c := range []struct{ before, after, out, err, want, later string }{
		{"oeoe", "", "1\n2\n", "a\nb\n", "1|a|2|b", ""},
		{"eoeo", "", "1\n2\n", "a\nb\n", "a|1|b|2", ""},
		{"oeo", "", "1\n2\n3\n", "a\n", "1|a|23", ""},      // 1 and 2 may have been told of as one
		{"oeoeo", "", "1\n2\n", "a\nb\nc", "1|a|2|bc", ""}, // a line may be more than one write
		{"oeo", "", "1", "a", "a|1", ""},
		{"oe", "", "", "a\n", "a", ""},
		{"oe", "oeoe", "1\n2\n3\n", "a\nb\n", "1|a|2|b|3", "e"},
		{"oe", "oe", "1\n", "a\nb\n", "1|a", "oe"}, // b came after what 2 will be
		{"oe", "oe", "1\n", "a\n", "1|a", "oe"},
		{"oe", "o", "1\n2\n3\n", "a\n", "1|a|23", ""},
	} {
		out, err := &reading{raw: new(raw), data: []byte(c.out)}, &reading{raw: new(raw), data: []byte(c.err)}
		pieces, later := braid([]*reading{out, err}, writesOf(c.before, out.raw, err.raw), writesOf(c.after, out.raw, err.raw))
		assert.Equal(t, c.want, textOf(pieces), c.before+c.after)
		last := 0
		for _, p := range pieces {
			if p.last {
				last++
			}
		}
		assert.Equal(t, 2, last)
		assert.Equal(t, writesOf(c.later, out.raw, err.raw), later, c.before+c.after)
	}
}

// writesOf returns writes to a process's two files, each of which is "o" or "e".
func writesOf(names string, out, err *raw) []*raw {
	writes := []*raw{}
	for _, name := range names {
		writes = append(writes, map[rune]*raw{'o': out, 'e': err}[name])
	}
	return writes
}

// textOf returns the lines of pieces, with a bar between two pieces.
func textOf(pieces []piece) string {
	var parts []string
	for _, p := range pieces {
		if len(p.part) > 0 {
			parts = append(parts, strings.ReplaceAll(string(p.part), "\n", ""))
		}
	}
	return strings.Join(parts, "|")
}

// A line can be read before the kernel tells of its write.
func TestBraidOfWritesInFlight(t *testing.T) {
	type turn struct{ before, after, out, err, want string }
	for name, turns := range map[string][]turn{
		"told of after a reading":    {{"oe", "", "1\n2\n", "a\n", "1|a"}, {"oeo", "", "2\n3\n", "b\n", "2|b|3"}},
		"told of after two readings": {{"oe", "", "1\n2\n", "a\n", "1|a"}, {"", "", "2\n", "", "2"}, {"oeo", "", "3\n", "b\n", "b|3"}},
		"never told of":              {{"oe", "", "1\n2\n", "a\n", "1|a"}, {"", "", "2\n", "", "2"}, {"oe", "", "3\n", "b\n", "3|b"}},
		"behind one that is told of": {{"oe", "o", "1\n", "a\nb\n", "1|a"}, {"eo", "", "2\n3\n", "b\n", "2|b|3"}},
		"of a write of two lines":    {{"oe", "", "1\n2\n", "a\n", "1|a"}, {"eo", "", "2\n3\n", "b\n", "2|b|3"}},
		"of the last write":          {{"eo", "", "1\n2\n", "a\n", "a|12"}, {"oeo", "", "3\n4\n", "b\n", "3|b|4"}},
		"behind the last write":      {{"eo", "", "1\n2\n", "a\n", "a|12"}, {"oeo", "", "3\n", "b\n", "b|3"}},
		"behind the only write":      {{"o", "", "1\n2\n", "", "12"}, {"oeo", "", "3\n", "b\n", "b|3"}},
	} {
		out, err := new(raw), new(raw)
		var later []*raw
		for i, turn := range turns {
			readings := []*reading{{raw: out, data: []byte(turn.out)}, {raw: err, data: []byte(turn.err)}}
			before := append(later, writesOf(turn.before, out, err)...)
			var pieces []piece
			pieces, later = braid(readings, before, writesOf(turn.after, out, err))
			assert.Equal(t, turn.want, textOf(pieces), "%s, reading %d", name, i+1)
		}
	}
}

func TestWhatNoAgentReadIsCounted(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir, Config{})
	signal := fifo(t)
	process := sh(`echo one; read x <` + signal + `; yes flood | head -c 999996; echo three`)
	s.start("Hello", 1, process)
	require.Eventually(t, func() bool { return s.tail("Hello", 100) == "one\n" }, patience, time.Millisecond)
	folder, limit, err := s.Unread()
	require.NoError(t, err)
	defer folder.Close()
	assert.Equal(t, int64(2*bytesKept), limit)
	s.stop()
	require.NoError(t, os.WriteFile(signal, []byte("go\n"), 0))
	require.NoError(t, process.Wait())
	files, err := filepath.Glob(filepath.Join(folder.Name(), "*.1"))
	require.NoError(t, err)
	require.Len(t, files, 1)
	file, err := os.OpenFile(files[0], os.O_WRONLY, 0)
	require.NoError(t, err)
	require.NoError(t, punch(file, 0, 10*punchSize))
	require.NoError(t, file.Close())

	s = openStore(t, dir, Config{})
	lines := strings.Split(s.tail("Hello", 1<<20), "\n")
	assert.Regexp(t, `^\[at least 1 lines, \d+ bytes, were lost here: no agent read them\]$`, lines[1])
	assert.Equal(t, []string{"three", ""}, lines[len(lines)-2:])
	assert.NotContains(t, strings.Join(lines, ""), "\x00")
}

func TestANewStoreGoesOn(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir, Config{})
	signal := fifo(t)
	survivor := sh(`echo one; read x <` + signal + `; echo three`)
	pid := s.start("Hello", 4, survivor)
	require.Eventually(t, func() bool { return s.tail("Hello", 100) == "one\n" }, patience, time.Millisecond)
	s.stop()

	o, err := s.Output("Hello", 5) // the agent is killed before it knows the pid
	require.NoError(t, err)
	_, err = o.Stderr.WriteString("two\n")
	require.NoError(t, err)
	require.NoError(t, errors.Join(o.Stdout.Close(), o.Stderr.Close()))

	s = openStore(t, dir, Config{})
	require.Eventually(t, func() bool { return s.tail("Hello", 100) == "one\ntwo\n" }, patience, time.Millisecond)
	write(t, signal)
	s.settled()
	assert.Equal(t, "one\ntwo\nthree\n", s.tail("Hello", 100))
	assert.Equal(t, "one\nthree\n", s.Last("Hello", pid, 100))
	lines, _ := s.lines(&proto.LogsRequest{Name: "Hello", Version: 4, Tail: 1})
	require.Len(t, lines, 1)
	assert.EqualValues(t, pid, lines[0].Instance)
}

func TestANewStoreKnowsWhereQuietStreamsWere(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir, Config{Bytes: bytesMin})
	s.start("Hello", 1, sh(`echo quiet; exec sleep 100`))
	require.Eventually(t, func() bool { return s.tail("Hello", 100) == "quiet\n" }, patience, time.Millisecond)
	cmd := self("count:3000")
	pid := s.start("Hello", 1, cmd)
	_, err := cmd.Process.Wait()
	require.NoError(t, err)
	require.NotEmpty(t, s.Last("Hello", pid, 100))
	require.Greater(t, len(s.journals["hello"].starts()), 1, "its line is not in the newest segment")
	s.stop()
	s = openStore(t, dir, Config{Bytes: bytesMin})
	assert.Len(t, s.texts(&proto.LogsRequest{Name: "Hello"}), 3001)
}

func TestNoLineIsLostOrDoubledWhenStoresAreKilled(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(dir, Config{}) // makes the files; it never runs
	require.NoError(t, err)
	o, err := s.Output("Hello", 1)
	require.NoError(t, err)
	const printed = 60_000 // about 7 MB
	writer := self(fmt.Sprint("count:", printed))
	writer.Stdout, writer.Stderr = o.Stdout, o.Stderr
	require.NoError(t, writer.Start())
	require.NoError(t, errors.Join(o.Stdout.Close(), o.Stderr.Close()))
	for range 40 {
		cmd := self("store:" + dir)
		says, err := cmd.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, cmd.Start())
		_, err = says.Read(make([]byte, 1))
		require.NoError(t, err)
		<-time.After(time.Duration(rand.IntN(10_000)) * time.Microsecond)
		require.NoError(t, cmd.Process.Kill())
		_ = cmd.Wait()
	}
	require.NoError(t, writer.Wait())
	again := openStore(t, dir, Config{})
	again.settled()
	texts := again.texts(&proto.LogsRequest{Name: "Hello"})
	require.Len(t, texts, printed)
	for i, text := range texts {
		require.Equal(t, fmt.Sprintf("line %d %s", i, strings.Repeat("x", i%200)), text)
	}
}

func TestATornWriteIsMadeGood(t *testing.T) {
	var want []string
	dir := t.TempDir()
	s := openStore(t, dir, Config{})
	o, err := s.Output("Hello", 1)
	require.NoError(t, err)
	require.NoError(t, o.Started(os.Getpid()))
	for i := range 5 {
		for _, file := range []*os.File{o.Stdout, o.Stderr} {
			line := fmt.Sprintln("line", i, file.Name())
			_, err := file.WriteString(line)
			require.NoError(t, err)
			want = append(want, strings.TrimSpace(line))
			require.Contains(t, s.tail("Hello", 1000), line)
		}
	}
	path := s.journals["hello"].path(s.journals["hello"].starts()[0])
	s.stop()
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	for size := 0; size < len(data); size += 37 {
		require.NoError(t, os.WriteFile(path, data[:size], 0o600))
		s := openStore(t, dir, Config{})
		assert.ElementsMatch(t, want, s.texts(&proto.LogsRequest{Name: "Hello"}), "%d of %d bytes", size, len(data))
		s.stop()
	}
	require.NoError(t, o.Close())
}

func TestDamagedSegmentsAreReadAsFarAsTheyGo(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir, Config{})
	for _, word := range []string{"one", "two", "three"} {
		s.run("Hello", 1, sh(`echo `+word))
	}
	j := s.journals["hello"]
	path := j.path(j.starts()[0])
	s.stop()
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	damaged := []byte(strings.Replace(string(data), "two", "TWO", 1))
	require.NoError(t, os.WriteFile(path, damaged[:len(damaged)-1], 0o600))
	s = openStore(t, dir, Config{})
	assert.Equal(t, []string{"one"}, s.texts(&proto.LogsRequest{Name: "Hello"}))
	s.run("Hello", 1, sh(`echo four`))
	assert.Equal(t, []string{"one", "four"}, s.texts(&proto.LogsRequest{Name: "Hello"}))
}

func TestIdleFunctionsCostNothing(t *testing.T) {
	s := openStore(t, t.TempDir(), Config{})
	s.run("Hello", 1, sh(`echo`))
	goroutines, files := runtime.NumGoroutine(), descriptors(t)
	const functions = 200
	holder := sh(`exec sleep 100`) // stands for the processes of all
	for i := range functions {
		o, err := s.Output(fmt.Sprint("Idle", i), 1)
		require.NoError(t, err)
		_, err = o.Stdout.WriteString("deploying\n")
		require.NoError(t, err)
		require.NoError(t, o.Started(os.Getpid()))
		holder.ExtraFiles = append(holder.ExtraFiles, o.Stdout)
		defer o.Close()
	}
	s.start("Holder", 1, holder)
	for _, file := range holder.ExtraFiles {
		require.NoError(t, file.Close())
	}
	for i := range functions {
		require.Equal(t, "deploying\n", s.tail(fmt.Sprint("Idle", i), 100))
	}
	const passing = 10 // what is open for a moment
	assert.LessOrEqual(t, runtime.NumGoroutine(), goroutines+passing)
	assert.LessOrEqual(t, descriptors(t), files+functions+passing, "this test holds the standard errors")
}

func descriptors(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	return len(entries)
}
