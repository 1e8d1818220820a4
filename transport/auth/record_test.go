package auth

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/Ishan27g/ryo-faas/proto"
)

func TestTheRecordCannotBeForged(t *testing.T) {
	dir := t.TempDir()
	r, err := OpenRecord(dir)
	require.NoError(t, err)
	evil := "x\n{\"time\": \"2026\", \"who\": \"forged\"}\r\x1b[2J\u202e\u2028\x7f\u0085\xff😀"
	require.NoError(t, r.Done(&proto.AuditEntry{Who: evil, Call: "Deploy", Functions: []string{evil}, Agent: "worker-1", Result: "ok"}))
	data, err := os.ReadFile(filepath.Join(dir, doneFile))
	require.NoError(t, err)
	require.Equal(t, 1, strings.Count(string(data), "\n"))
	for _, b := range data[:len(data)-1] {
		require.True(t, ' ' <= b && b <= '~', "%q", data)
	}
	list, err := r.Last(0)
	require.NoError(t, err)
	require.Len(t, list, 1)
	assert.Equal(t, strings.ToValidUTF8(evil, "\uFFFD"), list[0].GetWho())
	assert.Equal(t, "worker-1", list[0].GetAgent())
	info, err := os.Stat(filepath.Join(dir, doneFile))
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o600), info.Mode())
}

func TestTheRecordIsBounded(t *testing.T) {
	dir := t.TempDir()
	r, err := OpenRecord(dir)
	require.NoError(t, err)
	long := strings.Repeat("x", 10_000)
	many := make([]string, 1000)
	for i := range many {
		many[i] = long
	}
	require.NoError(t, r.Done(&proto.AuditEntry{Who: long, Call: long, Functions: many, Packages: many, Error: long, Result: "ok"}))
	data, err := os.ReadFile(filepath.Join(dir, doneFile))
	require.NoError(t, err)
	assert.Less(t, len(data), 16<<10)
	for i := range (recordFiles + 1) * maxRecordFile / len(data) {
		require.NoError(t, r.Done(&proto.AuditEntry{Who: fmt.Sprint(i), Call: long, Functions: many, Packages: many, Result: "ok"}))
	}
	files, err := os.ReadDir(dir)
	require.NoError(t, err)
	assert.LessOrEqual(t, len(files), recordFiles)
	list, err := r.Last(1_000_000)
	require.NoError(t, err)
	assert.NotEmpty(t, list)
	assert.Greater(t, list[0].GetTime(), list[len(list)-1].GetTime())
}

func TestALineThatWasNotWrittenWholeSpoilsNoOther(t *testing.T) {
	dir := t.TempDir()
	r, err := OpenRecord(dir)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, doneFile), []byte(`{"time":"2026-01-02T03:04`), 0o600))
	for _, call := range []string{"Deploy", "Stop"} {
		require.NoError(t, r.Done(&proto.AuditEntry{Who: "local", Call: call, Result: "ok"}))
	}
	list, err := r.Last(0)
	require.NoError(t, err)
	require.Len(t, list, 2)
	assert.Equal(t, "Stop", list[0].GetCall())
	assert.Equal(t, "Deploy", list[1].GetCall())
}

func TestRefusalsDoNotPushOutWhatWasDone(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		r, err := OpenRecord(dir)
		require.NoError(t, err)
		require.NoError(t, r.Done(&proto.AuditEntry{Who: "local", Call: "Stop", Result: "ok"}))
		for range 3 * maxRefusals {
			require.NoError(t, r.Refused(&proto.AuditEntry{Who: "nobody", Call: "Deploy", Result: "unauthenticated"}))
		}
		pass(2 * refusalSpan)
		require.NoError(t, r.Refused(&proto.AuditEntry{Who: "nobody", Call: "Deploy", Result: "unauthenticated"}))
		list, err := r.Last(1000)
		require.NoError(t, err)
		assert.Len(t, list, maxRefusals+2)
		assert.EqualValues(t, 2*maxRefusals, list[0].GetOmitted())
		assert.True(t, slices.ContainsFunc(list, func(e *proto.AuditEntry) bool { return e.GetCall() == "Stop" }))
	})
}

func FuzzRecord(f *testing.F) {
	f.Add([]byte("{}\n{\"time\": \"t\"}\n"))
	f.Fuzz(func(_ *testing.T, data []byte) { decode(data) })
}
