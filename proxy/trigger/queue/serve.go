package queue

import (
	"errors"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/transport/wire"
)

// Results serves the answers of functions, at ResultsPath and a call's id, as they came.
func (q *Queue) Results() http.Handler {
	return q.handler(ResultsPath, func(w http.ResponseWriter, r *http.Request, text string) error {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			return notAllowed(w, r, http.MethodGet+", "+http.MethodHead)
		}
		return q.result(w, r, text)
	})
}

// State serves what became of calls, at CallsPath and a call's id, for those who may do
// nothing else than call functions.
func (q *Queue) State() http.Handler {
	return q.handler(CallsPath, func(w http.ResponseWriter, r *http.Request, text string) (err error) {
		var c *proto.Call
		switch r.Method {
		case http.MethodGet, http.MethodHead:
			limit, err := proto.ParseWait(r.URL.Query().Get("wait"))
			if err != nil {
				return err
			}
			if c, err = q.Call(r.Context(), text, limit); err != nil {
				return err
			}
		case http.MethodDelete:
			c, err = q.CancelCall(r.Context(), text)
		default:
			return notAllowed(w, r, http.MethodGet+", "+http.MethodHead+", "+http.MethodDelete)
		}
		if err != nil {
			return err
		}
		body, err := wire.Encode(c)
		if err == nil {
			wire.WriteJSON(w, http.StatusOK, body)
		}
		return err
	})
}

func notAllowed(w http.ResponseWriter, r *http.Request, methods string) error {
	w.Header().Set("Allow", methods)
	return proto.Errorf(proto.ErrUnsupported, "%.20q is not a method of %.100s", r.Method, r.URL.Path).WithHint("it takes " + methods)
}

// handler serves calls below a path, for callers who may call their functions. Of what is
// no id, nobody knows the function.
func (q *Queue) handler(prefix string, serve func(w http.ResponseWriter, r *http.Request, id string) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set(proto.RequestIDHeader, proto.RequestID(r.Header.Get(proto.RequestIDHeader)))
		text := strings.TrimPrefix(r.URL.Path, prefix)
		i, unknown := parseID(text)
		f, _ := q.Gateway.Function(i.path)
		err := q.Admit(r, i.path, f.Public)
		if err == nil {
			err = unknown
		}
		if err == nil {
			err = serve(w, r, text)
		}
		if err != nil {
			q.Gateway.Refuse(w, r, err)
		}
	})
}

// result answers with a function's answer.
func (q *Queue) result(w http.ResponseWriter, r *http.Request, text string) error {
	_, rec, err := q.find(r.Context(), text)
	if err != nil {
		return err
	}
	switch {
	case !rec.over():
		return proto.Errorf(proto.ErrConflict, "call %s has not ended: it is %s", text, rec.State).
			WithHint("GET " + CallsPath + url.PathEscape(text) + "?wait=30s waits for it")
	case rec.Status == 0:
		return proto.Errorf(proto.ErrNotFound, "call %s has no answer: it is %s", text, rec.State).WithHint("GET " + CallsPath + url.PathEscape(text) + " says why")
	case rec.Size > int64(len(rec.Body)) && rec.Result == "" && r.Method != http.MethodHead:
		return proto.Errorf(proto.ErrNotFound, "the answer of call %s was not kept: %s", text, rec.Error)
	}
	body := io.Reader(strings.NewReader(string(rec.Body)))
	if rec.Result != "" {
		stored, err := q.store.Blobs().Open(r.Context(), rec.Result)
		if errors.Is(err, proto.ErrNotFound) {
			return proto.Errorf(proto.ErrNotFound, "the answer of call %s is gone: answers are kept for a day", text)
		}
		if err != nil {
			return err
		}
		defer stored.Close()
		body = stored
	}
	h := w.Header()
	for name, values := range rec.Header {
		h[name] = values
	}
	if _, ok := h["Content-Type"]; !ok {
		h["Content-Type"] = nil // else the server would guess it
	}
	h.Set("Content-Length", strconv.FormatInt(rec.Size, 10))
	w.WriteHeader(rec.Status)
	if r.Method == http.MethodHead || rec.Status == http.StatusNoContent || rec.Status == http.StatusNotModified {
		return nil
	}
	if _, err := io.Copy(w, body); err != nil {
		panic(http.ErrAbortHandler) // the caller must not take the part for the whole
	}
	return nil
}
