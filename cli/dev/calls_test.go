package dev

import (
	"bytes"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestSplitLeavesWhatIsBelowTheNameAsItIs(t *testing.T) {
	for target, want := range map[string][2]string{
		"/functions/hello":             {"hello", ""},
		"/functions/Hello?a=%2F":       {"hello", "?a=%2F"},
		"/functions/hello/a%2Fb//../c": {"hello", "/a%2Fb//../c"},
		"/functions/h%65llo/":          {"hello", "/"},
		"/functions/":                  {"", ""},
		"/functions/%zz/a":             {"", ""},
		"/":                            {"", ""},
		"*":                            {"", ""},
		"http://host/functions/hello":  {"", ""},
	} {
		path, rest := split(target)
		assert.Equal(t, want, [2]string{path, rest}, target)
	}
}

func FuzzSplit(f *testing.F) {
	for _, seed := range []string{"/functions/hello/a?b", "/functions/h%65llo", "/functions/%", "/functions/a%2fb/c", ""} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, target string) {
		path, rest := split(target)
		if path == "" {
			return
		}
		name, ok := strings.CutSuffix(strings.TrimPrefix(target, prefix), rest)
		plain, err := url.PathUnescape(name)
		if !ok || err != nil || strings.ToLower(plain) != path || rest != "" && rest[0] != '/' && rest[0] != '?' {
			t.Errorf("%q became %q and %q", target, path, rest)
		}
	})
}

func TestLinesOfSeveralFunctionsDoNotMix(t *testing.T) {
	var b bytes.Buffer
	o := &output{w: &b}
	o.print("A", "A: ", []byte("one\ntw"))
	o.print("A", "A: ", []byte("o"))
	o.print("B", "B: ", []byte("three\n"))
	o.print("A", "A: ", []byte("four"))
	o.endLine()
	o.endLine()
	assert.Equal(t, "A: one\nA: two\nB: three\nA: four\n", b.String())
}
