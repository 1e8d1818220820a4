package server

import (
	"net"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sys/unix"
)

// Guests are connections without a right that the kernel knows of: those from other
// machines, and of other users. A token may still come, so they are accepted; but they
// may not wait for ever, nor be many, until a request of theirs was let in.
const (
	maxGuests  = 256             // in all: far more than people with tokens connect at once
	maxPerPeer = 64              // of one peer (see peerOf), so that one cannot keep out the others
	guestLimit = 1 * time.Minute // for the first request that is let in
	warnAfter  = 1 * time.Minute // between two lines of the log about refused connections
	// spareFiles are the descriptors that connections leave to the rest of the program.
	spareFiles = 256
)

// crowd bounds the connections of a server.
type crowd struct {
	most   int
	open   bool // all have the right: there are no guests
	logger hclog.Logger

	mu     sync.Mutex // guards the fields below:
	all    int
	guests int
	peers  map[string]int // of the guests
	warned time.Time
}

// newCrowd allows as many connections as leave, for each, another descriptor for the
// connection to a function.
func newCrowd(open bool, logger hclog.Logger) *crowd {
	c := &crowd{most: 4096, open: open, logger: logger, peers: make(map[string]int)}
	var files unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &files) == nil && files.Cur < 1<<30 {
		c.most = max(int(files.Cur)-spareFiles, 128) / 2
	}
	return c
}

// seat is the place of one connection in a crowd.
type seat struct {
	crowd *crowd
	peer  string // of a guest
	timer *time.Timer
	once  sync.Once
}

// enter returns the place of a connection, nil if there is none. A guest that nothing
// is let in of is closed after a while. The other end is nil for public callers: they
// leave an eighth of all places to the other listeners, so that the owner gets in however
// many they are.
func (c *crowd) enter(conn net.Conn, e *end) *seat {
	s := &seat{crowd: c}
	guest := e != nil && e.local < trusted && !c.open
	if guest {
		s.peer = peerOf(conn.RemoteAddr().String(), e)
	}
	most := c.most
	if e == nil {
		most -= c.most / 8
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.all >= most:
		c.warn("connections are refused: there are too many", "limit", most)
		return nil
	case guest && (c.guests >= maxGuests || c.peers[s.peer] >= maxPerPeer):
		c.warn("connections of peers without a right are refused: there are too many", "peer", s.peer, "limit", maxGuests, "limitPerPeer", maxPerPeer)
		return nil
	}
	c.all++
	if guest {
		c.guests++
		c.peers[s.peer]++
		s.timer = time.AfterFunc(guestLimit, func() { _ = conn.Close() })
	}
	return s
}

func (c *crowd) warn(text string, args ...any) {
	if now := time.Now(); now.Sub(c.warned) > warnAfter {
		c.warned = now
		c.logger.Warn(text, args...)
	}
}

// stay makes a guest one that may stay: a request of it was let in.
func (s *seat) stay() {
	if s.timer == nil {
		return
	}
	s.once.Do(func() {
		s.timer.Stop()
		s.crowd.mu.Lock()
		defer s.crowd.mu.Unlock()
		s.crowd.guests--
		if s.crowd.peers[s.peer]--; s.crowd.peers[s.peer] == 0 {
			delete(s.crowd.peers, s.peer)
		}
	})
}

// leave gives the place back. It is called once.
func (s *seat) leave() {
	s.stay()
	s.crowd.mu.Lock()
	defer s.crowd.mu.Unlock()
	s.crowd.all--
}
