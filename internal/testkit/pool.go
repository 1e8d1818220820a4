package testkit

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// poolName is below the root of a run's temporary files, and goes with it.
const poolName = ".pool"

// SharePrograms gives an agent, whose folder of programs does not exist yet, the programs
// that those of ended tests have built, as it would find its own after a restart, and keeps
// for others what it builds: many tests deploy the same few functions.
func SharePrograms(t testing.TB, dir string) {
	t.Helper()
	pool := filepath.Join(os.TempDir(), poolName)
	require.NoError(t, os.MkdirAll(pool, 0o700))
	if os.MkdirAll(filepath.Dir(dir), 0o700) == nil && os.Mkdir(dir, 0o700) == nil {
		linkPrograms(pool, dir)
	}
	t.Cleanup(func() { linkPrograms(dir, pool) })
}

// linkPrograms links what is named by a key and a digest, and by nothing else.
func linkPrograms(from, to string) {
	sum := strings.Repeat("[0-9a-f]", 64)
	programs, _ := filepath.Glob(filepath.Join(from, sum+"-"+sum)) // the pattern is valid
	for _, p := range programs {
		_ = os.Link(p, filepath.Join(to, filepath.Base(p))) // it may be there already, or on another file system
	}
}
