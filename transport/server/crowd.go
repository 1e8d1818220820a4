package server

import (
	"cmp"
	"maps"
	"net"
	"slices"
	"sync"
	"sync/atomic"
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
	// greetLimit is when a connection should have sent a whole request, if there is no place
	// for others. Those that mean well send it at once.
	greetLimit = 1 * time.Second
	// roomParts is what part of the places is made free at a time: it takes a look at all
	// connections of a listener.
	roomParts = 64
	// lookAgain is how long nobody looks where there was nothing to make free.
	lookAgain = 10 * time.Millisecond
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

	used    int                       // of the own places
	callers map[string]map[*seat]bool // the connections without a right, by their peers
	vain    struct {                  // a look for connections that may be closed, which found few
		until time.Time // when it is worth another one
		has   int       // for a peer that has as many, or more
	}
}

// share returns that of one more listener.
func (c *crowd) share(public bool) *share {
	return &share{crowd: c, public: public, callers: make(map[string]map[*seat]bool)}
}

// seat is the place of one connection in a crowd.
type seat struct {
	share   *share
	conn    net.Conn
	peer    string // whose it is, where that is counted
	entered time.Time
	once    sync.Once
	timer   *time.Timer   // of a guest
	serving atomic.Int32  // requests that are being served
	begun   atomic.Uint32 // requests that were

	// share.crowd.mu guards the fields below:
	common bool   // it is one of the common places
	given  bool   // back
	early  *Early // reads it; nil: net/http alone does, or it is not known yet
	silent struct {
		since time.Time // when it was first found without a request,
		begun uint32    // after so many
	}
}

// enter returns the place of a connection, nil if there is none. The other end is nil for
// public callers; gateway says that many of them come by this peer. A guest that nothing
// is let in of is closed after a while, or before, for another. Where there is no place,
// connections that are not used are closed for this one: see makeRoom.
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
	for _, l := range leaving {
		l.close()
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

// seat gives a connection its place, if there is one, and returns the connections that
// must leave for it.
func (s *share) seat(place *seat, right bool) (leaving []*seat, ok bool) {
	c, guest := s.crowd, !right && !s.public
	own := c.own
	if !right {
		own -= s.kept()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	callers := c.atMost(maxPerCaller)
	switch {
	case s.public && place.peer != "" && len(s.callers[place.peer]) >= callers:
		c.warn("connections of a peer are refused: there are too many; if others call through it, name it in -trusted-proxies", "peer", place.peer, "limit", callers)
		return nil, false
	case guest && c.peers[place.peer] >= maxPerPeer:
		c.warn("connections of a peer without a right are refused: there are too many", "peer", place.peer, "limit", maxPerPeer)
		return nil, false
	}
	if !s.take(place, own) {
		leaving = s.makeRoom(place)
		if !s.take(place, own) {
			c.warn("connections are refused: there are too many", "limit", c.own+c.common)
			return leaving, false
		}
		c.warn("connections that are not used are closed: there are too many", "limit", c.own+c.common)
	}
	if place.peer != "" {
		if s.callers[place.peer] == nil {
			s.callers[place.peer] = make(map[*seat]bool)
		}
		s.callers[place.peer][place] = true
	}
	if guest {
		if most := c.atMost(maxGuests); len(c.guests) >= most {
			c.warn("connections of peers without a right are closed: there are too many", "limit", most)
			longest := c.longest()
			c.dismiss(longest)
			leaving = append(leaving, longest)
		}
		c.guests[place] = true
		c.peers[place.peer]++
		place.timer = time.AfterFunc(guestLimit, place.close)
	}
	return leaving, true
}

// take gives a connection one of the places of its listener, or of the common ones, and
// reports whether there was one. crowd.mu is held.
func (s *share) take(place *seat, own int) bool {
	c := s.crowd
	switch {
	case s.used < own:
		s.used++
	case c.used < c.common:
		c.used++
		place.common = true
	default:
		return false
	}
	return true
}

// makeRoom gives places of the listener back whose connections have no right and no
// request, and returns these, which are to be closed: those that have sent none for
// greetLimit, and others of the peers that have most, as long as they have more than
// the peer for which it is done. crowd.mu is held.
func (s *share) makeRoom(place *seat) (leaving []*seat) {
	now, has := time.Now(), len(s.callers[place.peer])
	if has >= s.vain.has && now.Before(s.vain.until) {
		return nil
	}
	most := max(1, (s.crowd.own+s.crowd.common)/roomParts)
	peers := slices.SortedFunc(maps.Keys(s.callers), func(a, b string) int { return cmp.Compare(len(s.callers[b]), len(s.callers[a])) })
	for _, peer := range peers {
		seats := slices.SortedFunc(maps.Keys(s.callers[peer]), func(a, b *seat) int { return a.entered.Compare(b.entered) })
		more := len(seats) - has - 1
		for _, l := range seats {
			if len(leaving) == most {
				return leaving
			}
			if l.unused(now, more > 0) {
				l.giveBack()
				leaving = append(leaving, l)
				more--
			}
		}
	}
	s.vain.until, s.vain.has = now.Add(lookAgain), has
	return leaving
}

// unused reports whether a connection may be closed for another: no request of it is
// being served, nor comes. One that has had requests may if its peer has more than
// others. crowd.mu is held.
func (s *seat) unused(now time.Time, more bool) bool {
	begun := s.begun.Load()
	if s.serving.Load() > 0 || begun > 0 && !more {
		return false
	}
	if more && s.early != nil && s.early.waits() {
		return true
	}
	// It may be in the midst of a head, or of HTTP/2.
	if s.silent.since.IsZero() || s.silent.begun != begun {
		s.silent.since, s.silent.begun = now, begun
		if begun == 0 {
			s.silent.since = s.entered
		}
	}
	return now.Sub(s.silent.since) > greetLimit && (s.early == nil || !s.early.comes())
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

// close closes the connection, whose reader then gives the place back.
func (s *seat) close() {
	_ = s.conn.Close()
	s.share.crowd.mu.Lock()
	early := s.early
	s.share.crowd.mu.Unlock()
	if early != nil {
		early.wake()
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

// leave gives the place back.
func (s *seat) leave() {
	s.stay()
	c := s.share.crowd
	c.mu.Lock()
	defer c.mu.Unlock()
	s.giveBack()
}

// giveBack gives the place back, unless that was done. crowd.mu is held.
func (s *seat) giveBack() {
	if s.given {
		return
	}
	s.given = true
	s.share.crowd.dismiss(s)
	if of := s.share.callers[s.peer]; of != nil {
		if delete(of, s); len(of) == 0 {
			delete(s.share.callers, s.peer)
		}
	}
	if s.common {
		s.share.crowd.used--
	} else {
		s.share.used--
	}
}

// readBy says what reads the connection before net/http.
func (s *seat) readBy(e *Early) {
	s.share.crowd.mu.Lock()
	defer s.share.crowd.mu.Unlock()
	s.early = e
}

// begin says that a request is being served. end must follow.
func (s *seat) begin() {
	if s != nil {
		s.serving.Add(1)
		s.begun.Add(1)
	}
}

func (s *seat) end() {
	if s != nil {
		s.serving.Add(-1)
	}
}
