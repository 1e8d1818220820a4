package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/Ishan27g/ryo-faas/proto"
)

// laterSource is two functions that answer at once, and one whose calls wait, since it has
// one place and takes as long as it may.
const laterSource = `package later

import (
	"fmt"
	"net/http"
)

func Calm(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, 1) }

func Burst(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, 1) }

func Hold(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }
`

// later measures calls that are made later.
func (s *stack) later(ctx context.Context, e effort) ([]*table, error) {
	dir := filepath.Join(s.dir, "later")
	if err := writeFiles(dir, map[string]string{"fn.go": laterSource}); err != nil {
		return nil, err
	}
	for name, concurrency := range map[string]uint32{"Calm": 0, "Burst": 0, "Hold": 1} {
		fn := &proto.FunctionJson{Name: name, Dir: dir, ToAgent: []string{s.agent.addr}, Timeout: "1h", Concurrency: concurrency}
		if _, err := settle(ctx, s.client, fn); err != nil {
			return nil, err
		}
	}
	client := &http.Client{Timeout: time.Minute, Transport: &http.Transport{MaxIdleConnsPerHost: 256}}
	defer client.CloseIdleConnections()

	starts := &table{head: timesHead("calls of /async: from accepted to begun, one at a time")}
	alone, err := s.begins(ctx, client, e.later)
	if err != nil {
		return nil, err
	}
	starts.times(fmt.Sprintf("nothing else waits, n = %d", e.later), alone, "")
	beside, burst, err := s.beside(ctx, client, e)
	if err != nil {
		return nil, err
	}
	starts.times(fmt.Sprintf("beside a burst of another function, of 64 callers, of which %.0f/s are accepted", burst), beside, "")

	accepts := &table{head: []string{"calls of /async of 1 KiB, each on the disk before it is accepted", "accepted per second", "the proxy has, MiB: resident", "private, dirty"}}
	row := func(what, rate string) error {
		m, err := memoryOf(s.proxy.pid())
		if err != nil {
			return err
		}
		accepts.add(what, rate, fmt.Sprintf("%.0f", float64(m.RSS)/(1<<20)), fmt.Sprintf("%.0f", float64(m.PrivateDirty)/(1<<20)))
		return nil
	}
	if err := row("before", "–"); err != nil {
		return nil, err
	}
	waits := 0
	for _, callers := range []int{1, 32, 256} {
		n := e.waiting / 2
		if callers == 1 {
			n = e.waiting / 50 // one caller takes long
		}
		took, err := s.accept(ctx, client, "Hold", callers, n)
		if err != nil {
			return nil, err
		}
		waits += n
		if err := row(fmt.Sprintf("%d caller%s; then %d wait", callers, plural(callers), waits), fmt.Sprintf("%.0f", float64(n)/took.Seconds())); err != nil {
			return nil, err
		}
	}
	return []*table{starts, accepts}, nil
}

// accept lets a number of callers make calls, and returns how long that took.
func (s *stack) accept(ctx context.Context, client *http.Client, name string, callers, calls int) (time.Duration, error) {
	var left atomic.Int64
	left.Store(int64(calls))
	errs := make([]error, callers)
	var all sync.WaitGroup
	begun := time.Now()
	for i := range callers {
		all.Go(func() {
			for left.Add(-1) >= 0 && errs[i] == nil && ctx.Err() == nil {
				_, errs[i] = s.takeLater(ctx, client, name)
			}
		})
	}
	all.Wait()
	return time.Since(begun), errors.Join(errors.Join(errs...), ctx.Err())
}

var kibibyte = strings.Repeat("x", 1<<10)

// takeLater makes a call, and returns its id.
func (s *stack) takeLater(ctx context.Context, client *http.Client, name string) (id string, err error) {
	var is struct{ ID string }
	err = ask(ctx, client, http.MethodPost, "http://"+s.proxyHTTP+"/async/"+proto.Path(name), kibibyte, http.StatusAccepted, &is)
	return is.ID, err
}

// begins makes calls one after the other, and returns how long each waits.
func (s *stack) begins(ctx context.Context, client *http.Client, n int) (figure, error) {
	samples := make([]float64, 0, n)
	for range n {
		id, err := s.takeLater(ctx, client, "Calm")
		if err != nil {
			return figure{}, err
		}
		var is struct{ State, Accepted, Started string }
		if err := ask(ctx, client, http.MethodGet, "http://"+s.proxyHTTP+"/calls/"+id+"?wait=30s", "", http.StatusOK, &is); err != nil {
			return figure{}, err
		}
		accepted, err := time.Parse(time.RFC3339Nano, is.Accepted)
		if err != nil || is.State != "done" {
			return figure{}, fmt.Errorf("call %s is %s: %w", id, is.State, err)
		}
		started, err := time.Parse(time.RFC3339Nano, is.Started)
		if err != nil {
			return figure{}, err
		}
		samples = append(samples, millis(started.Sub(accepted)))
	}
	return summarize(samples), nil
}

// beside does the same while another function gets as many calls as are accepted; it
// returns how many those are, per second.
func (s *stack) beside(ctx context.Context, client *http.Client, e effort) (f figure, rate float64, err error) {
	bursting, stop := context.WithCancel(ctx)
	defer stop()
	var accepted atomic.Int64
	var all sync.WaitGroup
	begun := time.Now()
	for range 64 {
		all.Go(func() {
			for bursting.Err() == nil {
				if _, err := s.takeLater(bursting, client, "Burst"); err == nil {
					accepted.Add(1)
				}
			}
		})
	}
	f, err = s.begins(ctx, client, e.later)
	rate = float64(accepted.Load()) / time.Since(begun).Seconds()
	stop()
	all.Wait()
	return f, rate, err
}

// ask makes a request, and reads its answer.
func ask(ctx context.Context, client *http.Client, method, url, body string, status int, to any) error {
	req, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		return err
	}
	rsp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer rsp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(rsp.Body, 1<<20))
	if err != nil {
		return err
	}
	if rsp.StatusCode != status {
		return fmt.Errorf("%s %s: %s, %q", method, url, rsp.Status, text)
	}
	return json.Unmarshal(text, to)
}
