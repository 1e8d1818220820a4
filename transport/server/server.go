package server

import (
	"context"
	"encoding/json"
	"log"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"github.com/hashicorp/go-hclog"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/reflection"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/transport"
	"github.com/Ishan27g/ryo-faas/transport/bundle"
	"github.com/Ishan27g/ryo-faas/transport/wire"
)

// The paths at which a program says how it is.
const (
	frontPath   = "/"
	healthzPath = "/healthz"
	readyzPath  = "/readyz"
	healthRPC   = "/grpc.health.v1.Health/"
)

// Config says what Serve serves, where, and for whom.
type Config struct {
	Program    string           // what serves, as GET / says: "agent" or "proxy"
	Version    string           // of it
	Listeners  []net.Listener   // Serve closes them
	Store      *bundle.Store    // from which the Interface takes packages: uploads are put there
	Worker     transport.Worker // what an agent does for proxies; default: those calls are ErrUnsupported
	Mounts     []Mount          // what is served beside the Interface's calls; default: nothing
	Insecure   bool             // lets callers on other machines in; default: refuse them
	Hosts      []string         // names of this machine that callers may address, besides localhost
	SourceRoot string           // folder below which "dir" may lie for callers on other machines; default: nowhere
	Ready      func() error     // why this program cannot do its work now; default: it always can
	About      map[string]any   // what /readyz says beside the status; default: nothing
	Logger     hclog.Logger     // default: none
}

// Mount is a handler of its own on the listeners.
type Mount struct {
	// Path is the one that is served, or, with a slash at its end, all below it. It
	// is compared with the path as it came: what is unescaped later cannot pass for it.
	Path    string
	Methods []string   // default: all
	Scope   wire.Scope // what callers must be allowed
	Does    string     // what GET / says of it; default: nothing
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

// Serve offers impl over gRPC and HTTP on every listener until ctx ends. It then
// ends streams, gives other calls ten seconds, and returns nil when no call is
// left. A listener that fails ends it with that error.
func Serve(ctx context.Context, impl transport.Interface, cfg Config) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s := newServer(ctx.Done(), impl, cfg)
	// Calls in flight must outlive ctx while they are drained.
	calls, cutCalls := context.WithCancel(context.WithoutCancel(ctx))
	defer cutCalls()
	greeting := &newcomers{conns: make(map[net.Conn]bool), fewer: make(chan struct{}, 1)}
	web := &http.Server{
		Handler:           s,
		ConnState:         greeting.note,
		ReadHeaderTimeout: wire.HeaderLimit,
		IdleTimeout:       wire.IdleLimit,
		MaxHeaderBytes:    wire.MaxHeader,
		BaseContext:       func(net.Listener) context.Context { return calls },
		ErrorLog:          s.stdLog(),
		Protocols:         new(http.Protocols),
		HTTP2:             &http.HTTP2Config{MaxConcurrentStreams: wire.MaxConcurrent, SendPingTimeout: wire.PingAfter},
	}
	web.Protocols.SetHTTP1(true)
	web.Protocols.SetUnencryptedHTTP2(true)

	failed := make(chan error, len(cfg.Listeners))
	var serving sync.WaitGroup
	for _, l := range cfg.Listeners {
		serving.Go(func() { failed <- web.Serve(framed{l, wire.SilentWrite}) })
	}
	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	cancel() // streams end

	drain, stop := context.WithTimeout(calls, wire.DrainLimit)
	defer stop()
	for _, l := range cfg.Listeners {
		_ = l.Close()
	}
	serving.Wait() // the last connection that was accepted has been noted
	web.SetKeepAlivesEnabled(false)
	greeting.wait(drain)
	if late := web.Shutdown(drain); late != nil {
		s.log.Warn("calls were cut after the time to drain", "limit", wire.DrainLimit)
	}
	cutCalls()
	_ = web.Close() // also what Shutdown left
	s.grpc.Stop()
	s.inFlight.Lock() // waits for the last call
	return err
}

// server is everything behind the listeners.
type server struct {
	cfg     Config
	log     hclog.Logger
	closing <-chan struct{} // closed when the server begins to end
	service *service
	access  access
	grpc    *grpc.Server
	calls   http.Handler // the calls of routes.go
	// inFlight is held for reading by each request, so that Serve can wait for the
	// last one and lock out any further.
	inFlight sync.RWMutex
}

func newServer(closing <-chan struct{}, impl transport.Interface, cfg Config) *server {
	if cfg.Logger == nil {
		cfg.Logger = hclog.NewNullLogger()
	}
	s := &server{cfg: cfg, log: cfg.Logger, closing: closing, access: newAccess(cfg.Insecure, cfg.Hosts)}
	s.service = &service{impl: impl, worker: cfg.Worker, store: cfg.Store, sourceRoot: cfg.SourceRoot, closing: closing, log: cfg.Logger}
	s.grpc = grpc.NewServer(
		grpc.MaxRecvMsgSize(wire.MaxRequest),
		grpc.MaxSendMsgSize(wire.MaxAnswer),
		grpc.UnaryInterceptor(s.service.unary),
		grpc.StreamInterceptor(s.service.stream),
	)
	proto.RegisterFunctionsServer(s.grpc, s.service)
	grpc_health_v1.RegisterHealthServer(s.grpc, &healthService{ready: s.ready})
	reflection.Register(s.grpc)
	s.calls = newCalls(s.service)
	return s
}

