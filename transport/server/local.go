package server

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/user"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/Ishan27g/ryo-faas/internal/peercred"
	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/transport/auth"
)

// local is whose the other end of a connection is, as the kernel says.
type local int

const (
	elsewhere local = iota // on another machine
	stranger               // another user's of this machine, or the kernel does not tell
	function               // a confined process, as functions and builds are
	trusted                // a user's that Config.Trust names
	own                    // this program's own user's
)

// Trust names users and groups of this machine, besides the program's own user, whose
// processes are served without a token. The zero value names nobody.
type Trust struct {
	users  []int
	groups []string // their ids
}

// ParseTrust reads a list of users and, with an @ before them, groups, by name or id,
// separated by commas.
func ParseTrust(list string) (Trust, error) {
	var t Trust
	for _, name := range strings.FieldsFunc(list, func(r rune) bool { return r == ',' || r == ' ' }) {
		group, isGroup := strings.CutPrefix(name, "@")
		if isGroup {
			id, err := groupID(group)
			if err != nil {
				return Trust{}, proto.Errorf(proto.ErrInvalid, "there is no group %.100q on this machine", group)
			}
			t.groups = append(t.groups, id)
			continue
		}
		uid, err := userID(name)
		if err != nil {
			return Trust{}, proto.Errorf(proto.ErrInvalid, "there is no user %.100q on this machine", name).
				WithHint("a group is written @" + name)
		}
		t.users = append(t.users, uid)
	}
	return t, nil
}

func userID(name string) (int, error) {
	if uid, err := strconv.Atoi(name); err == nil && uid >= 0 {
		return uid, nil
	}
	u, err := user.Lookup(name)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(u.Uid)
}

func groupID(name string) (string, error) {
	if gid, err := strconv.ParseUint(name, 10, 32); err == nil {
		return strconv.FormatUint(gid, 10), nil
	}
	g, err := user.LookupGroup(name)
	if err != nil {
		return "", err
	}
	return g.Gid, nil
}

// Has reports whether a user is named, or is in a group that is.
func (t Trust) Has(uid int) bool {
	if slices.Contains(t.users, uid) {
		return true
	}
	if len(t.groups) == 0 {
		return false
	}
	u, err := user.LookupId(strconv.Itoa(uid))
	if err != nil {
		return false
	}
	groups, err := u.GroupIds()
	return err == nil && slices.ContainsFunc(groups, func(g string) bool { return slices.Contains(t.groups, g) })
}

// end is the other end of a connection.
type end struct {
	peer  peercred.Peer
	local local // by its uid alone

	once     sync.Once // guards the field below:
	confined local     // what local is once it is known whether the process is confined
}

// endOf asks the kernel for the other end of a connection that was just accepted.
func endOf(c net.Conn, t Trust) *end {
	peer, err := peercred.Of(c)
	e := &end{peer: peer}
	switch {
	case errors.Is(err, peercred.ErrElsewhere):
	case errors.Is(err, peercred.ErrUnknown): // another system than Linux: nothing better is known than the address
		e.local = own
		e.once.Do(func() { e.confined = own })
	case err != nil:
		e.peer.UID, e.local = -1, stranger
	case peer.UID == os.Geteuid():
		e.local = own
	case t.Has(peer.UID):
		e.local = trusted
	default:
		e.local = stranger
	}
	return e
}

// surely returns whose the connection is, and looks for the process at its other end
// where the uid alone would let a function pass as a person. It takes about a
// millisecond, once per connection.
func (e *end) surely() local {
	if e.local < trusted {
		return e.local
	}
	e.once.Do(func() {
		confined, err := e.peer.Confined()
		switch {
		case err != nil:
			e.confined = stranger
		case confined:
			e.confined = function
		default:
			e.confined = e.local
		}
	})
	return e.confined
}

// peerOf tells peers apart, for limits on what each may do: by the network of their
// address, and on this machine by their user too, so that no user can use up what all
// others may do. The other end is nil where the kernel was not asked.
func peerOf(addr string, e *end) string {
	at, _ := netip.ParseAddrPort(addr)
	peer := auth.FromAddr(at.Addr())
	if e != nil && e.local != elsewhere {
		peer += " user " + strconv.Itoa(e.peer.UID)
	}
	return peer
}

// userName names the processes of a user for an error.
func userName(uid int) string {
	if uid < 0 {
		return "callers that nobody knows"
	}
	if u, err := user.LookupId(strconv.Itoa(uid)); err == nil {
		return fmt.Sprintf("processes of the user %s (%d)", u.Username, uid)
	}
	return fmt.Sprintf("processes of the user %d", uid)
}
