package proto

import (
	"flag"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var write = flag.Bool("write", false, "write the table of settings in docs anew")

// TestTheDocsListTheSettings compares the table of docs/settings.md with the list of settings.
func TestTheDocsListTheSettings(t *testing.T) {
	const file, begin, end = "../docs/settings.md", "<!-- settings, written by go generate -->\n", "<!-- end of settings -->\n"
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	before, rest, found := strings.Cut(string(text), begin)
	require.True(t, found)
	table, after, found := strings.Cut(rest, end)
	require.True(t, found)

	want := "| key | flag | meaning | default | a change |\n| --- | --- | --- | --- | --- |\n"
	for _, s := range settings {
		value := strings.ReplaceAll(strings.TrimSpace("-"+s.Flag+" "+s.Value), "|", `\|`)
		want += "| `" + s.Name + "` | `" + value + "` | " + s.Help + " | " + s.Default + " | " + s.Effect.String() + " |\n"
	}
	if *write {
		require.NoError(t, os.WriteFile(file, []byte(before+begin+want+end+after), 0o644))
		return
	}
	assert.Equal(t, want, table, "go generate ./proto writes it anew")
}

// What every entry of the list must have.
func TestSettingsAreWhole(t *testing.T) {
	fields := (&FunctionJson{}).ProtoReflect().Descriptor().Fields()
	for _, s := range settings {
		field := fields.ByJSONName(s.Name)
		require.NotNil(t, field, s.Name)
		assert.NotEmpty(t, s.Flag, s.Name)
		assert.NotEmpty(t, s.Help, s.Name)
		assert.NotEmpty(t, s.Default, s.Name)
		assert.Equal(t, s.Form == Switch, s.Value == "", "%s: what stands for its value in help", s.Name)
		values := map[Form]any{
			Text: "x", Count: uint32(5), Switch: true, List: []string{"x", "y"}, Variables: map[string]string{"K": "v"}, Secrets: map[string]string{"K": "v"},
			Labels: map[string]string{"K": "v"}, Share: "all",
		}
		words := map[Form][]string{
			Text: {"x"}, Count: {"5"}, Switch: {"true"}, List: {"x,y"}, Variables: {"K=v"}, Secrets: {"K=v"}, Labels: {"K=v"}, Share: {"all"},
		}
		set, parsed := &FunctionJson{Name: "F"}, &FunctionJson{Name: "F"}
		s.Set(set, values[s.Form])
		for _, w := range words[s.Form] {
			require.NoError(t, s.Parse(parsed, w), s.Name)
		}
		assert.Equal(t, set.String(), parsed.String(), s.Name)
		text := words[s.Form][0]
		if s.Form != Labels {
			text = strings.TrimSuffix(text, "=v") // values of variables are not shown
		}
		assert.Equal(t, text, s.Text(set), s.Name)
		assert.Empty(t, s.Text(&FunctionJson{}), s.Name)

		changed, effect := Compare(&FunctionJson{}, set)
		if s.Effect < OnVersion {
			assert.Empty(t, changed)
			continue
		}
		assert.Equal(t, []string{s.Name}, changed)
		assert.Equal(t, s.Effect, effect)
	}
}

// What a setting comes to is compared, not how it is written. A default that something else
// decides is not the same as any value.
func TestTheDefaultOfASettingIsNoChange(t *testing.T) {
	defaults := map[string][]string{
		"auth": {"token"}, "timeout": {"60s", "1m"}, "network": {"any"}, "isolation": {"none"}, "queueTimeout": {"10s"},
		"retries": {"3"}, "maxAge": {"24h"}, "instances": {"1"}, "idle": {"15m"}, "drain": {"30s"}, "timezone": {"UTC"}, "overlap": {"allow"},
		"jitter": {"0s"}, "previewTTL": {"168h"}, "missed": {"skip"}, "compress": {"false"}, "strict": {"false"}, "min": {"0"},
	}
	decided := map[string]string{"body": "10MiB", "queue": "10", "max": "1", "inFlight": "10", "kind": "http", "target": "F", "retries": "0", "idle": "0"}
	spelled := map[string][2]string{
		"timeout": {"90s", "1m30s"}, "memory": {"1GiB", "1024MiB"}, "body": {"1MiB", "1048576"}, "rate": {"5/s", "5/s burst 5"}, "cpu": {"1", "1.0"},
		"disk": {"1GiB", "1024MiB"}, "allowIPs": {"10.0.0.1", "10.0.0.1/32"}, "liveness": {"60s", "1m"}, "drain": {"60s", "1m"},
	}
	given := func(s *Setting, word string) *FunctionJson {
		fn := &FunctionJson{Name: "F"}
		require.NoError(t, s.Parse(fn, word), s.Name)
		require.NoError(t, s.valid(fn), s.Name)
		return fn
	}
	unset := &FunctionJson{Name: "F"}
	for i := range settings {
		s := &settings[i]
		_, known := spelled[s.Name]
		assert.True(t, s.read == nil || known || defaults[s.Name] != nil, "%s has no row here", s.Name)
		for _, word := range defaults[s.Name] {
			fn := given(s, word)
			for _, pair := range [][2]*FunctionJson{{unset, fn}, {fn, unset}} {
				changed, effect := Compare(pair[0], pair[1])
				assert.Empty(t, changed)
				assert.Equal(t, OnDeploy, effect)
				assert.True(t, s.Same(pair[0], pair[1]))
			}
		}
		if word, ok := decided[s.Name]; ok {
			changed, _ := Compare(unset, given(s, word))
			assert.Equal(t, []string{s.Name}, changed)
			assert.False(t, s.Same(given(s, word), unset))
		}
		if two, ok := spelled[s.Name]; ok {
			assert.True(t, s.Same(given(s, two[0]), given(s, two[1])), s.Name)
			assert.False(t, s.Same(given(s, two[0]), unset), s.Name)
		}
	}
	// Of two that leave a setting to its default, none has changed it, whatever the default is now.
	hooked := &FunctionJson{Name: "F", Webhook: "github:S"}
	changed, _ := Compare(unset, hooked)
	assert.Equal(t, []string{"webhook"}, changed)
	assert.False(t, settingOf("timeout").Same(&FunctionJson{Timeout: "x"}, unset), "what cannot be read is another value")
}

func TestSettingsRefuseWordsInPlainWords(t *testing.T) {
	for _, c := range []struct{ setting, word, says string }{
		{"min", "-1", `"-1" is not a whole number from 0 on`},
		{"instances", "4294967296", `"4294967296" is not a whole number from 0 on`},
		{"strict", "maybe", `"maybe" is neither true nor false`},
		{"env", "A", `"A" is not of the form K=V`},
	} {
		s := settings[slices.IndexFunc(settings, func(s Setting) bool { return s.Name == c.setting })]
		assert.EqualError(t, s.Parse(&FunctionJson{}, c.word), c.says)
	}
	env := settings[0]
	fn := &FunctionJson{}
	require.NoError(t, env.Parse(fn, "A=1=2"))
	require.EqualError(t, env.Parse(fn, "A=3"), "A is given twice")
	assert.Equal(t, map[string]string{"A": "1=2"}, fn.GetEnv())
}

func TestLastingIsWhatAVersionKeeps(t *testing.T) {
	fn := &FunctionJson{
		Name: "F", Dir: "/f", ToAgent: []string{"a:1"}, Package: "p", PackagePath: "q", FilePath: "f.go", Include: []string{"x"},
		Env: map[string]string{"A": "1"}, Wait: true, Plan: true, Version: 3, Note: "n", Canary: 10, Memory: "1GiB", Program: "k",
	}
	want := &FunctionJson{
		Name: "F", Package: "p", PackagePath: "q", FilePath: "f.go", Include: []string{"x"}, Env: map[string]string{"A": "1"}, Memory: "1GiB",
	}
	got := fn.Lasting()
	assert.Equal(t, want.String(), got.String())
	got.Env["A"] = "2"
	assert.Equal(t, "1", fn.GetEnv()["A"])
}

func TestRetainKeepsWhatIsNotGiven(t *testing.T) {
	was := &FunctionJson{
		Memory: "1GiB", Timeout: "5s", Strict: true, Min: 2, Tags: []string{"a"}, Note: "n",
		Env: map[string]string{"A": "1", "B": "2", "S": "now a secret"}, Secrets: map[string]string{"C": "3", "E": "now plain"},
	}
	fn := &FunctionJson{
		Timeout: "7s", Env: map[string]string{"B": "new", "E": "5"}, Secrets: map[string]string{"S": "6"}, Tags: []string{"b"},
	}
	fn.Retain(was, []string{"memory", "strict", "min", "tags", "env", "secrets"})
	want := &FunctionJson{
		Memory: "1GiB", Timeout: "7s", Strict: true, Min: 2, Tags: []string{"a"},
		Env: map[string]string{"A": "1", "B": "new", "E": "5"}, Secrets: map[string]string{"C": "3", "S": "6"},
	}
	assert.Equal(t, want.String(), fn.String())
	fn.Tags[0] = "c"
	assert.Equal(t, []string{"a"}, was.GetTags())

	for name, says := range map[string]string{"memroy": `did you mean "memory"?`, "note": "known are env, secrets"} {
		err := (&FunctionJson{Name: "F", Keep: []string{name}}).Check()
		require.ErrorIs(t, err, ErrInvalid)
		assert.Contains(t, AsError(err).Hint, says)
	}
}

// A setting that means nothing without another one is refused, with the way out, unless that
// is kept of the version before; and is not kept without it.
func TestSettingsThatNeedOthers(t *testing.T) {
	given := map[string]any{
		"queue": uint32(3), "queueTimeout": "3s", "inFlight": uint32(3), "timezone": "Europe/Berlin", "overlap": "forbid", "jitter": "1s", "missed": "once", "previewTTL": "1h",
		"concurrency": uint32(2), "max": uint32(2), "schedule": "@daily", "preview": "main",
	}
	needing := 0
	for _, s := range Settings() {
		if s.Needs == "" {
			continue
		}
		needing++
		alone := &FunctionJson{Name: "F"}
		s.Set(alone, given[s.Name])
		err := alone.Check()
		require.ErrorIs(t, err, ErrInvalid, s.Name)
		assert.Contains(t, err.Error(), s.Name)
		assert.Contains(t, AsError(err).Hint, "give "+s.Needs, s.Name)

		alone.Keep = []string{s.Needs}
		require.NoError(t, alone.Check(), "%s is kept", s.Needs)

		both := &FunctionJson{Name: "F"}
		s.Set(both, given[s.Name])
		settingOf(s.Needs).Set(both, given[s.Needs])
		both.Complete()
		require.NoError(t, both.Check(), s.Name)

		next := &FunctionJson{Name: "F"}
		next.Retain(both, []string{s.Name})
		assert.False(t, s.given(next), "%s is not kept alone", s.Name)
		next.Retain(both, []string{s.Name, s.Needs})
		assert.True(t, s.given(next), s.Name)
	}
	assert.Equal(t, 8, needing)
	require.NoError(t, (&FunctionJson{Name: "F", Timezone: DefaultTimezone}).Check(), "who names the default asks for nothing")
	err := (&FunctionJson{Name: "F", Kind: KindHTTP, Strict: true}).Check()
	require.ErrorIs(t, err, ErrInvalid)
	assert.Contains(t, err.Error(), "strict")
	require.NoError(t, (&FunctionJson{Name: "F", Kind: KindTyped, Strict: true}).Check())
	require.NoError(t, (&FunctionJson{Name: "F", Strict: true}).Check(), "the source says the kind")
}
