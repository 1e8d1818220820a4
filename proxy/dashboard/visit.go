package dashboard

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/transport"
	"github.com/Ishan27g/ryo-faas/transport/wire"
)

// visit is one request of somebody who is let in.
type visit struct {
	w     http.ResponseWriter
	r     *http.Request
	token string // of the cookie; "": there is none
	csrf  string
	web   http.RoundTripper // asks the proxy
	api   *transport.Client // the same, by the verbs
	who   *proto.Caller
	may   allowed
}

// self is how the proxy is addressed by those who ask it past the network.
const self = "localhost:80"

// maxForm bounds the body of a form, in bytes; that of a deploy has a limit of its own.
const maxForm = 1 << 20

// csrfField is the name under which forms, and the event stream, say the text that pages
// alone have.
const csrfField = "csrf"

var (
	errForeign = proto.Errorf(proto.ErrForbidden, "a page elsewhere may not use the dashboard").WithHint("open it by its address")
	errStale   = proto.Errorf(proto.ErrForbidden, "this form is of another session").WithHint("reload the page, and send it again")
)

// cookieName names the cookie. Browsers do not tell the ports of a host apart.
func cookieName(r *http.Request) string {
	name := "ryo_ui"
	if _, port, err := net.SplitHostPort(r.Host); err == nil {
		name += "_" + port
	}
	return name
}

// open is for pages that need no caller: it keeps pages of others out.
func (d *Dashboard) open(serve func(*visit) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		v := &visit{w: w, r: r, who: &proto.Caller{}}
		r.Body = http.MaxBytesReader(w, r.Body, maxForm)
		err := own(r)
		if err == nil {
			err = serve(v)
		}
		if err != nil {
			d.fail(v, err)
		}
	}
}

// let is for pages that need a caller: it asks the proxy who that is.
func (d *Dashboard) let(serve func(*visit) error) http.HandlerFunc { return d.visited(serve, true) }

// either is for pages that everybody may see, with what else the caller may.
func (d *Dashboard) either(serve func(*visit) error) http.HandlerFunc {
	return d.visited(serve, false)
}

func (d *Dashboard) visited(serve func(*visit) error, needed bool) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		v := &visit{w: w, r: r, web: d.cfg.Again(r), who: &proto.Caller{}}
		if err := own(r); err != nil {
			d.fail(v, err)
			return
		}
		if c, err := r.Cookie(cookieName(r)); err == nil {
			v.token = c.Value
		}
		v.csrf = d.csrfOf(v.token)
		v.api = v.client(v.token)
		defer v.api.Close()
		if !v.known() && needed {
			d.ask(v)
			return
		}
		err := v.checked()
		if err == nil {
			err = serve(v)
		}
		if err != nil && !isGone(err) {
			d.fail(v, err)
		}
	}
}

// client returns a Client that asks with a token, or without.
func (v *visit) client(token string) *transport.Client {
	options := []transport.Option{transport.WithRoundTripper(v.web)}
	if token != "" {
		options = append(options, transport.WithToken(token))
	}
	return transport.NewAgent(transport.HTTP, self, options...)
}

// send makes a request of the proxy with the caller's token, past the verbs.
func (v *visit) send(req *http.Request) (*http.Response, error) {
	if v.token != "" {
		req.Header.Set("Authorization", "Bearer "+v.token)
	}
	return v.web.RoundTrip(req)
}

// known asks the proxy who the caller is, and reports whether it is let in.
func (v *visit) known() bool {
	who, err := v.api.WhoAmI(v.r.Context())
	if err != nil {
		return false
	}
	v.who = who
	if token := who.GetToken(); v.token != "" && token != nil {
		has := func(s wire.Scope) bool { return slices.Contains(token.GetScopes(), string(s)) }
		v.may = allowed{Read: has(wire.ScopeRead) || has(wire.ScopeDeploy), Invoke: has(wire.ScopeInvoke), Deploy: has(wire.ScopeDeploy), Admin: has(wire.ScopeAdmin)}
	} else {
		v.may = allowed{true, true, true, true}
	}
	return true
}

// ask sends somebody who is not let in to where a token is asked for. One whose cookie is
// no token any more may need none.
func (d *Dashboard) ask(v *visit) {
	if v.token != "" {
		v.setCookie("", -1)
	}
	to := url.URL{Path: Path + "signin"}
	if v.r.Method == http.MethodGet && v.r.URL.Path != Path {
		to.RawQuery = url.Values{"next": {v.r.URL.RequestURI()}}.Encode()
	}
	if v.r.URL.Path == Path+"events" {
		v.w.WriteHeader(http.StatusUnauthorized) // a browser does not ask again
		return
	}
	v.token, v.api = "", v.client("")
	defer v.api.Close()
	if v.known() && v.r.Method == http.MethodGet {
		to = *v.r.URL
	}
	http.Redirect(v.w, v.r, to.String(), http.StatusSeeOther)
}

