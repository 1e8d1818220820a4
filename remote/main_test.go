package remote

import (
	"bytes"
	"testing"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/remote/build"
	"github.com/Ishan27g/ryo-faas/remote/confine"
	"github.com/Ishan27g/ryo-faas/remote/isolation"
)

func TestTheAgentSaysWhatConfinesBuilds(t *testing.T) {
	var out bytes.Buffer
	log := hclog.New(&hclog.LoggerOptions{Output: &out, DisableTime: true})
	tell(log, []confine.Layer{
		{Name: "files", State: confine.On},
		{Name: "ports", State: confine.Degraded, Reason: "an old kernel", Remedy: "a new one"},
	})
	assert.Equal(t, "[INFO]  builds are confined by: files=on ports=degraded\n"+
		"[WARN]  builds are confined less than they could be: layer=ports state=degraded reason=\"an old kernel\" remedy=\"a new one\"\n", out.String())
}

func TestTheAgentSaysThatItsToolchainHasKnownFaults(t *testing.T) {
	var out bytes.Buffer
	log := hclog.New(&hclog.LoggerOptions{Output: &out, DisableTime: true})
	assert.Equal(t, toolchain{"go1.26.1", build.MendedGo}, tellToolchain(log, "go1.26.1"))
	assert.Contains(t, out.String(), "mended="+build.MendedGo)
	out.Reset()
	assert.Equal(t, toolchain{Version: build.MendedGo}, tellToolchain(log, build.MendedGo))
	assert.Equal(t, toolchain{}, tellToolchain(log, ""), "it builds nothing")
	assert.Empty(t, out.String())
}

func TestOthersDoNotBuildWhereNothingConfinesBuilds(t *testing.T) {
	off := []confine.Layer{{Name: confine.Files, State: confine.Off, Reason: "an old kernel", Remedy: "a new one"}}
	on := []confine.Layer{{Name: confine.Files, State: confine.On}, {Name: "ports", State: confine.Off}}
	require.NoError(t, options{}.mayBuild(off), "loopback alone is served")
	require.NoError(t, options{insecure: true}.mayBuild(on))
	require.NoError(t, options{insecure: true}.mayBuild(nil), "it does not build")
	require.NoError(t, options{insecure: true, unconfined: true}.mayBuild(off))
	err := options{insecure: true}.mayBuild(off)
	require.ErrorIs(t, err, proto.ErrForbidden)
	assert.Contains(t, proto.AsError(err).Hint, "a new one")
	assert.Contains(t, proto.AsError(err).Hint, "-unconfined-builds")
}

func TestOthersDoNotDeployWhereNothingIsolatesFunctions(t *testing.T) {
	none, basic := isolation.Report{Tier: "none", Why: "an old kernel"}, isolation.Report{Tier: "basic"}
	require.NoError(t, options{}.mayRun(none), "loopback alone is served")
	for _, served := range []options{
		{insecure: true},
		{agent: Config{Host: "worker-1"}},
		{agent: Config{Join: "front:9001"}},
	} {
		require.NoError(t, served.mayRun(basic))
		err := served.mayRun(none)
		require.ErrorIs(t, err, proto.ErrForbidden)
		assert.Contains(t, proto.AsError(err).Hint, "-isolation none")
		served.unisolated = true
		require.NoError(t, served.mayRun(none))
	}
}

func TestFlagsOfBuilds(t *testing.T) {
	var stdout, stderr bytes.Buffer
	assert.Equal(t, 2, Main([]string{"agent", "-build", "sometimes"}, nil, &stdout, &stderr))
	assert.Equal(t, "agent: invalid value \"sometimes\" for -build: use auto or never (agent -help shows the flags)\n", stderr.String())
	stderr.Reset()
	assert.Equal(t, 2, Main([]string{"agent", "-port", "127.0.0.1:0", "-dir", t.TempDir(), "-goproxy", "ftp://a"}, nil, &stdout, &stderr))
	assert.Contains(t, stderr.String(), "module proxy: ftp://a names no port")
}

// The client that joins speaks of the flags of proxyCli; an agent has others.
func TestAnAgentThatCannotJoinIsToldOfItsOwnFlags(t *testing.T) {
	unknown := proto.Errorf(proto.ErrUnavailable, "no TLS with front:9001: its authority is another").From("client", "tls").WithHint("-ca names the file")
	err := explainJoin("front:9001", unknown)
	require.ErrorIs(t, err, proto.ErrUnavailable)
	assert.ErrorContains(t, err, "join front:9001: no TLS")
	assert.Contains(t, proto.AsError(err).Hint, "proxyCli agents token")
	assert.NotContains(t, proto.AsError(err).Hint, "-ca")
	used := proto.Errorf(proto.ErrUnauthenticated, "the join token has been used").WithHint("another one")
	assert.Equal(t, "another one", proto.AsError(explainJoin("front:9001", used)).Hint)
}
