package proxy

import (
	"net"
	"net/netip"
	"strings"

	"github.com/Ishan27g/ryo-faas/internal/flags"
	"github.com/Ishan27g/ryo-faas/proto"
)

// words takes the value of a flag apart that is a list.
func words(list string) []string {
	return strings.FieldsFunc(list, func(r rune) bool { return r == ',' || r == ' ' })
}

// listenPublic opens the listeners for public functions.
func listenPublic(addrs []string) (list []net.Listener, err error) {
	for _, addr := range addrs {
		l, err := flags.Listen("functions", addr)
		if err != nil {
			closeAll(list)
			return nil, err
		}
		list = append(list, l)
	}
	return list, nil
}

func closeAll(list []net.Listener) {
	for _, l := range list {
		_ = l.Close()
	}
}

// networks reads the networks of trusted gateways. An address stands for itself alone.
func networks(list []string) (all []netip.Prefix, err error) {
	for _, text := range list {
		p, err := netip.ParsePrefix(text)
		if addr, bare := netip.ParseAddr(text); bare == nil {
			addr = addr.Unmap().WithZone("")
			p, err = addr.Prefix(addr.BitLen())
		}
		if err != nil {
			return nil, proto.Errorf(proto.ErrInvalid, "-trusted-proxies %q is no network, such as 10.0.0.0/8, and no address", text)
		}
		all = append(all, p.Masked())
	}
	return all, nil
}

// hosts reads the names of -domain.
func hosts(list []string) (names []string, err error) {
	for _, text := range list {
		r, err := proto.ParseRoute(text)
		if err != nil || r.Path != "" {
			return nil, proto.Errorf(proto.ErrInvalid, "-domain %q is not the name of a host, such as faas.example.com", text)
		}
		names = append(names, r.Host)
	}
	return names, nil
}
