package server

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/reflection"

	"github.com/Ishan27g/ryo-faas/internal/rates"
	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/transport"
	"github.com/Ishan27g/ryo-faas/transport/auth"
	"github.com/Ishan27g/ryo-faas/transport/bundle"
	"github.com/Ishan27g/ryo-faas/transport/openapi"
	"github.com/Ishan27g/ryo-faas/transport/wire"
)

// The paths at which a server says what it is and how it is.
const (
	frontPath   = "/"
	healthzPath = "/healthz"
	readyzPath  = "/readyz"
	healthRPC   = "/grpc.health.v1.Health/"
)

// ownPaths says what callers of a server's own paths must be allowed, and what those that
// people call answer. A path that ends with a slash stands for all below it, except the
// front page's.
var ownPaths = []struct {
	path  string
	scope wire.Scope
	does  string
}{
	{frontPath, wire.ScopeRead, "what answers here"},
	{healthzPath, wire.ScopeOpen, "whether this program runs"},
	{readyzPath, wire.ScopeOpen, "whether this program can do its work"},
	{openapi.Path, wire.ScopeRead, "all calls and functions, as OpenAPI 3.1"},
	{healthRPC, wire.ScopeOpen, ""},
}

// Config says what Serve serves, where, and for whom.
type Config struct {
	Program      string               // "agent" or "proxy", as GET / says
	Version      string               // the version of the program
	Listeners    []net.Listener       // Serve closes them
	Store        *bundle.Store        // from which the Interface takes packages: uploads are put there
	Worker       transport.Worker     // what an agent does for proxies; default: those calls are ErrUnsupported
	Registrar    transport.Registrar  // what a proxy does for its agents; default: those calls are ErrUnsupported
	Dispatcher   transport.Dispatcher // what a proxy does with calls that are made later; default: those calls are ErrUnsupported
	Scheduler    transport.Scheduler  // what a proxy does at times; default: those calls are ErrUnsupported
	Certificates Certificates         // of proxies and agents, who know each other by them on Listeners; default: nobody has one
	Mounts       []Mount              // what is served beside the Interface's calls; default: nothing
	Public       []net.Listener       // on which everybody may call functions, and nothing else is; Serve closes them
	TLS          *tls.Config          // of callers that begin with TLS, on all listeners; default: none may
	Gateways     []netip.Prefix       // peers on Public that are believed who calls through them; default: nobody
	// Early returns what reads the requests of a connection before net/http does. Default:
	// net/http reads them all.
	Early func(*Early) EarlyReader
	// Challenge answers a request that may come to Public without TLS, and reports whether
	// it was one; default: all are sent to TLS.
	Challenge func(http.ResponseWriter, *http.Request) bool
	// Leave is closed when another process has the listeners, too, and accepts from them;
	// default: none ever has.
	Leave      <-chan struct{}
	LeaveLimit time.Duration  // how long requests and tunnels may take then
	Changes    *Changes       // holds requests back that change something; default: nothing does
	Tokens     *auth.Keeper   // knows the tokens of callers; default: nobody has one
	Record     *auth.Record   // of who did what; default: none
	Insecure   bool           // lets all callers in; default: processes of this program's user and of Trust, and those with a token
	Trust      Trust          // users of this machine that are served like this program's own; default: nobody
	Hosts      []string       // names of this machine that callers may address, besides localhost
	SourceRoot string         // folder below which "dir" may lie for callers on other machines; default: nowhere
	Ready      func() error   // why this program cannot do its work now; default: it always can
	About      map[string]any // what /readyz says beside the status; default: nothing
	HeadLimit  time.Duration  // within which the head of a request must come; default: wire.HeaderLimit
	IdleLimit  time.Duration  // how long a connection may wait for its next request; default: wire.IdleLimit
	ParkAfter  time.Duration  // a connection of Early that waits for so long, or twice that, needs no goroutine; default: two seconds
	Silence    time.Duration  // a caller that takes nothing of what it is sent for so long is cut off; default: wire.SilentWrite
	Logger     hclog.Logger   // default: none
}

// Mount is a handler of its own on the listeners.
type Mount struct {
	// Path is the path that is served, or, with a slash at its end, all paths below. It
	// is compared with the escaped path of a request.
	Path    string
	Methods []string   // default: all
	Scope   wire.Scope // what callers must be allowed
	Public  bool       // on public listeners alone
	Does    string     // what GET / says of it; default: nothing
	Rest    string     // what GET / puts after a slash at the end of Path; default: NAME
	// Asks says that the handler does nothing by itself: it asks for all that its callers want
	// by Again, where they are let in or not, and bounds what they send. Its Scope is open.
	Asks    bool
	Handler http.Handler
}

