package proxy

import (
	"fmt"
	"net/http"
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/Ishan27g/ryo-faas/internal/testkit"
	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/transport"
)

// A function calls as the proxy's own user. It is nobody with a token that is for
// something else, too, and on a connection that it keeps.
func TestAFunctionCallsWhatItsTokenAllowsAlone(t *testing.T) {
	n := newNode(t)
	p := spawn(t, "-dir", t.TempDir(), "-agents", n.addr)
	cli := transport.NewAgent(transport.HTTP, p.http)
	defer cli.Close()
	for name, who := range map[string]string{"Private": "", "Public": proto.AuthPublic} {
		fn := source(t, name, n.addr)
		fn.Auth, fn.Wait = who, true
		_, err := cli.Deploy(t.Context(), fn)
		require.NoError(t, err)
	}
	token := func(scope string, functions ...string) string {
		made, err := cli.CreateToken(t.Context(), &proto.TokenRequest{Scopes: []string{scope}, Functions: functions})
		require.NoError(t, err)
		return "Bearer " + made.GetSecret()
	}
	web := client(t)
	for who, addr := range map[string]string{"own": p.http, "function": testkit.Relay(t, p.http, testkit.As{UID: os.Geteuid(), Confined: true})} {
		for _, c := range []struct {
			name, authorization string
			own, function       int
		}{
			{"private", "", 200, 401},
			{"public", "", 200, 200},
			{"private", token("read"), 200, 403},
			{"private", token("deploy"), 200, 403},
			{"private", token("invoke", "Public"), 200, 403},
			{"private", token("invoke", "Private"), 200, 200},
			{"private", "Basic eDp5", 200, 401},
		} {
			for _, last := range []bool{false, true, true} { // on a connection that was used before, and on a new one
				req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, fmt.Sprintf("http://%s/functions/%s", addr, c.name), http.NoBody)
				require.NoError(t, err)
				req.Close = last
				if c.authorization != "" {
					req.Header.Set("Authorization", c.authorization)
				}
				rsp, err := web.Do(req)
				require.NoError(t, err)
				bodyOf(t, rsp)
				want := map[string]int{"own": c.own, "function": c.function}[who]
				assert.Equal(t, want, rsp.StatusCode, "%s: %s with %.11q", who, c.name, c.authorization)
			}
		}
	}
}
