package server

import (
	"context"
	"net"
	"net/http"
	"sync"

	"github.com/Ishan27g/ryo-faas/transport/wire"
)

// newcomers are the connections that have sent no whole request yet. http.Server.Shutdown
// would close them, and not answer a request that is just coming.
type newcomers struct {
	mu    sync.Mutex // guards the fields below
	conns map[net.Conn]bool
	fewer chan struct{} // has room for one
}

// note keeps a connection that is new, and forgets one in another state.
func (n *newcomers) note(c net.Conn, state http.ConnState) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if state == http.StateNew {
		n.conns[c] = true
		return
	}
	delete(n.conns, c)
	select {
	case n.fewer <- struct{}{}:
	default:
	}
}

// wait returns when each of them has sent a request or is closed, at the latest after
// GreetLimit, or when ctx is done.
func (n *newcomers) wait(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, wire.GreetLimit)
	defer cancel()
	for {
		n.mu.Lock()
		none := len(n.conns) == 0
		n.mu.Unlock()
		if none {
			return
		}
		select {
		case <-n.fewer:
		case <-ctx.Done():
			return
		}
	}
}
