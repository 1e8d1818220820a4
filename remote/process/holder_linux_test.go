package process

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// holder opens one that is stopped with the test, in a folder whose name is longer
// than a socket's address.
func holder(t testing.TB) (h *HolderClient, path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), strings.Repeat("long", 50), "holder")
	require.NoError(t, os.Mkdir(filepath.Dir(path), 0o700))
	return reopen(t, path), path
}

func reopen(t testing.TB, path string) *HolderClient {
	t.Helper()
	h, err := OpenHolder(context.Background(), path, filepath.Dir(path))
	require.NoError(t, err)
	t.Cleanup(func() {
		_ = h.Stop() // fails when it has exited
		<-h.Done()
	})
	return h
}

// file is an open file of this text.
func file(t testing.TB, text string) *os.File {
	t.Helper()
	f, err := os.CreateTemp(t.TempDir(), "")
	require.NoError(t, err)
	t.Cleanup(func() { f.Close() })
	_, err = f.WriteString(text)
	require.NoError(t, err)
	return f
}

// contents are the texts of what a holder keeps.
func contents(t testing.TB, h *HolderClient) map[string]string {
	t.Helper()
	all, err := h.All()
	require.NoError(t, err)
	texts := make(map[string]string)
	for name, files := range all {
		for _, f := range files {
			info, err := f.Stat()
			require.NoError(t, err)
			text := make([]byte, info.Size())
			_, err = f.ReadAt(text, 0)
			require.NoError(t, err)
			texts[name] += string(text)
		}
		closeAll(files)
	}
	return texts
}

func TestHolderKeepsFilesForTheNext(t *testing.T) {
	h, path := holder(t)
	before := descriptors(t)
	require.NoError(t, h.Put("b", file(t, "1"), file(t, "2")))
	require.NoError(t, h.Put("a", file(t, "3")))
	require.NoError(t, h.Put("c", file(t, "4")))
	require.NoError(t, h.Put("c", file(t, "5")))
	require.NoError(t, h.Put("d", file(t, "6")))
	require.NoError(t, h.Remove("d"))
	require.NoError(t, h.Remove("nothing"))
	h.Close()
	h.Close()
	<-h.Done()
	require.Error(t, h.Put("a", file(t, "7")))

	next := reopen(t, path)
	assert.Equal(t, h.pid, next.pid, "the same holder")
	assert.Equal(t, map[string]string{"b": "12", "a": "3", "c": "5"}, contents(t, next))
	assert.Len(t, ownFiles(t, next.pid), 4+2, "standard files, socket, connections, and no file too many")
	assert.LessOrEqual(t, descriptors(t), before+7, "the files of this test")
}

// ownFiles are the descriptors of a holder, less those of its files.
func ownFiles(t *testing.T, pid int) (list []string) {
	t.Helper()
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	require.NoError(t, err)
	for _, e := range entries {
		to, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/%s", pid, e.Name()))
		require.NoError(t, err)
		if !strings.Contains(to, os.TempDir()) && !strings.Contains(to, "anon_inode") && !strings.HasPrefix(to, "/sys/") { // what Go's runtime opens
			list = append(list, to)
		}
	}
	return list
}

func TestCallersOfHeldSocketsWait(t *testing.T) {
	h, path := holder(t)
	s, err := Listen("127.0.0.1:0", filepath.Join(t.TempDir(), "fn.sock"))
	require.NoError(t, err)
	files, err := s.Files()
	require.NoError(t, err)
	require.NoError(t, h.Put("fn", files...))
	closeAll(files)
	require.NoError(t, s.closeFiles(), "the agent was killed")
	h.Close()

	call(t, "tcp", s.Addr())
	next := reopen(t, path)
	all, err := next.All()
	require.NoError(t, err)
	again, err := Adopted(all["fn"])
	require.NoError(t, err)
	defer again.Close()
	closeAll(all["fn"])
	assert.Equal(t, s.Addr(), again.Addr())
	assert.Equal(t, s.Path(), again.Path())
	ready, cancel := waker(t).Wait(again)
	defer cancel()
	within(t, ready)
}

