package gateway

import (
	"cmp"
	"context"
	"errors"
	"io"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/proxy/gateway/forward"
	"github.com/Ishan27g/ryo-faas/transport/wire"
)

// What a function is told of a call that has waited.
const (
	CallIDHeader  = "X-Ryo-Call-Id"
	AttemptHeader = "X-Ryo-Attempt"
	DepthHeader   = "X-Ryo-Depth"
)

// lasting says how calls of a function are tried that wait in a queue that lasts.
type lasting struct {
	tries               int
	age                 time.Duration
	onSuccess, onFailed string
}

// lastingOf reads it from a row. What this proxy cannot read is of a newer agent.
func lastingOf(row *proto.FunctionJsonRsp) lasting {
	age, err := (&proto.FunctionJson{MaxAge: row.GetMaxAge()}).AgeLimit()
	if err != nil {
		age = proto.DefaultMaxAge
	}
	tries := cmp.Or(int(row.GetTries()), proto.DefaultRetries+1)
	return lasting{min(tries, proto.MaxRetries+1), age, row.GetOnSuccess(), row.GetOnFailure()}
}

// Function is what those need to know of a function who keep calls of it.
type Function struct {
	Name      string
	Public    bool
	Tries     int           // how often a call is made at most
	Age       time.Duration // how long it may take
	OnSuccess string        // the function that is called with its answer; "": none
	OnFailure string        // the function that is called when it is tried no more; "": none
	// Places is how many calls the function serves at once at all its replicas; 0: any
	// number.
	Places int
	// Unready says why it cannot be called now; nil: perhaps it can.
	Unready error
}

// Function returns what is known of the function of a path.
func (g *Gateway) Function(path string) (Function, bool) {
	rt := (*g.Table.routes.Load())[path]
	if rt == nil {
		return Function{}, false
	}
	f := Function{Name: rt.name, Public: rt.public, Tries: rt.later.tries, Age: rt.later.age, OnSuccess: rt.later.onSuccess, OnFailure: rt.later.onFailed}
	if rt.unready != nil {
		f.Unready = rt.unready
	}
	for _, v := range rt.versions {
		for _, n := range v.places {
			f.Places += n
		}
	}
	return f, true
}

// Accepted is a call that its caller may make, and that is made later.
type Accepted struct {
	Path    string // of the function
	Segment string // by which it was called: its path, or that and a version
	Target  string // what the function sees: "", or it begins with "/" or "?"
	// Body is the request's; it fails where that is larger than the function takes.
	Body io.Reader
	// Whose names the caller, where calls are counted.
	Whose string
}

// Accept lets a call in that is made later: it checks all that is checked of a call whose
// caller waits, before a function is looked for or woken. Then it calls take, which may
// answer. An error of it, or of the checks, is answered as in every call.
func (g *Gateway) Accept(w http.ResponseWriter, r *http.Request, take func(w http.ResponseWriter, a *Accepted) error) {
	c := g.newCall(w, r)
	segment, rest, err := c.letIn()
	if err == nil && (wire.IsGRPC(r) || forward.Websocket(r)) {
		err = proto.Errorf(proto.ErrUnsupported, "calls of gRPC and websockets are not made later").From("caller", string(proto.ErrUnsupported))
	}
	if err == nil {
		c.out.Header().Set(forward.RequestID, c.id[0])
		a := &Accepted{Path: proto.Path(c.route.name), Segment: segment, Target: rest, Body: readNoted{c.capped(r.Body), c}, Whose: g.Whose(r)}
		if c.number == 0 {
			a.Segment = url.PathEscape(a.Path)
		}
		err = take(&c.out, a)
	}
	if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
		err = c.route.edge.tooLarge(c.route.name)
	}
	if err != nil {
		c.refuse(err)
	}
}

// Refuse answers a request for what functions have left behind as a call is refused.
func (g *Gateway) Refuse(w http.ResponseWriter, r *http.Request, err error) {
	g.newCall(w, r).refuse(err)
}

// readNoted notes that the caller's body has come whole.
type readNoted struct {
	io.Reader
	call *call
}

func (r readNoted) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	if err == io.EOF {
		r.call.bodyRead.Store(true)
	}
	return n, err
}

// Dispatch is a call that was accepted before and is made now.
type Dispatch struct {
	Segment, Target string // as they were accepted
	Method          string
	Header          http.Header // is kept
	Host            string      // that the caller addressed,
	Remote          string      // its address, host:port,
	Scheme          string      // and how it came
	Body            io.Reader   // nil: none
	Length          int64       // of the body
	ID              string      // of the call
	Attempt         int         // from 1
	Depth           int         // how many calls led to it
}

// tell sets the headers that tell the function which call it is.
func (d *Dispatch) tell(h http.Header) {
	h[CallIDHeader] = []string{d.ID}
	h[AttemptHeader] = []string{strconv.Itoa(d.Attempt)}
	h[DepthHeader] = []string{strconv.Itoa(d.Depth)}
}

// Outcome is what became of a call that was made later.
type Outcome struct {
	// Err says why the function's answer is missing or not whole; nil: it has come.
	Err error
	// Reached says that the function may have seen something of the call.
	Reached bool
	// Wait is how long the function cannot be called, as far as that is known; 0: it is not.
	Wait time.Duration
}

// Dispatch makes a call that was accepted, and writes the function's answer, and no other,
// to w. It takes as long as the function does, within its time limit; when ctx is done the
// call is canceled.
func (g *Gateway) Dispatch(ctx context.Context, w http.ResponseWriter, d *Dispatch) (o Outcome) {
	// A ReverseProxy tells of an answer that is not whole by a panic, if the request has come
	// to a server; else it is silent.
	ctx = context.WithValue(ctx, http.ServerContextKey, new(http.Server))
	r := (&http.Request{
		Method: d.Method, URL: &url.URL{Path: Prefix, Scheme: d.Scheme}, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: d.Header, Host: d.Host,
		Body: http.NoBody, RemoteAddr: d.Remote, RequestURI: Prefix + d.Segment + d.Target,
	}).WithContext(ctx)
	if d.Length > 0 {
		r.Body, r.ContentLength = io.NopCloser(d.Body), d.Length
	}
	c := g.newCall(w, r)
	c.later = d
	defer func() {
		if p := recover(); p != nil {
			if err, _ := p.(error); !errors.Is(err, http.ErrAbortHandler) {
				panic(p)
			}
			if c.failure == nil {
				c.failure = errCut
			}
		}
		o = Outcome{Err: c.failure, Reached: c.asked > 0 && !c.unreached}
		if kind := proto.Kind(""); errors.As(c.failure, &kind) && kind == proto.ErrUnavailable && c.route != nil && !c.route.retry.IsZero() {
			o.Wait = time.Duration(math.Max(0, float64(time.Until(c.route.retry))))
		}
	}()
	c.serve()
	return o
}

// Notices is what a queue tells of the notices for a host, for metrics.
type Notices struct {
	Receiver         string // the host
	Waiting          int    // those that were not delivered yet, of all proxies
	OK, Failed, Dead uint64 // attempts that went well, that are repeated, and that were the last
}

// Later is what a queue tells of a function's calls, for metrics.
type Later struct {
	Path      string // of the function
	Waiting   int    // messages, those that are handled too
	Running   int    // calls under way here
	Succeeded uint64 // attempts
	Failed    uint64
	Dead      uint64 // calls that are tried no more
	Told      uint64 // callbacks that were received
	Untold    uint64 // attempts of those that failed
}
