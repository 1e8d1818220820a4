package remote

import (
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"

	"github.com/Ishan27g/ryo-faas/proto"
)

// ports hands out the numbers of a range, the lowest free one first.
type ports struct {
	first, last int

	// mu guards the fields below:
	mu   sync.Mutex
	used map[int]bool
}

// parsePorts reads a range such as "5000-5999".
func parsePorts(text string) (*ports, error) {
	from, to, ok := strings.Cut(text, "-")
	first, err1 := strconv.Atoi(from)
	last, err2 := strconv.Atoi(to)
	if !ok || err1 != nil || err2 != nil || first < 1 || last > 65535 || first > last {
		return nil, proto.Errorf(proto.ErrInvalid, "-ports %q is not a range of ports", text).
			WithHint("give the first and the last port, such as 5000-5999")
	}
	return &ports{first: first, last: last, used: make(map[int]bool)}, nil
}

// take returns a free port that is not in skip.
func (p *ports) take(skip map[int]bool) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for port := p.first; port <= p.last; port++ {
		if !p.used[port] && !skip[port] {
			p.used[port] = true
			return port, nil
		}
	}
	return 0, proto.Errorf(proto.ErrExhausted, "all ports of %d-%d are in use", p.first, p.last).
		WithHint("stop functions that are not needed, or start the agent with a wider -ports").From("agent", "ports")
}

// claim takes a port, of the range or not, and reports whether it was free.
func (p *ports) claim(port int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	free := !p.used[port]
	p.used[port] = true
	return free
}

func (p *ports) release(port int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.used, port)
}

func (p *ports) String() string { return fmt.Sprintf("%d-%d", p.first, p.last) }

// socketOf returns where the service of a port listens; false: no function has the port.
func (a *Agent) socketOf(port int) (network, address string, ok bool) {
	suffix := ":" + strconv.Itoa(port)
	for _, row := range a.feed.Rows() {
		for _, s := range row.GetServing() {
			switch {
			case !strings.HasSuffix(s.GetProxy(), suffix):
			case s.GetSocket() != "":
				return "unix", s.GetSocket(), true
			default:
				return "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), true
			}
		}
	}
	return "", "", false
}
