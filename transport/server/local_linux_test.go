package server_test

import (
	"io"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/Ishan27g/ryo-faas/internal/testkit"
	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/transport"
	"github.com/Ishan27g/ryo-faas/transport/server"
	"github.com/Ishan27g/ryo-faas/transport/transporttest"
	"github.com/Ishan27g/ryo-faas/transport/wire"
)

// No header is in this: only whose process the kernel says it is.
func TestWhoOnThisMachineMayCallWhat(t *testing.T) {
	trusting, err := server.ParseTrust("65534")
	require.NoError(t, err)
	group, err := server.ParseTrust("@65534")
	require.NoError(t, err)
	for _, c := range []struct {
		name  string
		as    testkit.As
		trust server.Trust
		may   bool
		says  string
	}{
		{name: "the same user", as: testkit.As{UID: os.Geteuid()}, may: true},
		{name: "a function under the same user", as: testkit.As{UID: os.Geteuid(), Confined: true}, says: "functions, builds and other processes"},
		{name: "another user", as: testkit.As{UID: testkit.OtherUser}, says: "(65534) need a token"},
		{name: "another user that is trusted", as: testkit.As{UID: testkit.OtherUser}, trust: trusting, may: true},
		{name: "another user whose group is trusted", as: testkit.As{UID: testkit.OtherUser}, trust: group, may: true},
		{name: "a function under a user that is trusted", as: testkit.As{UID: testkit.OtherUser, Confined: true}, trust: trusting, says: "functions, builds and other processes"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.as.UID != os.Geteuid() && os.Geteuid() != 0 {
				t.Skip("it takes root to be another user")
			}
			fake := transporttest.NewFake(t)
			direct := serve(t, fake, fake, server.Config{Trust: c.trust, Mounts: []server.Mount{functions}})
			addr := testkit.Relay(t, direct, c.as)

			web := client(t)
			call := func(method, path string) (int, string) {
				req, err := http.NewRequestWithContext(t.Context(), method, "http://"+addr+path, strings.NewReader("{}"))
				require.NoError(t, err)
				rsp, err := web.Do(req)
				require.NoError(t, err)
				defer rsp.Body.Close()
				if strings.HasPrefix(rsp.Header.Get("Content-Type"), "text/event-stream") {
					return rsp.StatusCode, "" // it has no end
				}
				body, err := io.ReadAll(rsp.Body)
				require.NoError(t, err)
				return rsp.StatusCode, string(body)
			}
			for _, rt := range wire.Routes {
				code, body := call(rt.Method, strings.Replace(rt.Path, ":", "", 1))
				may := c.may || rt.Scope == wire.ScopeOpen
				assert.Equal(t, may, code != http.StatusUnauthorized, "%s %s: %d %s", rt.Method, rt.Path, code, body)
				if !may && rt.Method != http.MethodHead {
					assert.Contains(t, body, c.says)
				}
			}
			code, _ := call("GET", "/")
			assert.Equal(t, c.may, code != http.StatusUnauthorized)
			code, _ = call("GET", "/functions/hello")
			assert.Equal(t, c.may, code != http.StatusUnauthorized, "a function that is not public")
			for _, path := range []string{publicFunction, "/healthz", "/readyz"} {
				code, body := call("GET", path)
				assert.NotEqual(t, http.StatusUnauthorized, code, "%s: %s", path, body)
			}
			for name, err := range callAll(t.Context(), dial(t, addr, "localhost")) {
				assert.Equal(t, c.may, status.Code(err) != codes.Unauthenticated, "%s: %v", name, err)
			}
			if !c.may {
				cli := transport.NewAgent(transport.RPC, addr)
				defer cli.Close()
				_, err := cli.Details(t.Context())
				require.ErrorIs(t, err, proto.ErrUnauthenticated)
				assert.Contains(t, err.Error(), c.says)
			}
		})
	}
}

func TestTrustNamesUsersAndGroupsThatAreThere(t *testing.T) {
	for _, list := range []string{"", "0", "@0", "root,@root", " 65534 , @65534", "root"} {
		_, err := server.ParseTrust(list)
		assert.NoError(t, err, list)
	}
	for _, list := range []string{"no-such-user", "@no-such-group", "-1", "@-1", "@"} {
		_, err := server.ParseTrust(list)
		require.ErrorIs(t, err, proto.ErrInvalid, list)
	}
}