// ServeHTTP implements http.Handler.
func (m Mount) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if m.Methods == nil || slices.Contains(m.Methods, r.Method) {
		m.Handler.ServeHTTP(w, r)
		return
	}
	wire.WriteError(w, notAllowed(w, r, m.Methods))
}

func (m Mount) serves(path string) bool {
	return path == m.Path || strings.HasSuffix(m.Path, "/") && strings.HasPrefix(path, m.Path)
}

// Serve offers impl over gRPC and HTTP on every listener until ctx is done. It then
// closes streams, drains all other requests for at most ten seconds, and returns nil.
// When a listener fails it stops in the same way and returns that error. It serves
// nothing when a route or a mount has no scope.
//
// When Leave is closed it stops as well, but no request is lost: connections end after an
// answer that says so, streams after their callers were told to ask again, and requests and
// tunnels under way may take LeaveLimit.
func Serve(ctx context.Context, impl transport.Interface, cfg Config) error {
	if err := checkScopes(wire.Routes, cfg.Mounts); err != nil {
		for _, l := range slices.Concat(cfg.Listeners, cfg.Public) {
			_ = l.Close()
		}
		return err
	}
	whole := ctx
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s := newServer(ctx.Done(), impl, cfg)
	// Requests in flight must outlive ctx while they are drained.
	requests, cancelRequests := context.WithCancel(context.WithoutCancel(ctx))
	defer cancelRequests()
	s.requests, s.greeting = requests, &newcomers{conns: make(map[net.Conn]bool), fewer: make(chan struct{}, 1)}
	web := s.httpServer()

	listeners := s.listeners()
	failed := make(chan error, len(listeners)+1)
	var accepting, passed sync.WaitGroup
	accept := web.Serve
	if cfg.Early != nil && len(listeners) > 0 {
		s.left = newPassedOn(listeners[0].Addr())
		passed.Go(func() { failed <- web.Serve(s.left) })
		accept = s.acceptEarly
		defer s.parking.keep(&s.conns, s.cfg.ParkAfter)()
	}
	for _, l := range listeners {
		accepting.Go(func() { failed <- accept(l) })
	}
	var err error
	left := false
	select {
	case <-ctx.Done():
	case <-cfg.Leave:
		left = true
	case err = <-failed:
	}
	s.conns.leaving.Store(left)
	cancel() // closes streams

	limit := wire.DrainLimit
	if left {
		limit = cfg.LeaveLimit
	}
	drain, stop := context.WithTimeout(requests, limit)
	defer stop()
	for _, l := range listeners {
		_ = l.Close()
	}
	accepting.Wait() // the last connection that was accepted has been noted
	if left {
		defer context.AfterFunc(whole, func() { time.AfterFunc(wire.DrainLimit, stop) })() // stopped after all
		s.conns.leave(whole)
	} else {
		web.SetKeepAlivesEnabled(false)
	}
	s.greeting.wait(drain)
	s.conns.stop(drain)
	s.greeting.wait(drain) // for the heads of what early has left: Shutdown would drop them
	late := web.Shutdown(drain)
	last := make(chan struct{})
	go func() { // when the last request has ended, tunnels among them
		defer close(last)
		s.inFlight.Lock()
	}()
	if left {
		select {
		case <-last:
		case <-drain.Done():
			late = drain.Err()
		}
	}
	if late != nil {
		s.logger.Warn("requests were canceled after the time to drain", "limit", limit)
	}
	passed.Wait()
	cancelRequests()
	_ = web.Close() // the connections that Shutdown did not close
	s.grpc.Stop()
	<-last
	return err
}

