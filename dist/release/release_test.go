package main

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"debug/buildinfo"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var when = time.Date(2026, 5, 4, 3, 2, 2, 0, time.UTC) // zip counts in twos

func TestManualHasWhatHelpSays(t *testing.T) {
	cli := parseHelp(`proxyCli fetch: gets what an agent has.

Gets it, line
by line.

It ends.

Usage: proxyCli fetch NAME [flags]

Commands:
  again NAME  gets it once more

Flags:
  -d, -data DATA  body to send; @FILE sends
                  a file
  -very-long-name NAME
                  what it means
  -h              print this text

Flags of every command:
  -quiet  say nothing

Examples:
  proxyCli fetch A \
    -d .hidden
`)
	assert.Equal(t, []string{"again"}, cli.commands())
	assert.Equal(t, `.TH proxyCli\-fetch 1 2026-05-04 ryo-faas
.SH NAME
proxyCli\-fetch \- gets what an agent has
.SH SYNOPSIS
.nf
proxyCli fetch NAME [flags]
.fi
.SH DESCRIPTION
Gets it, line by line.
.PP
It ends.
.SH COMMANDS
.TP
.B again NAME
gets it once more
.SH FLAGS
.TP
.B \-d, \-data DATA
body to send; @FILE sends a file
.TP
.B \-very\-long\-name NAME
what it means
.TP
.B \-h
print this text
.SH EXAMPLES
.nf
proxyCli fetch A \e
  \-d .hidden
.fi
.SH SEE ALSO
.BR proxyCli (1)
has the flags of every command and the exit codes.
`, string(manual("proxyCli-fetch", "1", when, cli)))

	agent := parseHelp(`agent does it.

Usage: agent [flags]
       agent doctor [flags]   looks

Flags, each with the environment variable that stands in for it:
  -dir folder
        .folder of its own
        (RYO_DIR)
`)
	assert.Equal(t, help{
		name: "agent", summary: "does it", usage: []string{"agent [flags]", "agent doctor [flags]   looks"}, text: []string{},
		parts: []part{{title: "Flags", items: [][2]string{{"-dir folder", ".folder of its own (RYO_DIR)"}}}},
	}, agent)
	assert.Contains(t, string(manual("ryo-agent", "8", when, agent)), "\n\\&.folder of its own (RYO_DIR)\n")
}

func TestArchivesSayNothingOfTheMachine(t *testing.T) {
	content := map[string]file{"b/second": {[]byte("two"), 0o755}, "a": {[]byte("one"), 0o644}}
	var first, again bytes.Buffer
	require.NoError(t, writeTar(&first, "folder", content, when))
	require.NoError(t, writeTar(&again, "folder", content, when))
	assert.Equal(t, first.Bytes(), again.Bytes())

	unpacked, err := gzip.NewReader(&first)
	require.NoError(t, err)
	assert.True(t, unpacked.ModTime.IsZero())
	var names []string
	for r := tar.NewReader(unpacked); ; {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		require.NoError(t, err)
		names = append(names, h.Name)
		assert.Equal(t, when, h.ModTime.UTC())
		assert.Equal(t, "0 0 root root", fmt.Sprint(h.Uid, " ", h.Gid, " ", h.Uname, " ", h.Gname))
		assert.EqualValues(t, content[strings.TrimPrefix(h.Name, "folder/")].mode, h.Mode)
	}
	assert.Equal(t, []string{"folder/a", "folder/b/second"}, names)

	var zipped bytes.Buffer
	require.NoError(t, writeZip(&zipped, "folder", content, when))
	r, err := zip.NewReader(bytes.NewReader(zipped.Bytes()), int64(zipped.Len()))
	require.NoError(t, err)
	assert.Equal(t, "folder/a", r.File[0].Name)
	assert.True(t, r.File[1].Modified.Equal(when))
	assert.EqualValues(t, 0o755, r.File[1].Mode())
}

