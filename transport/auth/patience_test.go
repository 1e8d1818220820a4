package auth

import (
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
)

func TestWrongTokensAreAnsweredLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var p Patience
		peer, other := peerOf("192.0.2.1"), peerOf("192.0.2.2")
		took := func(peer string) time.Duration {
			start := time.Now()
			p.Wrong(t.Context(), peer)
			return time.Since(start)
		}
		for range freeTries {
			assert.Zero(t, took(peer))
		}
		assert.Equal(t, tryDelay, took(peer))
		assert.Equal(t, tryDelay, took(peerOf("::ffff:192.0.2.1")), "the same address")
		assert.Zero(t, took(other))

		var waiting sync.WaitGroup
		for range maxWaiting {
			waiting.Go(func() { assert.True(t, p.Wrong(t.Context(), peer)) })
		}
		synctest.Wait()
		start := time.Now()
		assert.False(t, p.Wrong(t.Context(), peer))
		assert.True(t, p.Wrong(t.Context(), other))
		assert.Zero(t, time.Since(start))
		waiting.Wait()
		assert.True(t, p.Wrong(t.Context(), peer))

		pass(tryMemory + time.Second)
		assert.Zero(t, took(peer), "people may mistype again")
	})
}

func TestPatienceIsBounded(t *testing.T) {
	var p Patience
	addr := netip.MustParseAddr("10.0.0.0")
	for range 2 * maxPeers {
		addr = addr.Next()
		p.Wrong(t.Context(), FromAddr(addr))
	}
	assert.LessOrEqual(t, len(p.peers), maxPeers)
	assert.Equal(t, peerOf("2001:db8::1"), peerOf("2001:db8::2"), "one network is one peer")
}

func peerOf(addr string) string { return FromAddr(netip.MustParseAddr(addr)) }
