package state_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/Ishan27g/ryo-faas/internal/state"
	"github.com/Ishan27g/ryo-faas/internal/testkit"
	"github.com/Ishan27g/ryo-faas/proto"
)

func TestMain(m *testing.M) {
	guarded := testkit.Guarded(m)
	if dir := os.Getenv("STATE_TEST_HOLD"); dir != "" {
		if _, err := state.Open(dir); err != nil {
			_, _ = os.Stdout.WriteString(err.Error())
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(guarded.Run())
}

func TestAFolderHasOneHolder(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	d, err := state.Open(dir)
	require.NoError(t, err)

	_, err = state.Open(dir)
	require.ErrorIs(t, err, proto.ErrConflict)

	other := exec.Command(os.Args[0])
	other.Env = append(os.Environ(), "STATE_TEST_HOLD="+dir)
	out, err := other.Output()
	require.Error(t, err)
	assert.Contains(t, string(out), "in use by process "+strconv.Itoa(os.Getpid()))

	require.NoError(t, d.Close())
	d, err = state.Open(dir)
	require.NoError(t, err)
	require.NoError(t, d.Close())
}

func TestWriteReplacesAndLeavesNothingElse(t *testing.T) {
	d, err := state.Open(t.TempDir())
	require.NoError(t, err)
	defer d.Close()

	var got []string
	found, err := d.Read("x/list.json", &got)
	require.NoError(t, err)
	assert.False(t, found)

	require.NoError(t, d.Write("x/list.json", []string{"a", "b"}))
	require.NoError(t, d.Write("x/list.json", []string{"c"}))
	found, err = d.Read("x/list.json", &got)
	require.NoError(t, err)
	assert.True(t, found)
	assert.Equal(t, []string{"c"}, got)

	entries, err := os.ReadDir(d.Path("x"))
	require.NoError(t, err)
	assert.Len(t, entries, 1)

	require.NoError(t, os.WriteFile(d.Path("x", "list.json"), []byte(`["c"`), 0o600))
	_, err = d.Read("x/list.json", &got)
	require.ErrorContains(t, err, "list.json")
}
