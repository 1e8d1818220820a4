package dev

import (
	"bufio"
	"net"
	"net/http"
	"time"
)

// Call is one call that has ended.
type Call struct {
	Began          time.Time
	Method, Target string // as the caller sent them
	Status         int    // 0: the caller has canceled before there was one
	Took           time.Duration
	CutOff         bool // the answer broke off
}

// told tells of each call of next when it ends.
func (s *session) told(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen := &answered{ResponseWriter: w}
		c := Call{Began: time.Now(), Method: r.Method, Target: r.RequestURI, CutOff: true}
		defer func() { // also of a call that is cut off, by a panic with http.ErrAbortHandler
			c.Status, c.Took = seen.status, time.Since(c.Began)
			s.out.endLine()
			s.cfg.Called(c)
		}()
		next.ServeHTTP(seen, r)
		c.CutOff = false
	})
}

// answered knows the status of an answer.
type answered struct {
	http.ResponseWriter
	status int
}

// Unwrap is for http.ResponseController.
func (a *answered) Unwrap() http.ResponseWriter { return a.ResponseWriter }

func (a *answered) WriteHeader(status int) {
	if status >= http.StatusOK {
		a.status = status
	}
	a.ResponseWriter.WriteHeader(status)
}

// Hijack is for connections that become those of another protocol.
func (a *answered) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, buffered, err := http.NewResponseController(a.ResponseWriter).Hijack()
	if err == nil {
		a.status = http.StatusSwitchingProtocols
	}
	return conn, buffered, err
}
