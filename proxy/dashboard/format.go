package dashboard

import (
	"cmp"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// none stands for a number that is not known.
const none = "–"

// numberText writes a number with three digits that say something.
func numberText(n float64) string {
	switch {
	case math.IsNaN(n):
		return none
	case n == 0:
		return "0"
	case n < 0.1:
		return "<0.1"
	case n < 100:
		return strings.TrimSuffix(strconv.FormatFloat(n, 'f', 1, 64), ".0")
	}
	return strconv.FormatFloat(n, 'f', 0, 64)
}

// partText writes a part of a whole, in percent.
func partText(part float64) string {
	switch percent := part * 100; {
	case math.IsNaN(part):
		return none
	case percent == 0:
		return "0 %"
	case percent < 0.01:
		return "<0.01 %"
	case percent < 10:
		return strings.TrimSuffix(strings.TrimRight(strconv.FormatFloat(percent, 'f', 2, 64), "0"), ".") + " %"
	default:
		return strconv.FormatFloat(percent, 'f', 0, 64) + " %"
	}
}

// secondsText writes a time in seconds with at most three digits.
func secondsText(s float64) string {
	switch {
	case math.IsNaN(s):
		return none
	case s < 1e-3:
		return strconv.FormatFloat(s*1e6, 'f', 0, 64) + " µs"
	case s < 1e-2:
		return strconv.FormatFloat(s*1e3, 'f', 1, 64) + " ms"
	case s < 1:
		return strconv.FormatFloat(s*1e3, 'f', 0, 64) + " ms"
	case s < 10:
		return strconv.FormatFloat(s, 'f', 2, 64) + " s"
	}
	return strconv.FormatFloat(s, 'f', 0, 64) + " s"
}

// bytesText writes a number of bytes.
func bytesText(n uint64) string {
	const unit = 1024
	if n < unit {
		return fmt.Sprintf("%d B", n)
	}
	value, units := float64(n)/unit, []string{"KiB", "MiB", "GiB", "TiB"}
	for value >= 1000 && len(units) > 1 {
		value, units = value/unit, units[1:]
	}
	digits := 0
	if value < 10 {
		digits = 1
	}
	return strconv.FormatFloat(value, 'f', digits, 64) + " " + units[0]
}

// moment is a time as pages show it: how long ago, and, for those who point at it, when.
type moment struct{ Ago, When string }

// momentOf reads a time as the proxy writes it.
func momentOf(text string, now time.Time) moment {
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return moment{}
	}
	return moment{agoText(now.Sub(at)), at.UTC().Format("2006-01-02 15:04:05 MST")}
}

// agoText writes how long ago something was, or, of a time that comes, in how long it is.
func agoText(d time.Duration) string {
	var text string
	ahead := d < -time.Second
	switch d = d.Abs(); {
	case d < time.Minute:
		text = fmt.Sprintf("%d s", int(d.Seconds()))
	case d < time.Hour:
		text = fmt.Sprintf("%d min", int(d.Minutes()))
	case d < 48*time.Hour:
		text = fmt.Sprintf("%d h", int(d.Hours()))
	default:
		text = fmt.Sprintf("%d d", int(d.Hours()/24))
	}
	if ahead {
		return "in " + text
	}
	return text + " ago"
}

// clip returns at most so many bytes of a text, without half a rune.
func clip(text string, most int) string {
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most], "") + "…"
}

// shortDigest returns enough of a digest to tell it from others.
func shortDigest(digest string) string {
	return cmp.Or(clip(strings.TrimPrefix(digest, "sha256:"), 10), none)
}
