package doctor

import (
	"bytes"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/Ishan27g/ryo-faas/internal/flags"
	"github.com/Ishan27g/ryo-faas/transport"
)

func TestReportsArePrinted(t *testing.T) {
	report := Report{Found("disk", "plenty"), Poorly("toolchain", "install another", "it is old")}
	var text, data bytes.Buffer
	require.NoError(t, report.Text(&text))
	assert.Equal(t, "good  disk       plenty\npoor  toolchain  it is old\n                 → install another\n", text.String())
	require.NoError(t, report.JSON(&data))
	assert.JSONEq(t, `{"well": false, "findings": [
		{"check": "disk", "state": "good", "says": "plenty"},
		{"check": "toolchain", "state": "poor", "says": "it is old", "remedy": "install another"}
	]}`, data.String())
	assert.True(t, report[:1].Well())
	data.Reset()
	require.NoError(t, Report(nil).JSON(&data))
	assert.JSONEq(t, `{"well": true, "findings": []}`, data.String())
}

func TestCommandExitsWithZeroOnlyIfAllIsWell(t *testing.T) {
	for _, c := range []struct {
		args   []string
		report Report
		code   int
	}{
		{[]string{"doctor"}, Report{Found("disk", "plenty")}, 0},
		{[]string{"doctor", "-o", "json"}, Report{Poorly("disk", "buy one", "scarce")}, 1},
		{[]string{"doctor", "-o", "xml"}, nil, flags.Usage},
	} {
		set := flags.New("agent", "runs", io.Discard, io.Discard)
		command, rest := Declare(set, c.args)
		require.True(t, command.Given())
		_, ok := set.Parse(rest)
		require.True(t, ok)
		assert.Equal(t, c.code, command.Print(set, io.Discard, c.report), c.args)
	}
	set := flags.New("agent", "runs", io.Discard, io.Discard)
	command, rest := Declare(set, []string{"-h"})
	assert.False(t, command.Given())
	assert.Equal(t, []string{"-h"}, rest)
}

func TestDisksOfFoldersThatWillBeAreLookedAt(t *testing.T) {
	assert.Contains(t, Disk("disk", filepath.Join(t.TempDir(), "not", "yet")).Says, "MiB")
}

func TestFolders(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.Chmod(dir, 0o700)) //nolint:gosec // a folder
	file := filepath.Join(dir, "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	loose := filepath.Join(dir, "loose")
	require.NoError(t, os.Mkdir(loose, 0o700))
	require.NoError(t, os.Chmod(loose, 0o777)) //nolint:gosec // it is to be found
	for path, want := range map[string]State{dir: Good, filepath.Join(dir, "later"): Good, file: Bad, loose: Bad} {
		found := Folder("folder", path)
		assert.Equal(t, want, found.State, "%s: %s", path, found.Says)
		assert.Equal(t, want == Good, found.Remedy == "", path)
	}
}

func TestPortsAreFreeOursOrOthers(t *testing.T) {
	free := Port(t.Context(), "port", "127.0.0.1:0", "agent")
	require.Len(t, free, 1)
	assert.Equal(t, Good, free[0].State)

	askAt := func(host string, h http.HandlerFunc) []Finding {
		server := httptest.NewUnstartedServer(h)
		l, err := net.Listen("tcp", host+":0")
		require.NoError(t, err)
		_ = server.Listener.Close()
		server.Listener = l
		server.Start()
		defer server.Close()
		return Port(t.Context(), "port", l.Addr().String(), "agent")
	}
	ask := func(h http.HandlerFunc) []Finding { return askAt("localhost", h) }
	others := ask(http.NotFound)
	require.Len(t, others, 1)
	assert.Equal(t, Bad, others[0].State)
	assert.Contains(t, others[0].Says, "is in use by another process")

	answer := func(program string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			if r.URL.Path == "/" {
				_, _ = io.WriteString(w, `{"program": "`+program+`", "version": "v0"}`)
				return
			}
			_, _ = io.WriteString(w, `{"status": "ready"}`)
		}
	}
	ours := ask(answer("agent"))
	require.Greater(t, len(ours), 1)
	assert.Equal(t, Poor, ours[0].State, "another version")
	assert.Greater(t, len(askAt("127.0.0.2", answer("agent"))), 1, "at one address of the machine alone")
	proxys := ask(answer("proxy"))
	require.Len(t, proxys, 1)
	assert.Equal(t, Bad, proxys[0].State)
}

