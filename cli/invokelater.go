package cli

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/transport"
)

// asyncPath is where a proxy takes calls that are made later.
const asyncPath = "/async/"

// functionsPath is where a proxy serves functions, and an agent none.
const functionsPath = "/functions/"

// ofProxy reports whether the url of a function is one at a proxy.
func ofProxy(text string) bool {
	u, err := url.Parse(text)
	return err == nil && strings.HasPrefix(u.Path, functionsPath)
}

// endLimit is how long -wait waits unless -timeout says: as long as a call may be tried at
// most.
const endLimit = proto.MaxAge

// asyncURL is where the function of a url is called later.
func asyncURL(base string) (string, error) {
	u, err := url.Parse(base)
	if err != nil {
		return "", err
	}
	below, ok := strings.CutPrefix(u.EscapedPath(), functionsPath)
	if !ok {
		return "", proto.Errorf(proto.ErrUnsupported, "proxies alone keep calls to make them later; %s is not a proxy's", base).WithHint("ask the proxy that the agent belongs to: proxyCli -proxy ADDR")
	}
	return u.Scheme + "://" + u.Host + asyncPath + below, nil
}

// invokeLater lets a proxy store a call, and prints its id, or waits for its end and
// prints its answer.
func (a *app) invokeLater(ctx context.Context, in invocation, base string, req *http.Request) error {
	res, err := plainClient(a.tls).Do(req)
	if err != nil {
		return in.unanswered(base, err)
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode != http.StatusAccepted {
		return a.printAnswer(in, base, res)
	}
	var accepted struct {
		ID       string `json:"id"`
		Replayed bool   `json:"replayed"`
	}
	if err := json.NewDecoder(io.LimitReader(res.Body, 1<<20)).Decode(&accepted); err != nil || accepted.ID == "" {
		return proto.Errorf(proto.ErrUnavailable, "%s has not said which call it has stored", base)
	}
	if accepted.Replayed {
		a.note("a call with this Idempotency-Key was stored before")
	}
	if !in.wait {
		a.note("the call is stored; proxyCli calls show %s tells what becomes of it", accepted.ID)
		_, err := io.WriteString(a.stdout, accepted.ID+"\n")
		return err
	}
	a.note("call %s", accepted.ID)
	a.goesOn = "the call is stored and goes on: proxyCli calls show " + accepted.ID + "; proxyCli calls cancel ends it"
	begin := time.Now()
	c, err := answer(a, func(client *transport.Client) (*proto.Call, error) {
		return waitFor(ctx, client, accepted.ID, endLimit)
	})
	switch {
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return proto.Errorf(proto.ErrTimeout, "call %s has not ended within %s", accepted.ID, in.limit).
			WithHint("it goes on: proxyCli calls show " + accepted.ID)
	case err != nil:
		return err
	case c.GetResult() == "":
		return proto.Errorf(proto.ErrUnavailable, "call %s has no answer; it is %s: %s", accepted.ID, c.GetState(), c.GetError()).
			WithHint("proxyCli calls show " + accepted.ID + " shows its attempts")
	}
	u := *req.URL
	u.Path, u.RawPath, u.RawQuery = c.GetResult(), "", ""
	got, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), http.NoBody)
	if err != nil {
		return err
	}
	for _, name := range []string{"Authorization", proto.RequestIDHeader} {
		if v := req.Header.Get(name); v != "" {
			got.Header.Set(name, v)
		}
	}
	result, err := plainClient(a.tls).Do(got)
	if err != nil {
		return in.unanswered(base, err)
	}
	defer func() { _ = result.Body.Close() }()
	a.note("HTTP %s  after %s, attempt %d", result.Status, time.Since(begin).Round(time.Millisecond), c.GetTried())
	return a.printAnswer(in, base, result)
}
