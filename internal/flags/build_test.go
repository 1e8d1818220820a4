package flags

import (
	"runtime"
	"runtime/debug"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestBuildSaysVersionAndCommit(t *testing.T) {
	const commit = "0123456789abcdef0123456789abcdef01234567"
	from := func(version string, settings ...debug.BuildSetting) string {
		return buildOf(&debug.BuildInfo{Main: debug.Module{Version: version}, Settings: settings}).String()
	}
	revision := debug.BuildSetting{Key: "vcs.revision", Value: commit}
	rest := " " + runtime.Version() + " " + runtime.GOOS + "/" + runtime.GOARCH
	assert.Equal(t, "devel commit unknown"+rest, from(""))
	assert.Equal(t, "devel commit 0123456789ab"+rest, from("(devel)", revision))
	assert.Equal(t, "v1.2.3 commit unknown"+rest, from("v1.2.3"))
	assert.Equal(t, "v1.2.3-0.20260102030405-ba9876543210+dirty commit 0123456789ab (modified)"+rest,
		from("v1.2.3-0.20260102030405-ba9876543210+dirty", revision, debug.BuildSetting{Key: "vcs.modified", Value: "true"}))
	assert.Equal(t, "v0.0.0-20260102030405-ba9876543210 commit ba9876543210"+rest, from("v0.0.0-20260102030405-ba9876543210"))
}
