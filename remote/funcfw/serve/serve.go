package serve

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	// statsPath is answered on the control connection alone.
	statsPath = "/_ryo/stats"

	envPrefix      = "RYO_"
	envFunction    = envPrefix + "FUNCTION"
	envMount       = envPrefix + "MOUNT"
	envListen      = envPrefix + "LISTEN"
	envDrain       = envPrefix + "DRAIN"
	envBody        = envPrefix + "BODY"
	envStrict      = envPrefix + "STRICT"
	envConcurrency = envPrefix + "CONCURRENCY"
	envWebhook     = envPrefix + "WEBHOOK"
	envNonce       = envPrefix + "NONCE"

	// firstFD is the first inherited descriptor after the three standard ones.
	firstFD = 3
	// maxListeners is far above the two that are used: TCP and unix.
	maxListeners = 9

	// readHeaderTimeout closes connections that send their header too slowly.
	readHeaderTimeout = 5 * time.Second
	// idleTimeout is longer than that of common gateways, so that they close idle
	// connections first and never send a request on a closed one.
	idleTimeout = 120 * time.Second

	// connBuffer is what may wait on one HTTP/2 connection, in bytes, for functions that do
	// not read their requests: the most that net/http takes.
	connBuffer = 4<<20 - 1
	// streamBuffer is the part of one request. A gateway sends at most 32 at a time over a
	// connection, so that none waits for another that is not read.
	streamBuffer = connBuffer / 32
)

// Functions are the functions of a program by name. Each registers its function with
// the framework and returns the handler that the framework makes of it.
type Functions map[string]func() (http.Handler, error)

// Run serves one of the functions, the one that the environment names, until
// SIGTERM or SIGINT and the end of all running requests. It takes over the
// process's signals, RYO_ variables and inherited descriptors, so it is called
// once, by main.
func Run(functions Functions) error {
	// Before anything is served: a signal that comes early must still drain.
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, syscall.SIGINT)
	// A write to a closed standard output must be an error and not kill the process. Unlike
	// signal.Ignore, this is not inherited by programs that the function starts.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)

	s, err := takeSettings()
	if err != nil {
		return err
	}
	handler, ok := functions[s.function]
	if !ok {
		return fmt.Errorf("%s=%q is no function of this program", envFunction, s.function)
	}
	listeners, control, err := inherit(s.listeners)
	if err != nil {
		return err
	}
	fn, err := handler()
	if err != nil {
		return err
	}
	if s.strict {
		fn = strictly(fn)
	}
	if s.concurrency > 0 {
		fn = atMost(s.concurrency, fn)
	}
	if s.webhook != nil {
		fn = signed(s.webhook, fn)
	}
	if s.body > 0 {
		fn = limitBody(fn, s.body)
	}
	return serve(stop, mount{path: s.mount, next: fn}, s, listeners, control)
}

// settings is what the environment says.
type settings struct {
	function    string // the Go name, or the one that it was declared by
	mount       string
	nonce       string // tells this process from a later one with its pid
	listeners   int
	drain       time.Duration
	body        int64 // 0: no limit
	concurrency int   // 0: no limit
	strict      bool
	webhook     *webhook // nil: requests need no signature
}

// takeSettings reads the settings and removes every RYO_ variable.
func takeSettings() (settings, error) {
	s := settings{
		function: os.Getenv(envFunction), mount: os.Getenv(envMount),
		nonce: os.Getenv(envNonce), strict: os.Getenv(envStrict) != "",
	}
	var errListen, errDrain, errBody, errConcurrency, errWebhook error
	s.listeners, errListen = strconv.Atoi(os.Getenv(envListen))
	s.drain, errDrain = time.ParseDuration(os.Getenv(envDrain))
	if body, ok := os.LookupEnv(envBody); ok {
		s.body, errBody = strconv.ParseInt(body, 10, 64)
	}
	if n, ok := os.LookupEnv(envConcurrency); ok {
		s.concurrency, errConcurrency = strconv.Atoi(n)
	}
	if how, ok := os.LookupEnv(envWebhook); ok {
		s.webhook, errWebhook = takeWebhook(how)
	}
	for _, kv := range os.Environ() {
		if name, _, _ := strings.Cut(kv, "="); strings.HasPrefix(name, envPrefix) {
			_ = os.Unsetenv(name) // fails for malformed names alone
		}
	}
	switch {
	case !strings.HasPrefix(s.mount, "/") || len(s.mount) < 2 || strings.Contains(s.mount[1:], "/"):
		return s, fmt.Errorf("%s=%q is not a path of one segment", envMount, s.mount)
	case errListen != nil || s.listeners < 1 || s.listeners > maxListeners:
		return s, fmt.Errorf("%s is not a number from 1 to %d", envListen, maxListeners)
	case errDrain != nil || s.drain <= 0:
		return s, fmt.Errorf("%s is not a duration", envDrain)
	case errBody != nil || s.body < 0:
		return s, fmt.Errorf("%s is not a number of bytes", envBody)
	case errConcurrency != nil || s.concurrency < 0:
		return s, fmt.Errorf("%s is not a number of requests", envConcurrency)
	case errWebhook != nil:
		return s, errWebhook
	}
	return s, nil
}

