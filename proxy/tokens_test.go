package proxy

import (
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/Ishan27g/ryo-faas/internal/state"
	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/transport"
	"github.com/Ishan27g/ryo-faas/transport/auth"
)

// keeper returns what knows an agent's tokens, kept in a folder.
func keeper(t *testing.T, folder string) *auth.Keeper {
	t.Helper()
	dir, err := state.Open(folder)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, dir.Close()) })
	k, err := auth.Open(auth.InFolder(dir))
	require.NoError(t, err)
	return k
}

func TestAgentsKnowTheTokensOfTheirProxy(t *testing.T) {
	n := newNode(t)
	n.stop()
	n.tokens = keeper(t, filepath.Join(t.TempDir(), "agent"))
	n.start(t)
	p := start(t, Config{Agents: []string{n.addr}})
	cli := p.dial(t, transport.RPC)
	create := func() *proto.NewToken {
		made, err := cli.CreateToken(t.Context(), &proto.TokenRequest{Scopes: []string{"read"}})
		require.NoError(t, err)
		return made
	}
	// within waits until the agent knows a token, or no longer does.
	within := func(limit time.Duration, secret string, known bool) {
		require.Eventually(t, func() bool { _, err := n.tokens.Verify(secret); return (err == nil) == known }, limit, 5*time.Millisecond)
	}
	first, second := create(), create()
	within(patience, first.GetSecret(), true)
	within(patience, second.GetSecret(), true)
	_, err := cli.RevokeToken(t.Context(), first.GetToken().GetId())
	require.NoError(t, err)
	within(patience, first.GetSecret(), false)
	within(patience, second.GetSecret(), true)

	n.stop() // what is revoked now reaches the agent when it is back
	_, err = cli.RevokeToken(t.Context(), second.GetToken().GetId())
	require.NoError(t, err)
	_, err = n.tokens.Verify(second.GetSecret())
	require.NoError(t, err, "it does not know yet")
	n.start(t)
	within(patience, second.GetSecret(), false)

	third := create()
	within(patience, third.GetSecret(), true)
	_, err = p.RemoveAgent(t.Context(), n.addr)
	require.NoError(t, err)
	within(patience, third.GetSecret(), false)
}

func TestPrivateFunctionsAreCalledWithATokenForThem(t *testing.T) {
	n := newNode(t)
	p := start(t, Config{Agents: []string{n.addr}})
	cli := p.dial(t, transport.RPC)
	for name, who := range map[string]string{"Private": "", "Public": proto.AuthPublic} {
		fn := source(t, name, n.addr)
		fn.Auth = who
		_, err := cli.Deploy(t.Context(), fn)
		require.NoError(t, err)
	}
	made, err := cli.CreateToken(t.Context(), &proto.TokenRequest{Scopes: []string{"invoke"}, Functions: []string{"Private"}})
	require.NoError(t, err)
	// call comes through a gateway, if via says so.
	call := func(name, via, authorization string) int {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+p.http+"/functions/"+name, http.NoBody)
		require.NoError(t, err)
		for header, value := range map[string]string{"Via": via, "Authorization": authorization} {
			if value != "" {
				req.Header.Set(header, value)
			}
		}
		res, err := client(t).Do(req)
		require.NoError(t, err)
		bodyOf(t, res)
		return res.StatusCode
	}
	bearer := "Bearer " + made.GetSecret()
	assert.Equal(t, 200, call("private", "", ""))
	assert.Equal(t, 401, call("private", "1.1 g", ""))
	assert.Equal(t, 200, call("private", "1.1 g", bearer))
	assert.Equal(t, 200, call("public", "1.1 g", ""))
	assert.Equal(t, 401, call("missing", "1.1 g", ""), "what is private and what is not there look alike")
	assert.Equal(t, 403, call("missing", "1.1 g", bearer))
	assert.Equal(t, 404, call("missing", "", ""))
	_, err = cli.RevokeToken(t.Context(), made.GetToken().GetId())
	require.NoError(t, err)
	assert.Equal(t, 401, call("private", "1.1 g", bearer))
}

func TestATokenToDeployAddsNoAgent(t *testing.T) {
	n, foreign := newNode(t), newNode(t)
	p := start(t, Config{Agents: []string{n.addr}})
	cli := p.dial(t, transport.RPC)
	rows, err := cli.Deploy(t.Context(), source(t, "Hello", n.addr))
	require.NoError(t, err)
	// deploy comes through a gateway, so that its token counts.
	deploy := func(addr string, scopes ...string) int {
		made, err := cli.CreateToken(t.Context(), &proto.TokenRequest{Scopes: scopes})
		require.NoError(t, err)
		body := fmt.Sprintf(`[{"name": "Hello", "package": %q, "toAgent": [%q], "wait": true}]`, rows[0].GetPackage(), addr)
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+p.http+"/deploy", strings.NewReader(body))
		require.NoError(t, err)
		req.Header.Set("Via", "1.1 g")
		req.Header.Set("Authorization", "Bearer "+made.GetSecret())
		res, err := client(t).Do(req)
		require.NoError(t, err)
		bodyOf(t, res)
		return res.StatusCode
	}
	_, port, err := net.SplitHostPort(n.addr)
	require.NoError(t, err)
	assert.Equal(t, 200, deploy(n.addr, "deploy"))
	assert.Equal(t, 200, deploy("localhost:"+port, "deploy"), "the known one by another name")
	assert.Equal(t, 403, deploy(foreign.addr, "deploy"))
	agents, err := cli.Agents(t.Context())
	require.NoError(t, err)
	assert.Len(t, agents, 1)
	assert.Equal(t, 200, deploy(foreign.addr, "deploy", "admin"))
}
