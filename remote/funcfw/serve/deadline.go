package serve

import (
	"context"
	"io"
	"net/http"
	"sync"
	"time"
)

// timeoutHeader is where a gateway says in what time the answer must begin. Whoever
// calls the function directly may say it too: it limits their own call.
const timeoutHeader = "X-Ryo-Timeout"

// deadline is the context of a request whose answer must begin by a time. When it has
// begun, it may take as long as it likes, which a context of the standard library cannot
// say. Nothing runs until somebody waits for it: most functions never do.
type deadline struct {
	context.Context //nolint:containedctx // the server's, of the request: this is one itself
	limit           time.Duration

	mu      sync.Mutex // guards the fields below:
	at      time.Time
	met     bool            // the answer has begun
	passed  bool            // it had not at the time
	waited  context.Context //nolint:containedctx // for Done; nil: nobody has asked
	cancel  context.CancelFunc
	expires *time.Timer
}

// limitTime gives a request the context that its gateway asks for.
func limitTime(w http.ResponseWriter, r *http.Request) *http.Request {
	text := r.Header.Get(timeoutHeader)
	if text == "" {
		return r
	}
	r.Header.Del(timeoutHeader)
	limit, err := time.ParseDuration(text)
	x := exchangeOf(w)
	if err != nil || limit <= 0 || x == nil {
		return r // a gateway would have refused it
	}
	d := &deadline{Context: r.Context(), limit: limit, at: time.Now().Add(limit)}
	x.deadline = d
	if r.ContentLength != 0 {
		r.Body = &timedBody{r.Body, d}
	}
	*r = *r.WithContext(d) // see exchange.request
	return r
}

// timedBody is a body that comes while time passes: the limit counts from its last part,
// as at the gateway. A slow upload is not the function's fault.
type timedBody struct {
	io.ReadCloser
	deadline *deadline
}

func (b *timedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.deadline.again()
	return n, err
}

// again makes the limit count from now.
func (d *deadline) again() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.met || d.passed {
		return
	}
	d.at = time.Now().Add(d.limit)
	if d.expires != nil {
		d.expires.Reset(d.limit)
	}
}

// answered ends the limit.
func (d *deadline) answered() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.met = true
	if d.expires != nil {
		d.expires.Stop()
	}
}

// expire is called when the time has come. The caller holds mu.
func (d *deadline) expire() {
	if d.met || d.passed || time.Now().Before(d.at) {
		return
	}
	d.passed = true
	if d.cancel != nil {
		d.cancel()
	}
}

// Deadline implements context.Context.
func (d *deadline) Deadline() (time.Time, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.met {
		return d.Context.Deadline()
	}
	return d.at, true
}

// Err implements context.Context.
func (d *deadline) Err() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.expire()
	if d.passed {
		return context.DeadlineExceeded
	}
	return d.Context.Err()
}

// Done implements context.Context.
func (d *deadline) Done() <-chan struct{} { return d.wait().Done() }

// AfterFunc lets contexts that are made of this one do without a goroutine.
func (d *deadline) AfterFunc(f func()) (stop func() bool) { return context.AfterFunc(d.wait(), f) }

// wait returns a context that is done when d is.
func (d *deadline) wait() context.Context {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.waited == nil {
		d.waited, d.cancel = context.WithCancel(d.Context)
		d.expire()
		if d.passed {
			d.cancel()
		} else if !d.met {
			d.expires = time.AfterFunc(time.Until(d.at), func() {
				d.mu.Lock()
				defer d.mu.Unlock()
				d.expire()
			})
		}
	}
	return d.waited
}
