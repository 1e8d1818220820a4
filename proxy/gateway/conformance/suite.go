package conformance

import (
	"crypto/tls"
	"fmt"
	"net"
	"slices"
	"time"
)

// Case is one thing that a gateway must do.
type Case struct {
	Group  string
	Name   string
	Source string        // the section that decides it; "": it is our own wish
	Limit  time.Duration // for the answer of the function to begin; 0: any
	gone   bool          // nobody listens at the function's address

	caller   func(*end) // on its first connection to the gateway
	function func(*end) // on each of its connections; default: answering(ok)
}

// Cases returns all cases.
func Cases() []Case {
	return slices.Concat(forwarding, framings, interims, streams, trailers, upgrades, leaving, idle, broken, cutAnswers, refused(), limits)
}

// Options say how all cases are run.
type Options struct {
	Line string      // a header line that is added to the requests of callers, as one that leads to another lane
	TLS  *tls.Config // of callers; nil: they speak none
}

// Route is where a function is to be called.
type Route struct {
	Name    string        // it is called at /functions/NAME and below
	Address string        // host:port
	Limit   time.Duration // for its answer to begin; 0: any
}

// Run is one run of all cases.
type Run struct {
	Cases     []Case
	Options   Options
	listeners []net.Listener
}

// NewRun listens for the function of each case.
func NewRun(options Options) (*Run, error) {
	r := &Run{Cases: Cases(), Options: options}
	for range r.Cases {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			r.Close()
			return nil, err
		}
		r.listeners = append(r.listeners, l)
	}
	return r, nil
}

// nobody is where nobody listens: the system gives such a port to no program that asks
// for any.
const nobody = "127.0.0.1:1"

// Routes returns the routes that the gateway needs.
func (r *Run) Routes() (routes []Route) {
	for i, l := range r.listeners {
		address := l.Addr().String()
		if r.Cases[i].gone {
			address = nobody
		}
		routes = append(routes, Route{Name: nameOf(i), Address: address, Limit: r.Cases[i].Limit})
	}
	return routes
}

// Play plays a case, once, against the gateway at an address, and returns what is wrong.
// Cases may be played at the same time.
func (r *Run) Play(i int, gateway string) error {
	x := &exchange{Case: r.Cases[i], Options: r.Options, name: nameOf(i), address: gateway}
	return x.run(r.listeners[i])
}

// Close frees what cases that were not played have.
func (r *Run) Close() {
	for _, l := range r.listeners {
		_ = l.Close()
	}
}

func nameOf(i int) string { return fmt.Sprintf("case%03d", i) }
