package queue

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/proxy/gateway"
	"github.com/Ishan27g/ryo-faas/proxy/store"
	"github.com/Ishan27g/ryo-faas/transport/wire"
)

// The paths that are served.
const (
	AsyncPath   = "/async/"   // below it, functions are called later
	CallsPath   = "/calls/"   // below it, what became of calls is told
	ResultsPath = "/results/" // below it, their answers are
)

// What callers say of a call that is made later.
const (
	delayHeader    = "X-Ryo-Delay"
	callbackHeader = "X-Ryo-Callback"
	priorityHeader = "X-Ryo-Priority"
	idempotencyKey = "Idempotency-Key"
	replayedHeader = "Idempotent-Replayed"
	preferAsync    = "respond-async" // RFC 7240 section 4.1
)

const (
	// maxDelay is as long as records are kept, which tell of the delay.
	maxDelay = 24 * time.Hour
	maxKey   = 255 // bytes of an Idempotency-Key, as payment services take
	// keys is where it is kept which call an Idempotency-Key belongs to: no function's path
	// has a hyphen.
	keys = "-keys/"
)

// order is what a caller asks for beside the call itself.
type order struct {
	delay    time.Duration
	callback string
	priority string // "": normal
	key      string
	depth    int
}

// orderOf reads the headers of a request.
func orderOf(h http.Header) (o order, err error) {
	invalid := func(name, format string, args ...any) error {
		return proto.Errorf(proto.ErrInvalid, "the request's "+name+": "+format, args...).From("caller", string(proto.ErrInvalid))
	}
	for name, values := range map[string][]string{
		delayHeader: h[delayHeader], callbackHeader: h[callbackHeader], priorityHeader: h[priorityHeader], idempotencyKey: h[idempotencyKey], gateway.DepthHeader: h[gateway.DepthHeader],
	} {
		if len(values) > 1 {
			return o, invalid(name, "it is given %d times", len(values))
		}
	}
	if text := h.Get(delayHeader); text != "" {
		o.delay, err = time.ParseDuration(text)
		switch {
		case err != nil || o.delay < 0:
			return o, invalid(delayHeader, "%.40q is not a duration, such as 90s or 2h", text)
		case o.delay > maxDelay:
			return o, invalid(delayHeader, "%.40q is longer than %v", text, maxDelay)
		}
	}
	if text := h.Get(gateway.DepthHeader); text != "" {
		n, err := strconv.ParseUint(text, 10, 16)
		if err != nil {
			return o, invalid(gateway.DepthHeader, "%.40q is not a whole number", text)
		}
		if o.depth = int(n) + 1; o.depth > maxDepth {
			return o, proto.Errorf(proto.ErrConflict, "%d calls led to this one, each by the one before; at most %d may", o.depth, maxDepth).
				WithHint("functions call each other in a circle").From("caller", string(proto.ErrConflict))
		}
	}
	if o.priority, err = checkPriority(h.Get(priorityHeader)); err != nil {
		return o, invalid(priorityHeader, "%w", err)
	}
	o.callback = h.Get(callbackHeader)
	if o.key = h.Get(idempotencyKey); len(o.key) > maxKey {
		return o, invalid(idempotencyKey, "it has more than %d bytes", maxKey)
	}
	return o, nil
}

// Prefers reports whether the caller of a function asks for its call to be made later
// (RFC 7240).
func Prefers(h http.Header) bool {
	for _, line := range h["Prefer"] {
		for word := range strings.SplitSeq(line, ",") {
			word, _, _ = strings.Cut(word, ";")
			if strings.EqualFold(strings.TrimSpace(word), preferAsync) {
				return true
			}
		}
	}
	return false
}

// ServeHTTP accepts calls at AsyncPath, and those at the gateway's own whose callers prefer
// that. They are answered once they are stored.
func (q *Queue) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if below, ok := strings.CutPrefix(r.RequestURI, AsyncPath); ok {
		r = r.Clone(r.Context())
		r.RequestURI = gateway.Prefix + below
		r.URL.Path = gateway.Prefix + strings.TrimPrefix(r.URL.Path, AsyncPath)
		r.URL.RawPath = ""
	}
	q.Gateway.Accept(w, r, func(w http.ResponseWriter, a *gateway.Accepted) error { return q.take(w, r, a) })
}

