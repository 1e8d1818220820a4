package events

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/Ishan27g/ryo-faas/proto"
)

const hookSecret = "It's a Secret to Everybody"

func sum(secret, text string) []byte {
	mac := hmac.New(sha256.New, []byte(secret))
	_, _ = mac.Write([]byte(text))
	return mac.Sum(nil)
}

// hooked takes webhooks of all forms, each by its name.
func hooked(t *testing.T) (*Inlet, *calls) {
	t.Helper()
	in, got, _ := inlet(subscriber("All", "*.**"), subscriber("Opened", "github.pull_request.opened"))
	for _, form := range Forms {
		h, err := ParseHook(form+"="+form+":ref", func(string) (string, error) {
			if form == "standard" {
				return "whsec_" + base64.StdEncoding.EncodeToString([]byte(hookSecret)), nil
			}
			return hookSecret, nil
		})
		require.NoError(t, err)
		in.Hooks = append(in.Hooks, h)
	}
	return in, got
}

func sendHook(in *Inlet, name, body string, h http.Header) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	r := httptest.NewRequest(http.MethodPost, HookPath+name, strings.NewReader(body))
	r.Header = h
	r.Header.Set("Content-Type", "application/json")
	in.ServeHook(w, r)
	return w
}

// signed are the headers of a webhook as its sender signs it.
func signed(form, body string, at time.Time) http.Header {
	seconds := strconv.FormatInt(at.Unix(), 10)
	switch form {
	case "github":
		return header("X-Hub-Signature-256", "sha256="+hex.EncodeToString(sum(hookSecret, body)), "X-GitHub-Event", "pull_request", "X-GitHub-Delivery", "72d3162e")
	case "stripe":
		return header("Stripe-Signature", "t="+seconds+",v1="+strings.Repeat("0", 64)+",v1="+hex.EncodeToString(sum(hookSecret, seconds+"."+body))+",v0=x")
	case "slack":
		return header("X-Slack-Signature", "v0="+hex.EncodeToString(sum(hookSecret, "v0:"+seconds+":"+body)), "X-Slack-Request-Timestamp", seconds)
	}
	return header("Webhook-Id", "msg_1", "Webhook-Timestamp", seconds,
		"Webhook-Signature", "v1a,xx v1,"+base64.StdEncoding.EncodeToString(sum(hookSecret, "msg_1."+seconds+"."+body)))
}

func TestSignedWebhooksAreEvents(t *testing.T) {
	for _, c := range []struct{ form, body, id, kind string }{
		{"github", `{"action":"opened","number":1}`, "72d3162e", "github.pull_request.opened"},
		{"github", `no JSON`, "72d3162e", "github.pull_request"},
		{"stripe", `{"id":"evt_1","type":"invoice.paid"}`, "evt_1", "stripe.invoice.paid"},
		{"slack", `{"event_id":"Ev1","type":"event_callback","event":{"type":"app_mention"}}`, "Ev1", "slack.app_mention"},
		{"standard", `{"type":"user.created"}`, "msg_1", "standard.user.created"},
		{"standard", `[]`, "msg_1", "standard.event"},
	} {
		in, got := hooked(t)
		now := time.Now()
		w := sendHook(in, c.form, c.body, signed(c.form, c.body, now))
		require.Equal(t, http.StatusAccepted, w.Code, w.Body.String())
		var told struct{ Events []accepted }
		require.NoError(t, json.Unmarshal(w.Body.Bytes(), &told))
		require.Len(t, told.Events, 1)
		assert.Equal(t, []string{c.id, HookPath + c.form}, []string{told.Events[0].ID, told.Events[0].Source})
		want := 1
		if c.kind == "github.pull_request.opened" {
			want = 2
		}
		require.Len(t, told.Events[0].Calls, want, c.kind)
		call := got.made[told.Events[0].Calls[0].ID]
		assert.Equal(t, c.body, string(call.Body))
		assert.Equal(t, []string{c.kind, "application/json"}, []string{call.Header.Get("Ce-Type"), call.Header.Get("Content-Type")})

		// Sent again it is the same; changed, late, early, or signed by another, it is none.
		assert.Equal(t, http.StatusAccepted, sendHook(in, c.form, c.body, signed(c.form, c.body, now)).Code)
		assert.Equal(t, want, got.count())
		refused := func(body string, h http.Header, why string) {
			w := sendHook(in, c.form, body, h)
			assert.Equal(t, http.StatusUnauthorized, w.Code, "%s %s", c.form, why)
			assert.Equal(t, "Webhook", w.Header().Get("Www-Authenticate"))
			assert.NotContains(t, w.Body.String(), hookSecret)
		}
		refused(c.body+" ", signed(c.form, c.body, now), "another body")
		refused(c.body, http.Header{}, "nothing")
		if c.form != "github" { // whose signatures have no time
			refused(c.body, signed(c.form, c.body, now.Add(-6*time.Minute)), "late")
			refused(c.body, signed(c.form, c.body, now.Add(6*time.Minute)), "early")
			refused(c.body, signed(c.form, c.body, time.Unix(-1<<62, 0)), "long ago")
		}
		twice := signed(c.form, c.body, now)
		for name, values := range twice {
			if strings.Contains(strings.ToLower(name), "signature") {
				twice[name] = append(values, values...)
			}
		}
		refused(c.body, twice, "signed twice")
		other := Forms[0]
		if c.form == other {
			other = Forms[1]
		}
		refused(c.body, signed(other, c.body, now), "in another form")
		assert.Equal(t, want, got.count())
	}
}