// httpServer returns the server that reads the requests.
func (s *server) httpServer() *http.Server {
	note := func(c net.Conn, state http.ConnState) {
		conn := c.(*framedConn)
		if state == http.StateHijacked {
			conn.hijacked.Store(true)
		}
		if conn.early != nil {
			conn.early.state.Store(int32(state))
		}
		if state != http.StateActive { // which is before Shutdown could drop the request: ServeHTTP says it
			s.greeting.note(c, state)
		}
	}
	web := &http.Server{
		Handler:           s,
		ConnState:         note,
		ReadHeaderTimeout: s.cfg.HeadLimit,
		IdleTimeout:       s.cfg.IdleLimit,
		MaxHeaderBytes:    wire.MaxHeader,
		BaseContext: func(net.Listener) context.Context {
			return context.WithValue(context.WithValue(s.requests, accessKey{}, s.access), serverKey{}, s)
		},
		ConnContext: func(ctx context.Context, c net.Conn) context.Context { return context.WithValue(ctx, connKey{}, c) },
		ErrorLog:    s.stdLogger(),
		Protocols:   new(http.Protocols),
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams: wire.MaxConcurrent, SendPingTimeout: wire.PingAfter,
			MaxReadFrameSize: wire.MaxFrame, MaxReceiveBufferPerConnection: wire.MaxConnBuffer, MaxReceiveBufferPerStream: wire.MaxStreamBuffer,
		},
	}
	web.DisableGeneralOptionsHandler = true // else "OPTIONS *" would be answered past us
	web.Protocols.SetHTTP1(true)
	web.Protocols.SetUnencryptedHTTP2(true)
	return web
}

// connKey is the key under which the context of a request has its *framedConn.
type connKey struct{}

// connOf returns the connection that a request came by.
func connOf(r *http.Request) *framedConn {
	conn, _ := r.Context().Value(connKey{}).(*framedConn)
	return conn
}

// Descriptor calls do with the descriptor of the connection that a request came by, unless
// it is closed already. It is for handlers that do not read the request's body yet:
// net/http does not notice then that the caller closes its side.
func Descriptor(r *http.Request, do func(fd uintptr)) {
	if conn := connOf(r); conn != nil {
		conn.control(do)
	}
}

// listeners returns what the http.Server accepts from.
func (s *server) listeners() (list []net.Listener) {
	config := tlsConfig(s.cfg.TLS)
	crowd := newCrowd(s.cfg.Insecure, len(s.cfg.Listeners)+len(s.cfg.Public), s.logger)
	for _, l := range s.cfg.Listeners {
		list = append(list, framed{Listener: l, silence: s.cfg.Silence, tls: withCertificates(config, s.cfg.Certificates), share: crowd.share(false), trust: &s.access.trust, server: s})
	}
	for _, l := range s.cfg.Public {
		list = append(list, framed{Listener: publicListener{l, s.cfg.Gateways}, silence: s.cfg.Silence, tls: config, share: crowd.share(true), public: true, server: s})
	}
	return list
}

// server is everything behind the listeners.
type server struct {
	cfg     Config
	logger  hclog.Logger
	closing <-chan struct{} // closed when the server begins to stop
	service *service
	access  access
	grpc    *grpc.Server
	routes  http.Handler // of wire.Routes
	// described is document, made once.
	described func() map[string]any
	types     knownTypes
	rates     *rates.Limiter
	// inFlight is held for reading by each request, so that Serve can wait for the
	// last one and refuse any further.
	inFlight sync.RWMutex
	conns    connections
	left     *passedOn // connections that early has left to net/http
	parking  parking
	// What Serve sets.
	requests context.Context // of all requests: those in flight outlive Serve's while they are drained
	greeting *newcomers
}

func newServer(closing <-chan struct{}, impl transport.Interface, cfg Config) *server {
	if cfg.Logger == nil {
		cfg.Logger = hclog.NewNullLogger()
	}
	cfg.HeadLimit, cfg.Silence = cmp.Or(cfg.HeadLimit, wire.HeaderLimit), cmp.Or(cfg.Silence, wire.SilentWrite)
	cfg.IdleLimit, cfg.ParkAfter = cmp.Or(cfg.IdleLimit, wire.IdleLimit), cmp.Or(cfg.ParkAfter, parkAfter)
	s := &server{cfg: cfg, logger: cfg.Logger, closing: closing, access: newAccess(&cfg), rates: newRates(), conns: newConnections()}
	s.service = &service{impl: scoped{impl}, tokens: cfg.Tokens, record: cfg.Record, worker: cfg.Worker, registrar: cfg.Registrar, dispatcher: cfg.Dispatcher, scheduler: cfg.Scheduler, store: cfg.Store, sourceRoot: cfg.SourceRoot, closing: closing, logger: cfg.Logger}
	s.grpc = grpc.NewServer(
		grpc.MaxRecvMsgSize(wire.MaxRequest),
		grpc.MaxSendMsgSize(wire.MaxAnswer),
		grpc.UnaryInterceptor(s.service.unary),
		grpc.StreamInterceptor(s.service.stream),
	)
	proto.RegisterFunctionsServer(s.grpc, s.service)
	grpc_health_v1.RegisterHealthServer(s.grpc, &healthService{ready: s.ready})
	reflection.Register(s.grpc)
	s.routes, s.described = newRoutes(s.service), sync.OnceValue(s.document)
	return s
}

