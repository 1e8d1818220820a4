package disk

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/Ishan27g/ryo-faas/internal/testkit"
)

func TestTemporaryFilesOfFunctionsAreRemovedWhateverTheirModes(t *testing.T) {
	d, _ := open(t, t.TempDir())
	rec := record("HelloWorld")
	closed := func(dir string) string {
		file := filepath.Join(dir, "tmp", "closed", "file")
		require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o700))
		require.NoError(t, os.WriteFile(file, nil, 0o600))
		require.NoError(t, os.Chmod(filepath.Dir(file), 0o300)) //nolint:gosec // it can be written to alone
		return dir
	}
	testkit.AsOwner(t, func() {
		require.NoError(t, d.Save(rec))
		never := closed(d.VersionDir("helloworld", 3))
		require.NoError(t, d.Sweep(rec))
		assert.NoDirExists(t, never)
		closed(d.VersionDir("helloworld", 1))
		require.NoError(t, d.Remove("helloworld"))
		assert.NoDirExists(t, d.FunctionDir("helloworld"))
		left := closed(filepath.Join(d.Tmp(), "removed-1"))
		require.NoError(t, d.EmptyTmp(), "an agent would not start")
		assert.NoDirExists(t, left)
	})
}
