package dev

import (
	_ "embed" // for script
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"
)

// own is where dev itself answers. No function lives there.
const (
	own        = "/-/dev/"
	scriptPath = own + "reload.js"
	statesPath = own + "states"
)

//go:embed reload.js
var script string

// retry is how soon a browser asks again after a lost connection, such as when dev is
// started anew, in milliseconds.
const retry = 500

// tag is what is added to a page that state served. A page that dev itself has made
// changes with each state; one of a function shows the trouble beside what it has.
func tag(state, nonce string, ours bool) string {
	attributes := fmt.Sprintf(" src=%q data-state=%q", scriptPath, state)
	if ours {
		attributes += " data-own"
	}
	if nonce != "" {
		attributes += fmt.Sprintf(" nonce=%q", nonce)
	}
	return "\n<script" + attributes + " async></script>\n"
}

// navigates says whether a browser asks for a page to show, which a script or a picture
// is not. Only pages that are got can be got again.
func navigates(r *http.Request) bool {
	if r.Method != http.MethodGet {
		return false
	}
	if dest := r.Header.Get("Sec-Fetch-Dest"); dest != "" {
		return dest == "document"
	}
	return strings.Contains(r.Header.Get("Accept"), "text/html")
}

// whole makes the request of a page one for the whole page as it is: a compressed one
// cannot be added to, and one that the browser has kept lacks the script.
func whole(h http.Header) {
	h.Set("Accept-Encoding", "identity")
	for _, name := range []string{"If-None-Match", "If-Modified-Since", "Range", "If-Range"} {
		h.Del(name)
	}
}

// mark adds the script to an answer to a navigation, if that is a page and its policy lets
// the script in. The page itself passes as it comes.
func (s *session) mark(res *http.Response, state string) {
	h := res.Header
	kind, parameters, err := mime.ParseMediaType(h.Get("Content-Type"))
	charset := strings.ToLower(parameters["charset"])
	switch {
	case err != nil || kind != "text/html" || strings.HasPrefix(charset, "utf-16"), h.Get("Content-Encoding") != "",
		strings.HasPrefix(h.Get("Content-Disposition"), "attachment"):
		return
	case res.StatusCode < 200 || res.StatusCode >= 300 && res.StatusCode < 400:
		return // nobody sees it
	case res.StatusCode == http.StatusNoContent, res.StatusCode == http.StatusResetContent, res.StatusCode == http.StatusPartialContent:
		return
	}
	nonce, ok := admitted(append(h.Values("Content-Security-Policy"), h.Values("Content-Security-Policy-Report-Only")...))
	if !ok {
		s.strict.Do(func() {
			s.say("pages with this Content-Security-Policy do not reload by themselves: it admits no script, or no connection, of 'self'")
		})
		return
	}
	added := tag(state, nonce, false)
	res.Body = &extended{ReadCloser: res.Body, rest: strings.NewReader(added)}
	if res.ContentLength >= 0 {
		res.ContentLength += int64(len(added))
		h.Set("Content-Length", strconv.FormatInt(res.ContentLength, 10))
	}
	for _, name := range []string{"Etag", "Last-Modified", "Accept-Ranges", "Content-Md5", "Digest", "Content-Digest", "Repr-Digest"} {
		h.Del(name) // they are of the page without the script
	}
	h.Set("Cache-Control", "no-store")
}

// extended is a body with something after its end. One that is cut off stays so.
type extended struct {
	io.ReadCloser
	rest io.Reader
	done bool
}

func (e *extended) Read(p []byte) (int, error) {
	if e.done {
		return e.rest.Read(p)
	}
	n, err := e.ReadCloser.Read(p)
	if err == io.EOF {
		e.done, err = true, nil
	}
	return n, err
}

// ownPaths answers for dev itself, or says that it does not.
func (s *session) ownPaths(w http.ResponseWriter, r *http.Request) bool {
	if s.cfg.NoReload {
		return false
	}
	switch r.URL.Path {
	case scriptPath:
		w.Header().Set("Content-Type", "text/javascript; charset=utf-8")
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		_, _ = io.WriteString(w, script) // it fails when the caller has canceled
	case statesPath:
		s.tellStates(w, r)
	default:
		return false
	}
	return true
}

// tellStates tells a page each state as an event: its id and, if the sources do not build,
// what callers are answered.
func (s *session) tellStates(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	_, _ = fmt.Fprintf(w, "retry: %d\n\n", retry)
	for told := ""; ; {
		st, changed := s.watch()
		if st.id != "" && st.id != told {
			told = st.id
			data, err := json.Marshal(struct {
				State   string `json:"state"`
				Trouble string `json:"trouble,omitempty"`
			}{st.id, st.trouble})
			if err == nil {
				_, _ = fmt.Fprintf(w, "data: %s\n\n", data)
			}
		}
		if http.NewResponseController(w).Flush() != nil {
			return
		}
		select {
		case <-changed:
		case <-r.Context().Done():
			return
		}
	}
}
