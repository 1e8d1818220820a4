package programs

import (
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/Ishan27g/ryo-faas/internal/state"
)

func TestChangedProgramsAreFoundOut(t *testing.T) {
	for name, change := range map[string]func(file string) error{
		"swapped": func(file string) error {
			other := file + "2"
			if err := os.WriteFile(other, []byte("PROGRAM"), 0o700); err != nil { // as long
				return err
			}
			return os.Rename(other, file)
		},
		"written to, its time set back": func(file string) error {
			info, err := os.Stat(file)
			if err != nil {
				return err
			}
			if err := os.WriteFile(file, []byte("PROGRAM"), 0o700); err != nil {
				return err
			}
			return os.Chtimes(file, info.ModTime(), info.ModTime())
		},
		"truncated": func(file string) error { return os.Truncate(file, 3) },
		"empty":     func(file string) error { return os.Truncate(file, 0) },
		"a link": func(file string) error {
			if err := os.Rename(file, file+"2"); err != nil {
				return err
			}
			return os.Symlink(file+"2", file)
		},
		"a fifo": func(file string) error {
			if err := os.Remove(file); err != nil {
				return err
			}
			return syscall.Mkfifo(file, 0o700)
		},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMaker(t)
			file := filepath.Join(t.TempDir(), "fn")
			require.ErrorIs(t, m.Verify(file, "x"), fs.ErrNotExist)
			require.NoError(t, os.WriteFile(file, []byte("program"), 0o700))
			digest, err := m.checked.digest(file)
			require.NoError(t, err)
			require.NoError(t, m.Verify(file, digest))
			require.NoError(t, os.Link(file, file+".link"))
			require.NoError(t, m.Verify(file, digest), "also where it lies in two places")
			require.NoError(t, os.Remove(file+".link"))
			require.NoError(t, change(file))
			require.ErrorIs(t, m.Verify(file, digest), state.ErrDamaged)
		})
	}
}

func BenchmarkVerify(b *testing.B) {
	file := filepath.Join(b.TempDir(), "fn")
	require.NoError(b, os.WriteFile(file, make([]byte, 8<<20), 0o700))
	m := new(Maker)
	digest, err := m.checked.digest(file)
	require.NoError(b, err)
	b.Run("first", func(b *testing.B) {
		b.SetBytes(8 << 20)
		for b.Loop() {
			clear(m.checked.files)
			assert.NoError(b, m.Verify(file, digest))
		}
	})
	b.Run("again", func(b *testing.B) {
		for b.Loop() {
			assert.NoError(b, m.Verify(file, digest))
		}
	})
}
