package dashboard_test

import (
	"context"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/Ishan27g/ryo-faas/internal/testkit"
	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/proxy/dashboard"
	"github.com/Ishan27g/ryo-faas/transport"
	"github.com/Ishan27g/ryo-faas/transport/auth"
	"github.com/Ishan27g/ryo-faas/transport/server"
	"github.com/Ishan27g/ryo-faas/transport/transporttest"
	"github.com/Ishan27g/ryo-faas/transport/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(testkit.Guarded(m)) }

// site is a server with a dashboard.
type site struct {
	t      *testing.T
	base   string
	fake   *transporttest.Fake
	tokens *auth.Keeper
	record *auth.Record
	api    *transport.Client // of a caller who needs no token
	// before is called once, before the next deploy is begun; nil: nothing is.
	before atomic.Pointer[func()]
}

// raced is the fake of a site, which somebody else may be faster with.
type raced struct {
	*transporttest.Fake
	site *site
}

func (r raced) Deploy(ctx context.Context, fns ...*proto.FunctionJson) ([]*proto.FunctionJsonRsp, error) {
	if before := r.site.before.Swap(nil); before != nil {
		(*before)()
	}
	return r.Fake.Deploy(ctx, fns...)
}

func newSite(t *testing.T, mounts ...server.Mount) *site {
	t.Helper()
	s := &site{t: t, fake: transporttest.NewFake(t), tokens: transporttest.Keeper(t)}
	var err error
	s.record, err = auth.OpenRecord(t.TempDir())
	require.NoError(t, err)
	d := dashboard.New(dashboard.Config{
		Again: server.Again, RPCPort: "9001", Version: "v1.2.3",
		Usage: func(ctx context.Context) ([]*proto.Usage, error) { return s.fake.Usage(ctx, "") },
	})
	ctx, cancel := context.WithCancel(t.Context())
	ran := make(chan struct{})
	go func() { defer close(ran); d.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-ran })
	addr := transporttest.Serve(t, raced{s.fake, s}, server.Config{
		Store: s.fake.Store(), Tokens: s.tokens, Record: s.record, Mounts: append(mounts,
			server.Mount{Path: "/ui", Scope: wire.ScopeOpen, Asks: true, Handler: d},
			server.Mount{Path: "/ui/", Scope: wire.ScopeOpen, Asks: true, Handler: d}),
	})
	s.base = "http://" + addr
	s.api = transport.NewAgent(transport.HTTP, addr)
	t.Cleanup(func() { _ = s.api.Close() })
	return s
}

// deploy deploys a function, whose answer is its name.
func (s *site) deploy(name string, more ...func(*proto.FunctionJson)) {
	s.t.Helper()
	fn := &proto.FunctionJson{Name: name, Dir: testkit.Source(s.t, testkit.Says(name, "I am "+name)), Wait: true}
	for _, f := range more {
		f(fn)
	}
	rows, err := s.api.Deploy(s.t.Context(), fn)
	require.NoError(s.t, err)
	require.Equal(s.t, string(proto.Deployed), rows[0].GetStatus(), rows[0].GetError())
}

// browser asks as a browser does: with cookies, and with headers that say who asks.
type browser struct {
	*site
	http    *http.Client
	headers map[string]string
}

// browser returns one. Through a gateway it needs a token.
func (s *site) browser(gateway bool) *browser {
	jar, err := cookiejar.New(nil)
	require.NoError(s.t, err)
	tr := &http.Transport{DisableCompression: true}
	s.t.Cleanup(tr.CloseIdleConnections)
	b := &browser{s, &http.Client{Transport: tr, Jar: jar}, map[string]string{"Sec-Fetch-Site": "none", "Sec-Fetch-Dest": "document", "Sec-Fetch-Mode": "navigate"}}
	if gateway {
		b.headers["Via"] = "1.1 gateway"
	}
	return b
}

func (b *browser) do(method, path, form string, headers ...string) (*http.Response, string) {
	b.t.Helper()
	req, err := http.NewRequestWithContext(b.t.Context(), method, b.base+path, strings.NewReader(form))
	require.NoError(b.t, err)
	for name, value := range b.headers {
		req.Header.Set(name, value)
	}
	if form != "" {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		req.Header.Set("Sec-Fetch-Site", "same-origin")
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	rsp, err := b.http.Do(req)
	require.NoError(b.t, err)
	defer rsp.Body.Close()
	data, err := io.ReadAll(rsp.Body)
	require.NoError(b.t, err)
	return rsp, string(data)
}

func (b *browser) get(path string, headers ...string) (*http.Response, string) {
	b.t.Helper()
	return b.do(http.MethodGet, path, "", headers...)
}

// post sends a form of a page, whose hidden text it takes from there.
func (b *browser) post(page, action string, fields url.Values) (*http.Response, string) {
	b.t.Helper()
	_, body := b.get(page)
	if fields == nil {
		fields = url.Values{}
	}
	if csrf := csrfOf(body); csrf != "" {
		fields.Set("csrf", csrf)
	}
	return b.do(http.MethodPost, action, fields.Encode())
}

var csrfIn = regexp.MustCompile(`(?:data-csrf|name="csrf" value)="([^"]+)"`)

func csrfOf(page string) string {
	if m := csrfIn.FindStringSubmatch(page); m != nil {
		return m[1]
	}
	return ""
}

// token makes one.
func (s *site) token(scopes ...wire.Scope) string {
	s.t.Helper()
	req := &proto.TokenRequest{Name: "people"}
	for _, scope := range scopes {
		req.Scopes = append(req.Scopes, string(scope))
	}
	made, err := s.tokens.CreateToken(s.t.Context(), req)
	require.NoError(s.t, err)
	return made.GetSecret()
}

// signIn signs in with a token.
func (b *browser) signIn(token string) (*http.Response, string) {
	b.t.Helper()
	return b.do(http.MethodPost, "/ui/signin", url.Values{"token": {token}, "next": {"/ui/"}}.Encode())
}