func TestHolderIsMissedWhenItIsKilled(t *testing.T) {
	h, path := holder(t)
	require.NoError(t, h.Put("a", file(t, "1")))
	require.NoError(t, unix.Kill(h.pid, unix.SIGHUP))
	require.NoError(t, unix.Kill(h.pid, unix.SIGINT))
	require.NoError(t, h.Put("a", file(t, "2")), "it goes on")
	require.NoError(t, unix.Kill(h.pid, unix.SIGKILL))
	within(t, h.Done())
	require.Error(t, h.Put("b", file(t, "3")))
	h.Close()
	require.ErrorIs(t, unix.Kill(h.pid, 0), unix.ESRCH, "it is reaped")

	next := reopen(t, path)
	assert.NotEqual(t, h.pid, next.pid)
	assert.Empty(t, contents(t, next))
	require.NoError(t, next.Stop())
	assert.NoFileExists(t, path)
}

func TestHolderRefusesWhatIsTooMuch(t *testing.T) {
	h, _ := holder(t)
	f := file(t, "1")
	require.ErrorContains(t, h.Put("", f), "1 to 64 bytes")
	require.ErrorContains(t, h.Put(strings.Repeat("x", 65), f), "1 to 64 bytes")
	require.ErrorContains(t, h.Put("a"), "1 to 8 files")
	require.ErrorContains(t, h.Put("a", f, f, f, f, f, f, f, f, f), "1 to 8 files")
	name := strings.Repeat("x", maxHeldName)
	require.NoError(t, h.Put(name, f, f, f, f, f, f, f, f))
	assert.Equal(t, map[string]string{name: "11111111"}, contents(t, h))
	closed := file(t, "2")
	require.NoError(t, closed.Close())
	require.Error(t, h.Put("a", closed))
}

func TestHolderTakesItsMostNames(t *testing.T) {
	h, _ := holder(t)
	f := file(t, "")
	for i := range maxHeld {
		require.NoError(t, h.Put(strconv.Itoa(i), f))
	}
	require.ErrorContains(t, h.Put("one more", f), "8192")
	require.NoError(t, h.Put("0", f), "it is there already")
}

func TestHolderOutlastsFoes(t *testing.T) {
	h, path := holder(t)
	require.NoError(t, h.Put("a", file(t, "1")))
	dial := func() *net.UnixConn {
		c, err := dialHolder(t.Context(), path)
		require.NoError(t, err)
		t.Cleanup(func() { c.Close() })
		return c
	}
	null, err := unix.Open(os.DevNull, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	require.NoError(t, err)
	defer unix.Close(null)

	many := make([]int, 200)
	for i := range many {
		many[i] = null
	}
	random := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // a test's
	for range 200 {
		c := dial()
		packet := make([]byte, 1+random.IntN(200))
		for i := range packet {
			packet[i] = byte(random.Uint32())
		}
		packet[0] = "?+->x\x00"[random.IntN(6)]
		_, _, err := c.WriteMsgUnix(packet, unix.UnixRights(many[:random.IntN(len(many))]...), nil)
		require.NoError(t, err)
		_, err = c.Read(make([]byte, maxReply))
		require.NoError(t, err)
		c.Close()
	}
	deaf := dial() // asks and does not read
	require.NoError(t, deaf.SetWriteDeadline(time.Now().Add(patience)))
	for err = nil; err == nil; {
		_, err = deaf.Write([]byte{askNext})
	}
	require.NotErrorIs(t, err, os.ErrDeadlineExceeded, "it is dropped")
	crowd := 0
	for ; crowd < 2*maxClients; crowd++ { // of which the later ones are sent away
		dial()
	}

	assert.Equal(t, "1", contents(t, h)["a"])
	all, err := h.All()
	require.NoError(t, err)
	for name, files := range all {
		assert.LessOrEqual(t, len(name), maxHeldName)
		assert.LessOrEqual(t, len(files), maxHeldFiles)
		closeAll(files)
	}
}

// holding runs a holder in this process.
func runHolding(t *testing.T) (path string, ended <-chan struct{}) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "holder")
	listener, err := listenHolder(path)
	require.NoError(t, err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		h := holderServer{listener: listener, path: path, look: 20 * time.Millisecond}
		assert.NoError(t, h.run())
	}()
	return path, done
}

func TestHolderEndsWhenNobodyNeedsIt(t *testing.T) {
	before := descriptors(t)
	path, ended := runHolding(t)
	h, err := connectHolder(t.Context(), path)
	require.NoError(t, err)
	require.NoError(t, h.Put("a", file(t, "1")))
	h.Close()
	h, err = connectHolder(t.Context(), path)
	require.NoError(t, err)
	require.NoError(t, h.Remove("a"))
	h.Close()
	within(t, ended)
	assert.NoFileExists(t, path)
	assert.LessOrEqual(t, descriptors(t), before+1)
}