// inherit takes the listeners and the control connection over from their
// descriptors, which it closes: the runtime's copies are close-on-exec.
func inherit(n int) (listeners []net.Listener, control net.Conn, err error) {
	for fd := firstFD; fd < firstFD+n; fd++ {
		f := os.NewFile(uintptr(fd), "listener")
		l, err := net.FileListener(f)
		_ = f.Close()
		if err != nil {
			return nil, nil, fmt.Errorf("descriptor %d: %w", fd, err)
		}
		if u, ok := l.(*net.UnixListener); ok {
			// The path is the agent's, and the next process serves on it.
			u.SetUnlinkOnClose(false)
		}
		listeners = append(listeners, l)
	}
	f := os.NewFile(uintptr(firstFD+n), "control connection")
	control, err = net.FileConn(f)
	_ = f.Close()
	if err != nil {
		return nil, nil, fmt.Errorf("descriptor %d: %w", firstFD+n, err)
	}
	return listeners, control, nil
}

// serve serves h on the listeners and answers the agent on the control connection
// until stop receives, then drains.
func serve(stop <-chan os.Signal, h http.Handler, s settings, listeners []net.Listener, control net.Conn) error {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	traffic := newTraffic(h)
	srv := &http.Server{
		Handler:           traffic,
		ConnState:         traffic.note,
		ReadHeaderTimeout: readHeaderTimeout,
		IdleTimeout:       idleTimeout,
		Protocols:         protocols,
		HTTP2:             &http.HTTP2Config{MaxReceiveBufferPerConnection: connBuffer, MaxReceiveBufferPerStream: streamBuffer},
	}
	failed := make(chan error, len(listeners))
	var accepting sync.WaitGroup
	accepting.Add(len(listeners))
	for _, l := range listeners {
		go func(l net.Listener) {
			defer accepting.Done()
			failed <- srv.Serve(listener{l, traffic})
		}(l)
	}
	look := time.AfterFunc(settled, func() { tellListens(os.Stderr, listeners) })
	defer look.Stop()
	// No time limits: only the agent asks, at any time.
	agent := &http.Server{Handler: answers(traffic, s.nonce)}
	go func() { _ = agent.Serve(newOneConn(control)) }()
	// Its close tells the agent that no further calls are taken here.
	closeControl := func() { _ = agent.Close() }
	defer closeControl()

	select {
	case err := <-failed:
		return err
	case <-stop:
	}
	ctx, cancel := context.WithTimeout(context.Background(), s.drain)
	defer cancel()
	err := traffic.drain(ctx, srv, listeners, &accepting, closeControl)
	if errors.Is(err, context.DeadlineExceeded) {
		fmt.Fprintf(os.Stderr, "serve: requests that ran for more than %s after the stop were cut off\n", s.drain)
		err = srv.Close()
	}
	return err
}

// answers are what the agent can ask on the control connection.
func answers(t *traffic, nonce string) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc(healthPath, healthz)
	mux.HandleFunc(statsPath, func(w http.ResponseWriter, r *http.Request) {
		s := t.stats()
		s.Q, s.Nonce = r.URL.Query().Get("q"), nonce
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(s) // the agent may have gone
	})
	return mux
}

// oneConn is a listener of one connection that is there already.
type oneConn struct {
	conn   chan net.Conn
	addr   net.Addr
	closed chan struct{}
}

func newOneConn(c net.Conn) *oneConn {
	l := &oneConn{conn: make(chan net.Conn, 1), addr: c.LocalAddr(), closed: make(chan struct{})}
	l.conn <- c
	return l
}

// Accept returns the connection, then waits for Close.
func (l *oneConn) Accept() (net.Conn, error) {
	select {
	case c := <-l.conn:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

// Close is called once, by the server.
func (l *oneConn) Close() error {
	close(l.closed)
	return nil
}

// Addr is the connection's own address.
func (l *oneConn) Addr() net.Addr { return l.addr }
