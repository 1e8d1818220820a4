package gateway

import (
	"encoding/hex"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/Ishan27g/ryo-faas/internal/trace"
)

// Bounds of what stands in a line of the access log, in bytes before they are escaped. A
// line may have six times as many.
const (
	maxTarget = 1 << 10 // of the request target
	maxText   = 256     // of any other text
)

// log writes the call to the access log. Calls that failed, or that the platform
// answered, are written in any case.
func (g *Gateway) log(e *ending, component, reason string) {
	if g.AccessLog == nil || component == "" && e.status < 500 && !g.AccessLog.Sampled() {
		return
	}
	room := lineRooms.Get().(*[]byte)
	*room = e.append((*room)[:0], component, reason)
	g.AccessLog.Add(*room)
	if cap(*room) <= maxRoom {
		lineRooms.Put(room)
	}
}

// Lines are put together outside the lock of the log.
var lineRooms = sync.Pool{New: func() any { b := make([]byte, 0, usualLine); return &b }}

const (
	usualLine = 512
	maxRoom   = 4 << 10
)

// append appends the line of the access log: a JSON object in ASCII, and a line feed.
// Texts and numbers that are not known are left out.
func (e *ending) append(b []byte, component, reason string) []byte {
	b = append(b, `{"time":"`...)
	b = appendTime(b, e.begun)
	b = append(b, 'Z', '"')
	b = appendText(b, "id", e.id, maxText)
	b = appendText(b, "caller", e.peer, maxText)
	b = appendText(b, "method", e.method, maxText)
	b = appendText(b, "host", e.host, maxText)
	b = appendText(b, "path", e.uri, maxTarget)
	if e.route != nil {
		b = appendText(b, "function", e.route.name, maxText)
	}
	if e.version != nil && e.version.number > 0 {
		b = appendNumber(b, "version", int64(e.version.number))
	}
	if e.target != nil {
		b = appendText(b, "agent", e.target.key.agent, maxText)
	}
	b = appendNumber(b, "status", int64(e.status))
	b = appendText(b, "component", component, maxText)
	b = appendText(b, "reason", reason, maxText)
	if e.failure != nil {
		b = appendText(b, "error", e.failure.Error(), maxText)
	}
	if e.head > 0 {
		b = appendSeconds(b, "head", e.head)
	}
	b = appendSeconds(b, "took", e.took)
	b = appendNumber(b, "bytesIn", e.bytesIn)
	b = appendNumber(b, "bytesOut", e.bytes)
	if e.retries > 0 {
		b = appendNumber(b, "retries", int64(e.retries))
	}
	if c, ok := trace.Parse(e.trace); ok {
		b = append(appendName(b, "trace"), '"')
		b = append(hex.AppendEncode(b, c.Trace[:]), '"')
	}
	return append(b, '}', '\n')
}

// second is a second as it is written. Most calls begin in the same one as the call before,
// and to write it anew took a sixth of a line's time.
type second struct {
	unix int64
	text string
}

var lastSecond atomic.Pointer[second]

// appendTime appends a time of UTC, to the microsecond.
func appendTime(b []byte, at time.Time) []byte {
	s := lastSecond.Load()
	if s == nil || s.unix != at.Unix() {
		s = &second{at.Unix(), at.UTC().Format("2006-01-02T15:04:05.")}
		lastSecond.Store(s)
	}
	return appendMicros(append(b, s.text...), int64(at.Nanosecond()/1000))
}

// appendMicros appends six digits.
func appendMicros(b []byte, n int64) []byte {
	for place := int64(1e5); place > 0; place /= 10 {
		b = append(b, byte('0'+n/place%10))
	}
	return b
}

// appendName appends the name of another member of an object.
func appendName(b []byte, name string) []byte {
	b = append(b, ',', '"')
	b = append(b, name...)
	return append(b, '"', ':')
}

func appendNumber(b []byte, name string, n int64) []byte {
	return strconv.AppendInt(appendName(b, name), n, 10)
}

// appendSeconds appends a duration in seconds, to the microsecond.
func appendSeconds(b []byte, name string, d time.Duration) []byte {
	b = appendName(b, name)
	micros := max(0, d).Microseconds()
	b = strconv.AppendInt(b, micros/1e6, 10)
	return appendMicros(append(b, '.'), micros%1e6)
}

// appendText appends a text, if there is one, and at most so many bytes of it. What is
// not printable ASCII is escaped, so that no terminal obeys it.
func appendText[text string | []byte](b []byte, name string, t text, limit int) []byte {
	if len(t) == 0 {
		return b
	}
	b = append(appendName(b, name), '"')
	cut := len(t) > limit
	if cut {
		t = t[:limit]
	}
	for len(t) > 0 {
		i := 0
		for i < len(t) && plainByte(t[i]) {
			i++
		}
		if b = append(b, t[:i]...); i == len(t) {
			break
		}
		t = t[i:]
		if c := t[0]; c == '"' || c == '\\' {
			b, t = append(b, '\\', c), t[1:]
			continue
		}
		r, size := utf8.DecodeRuneInString(string(t[:min(len(t), utf8.UTFMax)]))
		b, t = appendRune(b, r), t[size:]
	}
	if cut {
		b = append(b, "..."...)
	}
	return append(b, '"')
}

func plainByte(c byte) bool { return ' ' <= c && c <= '~' && c != '"' && c != '\\' }

// appendRune appends the escape of a character, as of two of UTF-16 when it needs them.
func appendRune(b []byte, r rune) []byte {
	const digits = "0123456789abcdef"
	if r > 0xffff {
		r -= 0x10000
		b = appendRune(b, 0xd800+r>>10)
		r = 0xdc00 + r&0x3ff
	}
	return append(b, '\\', 'u', digits[r>>12], digits[r>>8&15], digits[r>>4&15], digits[r&15])
}
