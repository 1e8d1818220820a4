package isolation

import (
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestTakes(t *testing.T) {
	const mebibyte = 1 << 20
	dir := t.TempDir()
	takes := func(limit int64) bool { return Takes(dir, os.Getpid(), limit) }
	assert.False(t, takes(mebibyte), "an empty folder")
	deep := filepath.Join(dir, "a", "b")
	require.NoError(t, os.MkdirAll(deep, 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(deep, "file"), make([]byte, mebibyte), 0o600))
	assert.True(t, takes(mebibyte))
	assert.False(t, takes(2*mebibyte))
	sparse, err := os.Create(filepath.Join(dir, "sparse"))
	require.NoError(t, err)
	defer sparse.Close()
	require.NoError(t, sparse.Truncate(1<<40))
	assert.False(t, takes(2*mebibyte), "holes take nothing")
	require.NoError(t, os.Symlink("/", filepath.Join(dir, "link")))
	assert.False(t, takes(2*mebibyte), "links are not followed")
	_, err = sparse.Write(make([]byte, mebibyte))
	require.NoError(t, err)
	require.NoError(t, os.Remove(sparse.Name()))
	assert.True(t, takes(2*mebibyte), "a file without a name")
	require.NoError(t, sparse.Close())
	assert.False(t, takes(2*mebibyte))
	for i := range 300 {
		require.NoError(t, os.WriteFile(filepath.Join(dir, strconv.Itoa(i)), nil, 0o600))
	}
	assert.True(t, takes(2*mebibyte), "many empty files")
	assert.False(t, Takes(filepath.Join(dir, "missing"), -1, 1))
}
