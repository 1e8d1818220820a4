package proto

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestCheckName(t *testing.T) {
	for _, good := range []string{"A", "HelloWorld", "Test", "C1", "F_test", "Functions", "Éclair", strings.Repeat("A", MaxName)} {
		assert.NoError(t, CheckName(good), good)
	}
	for bad, says := range map[string]string{
		"":                             "missing",
		"hello":                        "call it Hello",
		"_Hello":                       "upper-case",
		"9Lives":                       "not a Go identifier",
		"Hello;rm":                     "not a Go identifier",
		"../../x":                      "not a Go identifier",
		"Hello World":                  "not a Go identifier",
		"Hello\n":                      "not a Go identifier",
		"Hello\x00":                    "not a Go identifier",
		"func":                         "not a Go identifier",
		"A" + string(rune(0xD7FF)):     "not a Go identifier",
		strings.Repeat("A", MaxName+1): "longer than",
		"A" + strings.Repeat("Ⱥ", 63):  "longer than", // grows in lower case
	} {
		err := CheckName(bad)
		require.ErrorIs(t, err, ErrInvalid, bad)
		assert.Contains(t, err.Error()+" "+AsError(err).Hint, says)
	}
}

func FuzzCheckName(f *testing.F) {
	f.Add("HelloWorld")
	f.Add("../x")
	f.Add("İ")
	f.Fuzz(func(t *testing.T, name string) {
		if CheckName(name) != nil {
			return
		}
		if path := Path(name); strings.ContainsAny(path, "/\\.%?# \x00\n\r") || len(path) > MaxName || path == "" {
			t.Errorf("%q gives the path %q", name, path)
		}
	})
}

func TestMoves(t *testing.T) {
	all := []Status{"", Deploying, Deployed, Failed, Stopped}
	for _, s := range all {
		assert.True(t, CanMove(s, s))
		for _, next := range moves[s] {
			assert.Contains(t, all, next)
		}
	}
	assert.False(t, CanMove("", Deployed), "nothing is Deployed before it was Deploying")
	assert.False(t, CanMove(Stopped, Deployed))
	assert.False(t, Deploying.Settled())
	assert.True(t, Failed.Settled())
}

func TestErrorsKeepKindCauseAndWords(t *testing.T) {
	e := Errorf(ErrNotFound, "read %s: %w", "x", io.EOF).WithHint("look elsewhere").From("agent", "disk")
	require.ErrorIs(t, e, ErrNotFound)
	require.ErrorIs(t, e, io.EOF)
	require.NotErrorIs(t, e, ErrInvalid)
	assert.EqualError(t, e, "read x: EOF")

	wrapped := AsError(fmt.Errorf("deploy: %w", e))
	assert.Equal(t, "deploy: read x: EOF", wrapped.Message)
	assert.Equal(t, "look elsewhere", wrapped.Hint)
	require.ErrorIs(t, wrapped, ErrNotFound)

	assert.Nil(t, AsError(nil))
	assert.Equal(t, ErrInternal, AsError(errors.New("x")).Kind)
	assert.Equal(t, ErrTimeout, AsError(fmt.Errorf("x: %w", ErrTimeout)).Kind)

	e.RequestID = "7"
	back := e.Detail().Err()
	assert.Equal(t, e.Detail().String(), back.Detail().String())
	require.ErrorIs(t, back, ErrNotFound)
}

