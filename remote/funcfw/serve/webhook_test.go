package serve

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// taken returns the webhook of a form with a secret.
func taken(t testing.TB, form, secret string) *webhook {
	t.Helper()
	t.Setenv("KEY", secret)
	how, err := takeWebhook(form + ":KEY")
	require.NoError(t, err)
	return how
}

// header makes a header of lines.
func header(lines ...string) http.Header {
	h := http.Header{}
	for _, line := range lines {
		name, value, _ := strings.Cut(line, ": ")
		h.Add(name, value)
	}
	return h
}

// The senders' own examples.
func TestSignaturesOfSenders(t *testing.T) {
	for _, tt := range []struct {
		form, secret, body string
		at                 int64
		lines              []string
	}{
		{ // https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries
			"github", "It's a Secret to Everybody", "Hello, World!", 0,
			[]string{"X-Hub-Signature-256: sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"},
		},
		{ // https://docs.slack.dev/authentication/verifying-requests-from-slack
			"slack", "8f742231b10e8888abcd99yyyzzz85a5",
			"token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c",
			1531420618,
			[]string{"X-Slack-Request-Timestamp: 1531420618", "X-Slack-Signature: v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503"},
		},
		{ // https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
			"standard", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", `{"test": 2432232314}`, 1614265330,
			[]string{"webhook-id: msg_p5jXN8AQM9LWM0D4loKWxJek", "webhook-timestamp: 1614265330", "webhook-signature: v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="},
		},
	} {
		t.Run(tt.form, func(t *testing.T) {
			how := taken(t, tt.form, tt.secret)
			p, err := how.read(header(tt.lines...), time.Unix(tt.at, 0))
			require.NoError(t, err)
			assert.True(t, p.of(how.secret, []byte(tt.body)))
			assert.False(t, p.of(how.secret, []byte(tt.body+" ")))
			assert.False(t, p.of([]byte("another"), []byte(tt.body)))
			if tt.at == 0 {
				return
			}
			for _, off := range []time.Duration{-webhookAge, webhookAge} {
				_, err = how.read(header(tt.lines...), time.Unix(tt.at, 0).Add(off))
				require.NoError(t, err)
				_, err = how.read(header(tt.lines...), time.Unix(tt.at, 0).Add(off+off/300))
				require.ErrorContains(t, err, "more than 5m0s from now")
			}
		})
	}
}

// mac is a signature in a coding.
func mac(secret, text string, code func([]byte) string) string {
	m := hmac.New(sha256.New, []byte(secret))
	m.Write([]byte(text))
	return code(m.Sum(nil))
}

// sign returns the header lines by which a form signs a body at a time.
func sign(form, secret, body string, at time.Time) []string {
	when := fmt.Sprint(at.Unix())
	switch form {
	case "github":
		return []string{"X-Hub-Signature-256: sha256=" + mac(secret, body, hex.EncodeToString)}
	case "stripe":
		return []string{"Stripe-Signature: t=" + when + ",v1=" + mac(secret, when+"."+body, hex.EncodeToString) + ",v0=6f"}
	case "slack":
		return []string{"X-Slack-Request-Timestamp: " + when, "X-Slack-Signature: v0=" + mac(secret, "v0:"+when+":"+body, hex.EncodeToString)}
	}
	key, _ := base64.StdEncoding.DecodeString(secret)
	return []string{"Webhook-Id: m1", "Webhook-Timestamp: " + when, "Webhook-Signature: v1a,AA== v1," + mac(string(key), "m1."+when+"."+body, base64.StdEncoding.EncodeToString)}
}

var webhookForms = []string{"github", "stripe", "slack", "standard"}

func TestOnlySignedCallsReachTheFunction(t *testing.T) {
	const secret, body = "c2VjcmV0", `{"event": 1}`
	for _, form := range webhookForms {
		how := taken(t, form, secret)
		now := sign(form, secret, body, time.Now())
		signature := now[len(now)-1]
		flipped := map[byte]string{'0': "1"}[signature[len(signature)-6]]
		if flipped == "" {
			flipped = "0"
		}
		twice := append(append([]string{}, now...), signature)
		for name, tt := range map[string]struct {
			lines []string
			body  io.Reader
			code  int
			says  string
		}{
			"right":          {now, strings.NewReader(body), 200, ""},
			"in parts":       {now, iotest.OneByteReader(strings.NewReader(body)), 200, ""},
			"not signed":     {nil, strings.NewReader(body), 401, "is missing"},
			"empty":          {append(append([]string{}, now[:len(now)-1]...), signature[:strings.Index(signature, ":")]+": "), strings.NewReader(body), 401, "is missing"},
			"another body":   {now, strings.NewReader(body + " "), 401, "no signature in"},
			"no body":        {now, nil, 401, "no signature in"},
			"another secret": {sign(form, "b3RoZXI=", body, time.Now()), strings.NewReader(body), 401, "no signature in"},
			"one bit":        {append(append([]string{}, now[:len(now)-1]...), signature[:len(signature)-6]+flipped+signature[len(signature)-5:]), strings.NewReader(body), 401, "no signature in"},
			"cut off":        {append(append([]string{}, now[:len(now)-1]...), signature[:len(signature)/2]), strings.NewReader(body), 401, "no signature in the form of"},
			"another scheme": {append(append([]string{}, now[:len(now)-1]...), signature[:strings.Index(signature, ":")]+": md5=abc"), strings.NewReader(body), 401, ""},
			"twice":          {twice, strings.NewReader(body), 401, "is there twice"},
			"old":            {sign(form, secret, body, time.Now().Add(-6*time.Minute)), strings.NewReader(body), map[string]int{"github": 200}[form], "more than 5m0s from now"},
			"early":          {sign(form, secret, body, time.Now().Add(6*time.Minute)), strings.NewReader(body), map[string]int{"github": 200}[form], "more than 5m0s from now"},
			"too large":      {now, strings.NewReader(strings.Repeat("x", 101)), 413, "the body is larger than 100 bytes"},
			"breaks off":     {now, iotest.TimeoutReader(iotest.HalfReader(strings.NewReader(body))), 400, "could not be read"},
		} {
			t.Run(form+" "+name, func(t *testing.T) {
				seen := 0
				fn := limitBody(signed(how, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
					seen++
					got, err := io.ReadAll(r.Body)
					assert.NoError(t, err)
					assert.Equal(t, body, string(got))
				})), 100)
				r := httptest.NewRequest(http.MethodPost, "/", tt.body)
				if tt.body != nil {
					r.ContentLength = -1
				}
				r.Header = header(tt.lines...)
				w := httptest.NewRecorder()
				fn.ServeHTTP(w, r)
				if tt.code == 0 {
					tt.code = 401
				}
				require.Equal(t, tt.code, w.Code, w.Body)
				if tt.code == 200 {
					assert.Equal(t, 1, seen)
					return
				}
				assert.Zero(t, seen, "the function does not see it")
				assert.Contains(t, w.Body.String(), tt.says)
				assert.NotContains(t, w.Body.String(), secret)
				assert.Equal(t, tt.code == 401, w.Header().Get("Www-Authenticate") != "")
			})
		}
	}
}