// ServeHTTP checks the caller of each request and passes it to its handler.
func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !s.inFlight.TryRLock() {
		refuse(w, r, proto.Errorf(proto.ErrUnavailable, "the server has stopped"))
		return
	}
	defer s.inFlight.RUnlock()
	seat := connOf(r).seat
	seat.begin()
	defer seat.end()
	if conn := connOf(r); !conn.greeted.Swap(true) {
		s.greeting.note(conn, http.StateActive)
	}
	if isUpgrade(r) || s.conns.leaving.Load() {
		// What follows an upgrade is no HTTP: if that is refused, no request may follow. Of
		// HTTP/2, net/http makes a GOAWAY of it.
		w.Header().Set("Connection", "close")
	}
	r.TLS = connOf(r).tlsState()
	if err := s.address(r); err != nil {
		refuse(w, r, err)
		return
	}
	if isPublic(r) {
		s.servePublic(w, r)
		return
	}
	s.serve(w, r)
}

// serve decides on a request and passes it to its handler.
func (s *server) serve(w http.ResponseWriter, r *http.Request) {
	r = s.access.take(r)
	mount := s.mountOf(r)
	scope, end := s.scopeOf(r, mount), connOf(r).end
	whose := end.local
	if scope != wire.ScopeOpen && scope != wire.ScopeInvoke {
		whose = end.surely()
	}
	asked := s.access.requestOf(r, scope, whose)
	token, err := s.access.check(asked)
	if slow := s.meter(w, r, asked); slow != nil {
		err = slow
	}
	if err != nil {
		s.refused(r, asked, err)
		refuse(w, r, err)
		return
	}
	if scope == wire.ScopeOpen {
		if mount != nil && mount.Asks {
			r.Body = newBody(w, r.Body)
		} else if err := limitBody(w, r); err != nil {
			refuse(w, r, err)
			return
		}
	} else {
		connOf(r).seat.stay()
	}
	if mount != nil && mount.Scope == wire.ScopeInvoke { // which sets the request id of a function's answer
		mount.ServeHTTP(w, r)
		return
	}
	if scope == wire.ScopeInvoke { // which check leaves to admit
		asked.local = end.surely()
		if err := s.access.asks(asked); err != nil {
			s.refused(r, asked, err)
			refuse(w, r, err)
			return
		}
	}
	caller := callerOf(r, asked, token)
	if scope == wire.ScopeInvoke {
		caller.invoke = func(function string) error { return s.access.admit(asked, function, false, false) }
	}
	w.Header().Set(proto.RequestIDHeader, caller.RequestID)
	r = r.WithContext(context.WithValue(r.Context(), callerKey{}, caller))
	if call, changes := callOf(r); changes && call != joinCall { // of which a stranger could keep one open
		if err := s.cfg.Changes.Begin(r.Context()); err != nil {
			w.Header().Set("Connection", "close")
			refuse(w, r, err)
			return
		}
		defer s.cfg.Changes.End()
	}
	switch {
	case wire.IsGRPC(r):
		s.recorded(r, caller, func(r *http.Request) { s.serveGRPC(w, r) })
	case mount != nil:
		if err := mayAll(r.Context()); err != nil {
			wire.WriteError(w, err)
			return
		}
		r.Body = newBody(w, r.Body)
		if mount.Asks {
			asking(mount, w, r)
			return
		}
		mount.ServeHTTP(w, r)
	case slices.Contains([]string{frontPath, healthzPath, readyzPath, openapi.Path}, r.URL.Path):
		if methods := []string{http.MethodGet, http.MethodHead}; !slices.Contains(methods, r.Method) {
			wire.WriteError(w, notAllowed(w, r, methods))
			return
		}
		s.state(w, r)
	default:
		r.Body = newBody(w, r.Body)
		s.recorded(r, caller, func(r *http.Request) { s.routes.ServeHTTP(w, r) })
	}
}

