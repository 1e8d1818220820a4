package server

import (
	"net"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sys/unix"
)

// Guests are connections to the main listeners without a right that the kernel knows of:
// those from other machines, and of other users. A token may still come, so they are
// accepted; but they may not wait for ever, nor be many, until a request of theirs was let
// in.
const (
	maxGuests  = 256             // in all: far more than people with tokens connect at once
	maxPerPeer = 64              // of one peer (see peerOf), so that one cannot keep out the others
	guestLimit = 1 * time.Minute // for the first request that is let in
	warnAfter  = 1 * time.Minute // between two lines of the log about refused connections
	// maxPerCaller bounds the connections of a peer to one public listener: a large office
	// behind one address needs fewer. Where there are few places, it is a quarter of them.
	maxPerCaller = 1024
	// spareFiles are the descriptors that connections leave to the rest of the program.
	spareFiles = 256
)

// crowd bounds the connections of a server. Half of the places belong to the listeners,
// each of which has an equal share, and the rest is for those that need more: whatever
// comes to one listener, the others serve.
type crowd struct {
	own    int  // places of each listener
	common int  // places that each of them may take
	open   bool // all have the right: there are no guests
	logger hclog.Logger

	mu     sync.Mutex // guards the fields below, and those of shares:
	used   int        // of the common places
	guests map[*seat]bool
	peers  map[string]int // of the guests
	warned time.Time
}

// newCrowd allows as many connections as leave, for each, another descriptor for the
// connection to a function.
func newCrowd(open bool, listeners int, logger hclog.Logger) *crowd {
	most := 4096
	var files unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &files) == nil && files.Cur < 1<<30 {
		most = max(int(files.Cur)-spareFiles, 128) / 2
	}
	c := &crowd{open: open, logger: logger, guests: make(map[*seat]bool), peers: make(map[string]int)}
	c.divide(most, listeners)
	return c
}

// divide gives the listeners their places.
func (c *crowd) divide(most, listeners int) {
	c.own = most / (2 * max(1, listeners))
	c.common = most - listeners*c.own
}

// atMost is a limit for a part of the connections of one listener: where it has few
// places, they get a quarter of them.
func (c *crowd) atMost(limit int) int { return min(limit, (c.own+c.common)/4) }

// share is what one listener has of a crowd.
type share struct {
	crowd  *crowd
	public bool // everybody may call functions here, and do nothing else

	used  int            // of the own places
	peers map[string]int // of the callers of a public listener
}

// share returns that of one more listener.
func (c *crowd) share(public bool) *share {
	return &share{crowd: c, public: public, peers: make(map[string]int)}
}

// seat is the place of one connection in a crowd.
type seat struct {
	share   *share
	conn    net.Conn
	peer    string // whose it is, where that is counted
	common  bool   // it is one of the common places
	entered time.Time

	once  sync.Once
	timer *time.Timer // of a guest
}

// enter returns the place of a connection, nil if there is none. The other end is nil for
// public callers; gateway says that many of them come by this peer. A guest that nothing
// is let in of is closed after a while, or before, for another.
func (s *share) enter(conn net.Conn, e *end, gateway bool) *seat {
	right := !s.public && (s.crowd.open || e.local >= trusted)
	if right && !s.crowd.open && s.scarce() {
		right = e.surely() >= trusted // a function may have the same uid
	}
	place := &seat{share: s, conn: conn, entered: time.Now()}
	if !right && !gateway {
		place.peer = peerOf(conn.RemoteAddr().String(), e)
	}
	leaving, ok := s.seat(place, right)
	if leaving != nil {
		_ = leaving.conn.Close()
	}
	if !ok {
		return nil
	}
	return place
}

// kept are the own places that are for those alone who surely have the right.
func (s *share) kept() int {
	if s.public {
		return 0
	}
	return s.crowd.own / 4
}

// scarce reports whether of the own places only those are left that are kept.
func (s *share) scarce() bool {
	s.crowd.mu.Lock()
	defer s.crowd.mu.Unlock()
	return s.used >= s.crowd.own-s.kept()
}

// seat gives a connection its place, if there is one, and returns the guest that must
// leave for it, or nil.
func (s *share) seat(place *seat, right bool) (leaving *seat, ok bool) {
	c, guest := s.crowd, !right && !s.public
	own := c.own
	if !right {
		own -= s.kept()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	callers := c.atMost(maxPerCaller)
	switch {
	case s.public && place.peer != "" && s.peers[place.peer] >= callers:
		c.warn("connections of a peer are refused: there are too many; if others call through it, name it in -trusted-proxies", "peer", place.peer, "limit", callers)
		return nil, false
	case guest && c.peers[place.peer] >= maxPerPeer:
		c.warn("connections of a peer without a right are refused: there are too many", "peer", place.peer, "limit", maxPerPeer)
		return nil, false
	case s.used < own:
		s.used++
	case c.used < c.common:
		c.used++
		place.common = true
	default:
		c.warn("connections are refused: there are too many", "limit", c.own+c.common)
		return nil, false
	}
	switch {
	case s.public && place.peer != "":
		s.peers[place.peer]++
	case guest:
		if most := c.atMost(maxGuests); len(c.guests) >= most {
			c.warn("connections of peers without a right are closed: there are too many", "limit", most)
			leaving = c.longest()
			c.dismiss(leaving)
		}
		c.guests[place] = true
		c.peers[place.peer]++
		place.timer = time.AfterFunc(guestLimit, func() { _ = place.conn.Close() })
	}
	return leaving, true
}

// longest returns the guest that has been there longest, of the peer that has most. c.mu
// is held.
func (c *crowd) longest() (found *seat) {
	for s := range c.guests {
		if found == nil || c.peers[s.peer] > c.peers[found.peer] ||
			c.peers[s.peer] == c.peers[found.peer] && s.entered.Before(found.entered) {
			found = s
		}
	}
	return found
}

// dismiss makes a guest none. c.mu is held.
func (c *crowd) dismiss(s *seat) {
	if c.guests[s] {
		s.timer.Stop()
		delete(c.guests, s)
		less(c.peers, s.peer)
	}
}

// less counts one less of a peer.
func less(peers map[string]int, peer string) {
	if peers[peer]--; peers[peer] == 0 {
		delete(peers, peer)
	}
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
		c := s.share.crowd
		c.mu.Lock()
		defer c.mu.Unlock()
		c.dismiss(s)
	})
}

// leave gives the place back. It is called once.
func (s *seat) leave() {
	s.stay()
	c := s.share.crowd
	c.mu.Lock()
	defer c.mu.Unlock()
	if s.share.public && s.peer != "" {
		less(s.share.peers, s.peer)
	}
	if s.common {
		c.used--
	} else {
		s.share.used--
	}
}
