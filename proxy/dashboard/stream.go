package dashboard

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/transport/wire"
)

// How many streams there are. Each tab that is seen has one.
const (
	streamsEach = 12  // of one caller
	streamsAll  = 300 // of all: below what the proxy gives those who read logs
)

// streams counts open streams.
type streams struct {
	mu  sync.Mutex // guards the fields below
	all int
	of  map[string]int // by caller
}

// open counts a stream of a caller until done is called.
func (s *streams) open(who string) (done func(), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all >= streamsAll || s.of[who] >= streamsEach {
		return nil, proto.Errorf(proto.ErrTooMany, "%s has %d pages open", who, s.of[who]).WithHint("close some of them")
	}
	if s.of == nil {
		s.of = map[string]int{}
	}
	s.all++
	s.of[who]++
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.all--
		if s.of[who]--; s.of[who] == 0 {
			delete(s.of, who)
		}
	}, nil
}

// piece is an event: HTML for an element of the page.
type piece struct {
	ID   string `json:"id"`
	HTML string `json:"html"`
	Add  bool   `json:"add,omitempty"` // at its end
}

// sender sends pieces to one tab. Those that the tab has already are left out.
type sender struct {
	w    http.ResponseWriter
	conn *http.ResponseController
	has  map[string]string
}

func (s *sender) send(id, html string) error {
	if s.has[id] == html {
		return nil
	}
	s.has[id] = html
	return s.write(piece{ID: id, HTML: html})
}

func (s *sender) write(p piece) error {
	data, err := json.Marshal(p)
	if err != nil {
		return err
	}
	return s.flush(func() error { return wire.WriteEvent(s.w, "", data) })
}

// beat says that the stream lives.
func (s *sender) beat() error {
	return s.flush(func() error { _, err := s.w.Write([]byte(":\n\n")); return err })
}

func (s *sender) flush(write func() error) error {
	_ = s.conn.SetWriteDeadline(time.Now().Add(wire.WriteSilence))
	err := write()
	if err == nil {
		err = s.conn.Flush()
	}
	_ = s.conn.SetWriteDeadline(time.Time{})
	return err
}

// events is the one stream of a tab: what changes of the page that is named.
func (d *Dashboard) events(v *visit) error {
	done, err := d.streams.open(v.who.GetWho())
	if err != nil {
		return err
	}
	defer done()
	h := v.w.Header()
	h.Set("Content-Type", wire.EventStream)
	h.Set("X-Accel-Buffering", "no") // else nginx holds events back
	s := &sender{v.w, http.NewResponseController(v.w), map[string]string{}}
	if err := s.beat(); err != nil {
		return ignoreGone(err)
	}
	q := v.r.URL.Query()
	if q.Get("page") == "logs" {
		err = d.followLog(v, q, s)
	} else {
		err = d.refresh(v, q, s)
	}
	if err != nil && v.r.Context().Err() == nil { // the answer has begun
		_ = s.send("trouble", wire.AsError(err).Message)
	}
	return nil
}

// refresh sends what has changed at every sample, and when rows change.
func (d *Dashboard) refresh(v *visit, q url.Values, s *sender) error {
	pieces := d.pieces(q)
	if pieces == nil {
		return proto.Errorf(proto.ErrNotFound, "there is no such page")
	}
	ctx, cancel := context.WithCancel(v.r.Context())
	changed := make(chan struct{}, 1)
	var watch sync.WaitGroup
	defer watch.Wait()
	defer cancel()
	var lost error
	watch.Go(func() {
		defer cancel() // the proxy stops, or the token holds no more
		lost = v.api.Watch(ctx, func(*proto.WatchEvent) error {
			select {
			case changed <- struct{}{}:
			default:
			}
			return nil
		})
	})
	beat := time.NewTicker(wire.Heartbeat)
	defer beat.Stop()
	var sampled <-chan struct{}
	for {
		select {
		case <-ctx.Done():
			watch.Wait()
			return lost
		case <-changed:
		case <-sampled:
		case <-beat.C:
			if err := s.beat(); err != nil {
				return ignoreGone(err)
			}
			sampled = d.history.look()
			continue
		}
		sampled = d.history.look()
		if err := pieces(ctx, v, s); err != nil {
			return err
		}
	}
}

// pieces returns what sends the changing parts of a page, nil for one that has none.
func (d *Dashboard) pieces(q url.Values) func(context.Context, *visit, *sender) error {
	switch q.Get("page") {
	case "functions":
		return func(ctx context.Context, v *visit, s *sender) error {
			body, err := d.functionsNow(ctx, v)
			if err != nil {
				return err
			}
			return d.sendParts(s, map[string]any{"summary": body, "functions": body})
		}
	case "topology":
		return func(ctx context.Context, v *visit, s *sender) error {
			drawn, err := d.topologyNow(ctx, v)
			if err != nil {
				return err
			}
			return d.sendParts(s, map[string]any{"topology": drawn})
		}
	case "agents":
		return func(ctx context.Context, v *visit, s *sender) error {
			body, err := d.agentsNow(ctx, v)
			if err != nil {
				return err
			}
			return d.sendParts(s, map[string]any{"agents": agentsPart{body, v.csrf}})
		}
	case "function":
		return func(ctx context.Context, v *visit, s *sender) error { return d.sendFunction(ctx, v, q.Get("name"), s) }
	}
	return nil
}

// sendParts sends parts of a page, each into the element that has its name.
func (d *Dashboard) sendParts(s *sender, parts map[string]any) error {
	for name, data := range parts {
		html, err := d.part(name, data)
		if err == nil {
			err = s.send(name, html)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