func TestSlackIsToldItsChallenge(t *testing.T) {
	in, got := hooked(t)
	body := `{"type":"url_verification","challenge":"3eZbrw1aB"}`
	w := sendHook(in, "slack", body, signed("slack", body, time.Now()))
	assert.Equal(t, http.StatusOK, w.Code)
	assert.Equal(t, "3eZbrw1aB", w.Body.String())
	assert.Equal(t, "text/plain; charset=utf-8", w.Header().Get("Content-Type"))
	assert.Zero(t, got.count())
	w = sendHook(in, "slack", body, http.Header{})
	assert.Equal(t, http.StatusUnauthorized, w.Code)
}

func TestWhatIsNoWebhookIsRefused(t *testing.T) {
	in, got := hooked(t)
	for _, c := range []struct {
		name, form, body string
		status           int
	}{
		{"other", "stripe", "{}", http.StatusNotFound},
		{"", "stripe", "{}", http.StatusNotFound},
		{"stripe/", "stripe", "{}", http.StatusNotFound},
		{"stripe", "stripe", `{"id":"evt_1"}`, http.StatusBadRequest},
		{"stripe", "stripe", `[]`, http.StatusBadRequest},
		{"stripe", "stripe", strings.Repeat(" ", MaxData+1), http.StatusRequestEntityTooLarge},
		{"slack", "slack", `{"type":"event_callback"}`, http.StatusBadRequest},
	} {
		w := sendHook(in, c.name, c.body, signed(c.form, c.body, time.Now()))
		assert.Equal(t, c.status, w.Code, "%s: %s", c.name, w.Body.String())
	}
	assert.Zero(t, got.count())
}

func TestHooksAreReadFromAFlag(t *testing.T) {
	secret := func(reference string) (string, error) {
		if reference == "env:X" {
			return "s3cret", nil
		}
		return "", errors.New("no such thing")
	}
	h, err := ParseHook("my-shop=stripe:env:X", secret)
	require.NoError(t, err)
	assert.Equal(t, Hook{"my-shop", "stripe", []byte("s3cret")}, h)
	for _, bad := range []string{
		"", "a", "a=github", "a=s3cret", "A=github:env:X", "a.b=github:env:X", "=github:env:X", "a=s3cret:env:X", "a=github:s3cret", "a=standard:env:X",
		strings.Repeat("a", 41) + "=github:env:X",
	} {
		_, err := ParseHook(bad, secret)
		require.ErrorIs(t, err, proto.ErrInvalid, bad)
		assert.NotContains(t, err.Error(), "s3cret")
	}
	_, err = ParseHook("a=github:env:X", func(string) (string, error) { return "", nil })
	require.ErrorContains(t, err, "empty")
}

func FuzzHook(f *testing.F) {
	for _, form := range Forms {
		for name, values := range signed(form, "{}", time.Now()) {
			f.Add(form, name, values[0], []byte("{}"))
		}
	}
	f.Fuzz(func(t *testing.T, form, name, value string, body []byte) {
		h := Hook{Name: "a", Form: form, Secret: []byte(hookSecret)}
		header := http.Header{name: {value}, "Webhook-Id": {"1"}, "X-Github-Delivery": {"1"}, "Webhook-Timestamp": {fmt.Sprint(time.Now().Unix())}}
		if s, err := h.read(header, time.Now()); err == nil {
			assert.NotEmpty(t, s.sums)
			assert.LessOrEqual(t, len(s.sums), maxSignatures)
		}
		if e, _, err := h.event(header, body); err == nil && e != nil {
			assert.NoError(t, e.check())
		}
	})
}
