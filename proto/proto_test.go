package proto

import (
	"errors"
	"fmt"
	"io"
	"slices"
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
		Idle: "0", Min: 2, Instances: 3, Drain: "1h", Concurrency: 80, Queue: 10_000, QueueTimeout: "0", Cpu: "0.5", Secrets: map[string]string{"TOKEN": "x"},
		Note: "über 9000", Canary: 20, App: "shop-2.eu", Unavailable: UnavailableStop, Liveness: "10s", Program: strings.Repeat("0f", 32), Plan: true, Version: 7,
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

	for _, c := range []struct {
		fn                    *FunctionJson
		idle, drain, liveness time.Duration
		cpus                  float64
		processes             int
	}{
		{&FunctionJson{}, DefaultIdle, DefaultDrain, 0, 0, 1},
		{good, 0, time.Hour, 10 * time.Second, 0.5, 3},
	} {
		idle, err := c.fn.IdleLimit()
		require.NoError(t, err)
		drain, err := c.fn.DrainLimit()
		require.NoError(t, err)
		liveness, err := c.fn.LivenessLimit()
		require.NoError(t, err)
		cpus, err := c.fn.CPUs()
		require.NoError(t, err)
		assert.Equal(t, []time.Duration{c.idle, c.drain, c.liveness}, []time.Duration{idle, drain, liveness})
		assert.InDelta(t, c.cpus, cpus, 0)
		assert.Equal(t, c.processes, c.fn.Processes())
	}

	for says, bad := range map[string]*FunctionJson{
		"null":            nil,
		"name is missing": {},
		"kind":            {Name: "F", Kind: "ftp"},
		`body: "0"`:       {Name: "F", Body: "0"},
		`body: "1kb"`:     {Name: "F", Body: "1kb"},
		`timeout: "soon" is not a duration; write a number with its unit`: {Name: "F", Timeout: "soon"},
		"the most is 24h":             {Name: "F", Timeout: "25h"},
		"queue: 10001 are too many":   {Name: "F", Queue: 10_001},
		`queueTimeout: "-1s"`:         {Name: "F", QueueTimeout: "-1s"},
		"-1s":                         {Name: "F", Timeout: "-1s"},
		"128MiB (B, KiB, MiB or GiB)": {Name: "F", Memory: "128MB"},
		"the least is 16MiB":          {Name: "F", Memory: "15MiB"},
		`"1MiB"`:                      {Name: "F", Memory: "1MiB"},
		"99999999999GiB":              {Name: "F", Memory: "99999999999GiB"},
		"tags":                        {Name: "F", Tags: []string{"a b"}},
		"tags: there are 65; at most 64 are taken": {Name: "F", Tags: make([]string, MaxPatterns+1)},
		`include: "../x"`:                          {Name: "F", Include: []string{"../x"}},
		`include: "/etc/*"`:                        {Name: "F", Include: []string{"/etc/*"}},
		`include: "["`:                             {Name: "F", Include: []string{"["}},
		"name of an env":                           {Name: "F", Env: map[string]string{"A=B": ""}},
		"set by the platform":                      {Name: "F", Env: map[string]string{"RYO_MOUNT": "/x"}},
		"FUNCTION_TARGET":                          {Name: "F", Env: map[string]string{"FUNCTION_TARGET": "x"}},
		"NUL":                                      {Name: "F", Env: map[string]string{"A": "\x00"}},
		"bytes are taken":                          {Name: "F", Env: map[string]string{"A": strings.Repeat("x", MaxEnvBytes)}},
		"-extld":                                   {Name: "F", Ldflags: "-extld=/bin/sh"},
		"only -X":                                  {Name: "F", Ldflags: "-X"},
		"importpath.name":                          {Name: "F", Ldflags: "-X main"},
		`idle: "-1s"`:                              {Name: "F", Idle: "-1s"},
		`drain: "61m"`:                             {Name: "F", Drain: "61m"},
		`drain: "0"`:                               {Name: "F", Drain: "0"},
		`liveness: "1ms"`:                          {Name: "F", Liveness: "1ms"},
		`cpu: "NaN"`:                               {Name: "F", Cpu: "NaN"},
		`cpu: "1e2"`:                               {Name: "F", Cpu: "1e2"},
		"cpu: 0 is out of bounds":                  {Name: "F", Cpu: "0"},
		"instances: 65 are too many; the most is 64": {Name: "F", Instances: 65},
		"min: 2":                               {Name: "F", Min: 2},
		"canary: 100":                          {Name: "F", Canary: 100},
		`include: "\xff" is not`:               {Name: "F", Include: []string{"\xff"}},
		"ldflags: it is not UTF-8":             {Name: "F", Ldflags: "-X a.b=\xff"},
		"note: it is one line of text":         {Name: "F", Note: "\xff"},
		"env: the value of A is not UTF-8":     {Name: "F", Env: map[string]string{"A": "\xff"}},
		"secrets: the value of A is not UTF-8": {Name: "F", Secrets: map[string]string{"A": "\xff"}},
		"the least is 1s":                      {Name: "F", Liveness: "1ms"},
		"from 0.01 to 1024":                    {Name: "F", Cpu: "2000"},
		"neither":                              {Name: "F", Auth: "everybody"},
		"note: it is one":                      {Name: "F", Note: "a\nb"},
		"at most 256 bytes":                    {Name: "F", Note: strings.Repeat("x", MaxNote+1)},
		"key of a program":                     {Name: "F", Program: "../../x"},
		"in env as well":                       {Name: "F", Env: map[string]string{"A": "b"}, Secrets: map[string]string{"A": "c"}},
		"secrets: RYO_NONCE":                   {Name: "F", Secrets: map[string]string{"RYO_NONCE": "x"}},
		"secrets included": {
			Name: "F", Env: map[string]string{"A": strings.Repeat("x", MaxEnvBytes/2)}, Secrets: map[string]string{"B": strings.Repeat("x", MaxEnvBytes/2)},
		},
	} {
		err := bad.Check()
		require.ErrorIs(t, err, ErrInvalid, says)
		assert.ErrorContains(t, err, says)
	}
}