// accepted is the answer to a call that is made later.
type accepted struct {
	ID  string `json:"id"`
	URL string `json:"url"`
	// Replayed says that it was accepted before, by the same Idempotency-Key.
	Replayed bool `json:"replayed,omitempty"`
}

func (q *Queue) take(w http.ResponseWriter, r *http.Request, a *gateway.Accepted) error {
	ctx := r.Context()
	o, err := orderOf(r.Header)
	if err != nil {
		return err
	}
	if o.callback != "" {
		if err := q.checkURL(callbackHeader, o.callback); err != nil {
			return err
		}
	}
	f, _ := q.Gateway.Function(a.Path)
	now := time.Now()
	req := &request{
		Path: a.Path, Name: f.Name, Segment: a.Segment, Target: a.Target, Method: r.Method, Header: kept(r.Header), Host: r.Host, Remote: r.RemoteAddr, Scheme: schemeOf(r),
		Accepted: now, Age: f.Age, Depth: o.depth, Callback: o.callback, Priority: o.priority,
	}
	if o.delay > 0 {
		req.NotBefore = now.Add(o.delay)
	}
	// The id of the request goes on with the call.
	req.Header.Set(proto.RequestIDHeader, w.Header().Get(proto.RequestIDHeader))
	i, replayed, err := q.put(ctx, req, a, o.key)
	if errors.Is(err, proto.ErrExhausted) {
		return proto.Errorf(proto.ErrTooMany, "no further call of function %q is kept: %w", f.Name, err).
			WithHint("call again later; proxyCli calls shows what waits").From("gateway", "full")
	}
	if err != nil {
		return err
	}
	answer := accepted{ID: i.String(), URL: CallsPath + i.String(), Replayed: replayed}
	body, err := json.Marshal(answer)
	if err != nil {
		return err
	}
	h := w.Header()
	h.Set("Location", answer.URL)
	if Prefers(r.Header) {
		h.Set("Preference-Applied", preferAsync)
	}
	if replayed {
		h.Set(replayedHeader, "true")
	}
	wire.WriteJSON(w, http.StatusAccepted, body)
	return nil
}

func schemeOf(r *http.Request) string {
	switch {
	case r.URL.Scheme != "":
		return r.URL.Scheme
	case r.TLS != nil:
		return "https"
	}
	return "http"
}

// put stores a call. replayed says that one with the same key was stored before, whose id
// it returns.
func (q *Queue) put(ctx context.Context, r *request, a *gateway.Accepted, key string) (i id, replayed bool, err error) {
	body, stored, sum, err := q.receive(ctx, a.Body)
	if err != nil {
		return i, false, err
	}
	r.Blob, r.Size = stored.Name, int64(len(body))
	if r.Blob != "" {
		r.Size = stored.Size
	}
	defer func() {
		if err != nil || replayed {
			q.discard(context.WithoutCancel(ctx), stored.Name)
		}
	}()
	once, mark := "", ""
	if key == "" {
		nonce := newNonce()
		r.Nonce = nonce[:]
	} else {
		// Callers do not share keys.
		once = "key " + a.Whose + "\n" + key
		nonce, err := q.derive(ctx, r.Path+"\n"+once)
		if err != nil {
			return i, false, err
		}
		r.Nonce, once = nonce[:], nonceText(nonce)
		mark = fingerprint(r, sum)
		i, found, err := q.before(ctx, r.Path, once, mark)
		if err != nil || found {
			return i, found, err
		}
	}
	i, replayed, err = q.publish(ctx, r, body, once)
	if err == nil && key != "" {
		q.remember(ctx, i, once, mark)
	}
	return i, replayed, err
}

