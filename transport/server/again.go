package server

import (
	"context"
	"io"
	"maps"
	"net/http"
	"net/url"
	"runtime/debug"
	"sync"

	"github.com/Ishan27g/ryo-faas/proto"
)

// Again returns what makes further requests for the caller of r, past the network. Each is
// decided on, bounded and recorded like one that came by the same connection, from the
// same page, with the token that it has, or else with that of r; but pages of the addressed
// host, which the handler knows its own among, are let in. It is for handlers of mounts that
// Ask. What goes on when they return is canceled.
func Again(r *http.Request) http.RoundTripper {
	s, _ := r.Context().Value(serverKey{}).(*server)
	return again{s, r}
}

// serverKey is the key under which the context of a request has its *server.
type serverKey struct{}

// withinKey is the key under which the context of a request that is asked again says so.
type withinKey struct{}

// askedKey is the key under which the context of a request has the *sync.WaitGroup of what is
// asked again for it.
type askedKey struct{}

// asking serves a request by the handler of a mount that asks, and ends what that has left.
func asking(m *Mount, w http.ResponseWriter, r *http.Request) {
	var asked sync.WaitGroup
	defer asked.Wait()
	ctx, cancel := context.WithCancel(context.WithValue(r.Context(), askedKey{}, &asked))
	defer cancel()
	m.ServeHTTP(w, r.WithContext(ctx))
}

type again struct {
	server *server // nil: r came by no server
	of     *http.Request
}

// saysOrigin reports whether a header of a request says from where it came.
func saysOrigin(name string) bool {
	return name == "Origin" || name == "Sec-Fetch-Site" || saysGateway(name)
}

// RoundTrip implements http.RoundTripper.
func (a again) RoundTrip(req *http.Request) (*http.Response, error) {
	asked, _ := a.of.Context().Value(askedKey{}).(*sync.WaitGroup)
	if a.server == nil || asked == nil {
		return nil, proto.Errorf(proto.ErrInternal, "a request that came by no server is made again")
	}
	ctx, cancel := context.WithCancel(context.WithValue(req.Context(), withinKey{}, true))
	for _, key := range []any{serverKey{}, connKey{}, accessKey{}, bearerKey{}, http.LocalAddrContextKey} {
		ctx = context.WithValue(ctx, key, a.of.Context().Value(key)) //nolint:fatcontext // a few keys
	}
	inner := req.Clone(ctx)
	inner.URL = &url.URL{Path: req.URL.Path, RawPath: req.URL.RawPath, RawQuery: req.URL.RawQuery}
	inner.RequestURI, inner.Host, inner.RemoteAddr, inner.TLS = inner.URL.RequestURI(), a.of.Host, a.of.RemoteAddr, a.of.TLS
	inner.Proto, inner.ProtoMajor, inner.ProtoMinor = "HTTP/1.1", 1, 1
	if inner.Body == nil {
		inner.Body = http.NoBody
	}
	// From where it comes is said by r alone.
	maps.DeleteFunc(inner.Header, func(name string, _ []string) bool { return saysOrigin(name) })
	for name, values := range a.of.Header {
		if saysOrigin(name) {
			inner.Header[name] = values
		}
	}
	if inner.Header.Get(proto.RequestIDHeader) == "" {
		inner.Header.Set(proto.RequestIDHeader, CallerFrom(a.of.Context()).RequestID)
	}

	in, out := io.Pipe()
	stop := context.AfterFunc(a.of.Context(), cancel)
	context.AfterFunc(ctx, func() { _ = in.CloseWithError(context.Cause(ctx)) }) // a write that waits returns
	w := &answer{header: http.Header{}, begun: make(chan struct{}), out: out}
	body := &answerBody{PipeReader: in, cancel: cancel, done: make(chan struct{})}
	asked.Go(func() {
		defer close(body.done)
		defer stop()
		defer func() { _ = inner.Body.Close() }()
		err := a.serve(w, inner)
		w.WriteHeader(http.StatusOK)
		_ = out.CloseWithError(err)
	})
	<-w.begun
	return &http.Response{
		Status: http.StatusText(w.status), StatusCode: w.status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: w.sent, ContentLength: -1, Body: body, Request: req,
	}, nil
}

// serve serves a request. A panic ends its answer alone, as net/http has it.
func (a again) serve(w *answer, r *http.Request) (err error) {
	defer func() {
		switch p := recover(); p {
		case nil:
		case http.ErrAbortHandler:
			err = io.ErrUnexpectedEOF
		default:
			a.server.logger.Error("panic", "call", r.Method+" "+r.URL.Path, "value", p, "stack", string(debug.Stack()))
			err = io.ErrUnexpectedEOF
		}
	}()
	a.server.serve(w, r)
	return nil
}

// answer is an http.ResponseWriter whose reader is in the same process. Writes wait for it.
type answer struct {
	header http.Header
	once   sync.Once
	begun  chan struct{} // closed when the fields below are set
	status int
	sent   http.Header
	out    *io.PipeWriter
}

func (w *answer) Header() http.Header { return w.header }

func (w *answer) WriteHeader(status int) {
	if status < http.StatusOK {
		return // nobody waits for what comes before an answer
	}
	w.once.Do(func() {
		w.status, w.sent = status, w.header.Clone()
		close(w.begun)
	})
}

func (w *answer) Write(p []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	return w.out.Write(p)
}

// Flush implements http.Flusher: nothing is held back.
func (w *answer) Flush() { w.WriteHeader(http.StatusOK) }

// answerBody is the body of an answer. Close cancels its request and returns when that has
// ended.
type answerBody struct {
	*io.PipeReader
	cancel context.CancelFunc
	done   chan struct{}
}

func (b *answerBody) Close() error {
	b.cancel()
	err := b.PipeReader.Close()
	<-b.done
	return err
}
