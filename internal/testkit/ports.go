package testkit

import (
	"net"
	"os"
	"strconv"
	"sync"
	"testing"
)

// Ports are blocks of numbers below those of outgoing connections. Who listens on
// the first port of a block has the others.
const (
	firstBlock, lastBlock = 10000, 32600
	block                 = 100
)

// Ports returns the first of 99 ports on which nobody listens, and which no other test
// gets before this one ends, of this process or another.
func Ports(t testing.TB) (first int) {
	t.Helper()
	first, release := claim(t)
	t.Cleanup(release)
	return first
}

// Address returns an address of this machine on which nobody listens, and which neither
// another test nor an outgoing connection gets before this process ends: what listens
// there may stop and start again. One of port 0 that was closed may be anybody's.
func Address(t testing.TB) string {
	t.Helper()
	given.Lock()
	defer given.Unlock()
	if given.next == given.end {
		first, _ := claim(t)
		given.next, given.end = first, first+block-1
	}
	given.next++
	return "127.0.0.1:" + strconv.Itoa(given.next-1)
}

// given is what Address has left of the block that it claimed last.
var given struct {
	sync.Mutex
	next, end int
}

// claim returns the first of 99 ports that are the caller's until they are released.
func claim(t testing.TB) (first int, release func()) {
	t.Helper()
	const blocks = (lastBlock-firstBlock)/block + 1
	for i := range blocks {
		claim := firstBlock + (os.Getpid()*7+i)%blocks*block
		l, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(claim))
		if err != nil {
			continue
		}
		if !unused(claim+1, claim+block) {
			_ = l.Close()
			continue
		}
		return claim + 1, func() { _ = l.Close() }
	}
	t.Fatal("no block of ports is free")
	return 0, nil
}

func unused(from, to int) bool {
	for port := from; port < to; port++ {
		l, err := net.Listen("tcp", ":"+strconv.Itoa(port))
		if err != nil {
			return false
		}
		_ = l.Close()
	}
	return true
}
