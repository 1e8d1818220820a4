package server

import (
	"net/http"
	"net/netip"
	"net/textproto"
	"slices"
	"strings"
)

// gateways are the peers whose word about their callers is believed.
type gateways []netip.Prefix

func (g gateways) trust(addr netip.Addr) bool {
	addr = addr.Unmap().WithZone("")
	return slices.ContainsFunc(g, func(p netip.Prefix) bool { return p.Contains(addr) })
}

// origin is where a call came from before it reached us.
type origin struct {
	client netip.AddrPort // its port is 0 where it is not known
	scheme string         // http or https; "": not known
	host   string         // that the client addressed; "": not known
}

// originOf returns what trusted gateways say of a call that peer has sent. Each gateway
// adds to lists the address that called it, so the list is read from its end, as long
// as the gateways are trusted: what a client has written into it itself is not.
//
// X-Forwarded-* count before Forwarded, and never beside it: most gateways set the
// former and pass on whatever the client says in the latter.
func (g gateways) originOf(h http.Header, peer netip.AddrPort) origin {
	o := origin{client: peer}
	if !g.trust(peer.Addr()) {
		return o
	}
	var said []origin // the last is by the peer
	if _, ok := h["X-Forwarded-For"]; ok || h["X-Forwarded-Proto"] != nil || h["X-Forwarded-Host"] != nil {
		said = legacy(h)
	} else {
		said = forwarded(h["Forwarded"])
	}
	for _, s := range slices.Backward(said) {
		// Where a gateway says less than the one behind it, that holds.
		if s.scheme != "" {
			o.scheme = s.scheme
		}
		if s.host != "" {
			o.host = s.host
		}
		if !s.client.IsValid() {
			break
		}
		o.client = s.client
		if !g.trust(s.client.Addr()) {
			break
		}
	}
	return o
}

// legacy reads X-Forwarded-For, X-Forwarded-Proto and X-Forwarded-Host. The lists of
// gateways that set the latter two instead of adding to them are shorter: they hold for
// the client.
func legacy(h http.Header) []origin {
	clients := split(h["X-Forwarded-For"])
	said := make([]origin, max(1, len(clients)))
	for i, text := range clients {
		said[i].client = parseNode(text)
	}
	spread := func(list []string, set func(o *origin, text string)) {
		for i := range said {
			// Both are counted from their ends.
			if at := len(list) - len(said) + i; len(list) > 0 {
				set(&said[i], list[max(0, at)])
			}
		}
	}
	spread(split(h["X-Forwarded-Proto"]), func(o *origin, text string) { o.scheme = parseScheme(text) })
	spread(split(h["X-Forwarded-Host"]), func(o *origin, text string) { o.host = parseHost(text) })
	return said
}

// forwarded reads Forwarded (RFC 7239 section 4). A line that ends within a quoted string
// says nothing: if a client has left the string open, what a gateway added is part of it.
func forwarded(lines []string) (said []origin) {
	for _, line := range lines {
		elements, closed := splitQuoted(line, ',')
		if !closed {
			said = append(said, origin{})
			continue
		}
		for _, element := range elements {
			said = append(said, parseElement(element))
		}
	}
	return said
}

// parseElement reads what one gateway says in Forwarded.
func parseElement(text string) (o origin) {
	pairs, _ := splitQuoted(text, ';')
	for _, pair := range pairs {
		name, value, _ := strings.Cut(pair, "=")
		switch value = unquote(value); strings.ToLower(name) {
		case "for":
			o.client = parseNode(value)
		case "proto":
			o.scheme = parseScheme(value)
		case "host":
			o.host = parseHost(value)
		}
	}
	return o
}

// parseNode reads an address, with or without a port. Names that hide an address, such
// as unknown or _gateway, give the zero value.
func parseNode(text string) netip.AddrPort {
	if addr, err := netip.ParseAddrPort(text); err == nil {
		return netip.AddrPortFrom(addr.Addr().Unmap().WithZone(""), addr.Port())
	}
	if strings.HasPrefix(text, "[") && strings.HasSuffix(text, "]") {
		text = text[1 : len(text)-1]
	}
	addr, err := netip.ParseAddr(text)
	if err != nil {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(addr.Unmap().WithZone(""), 0)
}

func parseScheme(text string) string {
	if text = strings.ToLower(text); text == "http" || text == "https" {
		return text
	}
	return ""
}

// parseHost passes what can be a host; other bytes would end up in headers and links.
func parseHost(text string) string {
	bad := func(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune(`"<>\^{|}`, r) }
	if !validHost(text) || strings.ContainsFunc(text, bad) {
		return ""
	}
	return text
}

// split takes the lists of header lines apart.
func split(lines []string) (list []string) {
	for _, line := range lines {
		for text := range strings.SplitSeq(line, ",") {
			list = append(list, textproto.TrimString(text))
		}
	}
	return list
}

// splitQuoted splits at a separator that does not stand in a quoted string, and reports
// whether each quoted string is closed.
func splitQuoted(text string, separator byte) (parts []string, closed bool) {
	begin, quoted := 0, false
	for i := 0; i < len(text); i++ {
		switch b := text[i]; {
		case quoted && b == '\\':
			i++
		case b == '"':
			quoted = !quoted
		case b == separator && !quoted:
			parts, begin = append(parts, textproto.TrimString(text[begin:i])), i+1
		}
	}
	if last := textproto.TrimString(text[begin:]); last != "" {
		parts = append(parts, last)
	}
	return parts, !quoted
}

// unquote returns what a quoted string stands for (RFC 9110 section 5.6.4).
func unquote(text string) string {
	if len(text) < 2 || text[0] != '"' || text[len(text)-1] != '"' {
		return text
	}
	var plain strings.Builder
	for i := 1; i < len(text)-1; i++ {
		if text[i] == '\\' && i < len(text)-2 {
			i++
		}
		plain.WriteByte(text[i])
	}
	return plain.String()
}
