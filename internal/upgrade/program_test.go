package upgrade

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/Ishan27g/ryo-faas/proto"
)

func TestAProgramProvesWhatItIs(t *testing.T) {
	dir := t.TempDir()
	script := func(name, text string, mode os.FileMode) string {
		file := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(file, []byte(text), mode))
		return file
	}
	t.Setenv(role, "agent")
	for name, c := range map[string]struct {
		program string
		args    []string
		says    string // why it is refused
	}{
		"an agent":                      {os.Args[0], []string{"-port", "localhost:0", "-dir", dir}, ""},
		"an agent without a flag":       {os.Args[0], []string{"-of-tomorrow", "x"}, "-of-tomorrow"},
		"missing":                       {filepath.Join(dir, "missing"), nil, "no such file"},
		"empty":                         {script("empty", "", 0o700), nil, "exec format error"},
		"cut off":                       {script("cut", "\x7fELF\x02\x01\x01", 0o700), nil, "exec format error"},
		"not to be executed":            {script("data", "#!/bin/sh\necho agent 1", 0o600), nil, "permission denied"},
		"another program":               {script("other", "#!/bin/sh\necho proxy v1", 0o700), nil, "its name is not agent"},
		"one that fails":                {script("fails", "#!/bin/sh\necho agent v1; exit 1", 0o700), nil, "exit status 1"},
		"one that does not end":         {script("hangs", "#!/bin/sh\nexec sleep 1000", 0o700), nil, "did not tell its version within"},
		"one that does not fall silent": {script("talks", "#!/bin/sh\nexec yes agent", 0o700), nil, "agent"},
	} {
		limit := ProofLimit
		if name == "one that does not end" {
			limit = 50 * time.Millisecond
		}
		err := Program(c.program).Prove(t.Context(), "agent", c.args, limit)
		if c.says == "" {
			require.NoError(t, err, name)
			continue
		}
		require.ErrorIs(t, err, proto.ErrInvalid, name)
		assert.Contains(t, err.Error(), c.says, name)
		assert.Contains(t, err.Error(), c.program, name)
	}
}
