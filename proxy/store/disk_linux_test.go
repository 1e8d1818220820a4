package store_test

import (
	"errors"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/proxy/store"
)

// small mounts a file system of some MiB for a test.
func small(t *testing.T, size string) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "mode=0700,size="+size); err != nil {
		t.Skip("only root mounts a small disk: ", err)
	}
	t.Cleanup(func() { require.NoError(t, syscall.Unmount(dir, syscall.MNT_DETACH)) })
	return dir
}

// fill writes a file until a disk has no room.
func fill(t *testing.T, dir string) (remove func()) {
	t.Helper()
	path := filepath.Join(dir, "others")
	f, err := os.Create(path)
	require.NoError(t, err)
	block := make([]byte, 64<<10)
	for size := len(block); size > 0; {
		if _, err := f.Write(block[:size]); errors.Is(err, syscall.ENOSPC) {
			size /= 2
		} else {
			require.NoError(t, err)
		}
	}
	require.NoError(t, f.Close())
	return func() { require.NoError(t, os.Remove(path)) }
}

// sends returns what publishes a message of 64 KiB, in time whatever the disk does, and
// counts those that were acknowledged.
func sends(t *testing.T, e *store.Engine, acked *int) func() error {
	return func() error {
		began := time.Now()
		_, err := e.Queue().Publish(t.Context(), store.Message{Topic: "a", Data: make([]byte, 64<<10)})
		assert.Less(t, time.Since(began), 20*time.Second)
		if err == nil {
			*acked++
		}
		return err
	}
}

// pends asserts that as many messages wait.
func pends(t *testing.T, e *store.Engine, acked int) {
	t.Helper()
	pending, err := e.Queue().Pending(t.Context(), "a")
	require.NoError(t, err)
	assert.Equal(t, acked, pending)
}

// A full disk refuses what is new; what is there can be read and removed; and when there is
// room, all goes on.
func TestAFullDiskRefuses(t *testing.T) {
	dir, acked := small(t, "64m"), 0
	cfg := config(t)
	cfg.Dir, cfg.Backlog = filepath.Join(dir, "engine"), store.MaxBacklog
	e := guarded(t, cfg)
	publish := sends(t, e, &acked)
	var err error
	for err == nil { // the store itself fills it
		err = publish()
	}
	require.ErrorIs(t, err, proto.ErrExhausted)
	require.ErrorIs(t, e.Err(), proto.ErrExhausted)
	assert.Greater(t, acked, 300)
	pends(t, e, acked)
	_, err = e.Queue().Purge(t.Context(), "a")
	require.NoError(t, err)
	acked = 0
	require.Eventually(t, func() bool { return publish() == nil }, patience, 10*time.Millisecond)

	remove := fill(t, dir) // others do
	require.ErrorIs(t, publish(), proto.ErrExhausted)
	_, err = e.Registry(store.Functions).Create(t.Context(), "a", nil)
	require.ErrorIs(t, err, proto.ErrExhausted)
	remove()
	require.NoError(t, publish())
	pends(t, e, acked)
}

// If a disk fills in the middle of a write, what waits for the server goes on: it is opened
// anew when there is room, with all that was acknowledged.
func TestADiskThatFillsInTheMiddleOfAWriteFreezesNothing(t *testing.T) {
	dir, acked := small(t, "32m"), 0
	var full atomic.Bool
	cfg := config(t).WithRoom(func() error {
		if full.Load() {
			return proto.ErrExhausted
		}
		return nil
	})
	cfg.Dir, cfg.Backlog = filepath.Join(dir, "engine"), store.MaxBacklog
	e := guarded(t, cfg)
	publish := sends(t, e, &acked)
	require.NoError(t, publish())
	remove := fill(t, dir)
	var err error
	for err == nil {
		err = publish()
	}
	require.Error(t, err)
	full.Store(true)
	require.Eventually(t, func() bool { return e.Err() != nil }, patience, 10*time.Millisecond)
	began := time.Now()
	require.Error(t, publish())
	assert.Less(t, time.Since(began), 10*time.Second, "the next one does not wait as this one did")
	remove()
	full.Store(false)
	require.Eventually(t, func() bool { return publish() == nil }, 2*patience, 100*time.Millisecond)
	require.NoError(t, e.Err())
	pends(t, e, acked)
}
