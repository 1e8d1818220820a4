package dev

import (
	"context"
	"errors"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/proxy/gateway/forward"
)

const prefix = "/functions/"

// handler answers calls as a proxy does: the path below the function's name reaches
// it byte for byte.
func (s *session) handler() http.Handler {
	// A process that is replaced closes its connections, so each call has its own.
	transport := &http.Transport{DisableKeepAlives: true, DisableCompression: true}
	calls := s.told(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		state, err := s.settled(r.Context())
		if err != nil {
			return // the caller has canceled
		}
		if state.trouble != "" {
			s.answer(w, r, state, http.StatusInternalServerError, state.trouble)
			return
		}
		name, rest := split(r.RequestURI)
		f := state.functions[name]
		if f == nil {
			s.answer(w, r, state, http.StatusNotFound, "no function lives here; these are served:\n"+s.list(state.functions))
			return
		}
		s.call(w, r, state, f, f.mount+rest, transport)
	}))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !s.ownPaths(w, r) {
			calls.ServeHTTP(w, r)
		}
	})
}

// split splits the target of a request into the path of a function, "" for none, and
// what is below it.
func split(target string) (path, rest string) {
	below, ok := strings.CutPrefix(target, prefix)
	if !ok {
		return "", ""
	}
	end := strings.IndexAny(below, "/?")
	if end < 0 {
		end = len(below)
	}
	name, err := url.PathUnescape(below[:end])
	if err != nil {
		return "", ""
	}
	return proto.Path(name), below[end:]
}

// call passes a call on to a process of the function.
func (s *session) call(w http.ResponseWriter, r *http.Request, st state, f *function, target string, transport http.RoundTripper) {
	f.calls.Add(1)
	defer f.calls.Add(-1)
	life, err := f.wake(r.Context())
	if err != nil {
		s.unserved(w, r, st, f, err)
		return
	}
	ctx, cancel := context.WithCancelCause(r.Context())
	var watching sync.WaitGroup
	defer watching.Wait()
	defer cancel(nil)
	watching.Go(func() {
		select {
		case <-life.failed:
			cancel(life.err)
		case <-ctx.Done():
		}
	})
	_ = http.NewResponseController(w).EnableFullDuplex() // HTTP/2 is so by itself
	id := proto.RequestID(r.Header.Get(proto.RequestIDHeader))
	reloads := !s.cfg.NoReload && navigates(r)
	proxy := httputil.ReverseProxy{
		Rewrite: func(p *httputil.ProxyRequest) {
			forward.Rewrite(p, target, strings.TrimSuffix(prefix, "/")+f.mount, id)
			p.Out.URL.Host = f.sockets.Addr()
			if reloads {
				whole(p.Out.Header)
			}
		},
		ModifyResponse: func(res *http.Response) error {
			forward.Prune(res.Trailer)
			res.Header.Set(forward.RequestID, id)
			if r.ContentLength != 0 && r.ProtoMajor == 1 && res.StatusCode != http.StatusSwitchingProtocols {
				// The rest of the body would be read as the next request.
				w.Header().Set("Connection", "close")
			}
			if reloads {
				s.mark(res, st.id)
			}
			return nil
		},
		Transport:     transport,
		FlushInterval: -1,
		ErrorHandler: func(w http.ResponseWriter, out *http.Request, err error) {
			s.unserved(w, r, st, f, errors.Join(context.Cause(out.Context()), err))
		},
		ErrorLog: s.silent,
	}
	proxy.ServeHTTP(w, r.WithContext(ctx))
}

// unserved answers a call that the function has not answered.
func (s *session) unserved(w http.ResponseWriter, r *http.Request, st state, f *function, err error) {
	trouble, ok := errors.AsType[*Trouble](err)
	switch {
	case r.Context().Err() != nil: // the caller has canceled
	case ok:
		s.answer(w, r, st, http.StatusInternalServerError, s.report(trouble)+trouble.printed)
	default:
		s.answer(w, r, st, http.StatusBadGateway, fmt.Sprintf("%s has not answered: %v\n", f.name, err))
	}
}

// answer answers for a function; browsers get a page.
func (s *session) answer(w http.ResponseWriter, r *http.Request, st state, status int, text string) {
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	kind := "text/plain"
	if strings.Contains(r.Header.Get("Accept"), "text/html") {
		kind = "text/html"
		text = fmt.Sprintf(page, html.EscapeString(strings.TrimSpace(text)))
		if !s.cfg.NoReload && navigates(r) {
			text += tag(st.id, "", true)
		}
	}
	w.Header().Set("Content-Type", kind+"; charset=utf-8")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, text) // it fails when the caller has canceled
}

const page = `<!doctype html>
<meta charset="utf-8">
<meta name="color-scheme" content="light dark">
<title>proxyCli dev</title>
<pre>%s</pre>
`
