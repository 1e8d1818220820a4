package proxy

import (
	"net"
	"net/netip"
	"strings"

	"github.com/Ishan27g/ryo-faas/internal/flags"
	"github.com/Ishan27g/ryo-faas/internal/upgrade"
	"github.com/Ishan27g/ryo-faas/proto"
)

// words takes the value of a flag apart that is a list.
func words(list string) []string {
	return strings.FieldsFunc(list, func(r rune) bool { return r == ',' || r == ' ' })
}

// listen opens the listeners of a proxy: those of its two addresses, then those for public
// functions. An heir has them already.
func listen(heir *upgrade.Heir, httpAddr, rpcAddr string, functions []string) (list []net.Listener, err error) {
	if heir != nil {
		if want := 2 + len(functions); len(heir.Listeners) != want {
			heir.Close()
			return nil, proto.Errorf(proto.ErrInvalid, "the process before has %d listeners, and the flags name %d", len(heir.Listeners), want)
		}
		return heir.Listeners, nil
	}
	open := func(flag, addr string) {
		if err != nil {
			return
		}
		var l net.Listener
		if l, err = flags.Listen(flag, addr); err == nil {
			list = append(list, l)
		}
	}
	open("http", httpAddr)
	open("rpc", rpcAddr)
	for _, addr := range functions {
		open("functions", addr)
	}
	if err != nil {
		closeAll(list)
	}
	return list, err
}

func closeAll(list []net.Listener) {
	for _, l := range list {
		_ = l.Close()
	}
}

// networks reads the networks of a flag. An address stands for itself alone.
func networks(flag string, list []string) (all []netip.Prefix, err error) {
	for _, text := range list {
		p, err := netip.ParsePrefix(text)
		if addr, bare := netip.ParseAddr(text); bare == nil {
			addr = addr.Unmap().WithZone("")
			p, err = addr.Prefix(addr.BitLen())
		}
		if err != nil {
			return nil, proto.Errorf(proto.ErrInvalid, "-%s %q is no network, such as 10.0.0.0/8, and no address", flag, text)
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
