package events

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/Ishan27g/ryo-faas/proto"
)

// Forms are those of the signatures that are known; the setting webhook of functions has
// the same (remote/funcfw/serve, which is compiled into programs and imports nothing of
// this one):
//
//   - github: X-Hub-Signature-256: sha256=HEX, of the body
//   - stripe: Stripe-Signature: t=TIME,v1=HEX, of TIME.BODY
//   - slack: X-Slack-Signature: v0=HEX, of v0:X-Slack-Request-Timestamp:BODY
//   - standard: webhook-signature: v1,BASE64, of webhook-id.webhook-timestamp.BODY
var Forms = []string{"github", "stripe", "slack", "standard"}

const (
	// signatureAge is how far from now the time of a signature may be: what was overheard is
	// of no use later.
	signatureAge = 5 * time.Minute
	// maxSignatures bounds those of one request: senders add a second one while they change
	// a secret.
	maxSignatures = 16
)

// signature is what a request says to prove who sends it.
type signature struct {
	header string // that has it
	before string // what is signed before the body
	sums   [][]byte
}

// of reports whether one of the sums is of a body.
func (s signature) of(secret, body []byte) bool {
	mac := hmac.New(sha256.New, secret)
	_, _ = mac.Write([]byte(s.before))
	_, _ = mac.Write(body)
	want, right := mac.Sum(nil), false
	for _, sum := range s.sums {
		right = hmac.Equal(sum, want) || right
	}
	return right
}

// standardSecret reads base64, with whsec_ before it or without.
func standardSecret(text string) ([]byte, error) {
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(text, "whsec_"))
	if err != nil {
		return nil, invalid("the secret is not in base64, with or without whsec_ before it")
	}
	return key, nil
}

// read reads what the headers of a request prove. Signatures of other versions are passed
// over, since senders may add them.
func (h Hook) read(header http.Header, now time.Time) (s signature, err error) {
	r := reader{header: header}
	var at, mark, between string
	decode := hex.DecodeString
	switch h.Form {
	case "github":
		s.header, mark = "X-Hub-Signature-256", "sha256="
	case "stripe":
		s.header, mark, between = "Stripe-Signature", "v1=", ","
		for part := range strings.SplitSeq(r.only(s.header), between) {
			if text, ok := strings.CutPrefix(part, "t="); ok {
				if at != "" {
					return s, proto.Errorf(proto.ErrUnauthenticated, "the header %s has two times", s.header)
				}
				at = text
			}
		}
		s.before = at + "."
	case "slack":
		s.header, mark = "X-Slack-Signature", "v0="
		at = r.only("X-Slack-Request-Timestamp")
		s.before = "v0:" + at + ":"
	default:
		s.header, mark, between, decode = "Webhook-Signature", "v1,", " ", base64.StdEncoding.DecodeString
		at = r.only("Webhook-Timestamp")
		s.before = r.only("Webhook-Id") + "." + at + "."
	}
	parts := []string{r.only(s.header)}
	if between != "" {
		parts = strings.SplitN(parts[0], between, maxSignatures)
	}
	for _, part := range parts {
		if coded, ok := strings.CutPrefix(part, mark); ok {
			if sum, err := decode(coded); err == nil && len(sum) == sha256.Size {
				s.sums = append(s.sums, sum)
			}
		}
	}
	switch {
	case r.err != nil:
		return s, r.err
	case h.Form != "github" && !recent(at, now):
		return s, proto.Errorf(proto.ErrUnauthenticated, "the time of the signature is missing, or more than %v from now", signatureAge)
	case len(s.sums) == 0:
		return s, proto.Errorf(proto.ErrUnauthenticated, "the header %s has no signature in the form of %s", s.header, h.Form)
	}
	return s, nil
}

// reader reads headers that must be there once.
type reader struct {
	header http.Header
	err    error // the first one
}

func (r *reader) only(name string) string {
	values := r.header[http.CanonicalHeaderKey(name)]
	if len(values) == 1 && values[0] != "" {
		return values[0]
	}
	if r.err == nil {
		why := "is missing"
		if len(values) > 1 {
			why = "is there twice"
		}
		r.err = proto.Errorf(proto.ErrUnauthenticated, "the header %s %s", name, why)
	}
	return ""
}

// recent reports whether a time, in seconds since 1970, is about now.
func recent(text string, now time.Time) bool {
	seconds, err := strconv.ParseInt(text, 10, 64)
	// Of times far away the difference would not fit into a duration.
	age, most := now.Unix()-seconds, int64(signatureAge/time.Second)
	return err == nil && seconds >= 0 && age <= most && -age <= most
}
