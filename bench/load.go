package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"sync"
	"time"
)

// loadCommand as the first argument makes this program the load generator.
const loadCommand = "load"

// load is the generator's task: call one URL again and again, over a number of
// connections that stay open, with one call at a time on each.
type load struct {
	Addr, Path string
	Conns      int
	Body       int           // bytes of a POST; 0: it is a GET
	Secure     bool          // by TLS
	Warm       time.Duration // calls before the measured ones
	For        time.Duration
}

// outcome is what the generator saw.
type outcome struct {
	All      int // calls, with those before the measured ones
	Measured int
	PerSec   float64
	P50, P99 time.Duration
}

// run starts this program once more as the generator, which thus has its own CPU time
// and garbage collector. It calls ready when all connections have made a call.
func (l load) run(ctx context.Context, ready func() error) (o outcome, err error) {
	self, err := os.Executable()
	if err != nil {
		return o, err
	}
	spec, err := json.Marshal(l)
	if err != nil {
		return o, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, self, loadCommand)
	cmd.Stderr = &stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return o, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return o, err
	}
	if err := cmd.Start(); err != nil {
		return o, err
	}
	said := bufio.NewReader(stdout)
	talk := func() error {
		if _, err := stdin.Write(append(spec, '\n')); err != nil {
			return err
		}
		if _, err := said.ReadString('\n'); err != nil {
			return err
		}
		if err := ready(); err != nil {
			return err
		}
		if _, err := io.WriteString(stdin, "go\n"); err != nil {
			return err
		}
		return json.NewDecoder(said).Decode(&o)
	}
	err = talk()
	if err != nil {
		cancel()
	}
	if exited := cmd.Wait(); exited != nil {
		return o, fmt.Errorf("load %s%s: %w: %s", l.Addr, l.Path, errors.Join(err, exited), stderr.Bytes())
	}
	return o, err
}

// serveLoad is the generator: it reads a load, connects and says so, and prints the outcome
// of what it does after the next line.
func serveLoad(stdin io.Reader, stdout io.Writer) error {
	var l load
	told := bufio.NewReader(stdin)
	spec, err := told.ReadBytes('\n')
	if err != nil {
		return err
	}
	if err := json.Unmarshal(spec, &l); err != nil {
		return err
	}
	if err := pin(os.Getpid(), offFirst()); err != nil {
		return err
	}
	clients, err := l.connect()
	defer closeAll(clients)
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintln(stdout, "ready"); err != nil {
		return err
	}
	if _, err := told.ReadString('\n'); err != nil {
		return err
	}
	o, err := l.generate(clients)
	if err != nil {
		return err
	}
	return json.NewEncoder(stdout).Encode(o)
}

// connect opens the connections, each with a call.
func (l load) connect() (clients []*client, err error) {
	for range l.Conns {
		c, err := l.dial()
		if err != nil {
			return clients, err
		}
		clients = append(clients, c)
		if err := c.call(); err != nil {
			return clients, fmt.Errorf("first call of a connection: %w", err)
		}
	}
	return clients, nil
}

func closeAll(clients []*client) {
	for _, c := range clients {
		_ = c.conn.Close()
	}
}

func (l load) generate(clients []*client) (outcome, error) {
	start := time.Now()
	from, until := start.Add(l.Warm), start.Add(l.Warm+l.For)
	var wg sync.WaitGroup
	errs := make([]error, len(clients))
	for i, c := range clients {
		wg.Go(func() { errs[i] = c.loop(from, until) })
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return outcome{}, err
	}
	var all int
	var took []time.Duration
	for _, c := range clients {
		all += c.calls
		took = append(took, c.took...)
	}
	if len(took) == 0 {
		return outcome{}, errors.New("no call was answered in time")
	}
	slices.Sort(took)
	return outcome{
		All: all, Measured: len(took), PerSec: float64(len(took)) / l.For.Seconds(),
		P50: quantile(took, 0.50), P99: quantile(took, 0.99),
	}, nil
}

// client is one connection of the generator.
type client struct {
	conn    net.Conn
	answers *bufio.Reader
	request []byte
	calls   int
	took    []time.Duration // of the calls that were measured
}

// patience is how long an answer may take: a slower one fails the run.
const patience = 10 * time.Second

func (l load) dial() (*client, error) {
	conn, err := net.DialTimeout("tcp", l.Addr, patience)
	if err != nil {
		return nil, err
	}
	if l.Secure {
		conn = tls.Client(conn, &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13, NextProtos: []string{"http/1.1"}}) //nolint:gosec // on the loopback, for a moment
	}
	c := &client{conn: conn, answers: bufio.NewReader(conn)}
	if c.request = fmt.Appendf(nil, "GET %s HTTP/1.1\r\nHost: %s\r\n\r\n", l.Path, l.Addr); l.Body > 0 {
		c.request = fmt.Appendf(nil, "POST %s HTTP/1.1\r\nHost: %s\r\nContent-Length: %d\r\n\r\n%s", l.Path, l.Addr, l.Body, bytes.Repeat([]byte("x"), l.Body))
	}
	return c, conn.SetDeadline(time.Now().Add(patience))
}

// loop calls until a time, at least once, and keeps the times of the calls that were
// answered after from.
func (c *client) loop(from, until time.Time) error {
	if err := c.conn.SetDeadline(until.Add(patience)); err != nil {
		return err
	}
	for begun := time.Now(); begun.Before(until) || len(c.took) == 0; {
		if err := c.call(); err != nil {
			return fmt.Errorf("call %d: %w", c.calls+1, err)
		}
		c.calls++
		answered := time.Now()
		if answered.After(from) && (answered.Before(until) || len(c.took) == 0) {
			c.took = append(c.took, answered.Sub(begun))
		}
		begun = answered
	}
	return nil
}

// call sends one request and reads its answer: what hello's looks like, a 200
// with a Content-Length. Anything else is an error.
func (c *client) call() error {
	if _, err := c.conn.Write(c.request); err != nil {
		return err
	}
	status, err := c.line()
	if err != nil {
		return err
	}
	if !bytes.HasPrefix(status, []byte("HTTP/1.1 200")) {
		return fmt.Errorf("the answer is %q", status)
	}
	length := -1
	for {
		line, err := c.line()
		if err != nil {
			return err
		}
		if len(line) == 0 {
			break
		}
		name, value, _ := bytes.Cut(line, []byte(":"))
		if bytes.EqualFold(name, []byte("Content-Length")) {
			if length, err = strconv.Atoi(string(bytes.TrimSpace(value))); err != nil {
				return err
			}
		}
	}
	if length < 0 {
		return errors.New("the answer has no Content-Length")
	}
	_, err = c.answers.Discard(length)
	return err
}

func (c *client) line() ([]byte, error) {
	line, err := c.answers.ReadSlice('\n')
	return bytes.TrimRight(line, "\r\n"), err
}
