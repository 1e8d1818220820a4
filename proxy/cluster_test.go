package proxy

import (
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/Ishan27g/ryo-faas/internal/flags"
	"github.com/Ishan27g/ryo-faas/proxy/store"
)

func TestFlagsOfAnEngineThatDoNotFitAreRefused(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		return path
	}
	const engine = "nats://127.0.0.1:1"
	secret := filepath.Join(dir, "secret")
	require.NoError(t, store.NewSecret(secret))
	text := file("text", "hello")
	creds := file("creds", "-----BEGIN NATS USER JWT-----\nx\n------END NATS USER JWT------\n\n-----BEGIN USER NKEY SEED-----\nx\n------END USER NKEY SEED------\n")
	none := filepath.Join(dir, "none")
	for name, c := range map[string]struct {
		args []string
		says string // "": they fit
	}{
		"none":                  {nil, ""},
		"urls alone":            {[]string{"-engine", engine}, ""},
		"a secret":              {[]string{"-engine", engine, "-engine-secret", secret}, ""},
		"credentials":           {[]string{"-engine", engine, "-engine-creds", creds}, ""},
		"a secret alone":        {[]string{"-engine-secret", secret}, "-engine-secret is for -engine, which is not given"},
		"credentials alone":     {[]string{"-engine-creds", creds}, "-engine-creds is for -engine, which is not given"},
		"certificates alone":    {[]string{"-engine-ca", text}, "-engine-ca is for -engine, which is not given"},
		"no urls":               {[]string{"-engine", "http://x"}, "-engine: "},
		"two kinds":             {[]string{"-engine", engine, "-engine-secret", secret, "-engine-creds", creds}, "give one kind"},
		"a secret with a CA":    {[]string{"-engine", engine, "-engine-secret", secret, "-engine-ca", text}, "give one kind"},
		"a secret not there":    {[]string{"-engine", engine, "-engine-secret", none}, "-engine-secret: "},
		"no secret":             {[]string{"-engine", engine, "-engine-secret", text}, "-engine-secret: "},
		"credentials not there": {[]string{"-engine", engine, "-engine-creds", none}, "-engine-creds: "},
		"no credentials":        {[]string{"-engine", engine, "-engine-creds", text}, text + " has no credentials"},
		"a CA not there":        {[]string{"-engine", engine, "-engine-ca", none}, "-engine-ca: "},
		"no certificate":        {[]string{"-engine", engine, "-engine-ca", text}, text + " has no certificate"},
	} {
		set := flags.New("proxy", "", io.Discard, io.Discard)
		f := declareEngine(set)
		_, ok := set.Parse(c.args)
		require.True(t, ok, name)
		cluster, err := f.cluster()
		if c.says != "" {
			require.ErrorContains(t, err, c.says, name)
			continue
		}
		require.NoError(t, err, name)
		require.Equal(t, len(c.args) > 0, cluster != nil, name)
	}
}
