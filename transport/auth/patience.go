package auth

import (
	"context"
	"net/netip"
	"sync"
	"time"
)

const (
	freeTries  = 5           // wrong tokens of a peer that are answered at once: people mistype
	tryDelay   = time.Second // before the answer to any further one
	tryMemory  = time.Minute // without a wrong token, after which a peer may mistype again
	maxWaiting = 4           // answers to one peer that are delayed at the same time
	maxPeers   = 4096        // that are remembered
)

// Patience answers peers that send wrong tokens late, so that nobody tries many. A peer
// is what FromAddr makes of an address, or whatever else tells callers apart. The zero
// value is ready for use.
type Patience struct {
	mu    sync.Mutex // guards the fields below
	peers map[string]*tries
}

type tries struct {
	wrong   int
	last    time.Time
	waiting int
}

// Wrong counts a wrong token of a peer, and returns when it may be answered, or when ctx
// is done. It returns false, at once, if too many answers to the peer wait already.
func (p *Patience) Wrong(ctx context.Context, peer string) bool {
	t, late, room := p.count(peer)
	if !late || !room {
		return room
	}
	timer := time.NewTimer(tryDelay)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	t.waiting--
	return true
}

// count counts a wrong token, and one more answer that waits, if it must and may.
func (p *Patience) count(peer string) (t *tries, late, room bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	t = p.of(peer, time.Now())
	t.wrong++
	late = t.wrong > freeTries
	room = t.waiting < maxWaiting
	if late && room {
		t.waiting++
	}
	return t, late, room
}

// of returns the tries of a peer. From a full table it first removes the peer whose
// last wrong token is the oldest.
func (p *Patience) of(peer string, now time.Time) *tries {
	t := p.peers[peer]
	switch {
	case t != nil && now.Sub(t.last) > tryMemory:
		t.wrong = 0
	case t != nil:
	default:
		if p.peers == nil {
			p.peers = make(map[string]*tries)
		}
		if len(p.peers) >= maxPeers {
			p.removeOld(now)
		}
		t = new(tries)
		p.peers[peer] = t
	}
	t.last = now
	return t
}

// removeOld removes all peers that are old, at least one.
func (p *Patience) removeOld(now time.Time) {
	var oldest string
	at := now
	for peer, t := range p.peers {
		if now.Sub(t.last) > tryMemory {
			delete(p.peers, peer)
		}
		if !t.last.After(at) {
			oldest, at = peer, t.last
		}
	}
	delete(p.peers, oldest)
}

// FromAddr is the part of an address that its owner cannot change at will.
func FromAddr(addr netip.Addr) (peer string) {
	addr = addr.Unmap().WithZone("")
	if prefix, err := addr.Prefix(64); err == nil && addr.Is6() {
		return prefix.String()
	}
	return addr.String()
}
