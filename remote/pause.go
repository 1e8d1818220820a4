package remote

import (
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/remote/process"
	"github.com/Ishan27g/ryo-faas/transport/wire"
)

// run owns paused and calls the functions below. The goroutines that answer callers of
// a paused function know its name and sockets alone.

const (
	// pausedRetry is when callers of a paused function are told to try again: a person
	// resumes it.
	pausedRetry = 30 * time.Second
	// pausedHead is how long a caller may take for a request's headers.
	pausedHead = 10 * time.Second
	// pausedLast is how long the last answers may take when a pause ends; each is one
	// line.
	pausedLast = time.Second
)

// pause stops the function's processes, which finish their calls, and keeps its
// sockets. A change that is under way is canceled.
func (f *function) pause() (*proto.FunctionJsonRsp, error) {
	switch {
	case f.main.version == nil:
		return nil, proto.Errorf(proto.ErrConflict, "function %s has no version that serves and could be paused", f.name).
			WithHint("proxyCli details shows how it stands")
	case f.paused:
		return f.tell(), nil
	}
	next := f.next
	f.paused, f.next = true, nil
	if err := f.store(); err != nil {
		f.paused, f.next = false, next
		return nil, proto.Errorf(proto.ErrExhausted, "store the pause of function %s: %w", f.name, err)
	}
	f.cancelMove(next, f.history.Generation, "canceled by a pause of the function")
	f.logger.Info("paused")
	f.tend(time.Now())
	return f.tell(), nil
}

// resume lets a paused function serve again. Callers wait for its processes.
func (f *function) resume() (*proto.FunctionJsonRsp, error) {
	if f.paused {
		f.cancelPause()
		f.save()
		f.logger.Info("resumed")
		f.tend(time.Now())
	}
	return f.tell(), nil
}

// cancelPause lets all services serve again.
func (f *function) cancelPause() {
	f.paused = false
	for _, s := range f.services() {
		if s.pausing {
			s.cancel()
			s.asleep, s.failures, s.retry = false, 0, time.Time{}
		}
	}
}

// pause stops the service's processes and answers its callers, once.
func (s *service) pause() {
	if s.pausing || s.version == nil {
		return
	}
	s.cancel()
	s.pausing = true
	if err := s.open(); err != nil {
		s.f.logger.Error("callers of a paused function are refused", "error", err)
		return
	}
	old := s.procs
	s.procs, s.asleep = nil, false
	s.f.drain(old) // from now on all callers get the same answer
	var err error
	if s.unpause, err = s.f.turnAway(s.sockets); err != nil {
		s.f.logger.Error("callers of a paused function wait", "error", err)
	}
	s.f.work.Go(func() { s.f.stopAll(old) })
}

// turnAway answers every call at the sockets with 503 until stop is called. Callers that
// it has accepted by then get their answer; later ones are left to whoever has the
// sockets.
func (f *function) turnAway(sockets *process.Sockets) (stop func(), err error) {
	files, err := sockets.Files()
	if err != nil {
		return nil, err
	}
	var accepting, conns sync.WaitGroup
	srv := &http.Server{
		ReadHeaderTimeout: pausedHead,
		ConnState: func(_ net.Conn, state http.ConnState) {
			switch state {
			case http.StateNew:
				conns.Add(1)
			case http.StateClosed:
				conns.Done()
			}
		},
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set(proto.RequestIDHeader, proto.RequestID(r.Header.Get(proto.RequestIDHeader)))
			w.Header().Set("Retry-After", strconv.Itoa(int(pausedRetry/time.Second)))
			wire.WriteError(w, proto.Errorf(proto.ErrUnavailable, "function %s is paused", f.name).
				WithHint("proxyCli resume "+f.name+" lets it serve again").From("agent", "paused"))
		}),
	}
	srv.SetKeepAlivesEnabled(false) // the next call may find it resumed
	var listeners []net.Listener
	for _, file := range files {
		l, listenErr := net.FileListener(file)
		_ = file.Close()
		if listenErr != nil {
			err = listenErr
			continue
		}
		listeners = append(listeners, l)
		accepting.Go(func() { _ = srv.Serve(l) })
	}
	return func() {
		for _, l := range listeners { // before stop returns: the next caller is another's
			_ = l.Close()
		}
		// Not by Shutdown: it drops the request of a connection that has just been accepted.
		f.work.Go(func() {
			accepting.Wait()
			last := time.AfterFunc(pausedLast, func() { _ = srv.Close() })
			conns.Wait()
			last.Stop()
		})
	}, err
}
