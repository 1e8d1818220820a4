package proto

import (
	"fmt"
	"slices"
	"strings"
)

const (
	// MaxSubscribe bounds the patterns of a function: each event is compared with all.
	MaxSubscribe = 32
	// MaxEventType bounds the type of an event, and a pattern, in bytes.
	MaxEventType = 256
)

// Pattern is which types of CloudEvents a function subscribes to. Types and patterns are
// segments between dots. "*" stands for one segment, and "**", at the end, for all that
// follow, at least one. All else stands for itself.
type Pattern string

// check returns what is wrong with a pattern.
func (p Pattern) check() error {
	text := string(p)
	if text == "" || len(text) > MaxEventType || strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
		return fmt.Errorf("%.40q is not a type of events, such as orders.created, or a pattern, such as orders.*", text)
	}
	segments := strings.Split(text, ".")
	for i, s := range segments {
		switch {
		case s == "**" && i < len(segments)-1:
			return fmt.Errorf("%.100q: ** stands at the end alone", text)
		case s == ">":
			return fmt.Errorf("%.100q: write ** for all segments that follow", text)
		case s != "*" && s != "**" && strings.Contains(s, "*"):
			return fmt.Errorf("%.100q: * stands for a whole segment between dots", text)
		}
	}
	return nil
}

// Matches reports whether a type is one of the pattern's.
func (p Pattern) Matches(kind string) bool {
	pattern, rest := string(p), kind
	for {
		want, more, further := strings.Cut(pattern, ".")
		if want == "**" {
			return rest != ""
		}
		got, tail, follows := strings.Cut(rest, ".")
		if want != "*" && want != got || want == "*" && got == "" || further != follows {
			return false
		}
		if !further {
			return true
		}
		pattern, rest = more, tail
	}
}

// Subscribes reports whether the function of a row gets events of a type.
func (r *FunctionJsonRsp) Subscribes(kind string) bool {
	return slices.ContainsFunc(r.GetSubscribe(), func(p string) bool { return Pattern(p).Matches(kind) })
}

func (f *FunctionJson) checkSubscribe() error {
	if len(f.GetSubscribe()) > MaxSubscribe {
		return f.invalid("subscribe", "%d are more than the %d that a function may have", len(f.GetSubscribe()), MaxSubscribe)
	}
	for _, text := range f.GetSubscribe() {
		if err := Pattern(text).check(); err != nil {
			return f.invalid("subscribe", "%v", err)
		}
	}
	return nil
}