func TestWhatServersSayOfThemselves(t *testing.T) {
	version := flags.ThisBuild().Version
	about := &transport.About{Program: "agent", Version: version, Ahead: time.Second}
	states := func(findings []Finding) (list []State) {
		for _, f := range findings {
			list = append(list, f.State)
			assert.Equal(t, f.State == Good, f.Remedy == "", "%+v", f)
		}
		return list
	}
	assert.Equal(t, []State{Good, Good}, states(Server("agent", "host:9000", about)))
	about.Ready, about.Ahead, about.Version = errors.New("not ready: no agent"), -time.Hour, "v0"
	assert.Equal(t, []State{Poor, Bad, Poor}, states(Server("agent", "host:9000", about)))
	assert.Equal(t, []State{Poor, Good}, states(Server("agent", "host:9000", &transport.About{})), "to strangers it says nothing")

	for said, want := range map[string][]State{
		`{}`:                 nil,
		`{"build": "ready"}`: {Good},
		`{"caches": {"build": {"usedBytes": 1, "limitBytes": 2}, "modules": {"usedBytes": 3, "limitBytes": 2}}}`: {Good, Poor},
		`{"caches": null}`:                                                                          nil,
		`{"build": "17 of 200 packages"}`:                                                           {Poor},
		`{"toolchain": {"version": "go1.26.10"}}`:                                                   {Good},
		`{"toolchain": {"version": "go1.26.8", "mendedIn": "go1.26.10"}}`:                           {Poor},
		`{"isolation": {"tier": "basic"}}`:                                                          {Good},
		`{"isolation": {"tier": "none", "whyNotMore": "it takes Linux 5.13"}}`:                      {Poor},
		`{"buildIsolation": [{"name": "files", "state": "on"}]}`:                                    {Good},
		`{"buildIsolation": [{"name": "files", "state": "on"}, {"name": "calls", "state": "off"}]}`: {Poor},
		`{"damaged": [{"file": "record.json", "why": "it is damaged"}]}`:                            {Bad},
		`{"agents": []}`: {Poor},
		`{"agents": [{"address": "a:9000", "connected": true, "version": "` + version + `"}, {"address": "b:9000", "connected": true}, {"address": "c:9000"}]}`: {Good, Poor, Bad},
		`{"agents": 1}`: {Poor},
	} {
		var detail map[string]json.RawMessage
		require.NoError(t, json.Unmarshal([]byte(said), &detail))
		assert.Equal(t, want, states(Said(detail)), said)
	}
}

func TestCertificatesExpire(t *testing.T) {
	day := 24 * time.Hour
	for _, c := range []struct {
		since, until time.Duration
		want         State
	}{{-day, 89 * day, Good}, {-85 * day, 5 * day, Poor}, {-90 * day, -time.Minute, Bad}, {day, 90 * day, Bad}} {
		now := time.Now()
		assert.Equal(t, c.want, Certificate(&x509.Certificate{NotBefore: now.Add(c.since), NotAfter: now.Add(c.until)}).State, "%+v", c)
	}
}

func TestMembershipIsLookedAt(t *testing.T) {
	for _, c := range []struct {
		left    time.Duration
		problem string
		want    State
	}{
		{16 * time.Hour, "", Good},
		{9 * time.Hour, "", Good},
		{5 * time.Hour, "", Poor},
		{-time.Hour, "the certificate expired", Bad},
	} {
		found := Said(map[string]any{"joined": map[string]any{"proxy": "front:9001", "until": time.Now().Add(c.left), "problem": c.problem}})
		require.Len(t, found, 1)
		assert.Equal(t, c.want, found[0].State, "%+v", found[0])
		assert.Contains(t, found[0].Says, "front:9001")
	}
	assert.Empty(t, Said(map[string]any{"joined": map[string]any{"proxy": ""}}), "it belongs to none")
}
