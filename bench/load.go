package main

import (
	"bufio"
	"bytes"
	"context"
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

// load is the generator's task: GET one URL again and again, over a number of
// connections that stay open, with one call at a time on each.
type load struct {
	Addr, Path string
	Conns      int
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
// and garbage collector.
func (l load) run(ctx context.Context) (outcome, error) {
	self, err := os.Executable()
	if err != nil {
		return outcome{}, err
	}
	spec, err := json.Marshal(l)
	if err != nil {
		return outcome{}, err
	}
	var stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, self, loadCommand)
	cmd.Stdin, cmd.Stderr = bytes.NewReader(spec), &stderr
	stdout, err := cmd.Output()
	if err != nil {
		return outcome{}, fmt.Errorf("load %s%s: %w: %s", l.Addr, l.Path, err, stderr.Bytes())
	}
	var o outcome
	err = json.Unmarshal(stdout, &o)
	return o, err
}

// serveLoad is the generator: it reads a load and prints its outcome.
func serveLoad(stdin io.Reader, stdout io.Writer) error {
	var l load
	if err := json.NewDecoder(stdin).Decode(&l); err != nil {
		return err
	}
	o, err := l.generate()
	if err != nil {
		return err
	}
	return json.NewEncoder(stdout).Encode(o)
}

func (l load) generate() (outcome, error) {
	start := time.Now()
	from, until := start.Add(l.Warm), start.Add(l.Warm+l.For)
	var (
		wg      sync.WaitGroup
		clients = make([]*client, l.Conns)
		errs    = make([]error, l.Conns)
	)
	for i := range clients {
		wg.Go(func() { clients[i], errs[i] = l.loop(from, until) })
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

// loop calls until a time, and keeps the times of the calls that were answered after
// from.
func (l load) loop(from, until time.Time) (*client, error) {
	const patience = 10 * time.Second // a slower answer fails the run
	conn, err := net.DialTimeout("tcp", l.Addr, patience)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	if err := conn.SetDeadline(until.Add(patience)); err != nil {
		return nil, err
	}
	c := &client{
		conn: conn, answers: bufio.NewReader(conn),
		request: fmt.Appendf(nil, "GET %s HTTP/1.1\r\nHost: %s\r\n\r\n", l.Path, l.Addr),
	}
	for begun := time.Now(); begun.Before(until); {
		if err := c.call(); err != nil {
			return nil, fmt.Errorf("call %d: %w", c.calls+1, err)
		}
		c.calls++
		answered := time.Now()
		if answered.After(from) && answered.Before(until) {
			c.took = append(c.took, answered.Sub(begun))
		}
		begun = answered
	}
	return c, nil
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