// limitBody bounds the body of a request that takes no right. That of a gRPC call is read
// ahead, since grpc would call what is too long unavailable.
func limitBody(w http.ResponseWriter, r *http.Request) error {
	r.Body = http.MaxBytesReader(w, r.Body, wire.MaxOpen)
	if !wire.IsGRPC(r) {
		return nil
	}
	data, err := io.ReadAll(newBody(w, r.Body))
	r.Body = io.NopCloser(bytes.NewReader(data))
	return err
}

// state answers what the program says of itself.
func (s *server) state(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case healthzPath:
		wire.WriteJSON(w, http.StatusOK, []byte(`{"status":"ok"}`))
	case readyzPath:
		_, strange := s.access.check(s.access.requestOf(r, wire.ScopeRead, connOf(r).end.surely()))
		err := s.ready()
		switch {
		case err == nil:
			s.about(w, strange == nil)
		case strange == nil:
			wire.WriteError(w, proto.Errorf(proto.ErrUnavailable, "not ready: %w", err))
		default:
			wire.WriteError(w, proto.Errorf(proto.ErrUnavailable, "not ready"))
		}
	case openapi.Path:
		doc, err := s.documentFor(r.Context())
		if err != nil {
			wire.WriteError(w, err)
			return
		}
		wire.WriteJSON(w, http.StatusOK, doc)
	default:
		s.front(w, r)
	}
}

// mountOf returns the mount that a request is for, or nil.
func (s *server) mountOf(r *http.Request) *Mount {
	path := r.URL.EscapedPath()
	grpc, public := wire.IsGRPC(r), isPublic(r)
	i := slices.IndexFunc(s.cfg.Mounts, func(m Mount) bool {
		// Of mounts, functions alone speak gRPC.
		return m.serves(path) && (!m.Public || public) && (!grpc || m.Scope == wire.ScopeInvoke)
	})
	if i < 0 {
		return nil
	}
	return &s.cfg.Mounts[i]
}

// checkScopes refuses routes and mounts of which nobody has said who may call them.
func checkScopes(routes []wire.Route, mounts []Mount) error {
	for _, rt := range routes {
		if !rt.Scope.Known() {
			return proto.Errorf(proto.ErrInternal, "%s %s has no scope", rt.Method, rt.Path)
		}
	}
	for _, m := range mounts {
		if !m.Scope.Known() {
			return proto.Errorf(proto.ErrInternal, "the mount %s has no scope", m.Path)
		}
	}
	return nil
}

// scopeOf returns what the caller of a request must be allowed. For an unknown path
// it is that of changes.
func (s *server) scopeOf(r *http.Request, mount *Mount) wire.Scope {
	path := r.URL.Path
	if mount != nil {
		return mount.Scope
	}
	for _, o := range ownPaths {
		if path == o.path || o.path != frontPath && strings.HasSuffix(o.path, "/") && strings.HasPrefix(path, o.path) {
			return o.scope
		}
	}
	if rt, ok := routeOf(r); ok {
		return rt.Scope
	}
	return wire.ScopeDeploy
}

// routeOf returns the route of a request, by the table of its protocol.
func routeOf(r *http.Request) (wire.Route, bool) {
	if wire.IsGRPC(r) {
		return wire.RouteOf(r.URL.Path)
	}
	return wire.RouteFor(r.Method, r.URL.Path)
}

// address refuses requests to other servers. It turns a target that names this
// server, as requests to a forward proxy do, into a plain path.
func (s *server) address(r *http.Request) error {
	absolute := r.URL.Host != ""
	_, asks := r.Header[":protocol"] // of extended CONNECT (RFC 8441): a path is asked for a protocol
	switch {
	case r.Method == http.MethodConnect && !asks, absolute && !s.access.ownHost(r.Host) && hostOnly(r.Host) != localHost(r):
		return proto.Errorf(proto.ErrInvalid, "this server is no forward proxy").WithHint("address it by one of its own names")
	case !absolute && r.URL.Scheme != "": // a target without a host: nobody but a gateway says that TLS was spoken
		return proto.Errorf(proto.ErrInvalid, "the request target %.100q names no host", r.RequestURI)
	case !validHost(r.Host):
		return proto.Errorf(proto.ErrInvalid, "%.100q is not a host, such as localhost:9002", r.Host)
	case absolute:
		_, below, _ := strings.Cut(r.RequestURI, "://")
		below = below[strings.IndexAny(below+"/", "/?"):]
		if !strings.HasPrefix(below, "/") {
			below = "/" + below
		}
		r.RequestURI, r.URL.Scheme, r.URL.Host = below, "", ""
		if r.URL.Path == "" {
			r.URL.Path = "/"
		}
	}
	return nil
}

