package server

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/Ishan27g/ryo-faas/transport/auth"
	"github.com/Ishan27g/ryo-faas/transport/pki"
)

func TestWhoseRequestsAreCountedTogether(t *testing.T) {
	token := bearer{who: &auth.Identity{ID: "t_1"}}
	for want, r := range map[string]request{
		"token t_1":        {bearer: token, local: own},
		"192.0.2.7":        {peer: "192.0.2.7:1"},
		"2001:db8::/64":    {peer: "[2001:db8::1]:1"},
		"127.0.0.1 user 7": {peer: "127.0.0.1:1", local: trusted},
	} {
		e := &end{local: r.local}
		e.peer.UID = 7
		assert.Equal(t, want, r.metered(e))
	}
	assert.Empty(t, request{local: own}.metered(nil))
	assert.Empty(t, request{role: pki.Role{Kind: pki.Proxy, ID: "p"}}.metered(nil))
	assert.NotEmpty(t, request{local: own, forwarded: "Via"}.metered(&end{local: own}), "a gateway's callers")
	assert.Equal(t, "agent a", request{role: pki.Role{Kind: pki.Agent, ID: "a"}}.metered(nil))
}
