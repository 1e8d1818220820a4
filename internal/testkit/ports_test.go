package testkit_test

import (
	"net"
	"strconv"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/Ishan27g/ryo-faas/internal/testkit"
)

func TestTestsDoNotGetEachOthersPorts(t *testing.T) {
	var first int
	t.Run("one", func(t *testing.T) {
		first = testkit.Ports(t)
		l, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(first+98))
		require.NoError(t, err)
		defer l.Close()
		seen := map[int]bool{first: true}
		for range 20 {
			next := testkit.Ports(t)
			assert.False(t, seen[next])
			seen[next] = true
		}
	})
	t.Run("ports are free again after a test", func(t *testing.T) {
		l, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(first-1))
		require.NoError(t, err)
		defer l.Close()
		assert.NotEqual(t, first, testkit.Ports(t), "somebody else's")
	})
}

func TestAnAddressIsGivenOnce(t *testing.T) {
	seen := map[string]bool{}
	for range 150 { // more than a block
		addr := testkit.Address(t)
		assert.False(t, seen[addr], addr)
		seen[addr] = true
	}
	for addr := range seen {
		l, err := net.Listen("tcp", addr)
		require.NoError(t, err)
		require.NoError(t, l.Close())
	}
	_, port, err := net.SplitHostPort(testkit.Address(t))
	require.NoError(t, err)
	first, err := strconv.Atoi(port)
	require.NoError(t, err)
	assert.NotEqual(t, first/100, testkit.Ports(t)/100, "a block of ports is another one")
}