var crossOrigin = http.NewCrossOriginProtection()

// own refuses requests that no page of the dashboard, and no address bar, has made.
func own(r *http.Request) error {
	if crossOrigin.Check(r) != nil || r.Header.Get("Sec-Fetch-Site") == "same-site" {
		return errForeign
	}
	switch dest := r.Header.Get("Sec-Fetch-Dest"); {
	case dest == "", dest == "document":
		return nil
	case dest == "empty" && r.URL.Path == Path+"events":
		return nil
	}
	return errForeign
}

// checked refuses what must come from a page of the same session, and does not.
func (v *visit) checked() error {
	switch {
	case v.r.Method == http.MethodPost && v.r.URL.Path == Path+"deploy":
		return nil // it reads its body in parts, of which csrf is the first
	case v.r.Method == http.MethodPost:
		v.r.Body = http.MaxBytesReader(v.w, v.r.Body, maxForm)
		if err := v.r.ParseForm(); err != nil {
			return unread(err)
		}
		return v.same(v.r.PostFormValue(csrfField))
	case v.r.URL.Path == Path+"events":
		return v.same(v.r.URL.Query().Get(csrfField))
	}
	return nil
}

func (v *visit) same(csrf string) error {
	if !hmac.Equal([]byte(csrf), []byte(v.csrf)) {
		return errStale
	}
	return nil
}

func unread(err error) error {
	if large, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return proto.Errorf(proto.ErrTooLarge, "the form has more than %s", bytesText(uint64(large.Limit))) //nolint:gosec // a constant
	}
	return proto.Errorf(proto.ErrInvalid, "read the form: %w", err)
}

// csrfOf returns what pages of a session have, and nobody else. It follows from the token,
// so that each of several proxies knows it.
func (d *Dashboard) csrfOf(token string) string {
	key := d.key[:]
	if token != "" {
		key = []byte(token)
	}
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte("pages of the dashboard"))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// setCookie gives the browser a token until it is closed, or takes it.
func (v *visit) setCookie(token string, age int) {
	http.SetCookie(v.w, &http.Cookie{
		Name: cookieName(v.r), Value: token, Path: Path, MaxAge: age,
		HttpOnly: true, Secure: v.r.TLS != nil, SameSite: http.SameSiteStrictMode,
	})
}

// done leads back to a page, which says what was done.
func (v *visit) done(to, word string) error {
	sign := "?"
	if strings.Contains(to, sign) {
		sign = "&"
	}
	http.Redirect(v.w, v.r, to+sign+"done="+word, http.StatusSeeOther)
	return nil
}

// signInBody is what the page that asks for a token needs.
type signInBody struct {
	Next  string
	Error string
	Clear bool // what is typed could be read on its way
}

func (d *Dashboard) signIn(v *visit) error {
	return d.write(v.w, http.StatusOK, "signin", page{Title: "Sign in", Version: d.cfg.Version, Body: signInBody{Next: nextOf(v.r.URL.Query().Get("next")), Clear: inClear(v.r)}})
}

// inClear reports whether a request came from another machine and was not encrypted.
func inClear(r *http.Request) bool {
	host, _, _ := net.SplitHostPort(r.RemoteAddr)
	ip := net.ParseIP(host)
	return r.TLS == nil && ip != nil && !ip.IsLoopback()
}

// nextOf returns a page of the dashboard, whatever is asked for.
func nextOf(next string) string {
	if u, err := url.Parse(next); err == nil && u.Host == "" && u.Scheme == "" && strings.HasPrefix(u.Path, Path) && !strings.Contains(next, `\`) {
		return next
	}
	return Path
}

func (d *Dashboard) takeToken(v *visit) error {
	if err := v.r.ParseForm(); err != nil {
		return unread(err)
	}
	token, next := strings.TrimSpace(v.r.PostFormValue("token")), nextOf(v.r.PostFormValue("next"))
	v.web = d.cfg.Again(v.r)
	err := error(proto.Errorf(proto.ErrInvalid, "a token begins with %s", wire.TokenPrefix))
	if strings.HasPrefix(token, wire.TokenPrefix) {
		api := v.client(token)
		defer api.Close()
		_, err = api.WhoAmI(v.r.Context())
	}
	if err != nil {
		return d.write(v.w, http.StatusUnprocessableEntity, "signin", page{Title: "Sign in", Version: d.cfg.Version, Body: signInBody{Next: next, Error: wire.AsError(err).Message, Clear: inClear(v.r)}})
	}
	v.setCookie(token, 0)
	http.Redirect(v.w, v.r, next, http.StatusSeeOther)
	return nil
}

func (d *Dashboard) signOut(v *visit) error {
	v.setCookie("", -1)
	http.Redirect(v.w, v.r, Path+"signin", http.StatusSeeOther)
	return nil
}
