package state_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/Ishan27g/ryo-faas/internal/state"
	"github.com/Ishan27g/ryo-faas/internal/testkit"
)

func TestFoldersThatAreClosedToTheirOwnerAreRemoved(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "dir")
	inner := filepath.Join(dir, "outer", "inner")
	testkit.AsOwner(t, func() {
		for _, mode := range []fs.FileMode{0, 0o300, 0o400, 0o500} {
			require.NoError(t, os.MkdirAll(inner, 0o700))
			require.NoError(t, os.WriteFile(filepath.Join(inner, "file"), nil, 0))
			for _, closed := range []string{inner, filepath.Dir(inner), dir} {
				require.NoError(t, os.Chmod(closed, mode))
			}
			require.ErrorIs(t, os.RemoveAll(dir), fs.ErrPermission)
			require.NoError(t, state.RemoveAll(dir))
			assert.NoDirExists(t, dir)
		}
		require.NoError(t, state.RemoveAll(dir), "it is missing")
	})
}
