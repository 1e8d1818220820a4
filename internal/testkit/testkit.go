package testkit

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const (
	// Patience is how long a test waits for what should take milliseconds: on a machine with
	// ten times too much to do, under the race detector, that may be many seconds.
	Patience = time.Minute
	// BuildPatience is how long a test waits for what takes a build: the first run on
	// a machine fills the build cache.
	BuildPatience = 5 * time.Minute
)

// ShortRun has a run with -short, and without -run, run the tests alone that a pattern names:
// the race detector looks for what happens at the same time, and takes its time.
func ShortRun(pattern string) {
	flag.Parse() //nolint:revive // a TestMain calls this, in a main's place
	if run := flag.Lookup("test.run"); testing.Short() && run.Value.String() == "" {
		if err := run.Value.Set(pattern); err != nil {
			panic(err)
		}
	}
}

// Files writes files into a folder of their own, their names relative to it.
func Files(t testing.TB, files map[string]string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	Write(t, dir, files)
	return dir
}

// Write writes files into a folder, their names relative to it.
func Write(t testing.TB, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		path := filepath.Join(dir, filepath.FromSlash(name))
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	}
}

// Source writes a package of one file and returns its folder.
func Source(t testing.TB, code string) (dir string) {
	t.Helper()
	return Files(t, map[string]string{"fn.go": code})
}

// Says is the source of a function that answers with a text.
func Says(name, text string) string {
	return fmt.Sprintf("package fn\n\nimport (\n\t\"fmt\"\n\t\"net/http\"\n)\n\nfunc %s(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, %q) }\n", name, text)
}
