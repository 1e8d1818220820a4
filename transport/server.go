package transport

import (
	"context"
	"encoding/json"
	"log"
	"maps"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/reflection"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/transport/bundle"
)

const (
	functionsPath = "/functions/"
	healthzPath   = "/healthz"
	readyzPath    = "/readyz"
	metricsPath   = "/metrics"
)

// The limits of a connection. There is none on writing: functions and events
// stream for as long as they like.
const (
	headerLimit   = 10 * time.Second  // to send a request's headers
	idleLimit     = 120 * time.Second // without a request
	maxHeader     = 64 << 10          // bytes
	pingAfter     = 30 * time.Second  // of silence on HTTP/2: is the peer still there?
	drainLimit    = 10 * time.Second  // for calls in flight when the server ends
	bodySilence   = 30 * time.Second  // between two reads of a body
	writeSilence  = 30 * time.Second  // for a watcher to take an event
	maxConcurrent = 250               // calls on one HTTP/2 connection
)

// ServerConfig says where and for whom Serve serves.
type ServerConfig struct {
	Listeners  []net.Listener // Serve closes them
	Worker     Worker         // what an agent does for proxies; default: those calls are ErrUnsupported
	Functions  http.Handler   // serves /functions/…; default: there are none
	Metrics    http.Handler   // serves GET /metrics; default: there are none
	Insecure   bool           // lets callers on other machines in; default: refuse them
	Hosts      []string       // names of this machine that callers may address, besides localhost
	SourceRoot string         // folder below which "dir" may lie for callers on other machines; default: nowhere
	Ready      func() error   // why this program cannot do its work now; default: it always can
	About      map[string]any // what /readyz says beside the status; default: nothing
	Logger     hclog.Logger   // default: none
}

// Serve offers impl over gRPC and HTTP on every listener until ctx ends. It then
// ends streams, gives other calls ten seconds, and returns nil when no call is
// left. A listener that fails ends it with that error.
//
// store is the one from which impl takes packages: uploads are put there.
func Serve(ctx context.Context, impl Interface, store *bundle.Store, cfg ServerConfig) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s := newServer(ctx.Done(), impl, store, cfg)
	// Calls in flight must outlive ctx while they are drained.
	calls, cutCalls := context.WithCancel(context.WithoutCancel(ctx))
	defer cutCalls()
	greeting := &newcomers{conns: make(map[net.Conn]bool), fewer: make(chan struct{}, 1)}
	web := &http.Server{
		Handler:           s,
		ConnState:         greeting.note,
		ReadHeaderTimeout: headerLimit,
		IdleTimeout:       idleLimit,
		MaxHeaderBytes:    maxHeader,
		BaseContext:       func(net.Listener) context.Context { return calls },
		ErrorLog:          s.stdLog(),
		Protocols:         new(http.Protocols),
		HTTP2:             &http.HTTP2Config{MaxConcurrentStreams: maxConcurrent, SendPingTimeout: pingAfter},
	}
	web.Protocols.SetHTTP1(true)
	web.Protocols.SetUnencryptedHTTP2(true)

	failed := make(chan error, len(cfg.Listeners))
	var serving sync.WaitGroup
	for _, l := range cfg.Listeners {
		serving.Go(func() { failed <- web.Serve(l) })
	}
	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	cancel() // streams end

	drain, stop := context.WithTimeout(calls, drainLimit)
	defer stop()
	for _, l := range cfg.Listeners {
		_ = l.Close()
	}
	serving.Wait() // the last connection that was accepted has been noted
	web.SetKeepAlivesEnabled(false)
	greeting.wait(drain)
	if late := web.Shutdown(drain); late != nil {
		s.log.Warn("calls were cut after the time to drain", "limit", drainLimit)
	}
	cutCalls()
	_ = web.Close() // also what Shutdown left
	s.grpc.Stop()
	s.inFlight.Lock() // waits for the last call
	return err
}

// server is everything behind the listeners.
type server struct {
	cfg     ServerConfig
	log     hclog.Logger
	closing <-chan struct{} // closed when the server begins to end
	service *service
	guard   *guard
	grpc    *grpc.Server
	calls   http.Handler // the calls of routes.go
	// inFlight is held for reading by each request, so that Serve can wait for the
	// last one and lock out any further.
	inFlight sync.RWMutex
}

func newServer(closing <-chan struct{}, impl Interface, store *bundle.Store, cfg ServerConfig) *server {
	if cfg.Logger == nil {
		cfg.Logger = hclog.NewNullLogger()
	}
	s := &server{cfg: cfg, log: cfg.Logger, closing: closing, guard: newGuard(cfg)}
	s.service = &service{impl: impl, worker: cfg.Worker, store: store, sourceRoot: cfg.SourceRoot, closing: closing, log: cfg.Logger}
	s.grpc = grpc.NewServer(
		grpc.MaxRecvMsgSize(maxRequest),
		grpc.MaxSendMsgSize(maxAnswer),
		grpc.UnaryInterceptor(s.service.unary),
		grpc.StreamInterceptor(s.service.stream),
	)
	proto.RegisterFunctionsServer(s.grpc, s.service)
	grpc_health_v1.RegisterHealthServer(s.grpc, &healthService{ready: s.ready})
	reflection.Register(s.grpc)
	s.calls = newCalls(s.service)
	return s
}

// ServeHTTP leads each request past the guard to who answers it.
func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !s.inFlight.TryRLock() {
		refuse(w, r, proto.Errorf(proto.ErrUnavailable, "the server has ended"))
		return
	}
	defer s.inFlight.RUnlock()
	if r.Method == http.MethodConnect || r.URL.Host != "" {
		refuse(w, r, proto.Errorf(proto.ErrUnsupported, "this server is no forward proxy"))
		return
	}
	if err := s.guard.check(r); err != nil {
		refuse(w, r, err)
		return
	}
	if isFunction(r) && s.cfg.Functions != nil {
		s.cfg.Functions.ServeHTTP(w, r)
		return
	}
	r = r.WithContext(context.WithValue(r.Context(), callerKey{}, callerOf(r)))
	switch {
	case isGRPC(r):
		s.serveGRPC(w, r)
	case r.URL.Path == healthzPath:
		writeJSON(w, http.StatusOK, []byte(`{"status":"ok"}`))
	case r.URL.Path == readyzPath:
		if err := s.ready(); err != nil {
			WriteError(w, proto.Errorf(proto.ErrUnavailable, "not ready: %w", err))
			return
		}
		s.about(w)
	case r.Method == http.MethodGet && r.URL.Path == metricsPath && s.cfg.Metrics != nil:
		s.cfg.Metrics.ServeHTTP(w, r)
	default:
		r.Body = newBody(w, r.Body)
		s.calls.ServeHTTP(w, r)
	}
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
		r.Body = http.MaxBytesReader(w, r.Body, maxRequest+chunkSize)
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
		WriteError(w, err)
		return
	}
	writeJSON(w, http.StatusOK, data)
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