func FuzzSettings(f *testing.F) {
	f.Add("30s", "128MiB", "-X a.b=c", "data/*", "tag", "0.5", "v1")
	f.Add("0", "1", "-X", "..", "", "1e309", "\n")
	f.Fuzz(func(t *testing.T, duration, memory, ldflags, include, tag, cpu, note string) {
		fn := &FunctionJson{
			Name: "F", Timeout: duration, Idle: duration, Drain: duration, Liveness: duration,
			Memory: memory, Ldflags: ldflags, Include: []string{include}, Tags: []string{tag}, Cpu: cpu, Note: note,
		}
		if fn.Check() != nil {
			return
		}
		for name, limit := range map[string]func() (time.Duration, error){
			"timeout": fn.TimeLimit, "idle": fn.IdleLimit, "drain": fn.DrainLimit, "liveness": fn.LivenessLimit,
		} {
			if d, err := limit(); err != nil || d < 0 {
				t.Errorf("%s %q is %v, %v", name, duration, d, err)
			}
		}
		if n, err := fn.MemoryLimit(); err != nil || n < 0 {
			t.Errorf("memory %q is %v, %v", memory, n, err)
		}
		if n, err := fn.CPUs(); err != nil || !(n >= 0 && n <= MaxCPU) {
			t.Errorf("cpu %q is %v, %v", cpu, n, err)
		}
		if strings.ContainsAny(note, "\n\r\x00") {
			t.Errorf("note %q is not one line", note)
		}
	})
}

