package remote

import (
	"crypto/x509"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestFurnishBringsWhatTheMachineLacks(t *testing.T) {
	dir, bare := filepath.Join(t.TempDir(), "furniture"), t.TempDir()
	for range 2 { // a second time over the first
		env, err := furnish(dir, bare)
		require.NoError(t, err)
		assert.Equal(t, []string{"GOROOT=" + dir, "RYO_GOROOT=" + dir, "SSL_CERT_FILE=" + dir + "/roots.pem"}, env)
	}
	t.Setenv("ZONEINFO", filepath.Join(dir, "lib", "time", "zoneinfo.zip"))
	_, err := time.LoadLocation("Europe/Berlin")
	require.NoError(t, err)
	text, err := os.ReadFile(filepath.Join(dir, "roots.pem"))
	require.NoError(t, err)
	pool := x509.NewCertPool()
	require.True(t, pool.AppendCertsFromPEM(text))
	assert.Greater(t, strings.Count(string(text), "BEGIN CERTIFICATE"), 100)

	for _, file := range []string{"usr/share/zoneinfo/Europe/London", "etc/ssl/certs/some.pem"} {
		path := filepath.Join(bare, file)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
		require.NoError(t, os.WriteFile(path, nil, 0o600))
	}
	env, err := furnish(dir, bare)
	require.NoError(t, err)
	assert.Empty(t, env, "what the machine has comes first")
}
