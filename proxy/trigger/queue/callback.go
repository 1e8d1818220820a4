package queue

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"time"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/proxy/store"
	"github.com/Ishan27g/ryo-faas/transport/wire"
)

const (
	maxURL = 2 << 10 // bytes of a callback's url
	// callbackPlaces is how many callbacks of one function are under way at a time.
	callbackPlaces = 8
	// callbackLimit is how long a receiver may take. Standard Webhooks say 15 to 30 s.
	callbackLimit = 15 * time.Second
	// callbackTries and the backoff make about 20 minutes, in which a receiver is started
	// anew.
	callbackTries = 10
	// callbackRounds is how often one is made at most, those attempts too that could not be
	// counted since nothing could be stored.
	callbackRounds = 2 * callbackTries
)

// job is a callback that is to be made.
type job struct {
	Call string `json:"call"` // its id
	URL  string `json:"url"`
	// Body is what is told, as JSON; it was made when the call ended.
	Body  []byte    `json:"body"`
	Tried int       `json:"tried,omitempty"`
	Since time.Time `json:"since"`
}

// checkURL returns what is wrong with the url of a callback, which what says where it is
// given.
func (q *Queue) checkURL(what, text string) error {
	if what != "" {
		what += ": "
	}
	u, err := url.Parse(text)
	switch {
	case len(text) > maxURL:
		return proto.Errorf(proto.ErrInvalid, "%sthe url has more than %d bytes", what, maxURL)
	case err != nil, u.Scheme != "http" && u.Scheme != "https", u.Hostname() == "", u.User != nil, u.Fragment != "", !isPort(u.Port()):
		return proto.Errorf(proto.ErrInvalid, "%s%.100q is not the url of a callback, such as https://example.com/done", what, text)
	}
	if at, err := netip.ParseAddr(u.Hostname()); err == nil && !q.reachable(at) {
		return refusedAddress(at)
	}
	return nil
}

// isPort reports whether the port of a url is one, or is not given.
func isPort(text string) bool {
	n, err := strconv.ParseUint(text, 10, 16)
	return text == "" || err == nil && n > 0
}

// callbackClient returns what makes callbacks: it follows no redirects and knows no proxy,
// since either may lead elsewhere.
func (q *Queue) callbackClient() *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			DialContext:            (&net.Dialer{Timeout: callbackLimit, Control: q.control}).DialContext,
			ForceAttemptHTTP2:      true,
			MaxResponseHeaderBytes: wire.MaxHeader,
			DisableKeepAlives:      true, // each is judged when it is dialed
			TLSHandshakeTimeout:    callbackLimit,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Timeout:       callbackLimit,
	}
}

// announce stores the job to tell a call's callback of its end.
func (q *Queue) announce(ctx context.Context, i id, rec *record) error {
	if rec.Callback == nil {
		return nil
	}
	body, err := wire.Encode(rec.message())
	if err != nil {
		return err
	}
	data, err := json.Marshal(job{Call: rec.ID, URL: rec.Callback.URL, Body: body, Since: time.Now()})
	if err != nil {
		return err
	}
	topic := callbackTopics + "/" + i.path
	_, err = q.store.Queue().Publish(ctx, store.Message{Topic: topic, ID: i.once("callback " + rec.State + roundText(rec.Round)), Data: data})
	if err == nil {
		q.hint(topic)
	}
	return err
}

// callBack makes a callback. The record of its call counts the attempts, and the queue how
// often it was handed out.
func (q *Queue) callBack(ctx context.Context, m store.Message, round int) store.Verdict {
	var j job
	err := json.Unmarshal(m.Data, &j)
	i, wrong := parseID(j.Call)
	if err = errors.Join(err, wrong); err != nil {
		q.Logger.Error("a message is dropped", "topic", m.Topic, "sequence", m.Sequence, "error", err)
		return store.Verdict{}
	}
	rec, err := q.load(ctx, i)
	if err != nil {
		return q.postpone(ctx, i, err)
	}
	tried := 1
	if rec != nil && rec.Callback != nil {
		if rec.Callback.State != "waiting" {
			return store.Verdict{}
		}
		tried = rec.Callback.Tried + 1
	}
	failure := q.post(ctx, Notice{ID: j.Call, URL: j.URL, Type: "application/json", Body: j.Body})
	if ctx.Err() != nil {
		return again(0)
	}
	v, state := store.Verdict{}, "done"
	switch {
	case failure == nil:
	case tried >= callbackTries || round >= callbackRounds || rec == nil || errors.Is(failure, proto.ErrForbidden) || errors.Is(failure, errGone):
		state = "failed"
		q.Logger.Warn("a callback has failed for good", "call", j.Call, "function", i.path, "attempts", tried, "error", failure)
	default:
		v, state = again(q.backoff(tried)), "waiting"
	}
	q.counts.calledBack(i.path, failure == nil)
	if rec != nil && rec.Callback != nil {
		rec.Callback.State, rec.Callback.Tried, rec.Callback.Error = state, tried, ""
		if failure != nil {
			rec.Callback.Error = clip(failure.Error())
		}
		if err := q.save(ctx, rec); err != nil && state == "waiting" {
			return again(max(storePause, q.backoff(round))) // it was not counted
		}
	}
	return v
}

// errGone is how a receiver says that it wants no more (Standard Webhooks).
var errGone = errors.New("the receiver answered 410 Gone")

// said returns what callers are told of a request that has failed: not what the names of
// this network lead to, or who resolves them.
func said(err error) error {
	unresolved := (*net.DNSError)(nil)
	switch {
	case errors.Is(err, proto.ErrForbidden):
		return proto.Errorf(proto.ErrForbidden, "callbacks to the address of the receiver are not allowed")
	case errors.As(err, &unresolved):
		return proto.Errorf(proto.ErrBadGateway, "the name of the receiver cannot be resolved")
	}
	return err
}

// post makes one request.
func (q *Queue) post(ctx context.Context, n Notice) error {
	key, err := q.signingKey(ctx)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, n.URL, bytes.NewReader(n.Body))
	if err != nil {
		return proto.Errorf(proto.ErrForbidden, "%.100q is no url", n.URL)
	}
	req.Header.Set("Content-Type", n.Type)
	req.Header.Set("User-Agent", "ryo-proxy")
	sign(req.Header, key, n.ID, time.Now(), n.Body)
	res, err := q.tell.Do(req)
	if wrapped := (*url.Error)(nil); errors.As(err, &wrapped) {
		err = wrapped.Err // without the url
	}
	if err != nil {
		q.Logger.Debug("a callback has failed", "id", n.ID, "error", err)
		return said(err)
	}
	defer res.Body.Close()
	_, _ = io.CopyN(io.Discard, res.Body, wire.MaxErrorText)
	switch {
	case res.StatusCode == http.StatusGone:
		return errGone
	case res.StatusCode < 200 || res.StatusCode > 299:
		return proto.Errorf(proto.ErrBadGateway, "the receiver answered %s", res.Status)
	}
	return nil
}

// sign signs a body as Standard Webhooks say.
func sign(h http.Header, key []byte, id string, at time.Time, body []byte) {
	seconds := strconv.FormatInt(at.Unix(), 10)
	mac := hmac.New(sha256.New, key)
	_, _ = mac.Write([]byte(id + "." + seconds + "."))
	_, _ = mac.Write(body)
	h.Set("Webhook-Id", id)
	h.Set("Webhook-Timestamp", seconds)
	h.Set("Webhook-Signature", "v1,"+base64.StdEncoding.EncodeToString(mac.Sum(nil)))
}