// Senders sign with the old and the new secret while they change it.
func TestOneOfSeveralSignaturesIsEnough(t *testing.T) {
	at := time.Unix(1_700_000_000, 0)
	wrong := strings.Repeat("00", sha256.Size)
	stripe := taken(t, "stripe", "s")
	line := sign("stripe", "s", "body", at)[0]
	p, err := stripe.read(header(strings.Replace(line, ",v1=", ",v1="+wrong+",v1=", 1)), at)
	require.NoError(t, err)
	assert.Len(t, p.signatures, 2)
	assert.True(t, p.of(stripe.secret, []byte("body")))
	p, err = stripe.read(header(strings.Replace(line, ",v1=", strings.Repeat(",v1="+wrong, 100)+",v1=", 1)), at)
	require.NoError(t, err)
	assert.Less(t, len(p.signatures), maxSignatures)
	assert.False(t, p.of(stripe.secret, []byte("body")))
	_, err = stripe.read(header(line+",t=1"), at)
	require.ErrorContains(t, err, "two times")

	standard := taken(t, "standard", "c2VjcmV0")
	lines := sign("standard", "c2VjcmV0", "body", at)
	lines[2] += " v1," + base64.StdEncoding.EncodeToString(make([]byte, sha256.Size))
	p, err = standard.read(header(lines...), at)
	require.NoError(t, err)
	assert.True(t, p.of(standard.secret, []byte("body")))
}

func TestTakeWebhook(t *testing.T) {
	t.Setenv("KEY", "hunter 2")
	t.Setenv("NONE", "")
	for text, says := range map[string]string{
		"github:NONE":  `the function has no variable "NONE", or an empty one`,
		"github:OTHER": `the function has no variable "OTHER"`,
		"github":       `the function has no variable ""`,
		"gitlab:KEY":   `"gitlab" is none of github, stripe, slack and standard`,
		"standard:KEY": "the secret in KEY is not in base64",
	} {
		_, err := takeWebhook(text)
		require.ErrorContains(t, err, says, text)
		assert.NotContains(t, err.Error(), "hunter", "no secret is told")
	}
	how, err := takeWebhook("github:KEY")
	require.NoError(t, err)
	assert.Equal(t, &webhook{"github", []byte("hunter 2")}, how)
}

// FuzzWebhook: what is not signed with the secret is refused, whatever the headers say.
func FuzzWebhook(f *testing.F) {
	at := time.Unix(1_700_000_000, 0)
	for i, form := range webhookForms {
		lines := sign(form, "b3RoZXI=", "body", at)
		_, signature, _ := strings.Cut(lines[len(lines)-1], ": ")
		f.Add(i, signature, fmt.Sprint(at.Unix()), "m1")
	}
	f.Add(1, "t=1700000000,v1=,t=,,v1=00", "-9223372036854775808", "")
	f.Add(3, "v1, v1,AA== v1a", "9223372036854775807", ".")
	f.Fuzz(func(t *testing.T, i int, signature, when, id string) {
		how := &webhook{form: webhookForms[uint(i)%uint(len(webhookForms))], secret: []byte("secret")}
		h := http.Header{}
		for name, value := range map[string]string{
			"X-Hub-Signature-256": signature, "Stripe-Signature": signature, "X-Slack-Signature": signature, "Webhook-Signature": signature,
			"X-Slack-Request-Timestamp": when, "Webhook-Timestamp": when, "Webhook-Id": id,
		} {
			h.Set(name, value)
		}
		p, err := how.read(h, at)
		switch {
		case err != nil:
			if err.Error() == "" || errors.Is(err, io.EOF) {
				t.Fatal(err)
			}
		case len(p.signatures) == 0 || len(p.signatures) > maxSignatures:
			t.Fatalf("%d signatures", len(p.signatures))
		case p.of(how.secret, []byte("body")):
			t.Fatal("it is taken for signed")
		}
	})
}
