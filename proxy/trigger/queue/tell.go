package queue

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/url"

	"github.com/Ishan27g/ryo-faas/proto"
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
	sum := sha256.Sum256([]byte(n.URL))
	topic := noticeTopics + "/" + hex.EncodeToString(sum[:8])
	_, err = q.store.Queue().Publish(ctx, store.Message{Topic: topic, ID: n.ID, Data: data})
	if err == nil {
		q.hint(topic)
	}
	return err
}

// notify delivers a notice.
func (q *Queue) notify(ctx context.Context, m store.Message, round int) store.Verdict {
	var n Notice
	if err := json.Unmarshal(m.Data, &n); err != nil {
		q.Logger.Error("a message is dropped", "topic", m.Topic, "sequence", m.Sequence, "error", err)
		return store.Verdict{}
	}
	err := q.post(ctx, n)
	switch {
	case err == nil:
		return store.Verdict{}
	case ctx.Err() != nil:
		return again(0)
	case round < callbackTries && !errors.Is(err, proto.ErrForbidden) && !errors.Is(err, errGone):
		q.Logger.Debug("a notice is tried again", "notice", n.ID, "receiver", hostOf(n.URL), "attempts", round, "error", err)
		return again(q.backoff(round))
	}
	q.Logger.Warn("a notice has failed for good", "notice", n.ID, "receiver", hostOf(n.URL), "attempts", round, "error", err)
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
