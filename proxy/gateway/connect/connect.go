// Package connect has net/http's servers of HTTP/2 offer extended CONNECT (RFC 8441), by
// which callers ask for websockets. To link it is all: handlers then get requests of the
// method CONNECT that have the header ":protocol".
//
// net/http has no other switch than a variable of the environment, which it reads when it is
// initialized (golang.org/issue/53208). A package is initialized when all that it imports
// is, and of those that could be, the first by its path: so this one, which imports nothing that
// net/http does not, comes before it.
package connect

import (
	"os"
	"strings"
)

// setting is known to net/http alone. Who has set it, to whatever value, is heeded.
const setting = "http2xconnect="

func init() { //nolint:gochecknoinits // see above
	now := os.Getenv("GODEBUG")
	if strings.Contains(now, setting) {
		return
	}
	if now != "" {
		now += ","
	}
	_ = os.Setenv("GODEBUG", now+setting+"1") // fails for malformed names alone
}
