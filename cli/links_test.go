package cli

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestTheProgramLinksNoServer(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", "../cmd/proxyCli").Output()
	require.NoError(t, err)
	for _, pkg := range strings.Fields(string(out)) {
		for _, bad := range []string{"gin-gonic/", "quic-go/", "mongo-driver/", "grpc/reflection", "go.opentelemetry.io/", "ryo-faas/transport/server"} {
			assert.NotContains(t, pkg, bad)
		}
	}
}
