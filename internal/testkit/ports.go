package testkit

import (
	"net"
	"os"
	"strconv"
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
		t.Cleanup(func() { _ = l.Close() })
		return claim + 1
	}
	t.Fatal("no block of ports is free")
	return 0
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
