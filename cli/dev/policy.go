package dev

import (
	"slices"
	"strings"
)

// admitted says whether the policies of a page (CSP Level 3) let it load a script of its
// own origin and connect there, and with which nonce; "" is none. Policies are never
// changed: what they keep out stays out.
func admitted(headers []string) (nonce string, ok bool) {
	for _, header := range headers {
		for text := range strings.SplitSeq(header, ",") {
			needed, ok := parsePolicy(text).admits()
			if !ok || needed != "" && nonce != "" && needed != nonce {
				return "", false
			}
			if needed != "" {
				nonce = needed
			}
		}
	}
	return nonce, true
}

// policy is one Content-Security-Policy: directive → its values.
type policy map[string][]string

func parsePolicy(text string) policy {
	p := policy{}
	for directive := range strings.SplitSeq(text, ";") {
		words := strings.Fields(directive)
		if len(words) == 0 {
			continue
		}
		name := strings.ToLower(words[0])
		if _, twice := p[name]; !twice { // the first one counts
			p[name] = words[1:]
		}
	}
	return p
}

// of returns the values of the first of some directives that the policy has.
func (p policy) of(names ...string) (values []string, ok bool) {
	for _, name := range names {
		if values, ok = p[name]; ok {
			return values, true
		}
	}
	return nil, false
}

func (p policy) admits() (nonce string, ok bool) {
	if allowed, ok := p["sandbox"]; ok && (!has(allowed, "allow-scripts") || !has(allowed, "allow-same-origin")) {
		return "", false
	}
	if sources, ok := p.of("connect-src", "default-src"); ok && !ownOrigin(sources) {
		return "", false
	}
	sources, ok := p.of("script-src-elem", "script-src", "default-src")
	if !ok {
		return "", true
	}
	for _, s := range sources {
		if value, ok := strings.CutPrefix(s, "'nonce-"); ok {
			return strings.TrimSuffix(value, "'"), true
		}
	}
	return "", ownOrigin(sources) && !has(sources, "'strict-dynamic'")
}

// ownOrigin says whether sources have the page's own origin.
func ownOrigin(sources []string) bool {
	return has(sources, "'self'") || has(sources, "*") || has(sources, "http:")
}

func has(words []string, word string) bool {
	return slices.ContainsFunc(words, func(w string) bool { return strings.EqualFold(w, word) })
}
