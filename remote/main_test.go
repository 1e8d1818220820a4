package remote

import (
	"bytes"
	"testing"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/assert"

	"github.com/Ishan27g/ryo-faas/remote/confine"
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