func TestSettings(t *testing.T) {
	good := &FunctionJson{
		Name: "F", Kind: KindHTTP, Timeout: "1m30s", Memory: "128MiB", Tags: []string{"a", "b.c"},
		Include: []string{"data/*.json"}, Env: map[string]string{"A_B": "c=d"}, Ldflags: "-X main.v=1 -X=a/b.c=2",
	}
	require.NoError(t, good.Check())
	limit, err := good.TimeLimit()
	require.NoError(t, err)
	assert.Equal(t, 90*time.Second, limit)
	memory, err := good.MemoryLimit()
	require.NoError(t, err)
	assert.EqualValues(t, 128<<20, memory)

	for kind, want := range map[string]int64{KindHTTP: 0, KindGin: 0, KindTyped: DefaultBody, KindEvent: DefaultBody, KindCloudEvent: DefaultBody} {
		require.NoError(t, (&FunctionJson{Name: "F", Kind: kind}).Check())
		body, err := good.BodyLimit(kind)
		require.NoError(t, err)
		assert.Equal(t, want, body)
		body, err = (&FunctionJson{Body: "2KiB"}).BodyLimit(kind)
		require.NoError(t, err)
		assert.EqualValues(t, 2<<10, body)
	}

	require.NoError(t, (&FunctionJson{Name: "F"}).Check())
	limit, err = (&FunctionJson{}).TimeLimit()
	require.NoError(t, err)
	assert.Equal(t, DefaultTimeout, limit)

	for says, bad := range map[string]*FunctionJson{
		"null":                nil,
		"name is missing":     {},
		"kind":                {Name: "F", Kind: "ftp"},
		`body: "0"`:           {Name: "F", Body: "0"},
		`body: "1kb"`:         {Name: "F", Body: "1kb"},
		"timeout":             {Name: "F", Timeout: "soon"},
		"-1s":                 {Name: "F", Timeout: "-1s"},
		"memory":              {Name: "F", Memory: "lots"},
		`"1MiB"`:              {Name: "F", Memory: "1MiB"},
		"99999999999GiB":      {Name: "F", Memory: "99999999999GiB"},
		"tags":                {Name: "F", Tags: []string{"a b"}},
		"at most":             {Name: "F", Tags: make([]string, MaxPatterns+1)},
		`include: "../x"`:     {Name: "F", Include: []string{"../x"}},
		`include: "/etc/*"`:   {Name: "F", Include: []string{"/etc/*"}},
		`include: "["`:        {Name: "F", Include: []string{"["}},
		"name of an env":      {Name: "F", Env: map[string]string{"A=B": ""}},
		"set by the platform": {Name: "F", Env: map[string]string{"RYO_MOUNT": "/x"}},
		"FUNCTION_TARGET":     {Name: "F", Env: map[string]string{"FUNCTION_TARGET": "x"}},
		"NUL":                 {Name: "F", Env: map[string]string{"A": "\x00"}},
		"bytes are taken":     {Name: "F", Env: map[string]string{"A": strings.Repeat("x", MaxEnvBytes)}},
		"-extld":              {Name: "F", Ldflags: "-extld=/bin/sh"},
		"only -X":             {Name: "F", Ldflags: "-X"},
		"importpath.name":     {Name: "F", Ldflags: "-X main"},
	} {
		err := bad.Check()
		require.ErrorIs(t, err, ErrInvalid, says)
		assert.ErrorContains(t, err, says)
	}
}

func FuzzSettings(f *testing.F) {
	f.Add("30s", "128MiB", "-X a.b=c", "data/*", "tag")
	f.Fuzz(func(t *testing.T, timeout, memory, ldflags, include, tag string) {
		fn := &FunctionJson{Name: "F", Timeout: timeout, Memory: memory, Ldflags: ldflags, Include: []string{include}, Tags: []string{tag}}
		if fn.Check() != nil {
			return
		}
		if d, err := fn.TimeLimit(); err != nil || d <= 0 {
			t.Errorf("timeout %q is %v, %v", timeout, d, err)
		}
		if n, err := fn.MemoryLimit(); err != nil || n < 0 {
			t.Errorf("memory %q is %v, %v", memory, n, err)
		}
	})
}

func TestNearest(t *testing.T) {
	known := []string{"deploy", "details", "list", "log", "stop", "packageDir"}
	for word, want := range map[string]string{
		"delpoy": "deploy", "Deploy": "deploy", "lst": "list", "packagedir": "packageDir", "stpo": "stop",
		"": "", "zzz": "", "x": "", "completely-different": "",
	} {
		assert.Equal(t, want, Nearest(word, known), word)
	}
}