// publish stores a call's message, and returns the call's id. duplicate says that one with
// the same name, "" for none, was stored before, whose id it is.
func (q *Queue) publish(ctx context.Context, r *request, body []byte, once string) (i id, duplicate bool, err error) {
	if r.Blob == "" {
		r.Size = int64(len(body))
	}
	i = r.id(0)
	if later := r.NotBefore.After(time.Now()); later {
		// It has no sequence yet, and is withdrawn by its name.
		r.ID = i.String()
		if once == "" {
			once = nonceText(i.nonce)
		}
	}
	data, err := r.encode(body)
	if err != nil {
		return i, false, err
	}
	topic := topicOf(r.Path, r.Priority)
	receipt, err := q.store.Queue().Publish(ctx, store.Message{Topic: topic, ID: once, Data: data, NotBefore: r.NotBefore})
	if err != nil {
		return i, false, err
	}
	if i = r.id(receipt.Sequence); receipt.Duplicate && r.ID != "" && receipt.Sequence > 0 {
		i.sequence = receipt.Sequence // the first one was not delayed
	}
	if !receipt.Duplicate && r.ID == i.String() && !r.NotBefore.IsZero() {
		// Until its time comes, the record alone tells of it.
		rec := newRecord(i, r)
		if err := q.save(ctx, rec); err != nil && !errors.Is(err, proto.ErrConflict) {
			q.Logger.Warn("it cannot be told of a call before it begins", "call", rec.ID, "function", r.Path, "error", err)
		}
	}
	q.hint(topic)
	return i, receipt.Duplicate, nil
}

// receive reads the body of a call, small ones into memory and large ones into a blob, and
// returns the digest of its bytes.
func (q *Queue) receive(ctx context.Context, r io.Reader) (body []byte, stored store.Blob, sum []byte, err error) {
	hash := sha256.New()
	r = io.TeeReader(http.MaxBytesReader(nil, io.NopCloser(r), MaxBody), hash)
	body, err = io.ReadAll(io.LimitReader(r, inline+1))
	if err == nil && len(body) > inline {
		stored, err = q.store.Blobs().Put(ctx, payloads+"/"+rand16(), io.MultiReader(bytes.NewReader(body), r))
		body = nil
	}
	if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) && tooLarge.Limit == MaxBody {
		err = proto.Errorf(proto.ErrTooLarge, "the body is larger than %d bytes, the most that is kept of a call", MaxBody).From("caller", "body")
	}
	return body, stored, hash.Sum(nil), wire.InputError(err)
}

// fingerprint tells calls apart that have the same key.
func fingerprint(r *request, body []byte) string {
	sum := sha256.Sum256([]byte(r.Method + " " + r.Segment + r.Target + "\n" + string(body)))
	return hex.EncodeToString(sum[:])
}

// keyed is the record of an Idempotency-Key.
type keyed struct {
	ID    string `json:"id"`
	Print string `json:"mark"` // the call's fingerprint
}

// before returns the call that a key belongs to, if there is one. Another call than that
// is an ErrConflict.
func (q *Queue) before(ctx context.Context, path, name, mark string) (i id, found bool, err error) {
	e, err := q.store.Registry(store.Calls).Get(ctx, keys+path+"/"+name)
	if errors.Is(err, proto.ErrNotFound) {
		return i, false, nil
	}
	var k keyed
	if err == nil {
		err = json.Unmarshal(e.Value, &k)
	}
	if err == nil {
		i, err = parseID(k.ID)
	}
	if err == nil && k.Print != mark {
		err = proto.Errorf(proto.ErrConflict, "another call was made with this %s", idempotencyKey).
			WithHint("a key names one call: its method, its path and its body").From("caller", string(proto.ErrConflict))
	}
	return i, err == nil, err
}

// remember keeps which call a key belongs to, for as long as records are kept. The queue
// itself knows it for ten minutes.
func (q *Queue) remember(ctx context.Context, i id, name, mark string) {
	value, err := json.Marshal(keyed{ID: i.String(), Print: mark})
	if err == nil {
		_, err = q.store.Registry(store.Calls).Create(context.WithoutCancel(ctx), keys+i.path+"/"+name, value)
	}
	if err != nil && !errors.Is(err, proto.ErrConflict) {
		q.Logger.Warn("a key of a call is known for ten minutes alone", "call", i.String(), "error", err)
	}
}

// segmentOf is how a function is called by its name.
func segmentOf(name string) string { return url.PathEscape(proto.Path(name)) }

// roundText tells the rounds of a call apart.
func roundText(round int) string {
	if round == 0 {
		return ""
	}
	return " " + strconv.Itoa(round)
}