// The program that is looked at is this test.
func TestBillOfMaterialsHasWhatIsLinked(t *testing.T) {
	self, err := os.Executable()
	require.NoError(t, err)
	info, err := buildinfo.ReadFile(self)
	require.NoError(t, err)
	info.Path = module + "/cmd/proxyCli"
	text, err := billOfMaterials(programs{{name: "proxyCli", path: self, info: info}}, "v1.2.3", when)
	require.NoError(t, err)
	var list bom
	require.NoError(t, json.Unmarshal(text, &list))
	assert.Equal(t, "pkg:golang/github.com/Ishan27g/ryo-faas@v1.2.3", list.Metadata.Component.Ref)
	assert.Equal(t, "2026-05-04T03:02:02Z", list.Metadata.Timestamp)
	require.Len(t, list.Metadata.Component.Components, 1)
	assert.Equal(t, "pkg:golang/github.com/Ishan27g/ryo-faas@v1.2.3#cmd/proxyCli", list.Metadata.Component.Components[0].Purl)

	byName := map[string]component{}
	refs := map[string]bool{list.Metadata.Component.Ref: true, list.Metadata.Component.Components[0].Ref: true}
	for _, c := range list.Components {
		byName[c.Name] = c
		refs[c.Ref] = true
	}
	assert.Equal(t, strings.TrimPrefix(info.GoVersion, "go"), byName["std"].Version)
	for _, m := range info.Deps {
		require.Len(t, byName[m.Path].Hashes, 1, m.Path)
		assert.Len(t, byName[m.Path].Hashes[0].Content, 64)
		assert.Equal(t, m.Version, byName[m.Path].Version)
	}
	for _, d := range list.Dependencies {
		assert.True(t, refs[d.Ref], d.Ref)
		for _, on := range d.On {
			assert.True(t, refs[on], on)
		}
	}
}

func TestNamesOfModuleProxiesAreUndone(t *testing.T) {
	assert.Equal(t, "github.com/GoogleCloudPlatform/functions-framework-go", unescape("github.com/!google!cloud!platform/functions-framework-go"))
}

func TestEachUnitFindsThePrograms(t *testing.T) {
	units, err := filepath.Glob("../*.service")
	require.NoError(t, err)
	require.Len(t, units, 3)
	for _, unit := range units {
		text, err := os.ReadFile(unit)
		require.NoError(t, err)
		packaged, err := packagedUnit(text)
		require.NoError(t, err)
		assert.Contains(t, string(packaged), "ExecStart="+programsAt)
		assert.NotContains(t, string(packaged), "=/usr/local/bin/agent")
		assert.True(t, strings.HasPrefix(string(packaged), "[Unit]\n"))
	}
	_, err = packagedUnit([]byte("[Unit]\nExecStart=/opt/agent"))
	assert.ErrorContains(t, err, "/usr/local/bin/")
}

func TestTheCommitsTimeCanBeReplaced(t *testing.T) {
	t.Setenv("SOURCE_DATE_EPOCH", "1777863722")
	at, err := sourceDate(t.Context())
	require.NoError(t, err)
	assert.Equal(t, when, at)
	t.Setenv("SOURCE_DATE_EPOCH", "yesterday")
	_, err = sourceDate(t.Context())
	assert.ErrorContains(t, err, `"yesterday" is no number of seconds`)
}

func TestOnlyReleasesAreRemoved(t *testing.T) {
	dir := t.TempDir()
	out := filepath.Join(dir, "new", "release")
	require.NoError(t, empty(out))
	for _, name := range []string{"ryo-faas_1.0.0_linux_amd64.tar.gz", "SHA256SUMS"} {
		require.NoError(t, os.WriteFile(filepath.Join(out, name), nil, 0o600))
	}
	require.NoError(t, empty(out))
	left, err := os.ReadDir(out)
	require.NoError(t, err)
	assert.Empty(t, left)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "thesis.txt"), nil, 0o600))
	require.ErrorContains(t, empty(dir), "which no release makes")
	assert.FileExists(t, filepath.Join(dir, "thesis.txt"))
}
