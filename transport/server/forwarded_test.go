package server

import (
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

// near are the gateways that the tests trust.
var near = gateways{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}

func TestGatewaysAreBelievedAsFarAsTheyAreTrusted(t *testing.T) {
	const nginx, cdn = "10.0.0.1:5555", "10.0.0.9"
	tests := map[string]struct {
		peer   string
		header string // lines
		client string // default: the peer
		scheme string
		host   string
	}{
		"nothing is said":                  {peer: nginx},
		"a stranger":                       {peer: "192.0.2.7:80", header: "X-Forwarded-For: 198.51.100.1\nX-Forwarded-Proto: https\nX-Forwarded-Host: a.example\nForwarded: for=198.51.100.1"},
		"one gateway":                      {peer: nginx, header: "X-Forwarded-For: 192.0.2.7\nX-Forwarded-Proto: https\nX-Forwarded-Host: a.example:444", client: "192.0.2.7:0", scheme: "https", host: "a.example:444"},
		"a gateway by IPv6":                {peer: "[fd00::1]:80", header: "X-Forwarded-For: 2001:db8::1", client: "[2001:db8::1]:0"},
		"a gateway by IPv4 in IPv6":        {peer: "[::ffff:10.0.0.1]:80", header: "X-Forwarded-For: 192.0.2.7", client: "192.0.2.7:0"},
		"what the client wrote":            {peer: nginx, header: "X-Forwarded-For: 127.0.0.1, 10.0.0.3, 192.0.2.7", client: "192.0.2.7:0"},
		"a client in a line of its own":    {peer: nginx, header: "X-Forwarded-For: 127.0.0.1\nX-Forwarded-For: 192.0.2.7", client: "192.0.2.7:0"},
		"two gateways":                     {peer: nginx, header: "X-Forwarded-For: 127.0.0.1, 192.0.2.7, " + cdn + "\nX-Forwarded-Proto: http, https, http", client: "192.0.2.7:0", scheme: "https"},
		"two gateways, one scheme":         {peer: nginx, header: "X-Forwarded-For: 192.0.2.7, " + cdn + "\nX-Forwarded-Proto: https", client: "192.0.2.7:0", scheme: "https"},
		"a client of the gateways' own":    {peer: nginx, header: "X-Forwarded-For: 10.1.1.1, " + cdn, client: "10.1.1.1:0"},
		"a scheme that the client wrote":   {peer: nginx, header: "X-Forwarded-For: 192.0.2.7\nX-Forwarded-Proto: https, http", client: "192.0.2.7:0", scheme: "http"},
		"a scheme alone":                   {peer: nginx, header: "X-Forwarded-Proto: HTTPS", scheme: "https"},
		"an address with its port":         {peer: nginx, header: "X-Forwarded-For: 192.0.2.7:4711", client: "192.0.2.7:4711"},
		"an address in brackets":           {peer: nginx, header: "X-Forwarded-For: [2001:db8::1]:4711", client: "[2001:db8::1]:4711"},
		"a name":                           {peer: nginx, header: "X-Forwarded-For: 192.0.2.7, unknown"},
		"garbage":                          {peer: nginx, header: "X-Forwarded-For: 192.0.2.7.1\nX-Forwarded-Proto: gopher\nX-Forwarded-Host: a b"},
		"a host that is a path":            {peer: nginx, header: "X-Forwarded-For: 192.0.2.7\nX-Forwarded-Host: a.example/b", client: "192.0.2.7:0"},
		"empty":                            {peer: nginx, header: "X-Forwarded-For: \nX-Forwarded-Proto: "},
		"Forwarded":                        {peer: nginx, header: `Forwarded: for=192.0.2.7;proto=https;host="a.example:444"`, client: "192.0.2.7:0", scheme: "https", host: "a.example:444"},
		"Forwarded, a chain":               {peer: nginx, header: `Forwarded: for=127.0.0.1, For="[2001:db8::1]:4711";Proto=https;by=203.0.113.43, for=` + cdn + ";proto=http", client: "[2001:db8::1]:4711", scheme: "https"},
		"Forwarded, hidden":                {peer: nginx, header: `Forwarded: for=192.0.2.7, for=_hidden;proto=https`, scheme: "https"},
		"Forwarded, quoted separators":     {peer: nginx, header: `Forwarded: for="192.0.2.7,;\"";proto=https, for=192.0.2.8`, client: "192.0.2.8:0"},
		"Forwarded, an open quote":         {peer: nginx, header: `Forwarded: for="192.0.2.7`},
		"Forwarded, after an open quote":   {peer: nginx, header: `Forwarded: for=127.0.0.1;proto=https;x=", for=192.0.2.7`},
		"Forwarded, below an open quote":   {peer: nginx, header: "Forwarded: for=127.0.0.1;proto=https;x=\"\nForwarded: for=192.0.2.7", client: "192.0.2.7:0"},
		"Forwarded beside X-Forwarded-For": {peer: nginx, header: "Forwarded: for=127.0.0.1;proto=https\nX-Forwarded-For: 192.0.2.7", client: "192.0.2.7:0"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			h := http.Header{}
			for line := range strings.Lines(tt.header) {
				name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
				h.Add(name, value)
			}
			o := near.originOf(h, netip.MustParseAddrPort(tt.peer))
			if tt.client == "" {
				tt.client = tt.peer
			}
			assert.Equal(t, tt.client, o.client.String())
			assert.Equal(t, tt.scheme, o.scheme)
			assert.Equal(t, tt.host, o.host)
		})
	}
}

func FuzzForwarded(f *testing.F) {
	f.Add("192.0.2.7, 10.0.0.9", "https", "a.example", `for="[2001:db8::1]:4711";proto=https`)
	f.Add("", "", "", `for="\",;=`)
	f.Add(",,", ",", "[::1]:80", `;;,=,"`)
	f.Fuzz(func(t *testing.T, client, scheme, host, standard string) {
		for _, h := range []http.Header{
			{"X-Forwarded-For": {client}, "X-Forwarded-Proto": {scheme}, "X-Forwarded-Host": {host}},
			{"Forwarded": {standard, client}},
		} {
			stranger := netip.MustParseAddrPort("192.0.2.7:80")
			assert.Equal(t, origin{client: stranger}, near.originOf(h, stranger))
			o := near.originOf(h, netip.MustParseAddrPort("10.0.0.1:80"))
			assert.True(t, o.client.IsValid())
			assert.Empty(t, o.client.Addr().Zone())
			assert.Contains(t, []string{"", "http", "https"}, o.scheme)
			if o.host != "" {
				assert.True(t, validHost(o.host))
				assert.NotContains(t, o.host, "\r")
				assert.NotContains(t, o.host, "/")
			}
		}
	})
}