// localHost returns the address that a request was sent to.
func localHost(r *http.Request) string {
	if addr, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr); ok {
		return hostOnly(addr.String())
	}
	return ""
}

// validHost reports whether a Host can be one (RFC 9110 section 7.2). net/http checks
// its bytes, and that no request of HTTP/1.1 is without it.
func validHost(s string) bool {
	name, port := s, ""
	if i := strings.LastIndexByte(s, ':'); i > strings.LastIndexByte(s, ']') {
		name, port = s[:i], s[i+1:]
	}
	if strings.Trim(port, "0123456789") != "" {
		return false
	}
	if strings.HasPrefix(name, "[") && strings.HasSuffix(name, "]") {
		ip, err := netip.ParseAddr(name[1 : len(name)-1])
		return err == nil && ip.Is6()
	}
	return !strings.ContainsAny(name, "[]:/?#@")
}

// isUpgrade reports whether what follows a request is no HTTP, as framing sees it.
func isUpgrade(r *http.Request) bool {
	return r.ProtoMajor == 1 && r.ProtoMinor == 1 && slices.ContainsFunc(r.Header["Upgrade"], takesOver)
}

// takesOver reports whether a protocol of an Upgrade header is one that handlers pass on.
func takesOver(protocol string) bool {
	return strings.EqualFold(protocol, "websocket") || protocol == wire.DoorProtocol
}

// serveGRPC bounds what grpc reads ahead: behind ServeHTTP it has no flow
// control of its own, and would hold whatever is sent in memory.
func (s *server) serveGRPC(w http.ResponseWriter, r *http.Request) {
	r.Body = newBody(w, r.Body)
	switch r.URL.Path {
	case proto.Functions_Upload_FullMethodName, proto.Functions_SendProgram_FullMethodName:
		g := newGate(r.Body)
		r.Body = g
		r = r.WithContext(context.WithValue(r.Context(), gateKey{}, g))
	default:
		r.Body = http.MaxBytesReader(w, r.Body, wire.MaxRequest+wire.ChunkSize)
	}
	s.grpc.ServeHTTP(w, r)
}

// ready returns why the program cannot do its work now, or nil.
func (s *server) ready() error {
	select {
	case <-s.closing:
		if s.conns.leaving.Load() { // another process is ready in its place
			break
		}
		return proto.Errorf(proto.ErrUnavailable, "the server is stopping")
	default:
	}
	if s.cfg.Ready == nil {
		return nil
	}
	return s.cfg.Ready()
}

// about answers that the program can do its work, and, with detail, what it says of
// itself.
func (s *server) about(w http.ResponseWriter, detail bool) {
	var answer map[string]any
	if detail {
		answer = maps.Clone(s.cfg.About)
	}
	if answer == nil {
		answer = make(map[string]any)
	}
	answer["status"] = "ready"
	data, err := json.Marshal(answer)
	if err != nil {
		wire.WriteError(w, err)
		return
	}
	wire.WriteJSON(w, http.StatusOK, data)
}

// stdLogger is the logger of net/http, which reports peers' faults and panics.
func (s *server) stdLogger() *log.Logger {
	return s.logger.StandardLogger(&hclog.StandardLoggerOptions{ForceLevel: hclog.Warn})
}

// healthService is the health of the whole server in gRPC's own words.
type healthService struct {
	grpc_health_v1.UnimplementedHealthServer
	ready func() error
}

func (h *healthService) Check(_ context.Context, req *grpc_health_v1.HealthCheckRequest) (*grpc_health_v1.HealthCheckResponse, error) {
	if name := req.GetService(); name != "" && name != proto.Functions_ServiceDesc.ServiceName {
		return nil, proto.Errorf(proto.ErrNotFound, "there is no service %.100q", name)
	}
	state := grpc_health_v1.HealthCheckResponse_SERVING
	if h.ready() != nil {
		state = grpc_health_v1.HealthCheckResponse_NOT_SERVING
	}
	return &grpc_health_v1.HealthCheckResponse{Status: state}, nil
}
