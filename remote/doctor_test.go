package remote

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/Ishan27g/ryo-faas/internal/doctor"
)

func TestDoctorLooksAndChangesNothing(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	var stdout, stderr bytes.Buffer
	code := Main([]string{"agent", "doctor", "-o", "json", "-dir", dir, "-port", "localhost:0"}, nil, &stdout, &stderr)
	assert.Empty(t, stderr.String())
	var said struct {
		Well     bool
		Findings doctor.Report
	}
	require.NoError(t, json.Unmarshal(stdout.Bytes(), &said))
	assert.Equal(t, said.Well, code == 0)
	var checks []string
	for _, f := range said.Findings {
		checks = append(checks, f.Check)
		assert.Equal(t, f.State == doctor.Good, f.Remedy == "", "%+v", f)
	}
	assert.Subset(t, checks, []string{"version", "folder", "disk", "cache disk", "function ports", "port", "toolchain", "isolation"})
	_, err := os.Stat(dir)
	assert.ErrorIs(t, err, os.ErrNotExist)
}

func TestDoctorLooksAtFunctionPorts(t *testing.T) {
	for text, want := range map[string]doctor.State{"": doctor.Good, "5000-5999": doctor.Good, "40000-41000": doctor.Poor, "9-1": doctor.Bad} {
		assert.Equal(t, want, examinePorts(text).State, text)
	}
}
