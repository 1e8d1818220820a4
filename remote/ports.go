package remote

import (
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/remote/isolation"
)

// pool hands out the numbers of a range, the lowest free one first.
type pool struct {
	first, last int

	// mu guards the fields below:
	mu   sync.Mutex
	used map[int]bool
}

// ports are those of functions.
type ports struct{ pool }

// newUsers hands out the numbers that the users of functions follow from.
func newUsers() *pool {
	return &pool{first: 1, last: isolation.MaxUsers, used: make(map[int]bool)}
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
	return &ports{pool{first: first, last: last, used: make(map[int]bool)}}, nil
}

// take returns a free port that is not in skip.
func (p *ports) take(skip map[int]bool) (int, error) {
	if port := p.free(skip); port != 0 {
		return port, nil
	}
	return 0, proto.Errorf(proto.ErrExhausted, "all ports of %d-%d are in use", p.first, p.last).
		WithHint("stop functions that are not needed, or start the agent with a wider -ports").From("agent", "ports")
}

// free takes and returns a free number that is not in skip; 0: there is none.
func (p *pool) free(skip map[int]bool) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	for one := p.first; one <= p.last; one++ {
		if !p.used[one] && !skip[one] {
			p.used[one] = true
			return one
		}
	}
	return 0
}

// claim takes a number, of the range or not, and reports whether it was free.
func (p *pool) claim(one int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	free := !p.used[one]
	p.used[one] = true
	return free
}

func (p *pool) release(one int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.used, one)
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
