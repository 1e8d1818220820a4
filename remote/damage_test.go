package remote

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/remote/disk"
)

// damaged are the ways in which a file of the agent's folder may be damaged.
var damaged = map[string]func(file string) error{
	"damaged": func(file string) error {
		info, err := os.Stat(file)
		if err != nil {
			return err
		}
		return os.WriteFile(file, bytes.Repeat([]byte{0xa5}, int(info.Size())), info.Mode())
	},
	"truncated": func(file string) error {
		info, err := os.Stat(file)
		if err != nil {
			return err
		}
		return os.Truncate(file, info.Size()/2)
	},
	"empty":   func(file string) error { return os.Truncate(file, 0) },
	"missing": os.Remove,
}

// Whatever single file is damaged: the agent starts, says so, and runs all other
// functions, and after a new deploy all.
func TestOneDamagedFile(t *testing.T) {
	if testing.Short() {
		t.Skip("long, and shorter tests run the same code")
	}
	home := t.TempDir()
	a := start(t, home)
	secret := &proto.FunctionJson{Name: "HelloWorld", Dir: source(t, says("HelloWorld", "hello")), Secrets: map[string]string{"KEY": "value"}, Wait: true}
	rows, err := a.Deploy(t.Context(), secret)
	require.NoError(t, err)
	require.Equal(t, string(proto.Deployed), rows[0].GetStatus(), rows[0].GetError())
	a.deploy(t, "Other", says("Other", "other"))
	require.NoError(t, a.disk.Note(disk.CrashFile("helloworld"), []*proto.Crash{{Cause: "a test"}}))
	a.end()

	const all = "damaged truncated empty missing"
	for file, c := range map[string]struct {
		lost  string // the ways after which HelloWorld does not run until it is deployed again
		aside string // those after which the file is set aside under its name
		said  string // those that readyz tells of
	}{
		"functions/helloworld/record.json":  {lost: all, aside: "damaged truncated empty", said: all},
		"functions/helloworld/run.json":     {aside: "damaged truncated empty", said: "damaged truncated empty"},
		"functions/helloworld/crashes.json": {aside: "damaged truncated empty", said: "damaged truncated empty"},
		"functions/helloworld/1/fn":         {said: "damaged truncated empty"}, // it is built again
		"secrets.key":                       {lost: all, aside: "truncated empty", said: "truncated empty"},
		"id":                                {aside: "damaged truncated empty", said: "damaged truncated empty"},
		"holder":                            {aside: "damaged truncated empty", said: "damaged truncated empty"},
		"logs/lines/helloworld/*":           {},
		"packages/*":                        {}, // nothing needs them now
		"programs/*":                        {},
	} {
		for how, damage := range damaged {
			t.Run(strings.ReplaceAll(file, "/", "_")+" "+how, func(t *testing.T) {
				dir := filepath.Join(t.TempDir(), "agent")
				require.NoError(t, os.CopyFS(dir, os.DirFS(home)))
				require.NoError(t, filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error { return errors.Join(err, os.Chmod(path, 0o700)) }))
				names, err := filepath.Glob(filepath.Join(dir, file))
				require.NoError(t, err)
				require.NotEmpty(t, names)
				require.NoError(t, damage(names[0]))

				a := start(t, dir)
				deployed := func(r *proto.FunctionJsonRsp) bool { return r.GetStatus() == string(proto.Deployed) }
				assertSays(t, "other", a.until(t, "Other", deployed).GetUrl())
				lost := strings.Contains(c.lost, how)
				if !lost {
					assertSays(t, "hello", a.until(t, "HelloWorld", deployed).GetUrl())
				}
				said, err := json.Marshal(a.damage)
				require.NoError(t, err)
				assert.Equal(t, strings.Contains(c.said, how), strings.Contains(string(said), names[0]), string(said))
				aside, err := filepath.Glob(names[0] + ".damaged-*")
				require.NoError(t, err)
				assert.Equal(t, strings.Contains(c.aside, how), len(aside) == 1, aside)
				if lost {
					assertIsLost(t, a, secret)
				}
			})
		}
	}
}

// assertIsLost finds HelloWorld failed, and deploys it.
func assertIsLost(t *testing.T, a running, fn *proto.FunctionJson) {
	t.Helper()
	failed := func(r *proto.FunctionJsonRsp) bool { return r.GetStatus() == string(proto.Failed) }
	var row *proto.FunctionJsonRsp
	require.Eventually(t, func() bool {
		// Its exact name is known where the record still tells it.
		if row = a.row(t, "HelloWorld"); row == nil {
			row = a.row(t, "Helloworld")
		}
		return row != nil && failed(row)
	}, patience, time.Millisecond)
	assert.Equal(t, proto.ReasonDamaged, row.GetReason())
	assert.Contains(t, row.GetError(), "deploy the function")
	if row.GetName() != fn.GetName() {
		_, err := a.Stop(t.Context(), row.GetName())
		require.NoError(t, err)
	}
	rows, err := a.Deploy(t.Context(), fn)
	require.NoError(t, err)
	require.Equal(t, string(proto.Deployed), rows[0].GetStatus(), rows[0].GetError())
	assertSays(t, "hello", rows[0].GetUrl())
	left, err := json.Marshal(a.damage)
	require.NoError(t, err)
	assert.NotContains(t, string(left), a.disk.Path("functions")+"/", "what has been mended is told no more")
}

// Another program in the place of a function's is never run.
func TestASwappedProgramDoesNotRun(t *testing.T) {
	dir := t.TempDir()
	a := start(t, dir)
	a.deploy(t, "Good", says("Good", "good"))
	a.deploy(t, "Evil", says("Evil", "evil"))
	a.end()
	evil, err := os.ReadFile(filepath.Join(dir, "functions", "evil", "1", "fn"))
	require.NoError(t, err)
	good := filepath.Join(dir, "functions", "good", "1", "fn")
	stored, err := os.Stat(good)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(good, evil, 0o700)) // in the store too, of which it is a link
	require.NoError(t, os.Chtimes(good, stored.ModTime(), stored.ModTime()))

	a = start(t, dir)
	row := a.until(t, "Good", func(r *proto.FunctionJsonRsp) bool { return r.GetInstances() == 1 })
	assertSays(t, "good", row.GetUrl())
	assert.EqualValues(t, 1, row.GetVersion())
	aside, err := filepath.Glob(filepath.Join(dir, "functions", "good", "1-fn.damaged-*"))
	require.NoError(t, err)
	assert.Len(t, aside, 1)
	require.Eventually(t, func() bool {
		programs, err := filepath.Glob(filepath.Join(dir, "programs", "damaged-*"))
		return err == nil && len(programs) == 1
	}, patience, time.Millisecond)
}
