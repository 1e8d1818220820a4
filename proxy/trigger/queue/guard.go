package queue

import (
	"net/netip"
	"slices"
	"syscall"

	"github.com/Ishan27g/ryo-faas/proto"
)

// closed are networks that are not of the internet, or lead back into those that are not
// (the IANA special-purpose address registries). Loopback, private, link-local, multicast
// and unspecified addresses are known to net/netip.
var closed = prefixes(
	"0.0.0.0/8", "100.64.0.0/10", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "240.0.0.0/4",
	"::/96", "64:ff9b::/96", "64:ff9b:1::/48", "100::/64", "2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20", "5f00::/16", "fec0::/10",
)

func prefixes(list ...string) (all []netip.Prefix) {
	for _, text := range list {
		all = append(all, netip.MustParsePrefix(text))
	}
	return all
}

// reachable reports whether callbacks may go to an address: to the internet, and where
// the operator allows it.
func (q *Queue) reachable(at netip.Addr) bool {
	at = at.Unmap().WithZone("")
	within := func(p netip.Prefix) bool { return p.Contains(at) }
	if slices.ContainsFunc(q.Callbacks, within) {
		return true
	}
	return at.IsValid() && at.IsGlobalUnicast() && !at.IsPrivate() && !slices.ContainsFunc(closed, within)
}

// refusedAddress says that a callback may not go to an address.
func refusedAddress(at netip.Addr) error {
	return proto.Errorf(proto.ErrForbidden, "callbacks to %s are not allowed: it is no address of the internet", at).
		WithHint("start the proxy with -allow-callbacks and its network")
}

// control refuses connections to addresses where callbacks may not go. It sees what a name
// was resolved to, right before that is dialed.
func (q *Queue) control(_, address string, _ syscall.RawConn) error {
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return err
	}
	if !q.reachable(at.Addr()) {
		return refusedAddress(at.Addr().Unmap())
	}
	return nil
}
