package server

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/Ishan27g/ryo-faas/transport/auth"
	"github.com/Ishan27g/ryo-faas/transport/pki"
)

func TestABurstIsServedThenTheRate(t *testing.T) {
	var r rates
	now := time.Now()
	for range maxBurst {
		require.Zero(t, r.take("a", now))
	}
	assert.Equal(t, time.Second/maxRate, r.take("a", now))
	assert.Equal(t, time.Second/maxRate, r.take("a", now), "what was refused does not count")
	assert.Zero(t, r.take("b", now), "each has its own")
	now = now.Add(time.Second)
	for range maxRate {
		require.Zero(t, r.take("a", now))
	}
	assert.NotZero(t, r.take("a", now))
	now = now.Add(time.Hour)
	for range maxBurst {
		require.Zero(t, r.take("a", now), "no more comes back than there was")
	}
	assert.NotZero(t, r.take("a", now))
}

func TestTheCallersThatAreRememberedAreBounded(t *testing.T) {
	var r rates
	now := time.Now()
	for range maxBurst {
		require.Zero(t, r.take("busy", now))
	}
	for i := range 2 * maxMetered {
		require.Zero(t, r.take(fmt.Sprint(i), now))
		require.LessOrEqual(t, len(r.full), maxMetered)
	}
	assert.NotZero(t, r.take("busy", now), "others do not push out who asks too much")
}

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
