package events

import (
	"cmp"
	"encoding/json"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/transport/wire"
)

// HookPath is where the webhooks of others are taken, each below it by its name.
const HookPath = "/hooks/"

// Hook is where the webhooks of one sender become events.
type Hook struct {
	// Name is its path below HookPath, and the first segment of its events' types.
	Name   string
	Form   string // by which they are signed: one of Forms
	Secret []byte // by which they are signed
}

var hookName = regexp.MustCompile(`^[a-z][a-z0-9-]{0,39}$`)

// ParseHook reads NAME=FORM:REFERENCE, of which secret returns what REFERENCE refers to.
func ParseHook(text string, secret func(reference string) (string, error)) (Hook, error) {
	name, rest, _ := strings.Cut(text, "=")
	form, reference, found := strings.Cut(rest, ":")
	switch {
	case !found:
		// The text may hold a secret.
		return Hook{}, invalid("webhook %.40q is not of the form NAME=FORM:env:VARIABLE or NAME=FORM:file:PATH", name)
	case !hookName.MatchString(name):
		return Hook{}, invalid("%.100q is no name of a webhook: up to 40 small letters, digits and hyphens, such as github", name)
	case !slices.Contains(Forms, form):
		return Hook{}, invalid("webhook %s has no form of signatures that is known; it is one of %s", name, strings.Join(Forms, ", "))
	}
	value, err := secret(reference)
	if err != nil {
		return Hook{}, invalid("webhook %s: %w", name, err)
	}
	h := Hook{Name: name, Form: form, Secret: []byte(value)}
	if form == "standard" {
		if h.Secret, err = standardSecret(value); err != nil {
			return Hook{}, invalid("webhook %s: %w", name, err)
		}
	}
	if len(h.Secret) == 0 {
		return Hook{}, invalid("the secret of webhook %s is empty", name)
	}
	return h, nil
}

// ServeHook takes a webhook, and answers as ServeHTTP does for an event. Its signature is
// all that its sender needs.
func (in *Inlet) ServeHook(w http.ResponseWriter, r *http.Request) {
	list, challenge, err := in.takeHook(w, r)
	switch {
	case err != nil:
		wire.WriteError(w, err)
	case challenge != "":
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = io.WriteString(w, challenge)
	default:
		answer(w, list)
	}
}

func (in *Inlet) takeHook(w http.ResponseWriter, r *http.Request) (list []accepted, challenge string, err error) {
	i := slices.IndexFunc(in.Hooks, func(h Hook) bool { return HookPath+h.Name == r.URL.Path })
	if i < 0 {
		return nil, "", proto.Errorf(proto.ErrNotFound, "there is no webhook %.100q", r.URL.Path).WithHint("the proxy's -hooks names those that there are")
	}
	h := in.Hooks[i]
	signature, err := h.read(r.Header, time.Now()) // before the body takes memory
	if err != nil {
		return nil, "", unsigned(w, err)
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, MaxData))
	if err != nil {
		return nil, "", wire.InputError(err)
	}
	if !signature.of(h.Secret, body) {
		return nil, "", unsigned(w, proto.Errorf(proto.ErrUnauthenticated, "no signature in %s is one of this body by the secret of webhook %s", signature.header, h.Name))
	}
	e, challenge, err := h.event(r.Header, body)
	if err != nil || challenge != "" {
		return nil, challenge, err
	}
	list, err = in.give([]*Event{e}, r)
	return list, "", err
}

// unsigned refuses a request. RFC 9110, section 15.5.2, asks for the header.
func unsigned(w http.ResponseWriter, err error) error {
	w.Header().Set("Www-Authenticate", "Webhook")
	return err
}

// event makes an event of what a sender says. Slack asks, before it sends any, for a
// challenge to be answered.
func (h Hook) event(header http.Header, body []byte) (e *Event, challenge string, err error) {
	var is struct {
		ID        string `json:"id"`
		EventID   string `json:"event_id"`
		Type      string `json:"type"`
		Action    string `json:"action"`
		Challenge string `json:"challenge"`
		Event     struct {
			Type string `json:"type"`
		} `json:"event"`
	}
	_ = json.Unmarshal(body, &is) // what it does not say is missing below
	var id, kind string
	switch h.Form {
	case "github":
		id, kind = header.Get("X-Github-Delivery"), header.Get("X-Github-Event")
		if kind != "" && is.Action != "" {
			kind += "." + is.Action
		}
	case "stripe":
		id, kind = is.ID, is.Type
	case "slack":
		if is.Type == "url_verification" && is.Challenge != "" {
			return nil, is.Challenge, nil
		}
		id, kind = is.EventID, is.Event.Type
	default:
		id, kind = header.Get("Webhook-Id"), cmp.Or(is.Type, "event")
	}
	if id == "" || kind == "" {
		return nil, "", invalid("the webhook does not say which event it is of, as those of the form %s do", h.Form)
	}
	e = &Event{
		Attributes:  map[string]string{"specversion": "1.0", "id": id, "source": HookPath + h.Name, "type": h.Name + "." + kind},
		ContentType: header.Get("Content-Type"), Data: body,
	}
	err = e.check()
	return e, "", err
}
