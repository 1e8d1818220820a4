package disk

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/Ishan27g/ryo-faas/proto"
)

// open opens a folder, and tells of what it finds damaged.
func open(t *testing.T, dir string) (Folder, *[]Damage) {
	t.Helper()
	found := new([]Damage)
	d, err := Open(dir, func(one Damage) { *found = append(*found, one) })
	require.NoError(t, err)
	t.Cleanup(func() { d.Close() })
	return d, found
}

// record is one of a function with two versions.
func record(name string) *Record {
	v := func(n uint32) *Version {
		return &Version{Number: n, Time: time.Unix(int64(n), 0).UTC(), Spec: Spec{&proto.FunctionJson{Name: name}}}
	}
	return &Record{History: History{Name: name, Generation: 2, Last: 2, Versions: []*Version{v(1), v(2)}, Before: 1}, Main: 2, Port: 5000}
}

func TestRecordsComeBack(t *testing.T) {
	dir := t.TempDir()
	d, _ := open(t, dir)
	was := record("HelloWorld")
	was.Canary = &Canary{Version: 1, Weight: 10, Port: 5001}
	was.Next = &Change{Version: was.Versions[0]}
	was.Failure = &Failure{Text: "a reason"}
	require.NoError(t, d.Save(was))
	d.Close()
	d, found := open(t, dir)
	list, err := d.Records()
	require.NoError(t, err)
	require.Len(t, list, 1)
	assert.Same(t, list[0].Versions[0], list[0].Next.Version, "the same version, not a copy")
	assert.Equal(t, was.Failure, list[0].Failure)
	assert.Equal(t, was.Canary, list[0].Canary)
	assert.Equal(t, "HelloWorld", list[0].Versions[1].Spec.GetName())
	assert.Empty(t, *found)
}

func TestDamagedRecords(t *testing.T) {
	file := func(d Folder) string { return d.Path(recordFile("helloworld")) }
	text := func(text string) func(Folder) error {
		return func(d Folder) error { return os.WriteFile(file(d), []byte(text), 0o600) }
	}
	change := func(change func(*Record)) func(Folder) error {
		return func(d Folder) error {
			rec := record("HelloWorld")
			change(rec)
			return d.Write(recordFile("helloworld"), rec)
		}
	}
	for name, c := range map[string]struct {
		damage func(Folder) error
		named  string // as the function is named then
	}{
		"empty":                        {text(""), "Helloworld"},
		"null":                         {text("null"), "Helloworld"},
		"zeros":                        {text("\x00\x00\x00"), "Helloworld"},
		"of another kind":              {text(`[]`), "Helloworld"},
		"truncated":                    {text(`{"Name": "HelloWorld", "Port": 50`), "HelloWorld"},
		"of another function":          {change(func(r *Record) { r.Name = "Other" }), "HelloWorld"}, // as its versions say
		"of no function":               {change(func(r *Record) { r.Name = "" }), "HelloWorld"},
		"a version that is none":       {change(func(r *Record) { r.Versions[0] = nil }), "HelloWorld"},
		"a version without a number":   {change(func(r *Record) { r.Versions[0].Number = 0 }), "HelloWorld"},
		"a version twice":              {change(func(r *Record) { r.Versions[0].Number = 2 }), "HelloWorld"},
		"a version above the last":     {change(func(r *Record) { r.Versions[1].Number = 3 }), "HelloWorld"},
		"without the version it is of": {change(func(r *Record) { r.Main = 3 }), "HelloWorld"},
		"without the canary's version": {change(func(r *Record) { r.Canary = &Canary{Version: 7} }), "HelloWorld"},
		"a port that is none":          {change(func(r *Record) { r.Port = 70000 }), "HelloWorld"},
		"a change to nothing":          {change(func(r *Record) { r.Next = &Change{} }), "HelloWorld"},
		"others may write it":          {func(d Folder) error { return os.Chmod(file(d), 0o622) }, "Helloworld"},
		"a link":                       {func(d Folder) error { _ = os.Remove(file(d)); return os.Symlink("/dev/zero", file(d)) }, "Helloworld"},
		"missing":                      {func(d Folder) error { return os.Remove(file(d)) }, "Helloworld"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			d, found := open(t, dir)
			require.NoError(t, d.Save(record("HelloWorld")))
			require.NoError(t, d.Save(record("Other")))
			require.NoError(t, os.MkdirAll(d.VersionDir("helloworld", 7), 0o700))
			require.NoError(t, c.damage(d))
			for range 2 { // the next agent says it too
				list, err := d.Records()
				require.NoError(t, err)
				require.Len(t, list, 2)
				got := list[0]
				assert.Equal(t, c.named, got.Name)
				assert.Equal(t, proto.ReasonDamaged, got.Failure.Reason)
				assert.EqualValues(t, 7, got.Last, "numbers are not given twice")
				assert.EqualValues(t, 7, got.Generation)
				assert.Equal(t, "Other", list[1].Name)
				require.Len(t, *found, 1)
				assert.Equal(t, name == "missing", (*found)[0].Aside == "")
				if aside := (*found)[0].Aside; aside != "" {
					assert.Contains(t, got.Failure.Text, aside)
				}
				assert.DirExists(t, d.VersionDir("helloworld", 7))
				d.Close()
				d, found = open(t, dir)
			}
		})
	}
}