// ServeHTTP leads each request past the decision who may call to who answers it.
func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !s.inFlight.TryRLock() {
		refuse(w, r, proto.Errorf(proto.ErrUnavailable, "the server has ended"))
		return
	}
	defer s.inFlight.RUnlock()
	if isWebsocket(r) {
		// What follows its wish belongs to it: unless it is granted there is no next request.
		w.Header().Set("Connection", "close")
	}
	if err := s.address(r); err != nil {
		refuse(w, r, err)
		return
	}
	mount := s.mountOf(r)
	if err := s.access.check(requestOf(r, s.scopeOf(r, mount))); err != nil {
		refuse(w, r, err)
		return
	}
	if mount != nil && mount.Scope == wire.ScopeInvoke { // a function's answer has its id from there
		mount.ServeHTTP(w, r)
		return
	}
	caller := Caller{
		Kind: transport.HTTP, Host: r.Host, Loopback: isLoopback(r.RemoteAddr) && forwardedBy(r) == "",
		RequestID: wire.RequestID(r.Header),
	}
	w.Header().Set(wire.RequestIDHeader, caller.RequestID)
	if isGRPC(r) {
		caller.Kind = transport.RPC
	}
	r = r.WithContext(context.WithValue(r.Context(), callerKey{}, caller))
	switch {
	case isGRPC(r):
		s.serveGRPC(w, r)
	case mount != nil:
		mount.ServeHTTP(w, r)
	case slices.Contains([]string{frontPath, healthzPath, readyzPath}, r.URL.Path):
		if methods := []string{http.MethodGet, http.MethodHead}; !slices.Contains(methods, r.Method) {
			wire.WriteError(w, notAllowed(w, r, methods))
			return
		}
		s.state(w, r)
	default:
		r.Body = newBody(w, r.Body)
		s.calls.ServeHTTP(w, r)
	}
}

// state answers what the program says of itself.
func (s *server) state(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case healthzPath:
		wire.WriteJSON(w, http.StatusOK, []byte(`{"status":"ok"}`))
	case readyzPath:
		if err := s.ready(); err != nil {
			wire.WriteError(w, proto.Errorf(proto.ErrUnavailable, "not ready: %w", err))
			return
		}
		s.about(w)
	default:
		s.front(w, r)
	}
}

// mountOf returns the mount that a request is for, or nil.
func (s *server) mountOf(r *http.Request) *Mount {
	if isGRPC(r) {
		return nil
	}
	path := r.URL.EscapedPath()
	i := slices.IndexFunc(s.cfg.Mounts, func(m Mount) bool { return m.serves(path) })
	if i < 0 {
		return nil
	}
	return &s.cfg.Mounts[i]
}

// scopeOf returns what the caller of a request must be allowed. For what is not
// known it is the most that there is.
func (s *server) scopeOf(r *http.Request, mount *Mount) wire.Scope {
	path := r.URL.Path
	if mount != nil {
		return mount.Scope
	}
	if path == healthzPath || path == readyzPath || strings.HasPrefix(path, healthRPC) {
		return wire.ScopeOpen
	}
	if path == frontPath {
		return wire.ScopeRead
	}
	if rt, ok := wire.RouteOf(path); ok && isGRPC(r) {
		return rt.Scope
	}
	if rt, ok := wire.RouteFor(r.Method, path); ok && !isGRPC(r) {
		return rt.Scope
	}
	return wire.ScopeDeploy
}

func isGRPC(r *http.Request) bool {
	return r.ProtoMajor == 2 && strings.HasPrefix(r.Header.Get("Content-Type"), "application/grpc")
}

// address refuses requests to other servers, and takes the form of a target that
// names the server, as requests to a proxy do, for the plain one.
func (s *server) address(r *http.Request) error {
	absolute := r.URL.Host != ""
	switch {
	case r.Method == http.MethodConnect, absolute && !s.access.ownHost(r.Host) && hostOnly(r.Host) != localHost(r):
		return proto.Errorf(proto.ErrInvalid, "this server is no forward proxy").WithHint("address it by one of its own names")
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

// localHost is the address at which a request has come.
func localHost(r *http.Request) string {
	if addr, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr); ok {
		return hostOnly(addr.String())
	}
	return ""
}

// validHost says whether a Host can be one (RFC 9110 section 7.2). Only old requests
// may lack it, and net/http sees to that and to the bytes in it.
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

// isWebsocket says whether a request asks for a websocket, as framing sees it.
func isWebsocket(r *http.Request) bool {
	return r.ProtoMajor == 1 && r.ProtoMinor == 1 &&
		slices.ContainsFunc(r.Header["Upgrade"], func(v string) bool { return strings.EqualFold(v, "websocket") })
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
		return proto.Errorf(proto.ErrUnavailable, "the server is ending")
	default:
	}
	if s.cfg.Ready == nil {
		return nil
	}
	return s.cfg.Ready()
}

// about answers that the program can do its work, and what it says of itself.
func (s *server) about(w http.ResponseWriter) {
	answer := maps.Clone(s.cfg.About)
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

// stdLog is the log of net/http, which speaks of peers' faults and of panics.
func (s *server) stdLog() *log.Logger {
	return s.log.StandardLogger(&hclog.StandardLoggerOptions{ForceLevel: hclog.Warn})
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
