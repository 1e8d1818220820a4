package server

import (
	"cmp"
	"net/http"
	"reflect"
	"strings"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/transport"
	"github.com/Ishan27g/ryo-faas/transport/openapi"
	"github.com/Ishan27g/ryo-faas/transport/wire"
)

// document is what GET /openapi.json answers but for functions: the routes that this server
// answers, its own paths, and the mounts that GET / shows.
func (s *server) document() map[string]any {
	api := openapi.API{Title: "ryo-faas " + s.cfg.Program, Version: cmp.Or(s.cfg.Version, "unknown")}
	for _, rt := range wire.Routes {
		if s.service.offers(rt.RPC) {
			api.Routes = append(api.Routes, rt)
		}
	}
	read := []string{http.MethodGet, http.MethodHead}
	for _, o := range ownPaths {
		if o.does != "" {
			api.Others = append(api.Others, openapi.Other{Path: o.path, Methods: read, Scope: o.scope, Does: o.does})
		}
	}
	for _, m := range s.cfg.Mounts {
		if m.Does == "" {
			continue
		}
		path := m.Path
		if strings.HasSuffix(path, "/") {
			path += "{" + strings.ToLower(cmp.Or(m.Rest, "NAME")) + "}"
		}
		api.Others = append(api.Others, openapi.Other{Path: path, Methods: m.Methods, Scope: m.Scope, Does: m.Does})
	}
	return openapi.Document(api)
}

// named are the methods that the interface of those who answer them calls otherwise.
var named = map[string]string{
	proto.Functions_ShowCall_FullMethodName:     "Call",
	proto.Functions_FetchProgram_FullMethodName: "OpenProgram",
	proto.Functions_SendProgram_FullMethodName:  "KeepProgram",
	proto.Functions_ShareTokens_FullMethodName:  "Wake", // of every agent: proxies tell it
}

// offers reports whether the server can answer a method. Those that agents or proxies alone
// have are the methods of the interface that one of them implements.
func (s *service) offers(rpc string) bool {
	name := cmp.Or(named[rpc], rpc[strings.LastIndexByte(rpc, '/')+1:])
	for _, part := range []struct {
		of   reflect.Type
		here bool
	}{
		{reflect.TypeFor[transport.Worker](), s.worker != nil},
		{reflect.TypeFor[transport.Registrar](), s.registrar != nil},
		{reflect.TypeFor[transport.Dispatcher](), s.dispatcher != nil},
		{reflect.TypeFor[transport.Scheduler](), s.scheduler != nil},
	} {
		if _, ok := part.of.MethodByName(name); ok {
			return part.here
		}
	}
	return true
}
