package process

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"os"
	"time"
)

const (
	healthPath = "/_ryo/healthz"
	statsPath  = "/_ryo/stats?q="

	// maxAnswer bounds what is read of an answer, in bytes; a real one has some 300.
	maxAnswer = 64 << 10
	// maxStale is how many answers to earlier agents, which were killed, may still
	// come: one for each, since an agent asks only after the last answer has come.
	maxStale = 8
)

// Stats is what a process says about its work.
type Stats struct {
	Requests    uint64        // answered, since its start
	InFlight    uint32        // requests under way
	Connections uint32        // that are open
	Idle        time.Duration // since the last request or connection ended; 0 while a connection is open
	Received    uint64        // bytes that came over its connections
	Sent        uint64        // bytes that went over its connections
}

// said is Stats as a process writes it.
type said struct {
	Q           string
	Nonce       string
	Requests    uint64
	InFlight    uint32
	Connections uint32
	IdleMs      uint64
	Received    uint64
	Sent        uint64
}

func parseStats(body []byte) (said, error) {
	var s said
	if err := json.Unmarshal(body, &s); err != nil {
		return said{}, fmt.Errorf("read its stats: %w", err)
	}
	if s.IdleMs > uint64(math.MaxInt64/time.Millisecond) {
		return said{}, fmt.Errorf("read its stats: idle for %d ms", s.IdleMs)
	}
	return s, nil
}

func (s said) stats() Stats {
	return Stats{
		Requests: s.Requests, InFlight: s.InFlight, Connections: s.Connections,
		Idle:     time.Duration(s.IdleMs) * time.Millisecond, //nolint:gosec // parseStats has bounded it
		Received: s.Received, Sent: s.Sent,
	}
}

// control is the agent's end of a control connection.
type control struct {
	conn net.Conn
	// turn has room for one, and is full while a caller uses the connection.
	turn chan struct{}

	// turn guards the fields below:
	limit   *io.LimitedReader // of conn
	answers *bufio.Reader     // of limit
	owed    bool              // the answer to a question that was cancelled is to come
}

func newControl(conn net.Conn) *control {
	limit := &io.LimitedReader{R: conn}
	return &control{conn: conn, turn: make(chan struct{}, 1), limit: limit, answers: bufio.NewReader(limit)}
}

// take waits for the caller's turn on the connection. Reads and writes then end with
// ctx. give passes the turn on.
func (c *control) take(ctx context.Context) (give func(), err error) {
	select {
	case c.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	if err := c.conn.SetDeadline(time.Time{}); err != nil {
		<-c.turn
		return nil, err
	}
	late := make(chan struct{})
	inTime := context.AfterFunc(ctx, func() {
		_ = c.conn.SetDeadline(time.Unix(1, 0)) // wakes reads and writes
		close(late)
	})
	return func() {
		if !inTime() {
			<-late
		}
		<-c.turn
	}, nil
}

// ask asks for a path and waits for the answer that is meant, skipping some
// others. When ctx ends first, the next call skips the answer.
func (c *control) ask(ctx context.Context, path string, meant func(body []byte) bool) error {
	give, err := c.take(ctx)
	if err != nil {
		return err
	}
	defer give()
	if c.owed {
		if _, err := c.answer(); c.owed {
			return err
		}
	}
	if _, err := io.WriteString(c.conn, "GET "+path+" HTTP/1.1\r\nHost: ryo\r\n\r\n"); err != nil {
		return err
	}
	for range maxStale + 1 {
		c.owed = true
		if body, err := c.answer(); err != nil || meant(body) {
			return err
		}
	}
	return errors.New("it answers what it was not asked")
}

// answer reads one answer, after which none is owed.
func (c *control) answer() ([]byte, error) {
	c.limit.N = maxAnswer
	rsp, err := http.ReadResponse(c.answers, nil)
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(rsp.Body)
	if err := errors.Join(err, rsp.Body.Close()); err != nil {
		return nil, err
	}
	c.owed = false
	if rsp.StatusCode != http.StatusOK {
		return nil, errors.New("the answer is " + rsp.Status)
	}
	return body, nil
}

// stats asks for the process's stats. The answer repeats a text of the question, as
// a connection that was taken over may hold answers to earlier questions.
func (c *control) stats(ctx context.Context) (said, error) {
	q := rand.Text()
	var s said
	err := c.ask(ctx, statsPath+q, func(body []byte) (meant bool) {
		var err error
		s, err = parseStats(body)
		return err == nil && s.Q == q
	})
	return s, err
}

// closed returns when the process has closed its end, or with ctx.
func (c *control) closed(ctx context.Context) error {
	give, err := c.take(ctx)
	if err != nil {
		return err
	}
	defer give()
	if _, err := io.Copy(io.Discard, c.conn); errors.Is(err, os.ErrDeadlineExceeded) {
		return context.Cause(ctx)
	}
	return nil // whatever the error, the other end is closed
}

// health asks whether the process serves.
func (c *control) health(ctx context.Context) error {
	return c.ask(ctx, healthPath, func([]byte) bool { return true })
}
