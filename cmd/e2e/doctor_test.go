package e2e

import (
	"encoding/json"
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Each doctor finds the programs that run, and what they say of themselves.
func TestDoctorsFindWhatRuns(t *testing.T) {
	t.Parallel()
	home := newSite(t)
	a := home.start(t)
	p := startProxy(t, "", "-agents", a.addr)
	for _, addr := range []string{a.addr, p.http} {
		eventually(t, func() bool {
			status, _ := fetch(t, http.MethodGet, "http://"+addr+"/readyz", "")
			return status == http.StatusOK
		}, "%s is ready", addr)
	}
	for name, c := range map[string]struct {
		program string
		args    []string
		says    []string
	}{
		"proxyCli at the proxy": {"proxyCli", []string{"-proxy", p.rpc}, []string{"the proxy at " + p.rpc + " is of version ", a.addr + ", linux/"}},
		"proxyCli at the agent": {"proxyCli", []string{"-proxy", a.addr}, []string{"the agent at " + a.addr + " is of version ", "functions run under the tier "}},
		"agent":                 {"agent", []string{"-dir", a.dir, "-port", a.addr}, []string{"the agent at " + a.addr + " is of version ", "functions run under the tier "}},
		"proxy":                 {"proxy", []string{"-dir", p.dir, "-http", p.http, "-rpc", p.rpc}, []string{"the proxy at " + p.http + " is of version ", a.addr + ", linux/"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cmd := command(t.Context(), c.program, append([]string{"doctor", "-o", "json"}, c.args...)...)
			out, err := cmd.Output()
			var report struct {
				Well     bool
				Findings []struct{ Check, State, Says, Remedy string }
			}
			require.NoError(t, json.Unmarshal(out, &report), "%s", out)
			assert.Equal(t, report.Well, err == nil, "the exit code says whether all is well")
			var all string
			for _, f := range report.Findings {
				all += f.Says + "\n"
				assert.NotEqual(t, "bad", f.State, f.Says)
			}
			for _, want := range c.says {
				assert.Contains(t, all, want)
			}
		})
	}
}
