package store_test

import (
	"errors"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/Ishan27g/ryo-faas/proxy/store"
)

// cut takes the power from the file system of a folder: what was not synced is lost.
func cut(t *testing.T, dir string) {
	t.Helper()
	const ext4Shutdown, withoutItsLog = 0x8004587d, 2
	f, err := os.Open(dir)
	require.NoError(t, err)
	defer f.Close()
	flag := uint32(withoutItsLog)
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), ext4Shutdown, uintptr(unsafe.Pointer(&flag)))
	runtime.KeepAlive(&flag)
	require.Zero(t, errno, errno)
}

// disk is an ext4 file system in a file.
type disk struct{ image, dir string }

func newDisk(t *testing.T) *disk {
	t.Helper()
	if os.Getenv("E2E_SOAK") == "" {
		t.Skip("make soak takes the power from disks")
	}
	for _, tool := range []string{"mkfs.ext4", "mount"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skip("it needs ", tool)
		}
	}
	if os.Geteuid() != 0 {
		t.Skip("only root mounts disks")
	}
	d := &disk{filepath.Join(t.TempDir(), "image"), t.TempDir()}
	f, err := os.Create(d.image)
	require.NoError(t, err)
	require.NoError(t, errors.Join(f.Truncate(512<<20), f.Close()))
	out, err := exec.Command("mkfs.ext4", "-q", d.image).CombinedOutput()
	require.NoError(t, err, string(out))
	d.mount(t)
	t.Cleanup(func() { _ = syscall.Unmount(d.dir, 0) })
	return d
}

func (d *disk) mount(t *testing.T) {
	t.Helper()
	out, err := exec.Command("mount", "-o", "loop", d.image, d.dir).CombinedOutput()
	if err != nil {
		t.Skipf("it needs loop devices: %s", out)
	}
	require.NoError(t, os.Chmod(d.dir, 0o700))
}

// Eight times the power goes in the middle of writes: what was acknowledged is there.
func TestNothingThatWasAcknowledgedIsLostByLossesOfPower(t *testing.T) {
	const cuts = 8
	d := newDisk(t)
	cfg := config(t)
	cfg.Dir = filepath.Join(d.dir, "engine")
	all := acknowledged{records: map[string]bool{}, messages: map[string]bool{}}
	for range cuts {
		p := spawn(t, "storm", cfg.Dir)
		for range 200 + rand.IntN(300) {
			all.read(t, p.line(t))
		}
		cut(t, d.dir)
		require.NoError(t, p.Process.Kill())
		for p.out.Scan() {
			if line := p.out.Text(); strings.Count(line, "-") == 2 {
				all.read(t, line)
			}
		}
		_ = p.Wait()
		require.Eventually(t, func() bool { return syscall.Unmount(d.dir, 0) == nil }, patience, 10*time.Millisecond)
		d.mount(t)
	}
	records, messages := len(all.records), len(all.messages)
	t.Run("what is there", func(t *testing.T) { all.stored(t, store.Config{Dir: cfg.Dir}) })
	t.Logf("%d records and %d messages outlive %d losses of power; ready again within %s", records, messages, cuts, all.slowest)
}