func TestLinesAfter(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for since, want := range map[string]time.Time{
		"": {}, "0": now, "90s": now.Add(-90 * time.Second), "2025-12-31T23:00:00+01:00": time.Date(2025, 12, 31, 22, 0, 0, 0, time.UTC),
		"2026-01-02T03:04:05.5Z": now.Add(500 * time.Millisecond),
	} {
		at, err := (&LogsRequest{Since: since}).After(now)
		require.NoError(t, err, since)
		assert.True(t, want.Equal(at), "%s is %s", since, at)
	}
	for _, bad := range []string{"then", "-1s", "999999h", "2026-01-02", "10"} {
		_, err := (&LogsRequest{Since: bad}).After(now)
		require.ErrorIs(t, err, ErrInvalid, bad)
	}
}

func FuzzLinesAfter(f *testing.F) {
	for _, seed := range []string{"", "10m", "2026-01-02T03:04:05Z", "1e9h", "-1s"} {
		f.Add(seed)
	}
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	f.Fuzz(func(t *testing.T, since string) {
		at, err := (&LogsRequest{Since: since}).After(now)
		if err != nil {
			require.ErrorIs(t, err, ErrInvalid)
			return
		}
		if _, duration := time.ParseDuration(since); duration == nil && at.After(now) {
			t.Errorf("%q ago is %s", since, at)
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

func TestRequestIDs(t *testing.T) {
	for _, good := range []string{"a", "01J-x_y.z/7", strings.Repeat("a", maxRequestID)} {
		assert.Equal(t, good, RequestID(good))
	}
	for _, bad := range []string{"", "a b", "a\nb", "é", "\x7f", strings.Repeat("a", maxRequestID+1)} {
		assert.Len(t, RequestID(bad), 26, "%q", bad)
	}
}

func TestAppAndUnavailable(t *testing.T) {
	for _, app := range []string{"Shop", "a b", "-a", "a/b", strings.Repeat("a", 64)} {
		require.ErrorIs(t, (&FunctionJson{Name: "F", App: app}).Check(), ErrInvalid, app)
	}
	err := (&FunctionJson{Name: "F", Unavailable: "wait"}).Check()
	require.ErrorIs(t, err, ErrInvalid)
	assert.EqualError(t, err, `function F: unavailable: "wait" is neither "continue" nor "stop"`)
}

func TestNetworkAndAllow(t *testing.T) {
	for _, c := range []struct {
		network []string
		want    Network
		wrong   string
	}{
		{nil, Network{Any: true}, ""},
		{[]string{"any"}, Network{Any: true}, ""},
		{[]string{"none"}, Network{}, ""},
		{[]string{"443", "5432"}, Network{Ports: []uint16{443, 5432}}, ""},
		{[]string{"any", "443"}, Network{}, `"any" stands alone`},
		{[]string{"443", "none"}, Network{}, `"none" stands alone`},
		{[]string{"0"}, Network{}, "neither any, none nor a TCP port"},
		{[]string{"65536"}, Network{}, "neither any, none nor a TCP port"},
		{[]string{"https"}, Network{}, "neither any, none nor a TCP port"},
		{slices.Repeat([]string{"1"}, MaxPorts+1), Network{}, "at most 256 are taken"},
	} {
		fn := &FunctionJson{Name: "F", Network: c.network}
		got, err := fn.Ports()
		if c.wrong != "" {
			require.ErrorIs(t, fn.Check(), ErrInvalid)
			require.ErrorContains(t, err, c.wrong)
			continue
		}
		require.NoError(t, fn.Check())
		assert.Equal(t, c.want, got)
	}
	require.NoError(t, (&FunctionJson{Name: "F", Allow: []string{"subprocess", "unix", "listen"}, Isolation: "full"}).Check())
	require.ErrorContains(t, (&FunctionJson{Name: "F", Allow: []string{"root"}}).Check(), `"root" is not known; use subprocess, listen, unix`)
	require.ErrorContains(t, (&FunctionJson{Name: "F", Isolation: "much"}).Check(), `"much" is not one of none, basic, strong, full`)
}