func TestWhatWasNeverAcknowledgedIsRemoved(t *testing.T) {
	d, found := open(t, t.TempDir())
	require.NoError(t, os.MkdirAll(d.FunctionDir("half"), 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(d.FunctionDir("half"), ".tmp-1"), nil, 0o600))
	require.NoError(t, os.WriteFile(d.Path("functions", ".DS_Store"), nil, 0o600))
	require.NoError(t, os.MkdirAll(d.Path("functions", "lost+found"), 0o700))
	list, err := d.Records()
	require.NoError(t, err)
	assert.Empty(t, list)
	assert.NoDirExists(t, d.FunctionDir("half"))
	assert.Len(t, *found, 2, "strange things are left alone")
}

func TestRemoveLeavesNothing(t *testing.T) {
	d, _ := open(t, t.TempDir())
	require.NoError(t, d.Save(record("HelloWorld")))
	require.NoError(t, d.Remove("helloworld"))
	require.NoError(t, d.Remove("helloworld"), "twice is once")
	assert.NoDirExists(t, d.FunctionDir("helloworld"))
	left, err := os.ReadDir(d.Tmp())
	require.NoError(t, err)
	assert.Empty(t, left)
}

func TestKeysOfSecrets(t *testing.T) {
	for name, c := range map[string]struct {
		damage func(file string) error
		opens  bool
		said   bool
	}{
		"whole":     {func(string) error { return nil }, true, false},
		"empty":     {func(f string) error { return os.Truncate(f, 0) }, false, true},
		"truncated": {func(f string) error { return os.Truncate(f, 31) }, false, true},
		"longer":    {func(f string) error { return os.Truncate(f, 33) }, false, true},
		"another":   {func(f string) error { return os.WriteFile(f, []byte(strings.Repeat("x", 32)), 0o600) }, false, false},
		"missing":   {os.Remove, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			d, found := open(t, t.TempDir())
			seal, err := d.Sealer()
			require.NoError(t, err)
			sealed := seal.All("f", map[string]string{"KEY": "value"})
			require.NoError(t, c.damage(d.Path(keyFile)))
			for range 2 {
				seal, err = d.Sealer()
				require.NoError(t, err)
			}
			values, err := seal.Open("f", sealed)
			if c.opens {
				require.NoError(t, err)
				assert.Equal(t, "value", values["KEY"])
			} else {
				require.ErrorIs(t, err, proto.ErrUnavailable)
				assert.Equal(t, proto.ReasonDamaged, proto.AsError(err).Reason)
			}
			assert.Equal(t, c.said, len(*found) == 1, "%v", *found)
			again := seal.All("f", map[string]string{"KEY": "value"})
			_, err = seal.Open("g", again)
			require.Error(t, err, "a value is worth nothing in another place")
		})
	}
}

// A holder exits when its socket is removed: nothing else would give its ports back.
func TestSocketsOfLostHoldersAreRemoved(t *testing.T) {
	d, _ := open(t, t.TempDir())
	var lost []string
	for _, name := range []string{"holder.sock", "holder-0123456789abcdef.sock"} {
		lost = append(lost, d.Path(name))
		require.NoError(t, os.WriteFile(d.Path(name), nil, 0o600))
	}
	path, err := d.HolderSocket()
	require.NoError(t, err)
	for _, name := range lost {
		assert.NoFileExists(t, name)
	}
	require.NoError(t, os.WriteFile(path, nil, 0o600))
	again, err := d.HolderSocket()
	require.NoError(t, err)
	assert.Equal(t, path, again)
	assert.FileExists(t, path)
}
