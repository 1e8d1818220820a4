package door

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/transport/wire"
)

const (
	dialLimit = 2 * time.Second        // a socket of this machine accepts at once, through its backlog
	halfLimit = time.Minute            // how long a proxy may send after the function has closed
	quiet     = 300 * time.Millisecond // after an answer, when the agent stops
	look      = 100 * time.Millisecond // between two looks for idle connections
	bufSize   = 32 << 10
)

// Door passes connections on to functions. Find returns where the service of a port
// listens; false: there is none.
type Door struct {
	find func(port int) (network, address string, ok bool)

	mu      sync.Mutex // guards the fields below:
	tunnels map[*tunnel]bool
	closed  bool
	running sync.WaitGroup // of the tunnels
}

// New returns a door.
func New(find func(port int) (network, address string, ok bool)) *Door {
	return &Door{find: find, tunnels: make(map[*tunnel]bool)}
}

// tunnel is a connection of a proxy to a function.
type tunnel struct {
	proxy, function net.Conn
	up, down        atomic.Int64 // when bytes last came from the proxy, from the function
	calls           calls        // over HTTP/2
}

// ServeHTTP implements http.Handler. It returns once the connection is the function's.
func (d *Door) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	port, err := strconv.Atoi(strings.TrimPrefix(r.URL.Path, wire.DoorPrefix))
	if err != nil || r.Header.Get("Upgrade") != wire.DoorProtocol || r.ProtoMajor != 1 {
		wire.WriteError(w, proto.Errorf(proto.ErrInvalid, "only proxies call this, with Upgrade: %s", wire.DoorProtocol))
		return
	}
	network, address, ok := d.find(port)
	if !ok {
		wire.WriteError(w, proto.Errorf(proto.ErrNotFound, "no function of this agent has the port %d", port))
		return
	}
	dialer := net.Dialer{Timeout: dialLimit}
	function, err := dialer.DialContext(r.Context(), network, address)
	if err != nil {
		wire.WriteError(w, proto.Errorf(proto.ErrUnavailable, "the function at port %d does not accept connections: %w", port, err))
		return
	}
	proxy, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		_ = function.Close()
		return
	}
	t := &tunnel{proxy: proxy, function: function}
	if buffered.Reader.Buffered() > 0 { // a proxy waits for the answer
		t.close()
		return
	}
	// Not before Hijack: the server would read what follows the answer.
	if _, err := io.WriteString(proxy, accepted); err != nil || !d.begin(t) {
		t.close()
	}
}

const accepted = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: " + wire.DoorProtocol + "\r\n\r\n"

// begin passes what comes on, until both sides have closed.
func (d *Door) begin(t *tunnel) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return false
	}
	d.tunnels[t] = true
	d.running.Go(func() {
		t.pass()
		d.mu.Lock()
		defer d.mu.Unlock()
		delete(d.tunnels, t)
	})
	return true
}

func (t *tunnel) pass() {
	defer t.close()
	now := time.Now().UnixNano()
	t.down.Store(now)
	var ways sync.WaitGroup
	ways.Go(func() {
		if !forward(t.function, t.proxy, &t.up, t.calls.fromProxy) {
			t.close()
		}
	})
	ways.Go(func() {
		if !forward(t.proxy, t.function, &t.down, t.calls.fromFunction) {
			t.close()
			return
		}
		_ = t.proxy.SetReadDeadline(time.Now().Add(halfLimit))
	})
	ways.Wait()
}

// forward copies from one side to the other until that ends, and says so to the other.
// It reports whether the other is still open. Note is called with all that is copied.
func forward(to, from net.Conn, last *atomic.Int64, note func([]byte)) bool {
	buf := buffers.Get().(*[bufSize]byte)
	defer buffers.Put(buf)
	for {
		n, err := from.Read(buf[:])
		if n > 0 {
			last.Store(time.Now().UnixNano())
			note(buf[:n])
			if _, err := to.Write(buf[:n]); err != nil {
				return false
			}
		}
		if errors.Is(err, io.EOF) {
			half, ok := to.(interface{ CloseWrite() error })
			return ok && half.CloseWrite() == nil
		}
		if err != nil {
			return false
		}
	}
}

var buffers = sync.Pool{New: func() any { return new([bufSize]byte) }}

func (t *tunnel) close() {
	_ = t.proxy.Close()
	_ = t.function.Close()
}

// idle reports whether no call is under way: over HTTP/1, the function sent last, some time
// ago.
func (t *tunnel) idle(now time.Time) bool {
	up, down := t.up.Load(), t.down.Load()
	if t.calls.http2.Load() { // where both sides also send what belongs to no call
		return t.calls.underWay() == 0 && now.UnixNano()-max(up, down) > int64(quiet)
	}
	return down >= up && now.UnixNano()-down > int64(quiet)
}

// Run lets connections in until ctx is done, and then finish their calls, within
// wire.DrainLimit.
func (d *Door) Run(ctx context.Context) {
	<-ctx.Done()
	d.mu.Lock()
	d.closed = true
	d.mu.Unlock()
	tick := time.NewTicker(look)
	defer tick.Stop()
	limit := time.After(wire.DrainLimit)
	for late := false; d.sweep(late) > 0; {
		select {
		case <-tick.C:
		case <-limit:
			late = true
		}
	}
	d.running.Wait()
}

// sweep closes the connections that are idle, or all, and returns how many there were.
func (d *Door) sweep(all bool) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := time.Now()
	for t := range d.tunnels {
		if all || t.idle(now) {
			t.close()
		}
	}
	return len(d.tunnels)
}
