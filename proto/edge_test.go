package proto

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestRates(t *testing.T) {
	for text, want := range map[string]Rate{
		"":                  {},
		"100/s":             {10 * time.Millisecond, 100},
		"1/h":               {time.Hour, 1},
		"30/m burst 5":      {2 * time.Second, 5},
		"3/s":               {time.Second / 3, 3},
		"1000000/s burst 1": {time.Microsecond, 1},
		"1/h burst 1000000": {time.Hour, MaxRate},
	} {
		got, err := (&FunctionJson{Name: "F", Rate: text}).RateLimit()
		require.NoError(t, err, text)
		assert.Equal(t, want, got, text)
	}
	for text, says := range map[string]string{
		"100":              "write one such as 100/s",
		"100/d":            "write one such as 100/s",
		"1.5/s":            "write one such as 100/s",
		"-1/s":             "write one such as 100/s",
		" 1/s":             "write one such as 100/s",
		"1/s ":             "write one such as 100/s",
		"1/s burst":        "write one such as 100/s",
		"1/s\n":            "write one such as 100/s",
		"0/s":              "from 1 to 1000000",
		"1000001/s":        "from 1 to 1000000",
		"1/s burst 0":      "from 1 to 1000000",
		"99999999999999/s": "write one such as 100/s",
	} {
		err := (&FunctionJson{Name: "F", Rate: text}).Check()
		require.ErrorIs(t, err, ErrInvalid, text)
		assert.ErrorContains(t, err, "function F: rate: ", text)
		assert.ErrorContains(t, err, says, text)
	}
}

func TestAllowedIPs(t *testing.T) {
	got, err := (&FunctionJson{Name: "F", AllowIps: []string{"10.0.0.0/8", "192.0.2.1", "2001:db8::/32", "::1", "0.0.0.0/0"}}).AllowedIPs()
	require.NoError(t, err)
	assert.Equal(t, "[10.0.0.0/8 192.0.2.1/32 2001:db8::/32 ::1/128 0.0.0.0/0]", sprint(got))
	none, err := (&FunctionJson{Name: "F"}).AllowedIPs()
	require.NoError(t, err)
	assert.Nil(t, none)
	for text, says := range map[string]string{
		"":                    "is no network",
		"localhost":           "is no network",
		"10.0.0.0/33":         "is no network",
		"10.0.0/8":            "is no network",
		"10.0.0.0-10.0.0.9":   "is no network",
		"fe80::1%eth0":        "is no network",
		"010.0.0.0/8":         "is no network",
		"10.0.0.1/8":          "write 10.0.0.0/8, or 10.0.0.1 for the one address",
		"::ffff:10.0.0.0/104": "write 10.0.0.0",
		"::ffff:10.0.0.1":     "write 10.0.0.1",
	} {
		err := (&FunctionJson{Name: "F", AllowIps: []string{"10.0.0.0/8", text}}).Check()
		require.ErrorIs(t, err, ErrInvalid, text)
		assert.ErrorContains(t, err, says, text)
	}
	require.ErrorContains(t, (&FunctionJson{Name: "F", AllowIps: make([]string, MaxAllowIPs+1)}).Check(), "257 are more than the 256")
}

func sprint(list []netip.Prefix) string {
	text := "["
	for i, p := range list {
		if i > 0 {
			text += " "
		}
		text += p.String()
	}
	return text + "]"
}

// Whatever is taken means the same when it is read again, and is within bounds.
func FuzzRate(f *testing.F) {
	for _, text := range []string{"100/s", "1/h burst 1000000", "0/s", "1/d", "٣/s", "9999999/m burst 9999999"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		r, err := (&FunctionJson{Name: "F", Rate: text}).RateLimit()
		switch {
		case err != nil:
			assert.ErrorIs(t, err, ErrInvalid)
			assert.Zero(t, r)
		case text != "":
			assert.Positive(t, r.Every)
			assert.Positive(t, r.Burst)
			assert.Positive(t, time.Duration(r.Burst)*r.Every, "what the limiter computes does not overflow")
			assert.LessOrEqual(t, r.Burst, MaxRate)
		}
	})
}

func FuzzAllowedIPs(f *testing.F) {
	for _, text := range []string{"10.0.0.0/8", "::/0", "::ffff:1.2.3.4/128", "fe80::1%a", "1.2.3.4/08", "255.255.255.255/1"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		list, err := (&FunctionJson{Name: "F", AllowIps: []string{text}}).AllowedIPs()
		if err != nil {
			assert.ErrorIs(t, err, ErrInvalid)
			assert.Nil(t, list)
			return
		}
		require.Len(t, list, 1)
		assert.True(t, list[0].IsValid())
		assert.Equal(t, list[0], list[0].Masked())
		assert.True(t, list[0].Contains(list[0].Addr()))
		again, err := (&FunctionJson{Name: "F", AllowIps: []string{list[0].String()}}).AllowedIPs()
		require.NoError(t, err)
		assert.True(t, slices.Equal(list, again))
	})
}

func TestWebhooks(t *testing.T) {
	for _, text := range []string{"", "github:KEY", "stripe:A_1", "slack:_", "standard:K"} {
		require.NoError(t, (&FunctionJson{Name: "F", Webhook: text}).Check(), text)
	}
	for text, says := range map[string]string{
		"github":       "is not of the form FORM:VARIABLE",
		"github:":      "is not of the form FORM:VARIABLE",
		"github:1A":    "is not of the form FORM:VARIABLE",
		"github:A B":   "is not of the form FORM:VARIABLE",
		"gitlab:KEY":   "use one of github, stripe, slack, standard",
		":KEY":         "use one of github",
		"GitHub:KEY":   "use one of github",
		"github:K:EY":  "is not of the form FORM:VARIABLE",
		"github:KEY\n": "is not of the form FORM:VARIABLE",
	} {
		require.ErrorContains(t, (&FunctionJson{Name: "F", Webhook: text}).Check(), says, text)
	}
	fn := &FunctionJson{Name: "F", Webhook: "github:KEY", Env: map[string]string{"KEY": "hunter2"}}
	err := fn.CheckWebhookSecret()
	require.ErrorContains(t, err, "KEY is in env")
	assert.NotContains(t, err.Error(), "hunter2")
	fn.Env = nil
	require.ErrorContains(t, fn.CheckWebhookSecret(), "there is no secret KEY")
	fn.Secrets = map[string]string{"KEY": ""}
	require.ErrorContains(t, fn.CheckWebhookSecret(), "there is no secret KEY")
	fn.Secrets["KEY"] = "hunter2"
	require.NoError(t, fn.CheckWebhookSecret())
	require.NoError(t, (&FunctionJson{Name: "F"}).CheckWebhookSecret())
	limit, err := fn.BodyLimit(KindHTTP)
	require.NoError(t, err)
	assert.EqualValues(t, DefaultBody, limit, "bodies are read whole")
}