func TestHolderEndsWhenItCannotBeReached(t *testing.T) {
	for name, hide := range map[string]func(path string) error{
		"removed": os.Remove,
		"replaced": func(path string) error {
			return errors.Join(os.WriteFile(path+"2", nil, 0o600), os.Rename(path+"2", path))
		},
	} {
		t.Run(name, func(t *testing.T) {
			path, ended := runHolding(t)
			h, err := connectHolder(t.Context(), path)
			require.NoError(t, err)
			require.NoError(t, h.Put("a", file(t, "1")))
			require.NoError(t, hide(path))
			within(t, ended)
			within(t, h.Done())
			h.Close()
			_, err = os.Lstat(path)
			assert.Equal(t, name == "removed", errors.Is(err, os.ErrNotExist), "what is there is another's")
		})
	}
}

func TestHolderTakesNoFileForASocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "holder")
	require.NoError(t, os.WriteFile(path, []byte("precious"), 0o600))
	_, err := OpenHolder(t.Context(), path, filepath.Dir(path))
	require.ErrorIs(t, err, unix.EADDRINUSE)
	_, err = OpenHolder(t.Context(), filepath.Join(path, "x", "holder"), filepath.Dir(path))
	require.Error(t, err)
}

func FuzzHolding(f *testing.F) {
	f.Add([]byte("+a"), []byte("+b"), []byte(">a"))
	f.Add([]byte("+a"), []byte("-a"), []byte("?"))
	f.Add([]byte("."), []byte(">"), []byte("+"))
	f.Fuzz(func(t *testing.T, a, b, c []byte) {
		before := descriptors(t)
		h := holderServer{listener: -1}
		for _, packet := range [][]byte{a, b, c} {
			if len(packet) == 0 {
				continue
			}
			fd, err := unix.Open(os.DevNull, unix.O_RDONLY|unix.O_CLOEXEC, 0)
			require.NoError(t, err)
			reply, files, _ := h.answer(packet[0], string(packet[1:]), []int{fd})
			require.Contains(t, string([]byte{held, refused}), string(reply[:1]))
			require.LessOrEqual(t, len(files), 1)
			require.Equal(t, before+len(h.kept), descriptors(t))
		}
		for i := range h.kept[:max(len(h.kept)-1, 0)] {
			require.Less(t, h.kept[i].name, h.kept[i+1].name)
		}
		h.listener, _ = unix.Open(os.DevNull, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		h.close()
		require.Equal(t, before, descriptors(t))
	})
}

func BenchmarkHolderPut(b *testing.B) {
	h, _ := holder(b)
	f := file(b, "")
	for b.Loop() {
		require.NoError(b, h.Put("a", f, f))
	}
}

// Output is flooded, and there is no agent: the file stays bounded, and nobody is
// held up.
func TestHolderBoundsWhatNobodyReads(t *testing.T) {
	h, path := holder(t)
	dir := t.TempDir()
	folder, err := os.Open(dir)
	require.NoError(t, err)
	const limit = 4 << 20
	require.NoError(t, h.Bound(folder, limit))
	require.NoError(t, folder.Close())
	require.NoError(t, h.Put("it", file(t, "is needed")))
	h.Close()
	small := filepath.Join(dir, "small")
	require.NoError(t, os.WriteFile(small, []byte("small"), 0o600))

	output, err := os.OpenFile(filepath.Join(dir, "output"), os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600)
	require.NoError(t, err)
	defer output.Close()
	var info unix.Stat_t
	line := append(bytes.Repeat([]byte("x"), 1023), '\n')
	most := int64(0)
	for range 512 << 10 {
		_, err := output.Write(line)
		require.NoError(t, err)
		require.NoError(t, unix.Fstat(int(output.Fd()), &info))
		most = max(most, info.Blocks*512)
	}
	t.Logf("at most %d of %d MiB", most>>20, info.Size>>20)
	assert.Less(t, most, info.Size/2)
	require.Eventually(t, func() bool {
		require.NoError(t, unix.Fstat(int(output.Fd()), &info))
		return info.Blocks*512 <= limit
	}, patience, time.Millisecond)
	last := make([]byte, limit/4)
	_, err = output.ReadAt(last, info.Size-int64(len(last)))
	require.NoError(t, err)
	assert.Equal(t, bytes.Repeat(line, len(last)/len(line)), last, "what was written last is there")
	text, err := os.ReadFile(small)
	require.NoError(t, err)
	assert.Equal(t, "small", string(text))

	h = reopen(t, path)
	assert.ErrorContains(t, h.Bound(file(t, ""), limit), "and a folder")
}
