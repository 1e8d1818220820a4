package queue

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/url"
	"slices"
	"sync"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/proxy/gateway"
	"github.com/Ishan27g/ryo-faas/proxy/store"
)

// noticeTopics is the prefix of the topics of notices, one for each url: a receiver that
// is slow holds up no other.
const noticeTopics = "notices"

// Notice is what a url is told in a POST, signed and tried as a callback is.
type Notice struct {
	ID   string `json:"id"`   // names it to the receiver, who may get it twice
	URL  string `json:"url"`  // checked by CheckURL
	Type string `json:"type"` // of the body
	Body []byte `json:"body"`
}

// CheckURL returns what is wrong with the url of notices that the operator names, an
// ErrInvalid or an ErrForbidden.
func (q *Queue) CheckURL(text string) error { return q.checkURL("", text) }

// Tell stores a notice, which is delivered later: to one url in order, but for those that
// have to be tried again. One of the same id that was stored some minutes ago is not stored
// again.
func (q *Queue) Tell(ctx context.Context, n Notice) error {
	data, err := json.Marshal(n)
	if err != nil {
		return err
	}
	topic := noticeTopic(n.URL)
	_, err = q.store.Queue().Publish(ctx, store.Message{Topic: topic, ID: n.ID, Data: data})
	if err == nil {
		q.hint(topic)
	}
	return err
}

// noticeTopic is that of the notices for a url.
func noticeTopic(to string) string {
	sum := sha256.Sum256([]byte(to))
	return noticeTopics + "/" + hex.EncodeToString(sum[:8])
}

// Notices returns what became of the notices for each of some urls, by their hosts.
func (q *Queue) Notices(ctx context.Context, urls []string) (list []gateway.Notices) {
	for _, to := range urls {
		host := hostOf(to)
		i := slices.IndexFunc(list, func(n gateway.Notices) bool { return n.Receiver == host })
		if i < 0 {
			i = len(list)
			list = append(list, q.told.of(host))
		}
		if n, err := q.store.Queue().Pending(ctx, noticeTopic(to)); err == nil {
			list[i].Waiting += n
		}
	}
	return list
}

// outcomes counts what became of notices here.
type outcomes struct {
	mu     sync.Mutex // guards the field below
	byHost map[string]gateway.Notices
}

func (o *outcomes) of(host string) gateway.Notices {
	o.mu.Lock()
	defer o.mu.Unlock()
	n := o.byHost[host]
	n.Receiver = host
	return n
}

func (o *outcomes) count(host string, f func(*gateway.Notices)) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.byHost == nil {
		o.byHost = make(map[string]gateway.Notices)
	}
	n := o.byHost[host]
	f(&n)
	o.byHost[host] = n
}

// notify delivers a notice.
func (q *Queue) notify(ctx context.Context, m store.Message, round int) store.Verdict {
	var n Notice
	if err := json.Unmarshal(m.Data, &n); err != nil {
		q.Logger.Error("a message is dropped", "topic", m.Topic, "sequence", m.Sequence, "error", err)
		return store.Verdict{}
	}
	err := q.post(ctx, n)
	host := hostOf(n.URL)
	switch {
	case err == nil:
		q.told.count(host, func(n *gateway.Notices) { n.OK++ })
		return store.Verdict{}
	case ctx.Err() != nil:
		return again(0)
	case round < callbackTries && !errors.Is(err, proto.ErrForbidden) && !errors.Is(err, errGone):
		q.told.count(host, func(n *gateway.Notices) { n.Failed++ })
		q.Logger.Debug("a notice is tried again", "notice", n.ID, "receiver", host, "attempts", round, "error", err)
		return again(q.backoff(round))
	}
	q.told.count(host, func(n *gateway.Notices) { n.Dead++ })
	q.Logger.Warn("a notice has failed for good", "notice", n.ID, "receiver", host, "attempts", round, "error", err)
	return store.Verdict{}
}

// hostOf names a url in logs: the rest of it may be secret.
func hostOf(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return ""
	}
	return u.Host
}
