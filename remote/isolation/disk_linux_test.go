package isolation

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/Ishan27g/ryo-faas/internal/testkit"
)

func TestTakesLooksIntoClosedFolders(t *testing.T) {
	const mebibyte = 1 << 20
	for _, mode := range []fs.FileMode{0, 0o300, 0o400} {
		dir := t.TempDir()
		testkit.AsOwner(t, func() {
			closed := filepath.Join(dir, "open", "closed")
			require.NoError(t, os.MkdirAll(closed, 0o700))
			require.NoError(t, os.WriteFile(filepath.Join(closed, "file"), make([]byte, mebibyte), 0o600))
			for _, folder := range []string{closed, filepath.Dir(closed)} {
				require.NoError(t, os.Chmod(folder, mode))
			}
			assert.True(t, Takes(dir, os.Getpid(), mebibyte), "%o", mode)
		})
	}
}

func TestTakesOpensNothingThatLinksLeadTo(t *testing.T) {
	outside, dir := t.TempDir(), t.TempDir()
	require.NoError(t, os.Chmod(outside, 0)) //nolint:gosec // nobody may
	defer os.Chmod(outside, 0o700)           //nolint:gosec,errcheck // for its removal
	require.NoError(t, os.Symlink(outside, filepath.Join(dir, "link")))
	testkit.AsOwner(t, func() { assert.False(t, Takes(dir, os.Getpid(), 1<<20)) })
	info, err := os.Stat(outside)
	require.NoError(t, err)
	assert.Zero(t, info.Mode().Perm())
}
