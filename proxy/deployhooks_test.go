package proxy

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/proxy/store/storetest"
	"github.com/Ishan27g/ryo-faas/proxy/trigger/queue"
)

func TestUrlsOfDeployHooksMayBeInFiles(t *testing.T) {
	file := filepath.Join(t.TempDir(), "hooks")
	require.NoError(t, os.WriteFile(file, []byte("https://a.example/1\n\nhttps://b.example/2\n"), 0o600))
	getenv := func(name string) string { return map[string]string{"HOOK": "https://c.example/3"}[name] }
	urls, err := parseDeployHooks([]string{"file:" + file, "env:HOOK", "https://a.example/1"}, getenv)
	require.NoError(t, err)
	assert.Equal(t, []string{"https://a.example/1", "https://b.example/2", "https://c.example/3"}, urls)
	for _, wrong := range []string{"env:NONE", "file:" + file + "x", "file:"} {
		_, err := parseDeployHooks([]string{wrong}, getenv)
		assert.ErrorContains(t, err, "-deploy-hooks", wrong)
	}
	var many []string
	for i := range maxDeployHooks + 1 {
		many = append(many, fmt.Sprintf("https://a.example/%d", i))
	}
	_, err = parseDeployHooks(many, getenv)
	assert.Error(t, err)
}

func TestAWrongUrlOfADeployHookIsNotRepeated(t *testing.T) {
	p := &Proxy{}
	p.cfg.DeployHooks = []string{"https://example.com/x", "ftp://example.com/s3cret"}
	p.queue = queue.New(queue.Config{Store: storetest.New()})
	err := p.checkDeployHooks()
	require.ErrorIs(t, err, proto.ErrInvalid)
	assert.Contains(t, err.Error(), "url 2")
	assert.NotContains(t, err.Error(), "s3cret")
	p.cfg.DeployHooks = []string{"http://10.1.2.3/s3cret"}
	err = p.checkDeployHooks()
	require.ErrorIs(t, err, proto.ErrForbidden)
	assert.NotContains(t, err.Error(), "s3cret")
	assert.Contains(t, proto.AsError(err).Hint, "-allow-callbacks")
}
