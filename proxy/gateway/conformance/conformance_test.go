package conformance_test

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"testing"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/Ishan27g/ryo-faas/internal/testkit"
	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/proxy/gateway"
	"github.com/Ishan27g/ryo-faas/proxy/gateway/conformance"
	"github.com/Ishan27g/ryo-faas/transport/server"
	"github.com/Ishan27g/ryo-faas/transport/transporttest"
	"github.com/Ishan27g/ryo-faas/transport/wire"
)

// known are the cases that our gateway fails, and why.
var known = map[string]string{}

func TestConformance(t *testing.T) {
	serves, asks := certified(t)
	secure := func(t *testing.T, routes []conformance.Route) string { return serveTLS(t, routes, serves) }
	for name, tt := range map[string]struct {
		options conformance.Options
		serve   func(*testing.T, []conformance.Route) string
	}{
		"fast":    {conformance.Options{}, serve},
		"TLS":     {conformance.Options{TLS: asks}, secure},
		"plain":   {conformance.Options{}, serveSlowly},
		"reverse": {conformance.Options{Line: "TE: trailers\r\n"}, serveSlowly},
		"edge":    {conformance.Options{}, serveGuarded},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			run, err := conformance.NewRun(tt.options)
			require.NoError(t, err)
			t.Cleanup(run.Close)
			addr := tt.serve(t, run.Routes())
			for i, c := range run.Cases {
				t.Run(c.Group+"/"+c.Name, func(t *testing.T) {
					t.Parallel()
					err := run.Play(i, addr)
					if why, ok := known[c.Group+": "+c.Name]; ok {
						assert.Error(t, err, "it passes though it is said not to: %s", why)
						return
					}
					assert.NoError(t, err)
				})
			}
		})
	}
}

// certified returns what a server and its callers need for TLS.
func certified(t *testing.T) (serves, asks *tls.Config) {
	authority := testkit.NewAuthority(t)
	issued := authority.Issue(t)
	pair, err := tls.X509KeyPair(issued.Cert, issued.Key)
	require.NoError(t, err)
	return &tls.Config{Certificates: []tls.Certificate{pair}}, &tls.Config{RootCAs: authority.Pool(), ServerName: "127.0.0.1"}
}

// serve serves our gateway as the proxy does on its listener for everybody, and returns
// its address.
func serve(t *testing.T, routes []conformance.Route) string { return serveTLS(t, routes, nil) }

func serveTLS(t *testing.T, routes []conformance.Route, config *tls.Config) string {
	return serveBy(t, routes, config, fastLane, nil)
}

func fastLane(g *gateway.Gateway, e *server.Early) server.EarlyReader { return g.Fast(e) }

// serveSlowly serves it without the fast lane.
func serveSlowly(t *testing.T, routes []conformance.Route) string {
	return serveBy(t, routes, nil, nil, nil)
}

// serveGuarded serves functions that ask of their calls all that functions can, and that
// get all of them.
func serveGuarded(t *testing.T, routes []conformance.Route) string {
	return serveBy(t, routes, nil, fastLane, func(row *proto.FunctionJsonRsp) {
		row.Body, row.Rate, row.AllowIps, row.Compress = "1GiB", "1000000/s", []string{"127.0.0.0/8"}, true
	})
}

func serveBy(t *testing.T, routes []conformance.Route, config *tls.Config, early func(*gateway.Gateway, *server.Early) server.EarlyReader, change func(*proto.FunctionJsonRsp)) string {
	t.Helper()
	table := gateway.NewTable()
	changes := map[string][]gateway.Replica{}
	for _, r := range routes {
		row := &proto.FunctionJsonRsp{
			Name: r.Name, Status: string(proto.Deployed), AtAgent: "localhost:9000", Proxy: "http://" + r.Address, Instances: 1, Pid: 1, Auth: proto.AuthPublic,
		}
		if r.Limit > 0 {
			row.Timeout = r.Limit.String()
		}
		if change != nil {
			change(row)
		}
		changes[proto.Path(r.Name)] = []gateway.Replica{{Row: row}}
	}
	table.Update(changes)
	t.Cleanup(table.Clear)
	logger := hclog.NewNullLogger()
	functions := gateway.New(gateway.Config{
		Table: table, Logger: logger,
		Admit:    func(*http.Request, string, bool) error { return nil },
		Stranger: func(*http.Request) bool { return false },
		AgentErr: func(string) *proto.Error { return nil },
		Whose:    server.Whose,
		Unknown:  func(name string) error { return proto.Errorf(proto.ErrNotFound, "function %q not found", name) },
	})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	cfg := server.Config{
		Public: []net.Listener{l}, TLS: config, Logger: logger,
		Mounts: []server.Mount{{Path: gateway.Prefix, Scope: wire.ScopeInvoke, Handler: functions}},
	}
	if early != nil {
		cfg.Early = func(e *server.Early) server.EarlyReader { return early(functions, e) }
	}
	nothing := transporttest.NewFake(t)
	go func() { served <- server.Serve(ctx, nothing, cfg) }()
	t.Cleanup(func() {
		cancel()
		assert.NoError(t, <-served)
		functions.Close()
	})
	return l.Addr().String()
}
