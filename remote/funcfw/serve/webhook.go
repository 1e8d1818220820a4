package serve

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
)

const (
	// webhookAge is how old, or how early, a signature may be: as the senders' own
	// libraries have it. Their clocks and ours differ by less, and a request that was
	// overheard is of no use later.
	webhookAge = 5 * time.Minute
	// maxSignatures bounds the signatures of one request that are compared: senders add a
	// second one while they change a secret.
	maxSignatures = 16
)

// webhook says how senders sign what they send, by a secret that they share with the
// function.
type webhook struct {
	form   string // github, stripe, slack or standard
	secret []byte
}

// takeWebhook reads FORM:VARIABLE, and the secret from the variable.
func takeWebhook(text string) (*webhook, error) {
	form, name, _ := strings.Cut(text, ":")
	secret := os.Getenv(name)
	if name == "" || secret == "" {
		return nil, fmt.Errorf("webhook %q: the function has no variable %q, or an empty one; give it in secrets", text, name)
	}
	w := &webhook{form: form, secret: []byte(secret)}
	switch form {
	case "github", "stripe", "slack":
		return w, nil
	case "standard":
		key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret, "whsec_"))
		if err != nil || len(key) == 0 {
			return nil, fmt.Errorf("webhook %q: the secret in %s is not in base64, with or without whsec_ before it", text, name)
		}
		w.secret = key
		return w, nil
	}
	return nil, fmt.Errorf("webhook %q: %q is none of github, stripe, slack and standard", text, form)
}

// signed lets requests through that have a signature of their body. A body is read whole
// before the function sees any of it; the limit of bodies bounds what that takes.
func signed(how *webhook, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		refuse := func(why string) {
			w.Header().Set("Www-Authenticate", "Webhook") // RFC 9110 section 15.5.2 asks for one
			answerError(w, r, http.StatusUnauthorized, "unauthenticated", why)
		}
		proof, err := how.read(r.Header, time.Now())
		if err != nil {
			refuse(err.Error())
			return
		}
		body, ok := readBody(w, r)
		if !ok {
			return
		}
		if !proof.of(how.secret, body) {
			refuse("no signature in " + proof.header + " is one of this body by the function's secret")
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		next.ServeHTTP(w, r)
	})
}

// proof is what a request says to prove who sends it.
type proof struct {
	header     string   // that has the signatures
	before     string   // what is signed before the body
	signatures [][]byte // one of them must be right
}

// of says whether one of the signatures is of a body. It takes as long for a wrong one as
// for a right one.
func (p proof) of(secret, body []byte) bool {
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(p.before))
	mac.Write(body)
	want, right := mac.Sum(nil), false
	for _, signature := range p.signatures {
		right = hmac.Equal(signature, want) || right
	}
	return right
}

// read reads what the headers of a request prove, in the sender's form:
//
//   - github: X-Hub-Signature-256: sha256=HEX, of the body
//   - stripe: Stripe-Signature: t=TIME,v1=HEX, of TIME.BODY
//   - slack: X-Slack-Signature: v0=HEX, of v0:X-Slack-Request-Timestamp:BODY
//   - standard: webhook-signature: v1,BASE64, of webhook-id.webhook-timestamp.BODY
//
// Signatures of other versions than these are passed over, since senders may add them.
func (how *webhook) read(h http.Header, now time.Time) (p proof, err error) {
	var at string
	switch how.form {
	case "github":
		p.header = "X-Hub-Signature-256"
		text, err := only(h, p.header)
		if err != nil {
			return p, err
		}
		p.add(text, "sha256=", hex.DecodeString)
	case "stripe":
		p.header = "Stripe-Signature"
		text, err := only(h, p.header)
		if err != nil {
			return p, err
		}
		for _, part := range strings.SplitN(text, ",", maxSignatures) {
			if value := strings.TrimPrefix(part, "t="); value != part {
				if at != "" {
					return p, fmt.Errorf("the header %s has two times", p.header)
				}
				at = value
			}
			p.add(part, "v1=", hex.DecodeString)
		}
		p.before = at + "."
		if err := recent(at, p.header, now); err != nil {
			return p, err
		}
	case "slack":
		p.header = "X-Slack-Signature"
		text, err := only(h, p.header)
		if err != nil {
			return p, err
		}
		if at, err = only(h, "X-Slack-Request-Timestamp"); err != nil {
			return p, err
		}
		p.add(text, "v0=", hex.DecodeString)
		p.before = "v0:" + at + ":"
		if err := recent(at, "X-Slack-Request-Timestamp", now); err != nil {
			return p, err
		}
	default:
		p.header = "Webhook-Signature"
		text, err := only(h, p.header)
		if err != nil {
			return p, err
		}
		id, err := only(h, "Webhook-Id")
		if err != nil {
			return p, err
		}
		if at, err = only(h, "Webhook-Timestamp"); err != nil {
			return p, err
		}
		for _, part := range strings.SplitN(text, " ", maxSignatures) {
			p.add(part, "v1,", base64.StdEncoding.DecodeString)
		}
		p.before = id + "." + at + "."
		if err := recent(at, "Webhook-Timestamp", now); err != nil {
			return p, err
		}
	}
	if len(p.signatures) == 0 {
		return p, fmt.Errorf("the header %s has no signature in the form of %s", p.header, how.form)
	}
	return p, nil
}

// add adds a signature, if it is one of the version.
func (p *proof) add(text, version string, decode func(string) ([]byte, error)) {
	if coded := strings.TrimPrefix(text, version); coded != text {
		if signature, err := decode(coded); err == nil && len(signature) == sha256.Size {
			p.signatures = append(p.signatures, signature)
		}
	}
}

// only returns the value of a header that must be there once.
func only(h http.Header, name string) (string, error) {
	values := h[http.CanonicalHeaderKey(name)]
	switch {
	case len(values) == 0 || values[0] == "":
		return "", fmt.Errorf("the header %s is missing", name)
	case len(values) > 1:
		return "", fmt.Errorf("the header %s is there twice", name)
	}
	return values[0], nil
}

// recent returns why a time, in seconds since 1970, is not now.
func recent(text, header string, now time.Time) error {
	seconds, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return fmt.Errorf("the header %s has no time in seconds since 1970", header)
	}
	// Of times far away the difference would not fit into a duration.
	if age := now.Unix() - seconds; seconds < 0 || age > int64(webhookAge/time.Second) || -age > int64(webhookAge/time.Second) {
		return fmt.Errorf("the time in %s is more than %s from now", header, webhookAge)
	}
	return nil
}
