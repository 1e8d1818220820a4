package build

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestToolchainsWithKnownFaultsAreKnown(t *testing.T) {
	for goVersion, want := range map[string]string{
		"go1.26.9": MendedGo, "go1.26": MendedGo, "go1.25.99": MendedGo, "go1.26rc1": MendedGo,
		MendedGo: "", "go1.26.11": "", "go1.27": "", "devel go1.27-abc": "", "": "",
	} {
		assert.Equal(t, want, Mended(goVersion), goVersion)
	}
}
