package wire

import (
	"net/http"
	"slices"
	"strings"

	"github.com/Ishan27g/ryo-faas/proto"
)

// Route says which HTTP request stands for which gRPC method, and what a caller must be
// allowed. A field of the method's message travels in the body, or else in the path
// (":digest"), or else in the query.
type Route struct {
	RPC    string // full name of the gRPC method
	Method string
	Path   string
	Body   string // the field that the body is; Whole: the message itself; "": there is none
	Answer string // the field that the answer is; Whole: the message itself
	Scope  Scope
}

// Whole stands for a message itself, where else one field of it would do.
const Whole = "*"

// Scope is what a caller must be allowed for a request. The zero value is no scope: a
// server refuses to serve what has none.
type Scope string

// The scopes.
const (
	ScopeOpen   Scope = "open"   // nothing: everyone may ask whether a program is alive
	ScopeAny    Scope = "any"    // to be known, whatever else
	ScopeInvoke Scope = "invoke" // to call functions
	ScopeRead   Scope = "read"   // to see what there is
	ScopeDeploy Scope = "deploy" // to change it
	ScopeAdmin  Scope = "admin"  // to decide who may do all this, and to see who did
)

// Scopes are those that a token can have, for what it is asked to allow.
var Scopes = []Scope{ScopeRead, ScopeInvoke, ScopeDeploy, ScopeAdmin}

// TokenPrefix begins every token, so that a token in the wrong place is found.
const TokenPrefix = "ryo_"

// Known reports whether s is a scope.
func (s Scope) Known() bool {
	return s == ScopeOpen || s == ScopeAny || slices.Contains(Scopes, s)
}

// Routes is the one table of requests. The server registers it, the HTTP client looks
// its requests up in it.
//
// Some requests are not plain messages in JSON: Watch and Logs answer with server-sent
// events, each a message; HasPackage and HasProgram answer with their status alone; the
// bodies of Upload and SendProgram, and the answers of Source and FetchProgram, are the
// package or the compressed program itself. Deploy takes ?wait=true and ?plan=true for all its
// functions at once, and multipart/form-data as well; one that waits is answered with
// events if the caller accepts them.
var Routes = []Route{
	{proto.Functions_Deploy_FullMethodName, http.MethodPost, "/deploy", "functions", "functions", ScopeDeploy},
	{proto.Functions_Stop_FullMethodName, http.MethodPost, "/stop", Whole, Whole, ScopeDeploy},
	{proto.Functions_Remove_FullMethodName, http.MethodPost, "/remove", Whole, Whole, ScopeDeploy},
	{proto.Functions_List_FullMethodName, http.MethodPost, "/list", Whole, "functions", ScopeRead},
	{proto.Functions_Log_FullMethodName, http.MethodGet, "/log", "", Whole, ScopeRead},
	{proto.Functions_Details_FullMethodName, http.MethodGet, "/details", "", "functions", ScopeRead},
	{proto.Functions_Watch_FullMethodName, http.MethodGet, "/watch", "", Whole, ScopeRead},
	{proto.Functions_HasPackage_FullMethodName, http.MethodHead, "/packages/:digest", "", "", ScopeDeploy},
	{proto.Functions_Upload_FullMethodName, http.MethodPut, "/packages/:digest", "", Whole, ScopeDeploy},
	{proto.Functions_Versions_FullMethodName, http.MethodGet, "/versions", "", "versions", ScopeRead},
	// Sources may hold what only those should see who could also run other ones.
	{proto.Functions_Source_FullMethodName, http.MethodGet, "/source", "", Whole, ScopeDeploy},
	{proto.Functions_Rollback_FullMethodName, http.MethodPost, "/rollback", Whole, "functions", ScopeDeploy},
	{proto.Functions_Shift_FullMethodName, http.MethodPost, "/shift", Whole, "functions", ScopeDeploy},
	{proto.Functions_Pause_FullMethodName, http.MethodPost, "/pause", Whole, "functions", ScopeDeploy},
	{proto.Functions_Resume_FullMethodName, http.MethodPost, "/resume", Whole, "functions", ScopeDeploy},
	{proto.Functions_Crashes_FullMethodName, http.MethodGet, "/crashes", "", "crashes", ScopeRead},
	{proto.Functions_Logs_FullMethodName, http.MethodGet, "/logs", "", Whole, ScopeRead},
	{proto.Functions_Usage_FullMethodName, http.MethodGet, "/usage", "", "usage", ScopeRead},
	{proto.Functions_Wake_FullMethodName, http.MethodPost, "/wake", Whole, Whole, ScopeDeploy},
	{proto.Functions_Scale_FullMethodName, http.MethodPost, "/scale", Whole, "functions", ScopeDeploy},
	{proto.Functions_Place_FullMethodName, http.MethodPost, "/place", Whole, Whole, ScopeDeploy},
	{proto.Functions_Resize_FullMethodName, http.MethodPost, "/resize", Whole, Whole, ScopeDeploy},
	{proto.Functions_Build_FullMethodName, http.MethodPost, "/build", Whole, Whole, ScopeDeploy},
	{proto.Functions_HasProgram_FullMethodName, http.MethodHead, "/programs/:key", "", "", ScopeDeploy},
	{proto.Functions_FetchProgram_FullMethodName, http.MethodGet, "/programs/:key", "", Whole, ScopeDeploy},
	{proto.Functions_SendProgram_FullMethodName, http.MethodPut, "/programs/:key", "", Whole, ScopeDeploy},
	{proto.Functions_WhoAmI_FullMethodName, http.MethodGet, "/whoami", "", Whole, ScopeAny},
	{proto.Functions_Tokens_FullMethodName, http.MethodGet, "/tokens", "", "tokens", ScopeAdmin},
	{proto.Functions_CreateToken_FullMethodName, http.MethodPost, "/tokens", Whole, Whole, ScopeAdmin},
	{proto.Functions_RevokeToken_FullMethodName, http.MethodPost, "/tokens/revoke", Whole, Whole, ScopeAdmin},
	{proto.Functions_RotateToken_FullMethodName, http.MethodPost, "/tokens/rotate", Whole, Whole, ScopeAdmin},
	{proto.Functions_ShareTokens_FullMethodName, http.MethodPut, "/tokens", Whole, "tokens", ScopeAdmin},
	{proto.Functions_Audit_FullMethodName, http.MethodGet, "/audit", "", "entries", ScopeAdmin},
	{proto.Functions_Agents_FullMethodName, http.MethodGet, "/agents", "", "agents", ScopeAdmin},
	{proto.Functions_RemoveAgent_FullMethodName, http.MethodPost, "/agents/remove", Whole, Whole, ScopeAdmin},
	{proto.Functions_DrainAgent_FullMethodName, http.MethodPost, "/agents/drain", Whole, Whole, ScopeAdmin},
	{proto.Functions_ResumeAgent_FullMethodName, http.MethodPost, "/agents/resume", Whole, Whole, ScopeAdmin},
	{proto.Functions_JoinToken_FullMethodName, http.MethodPost, "/agents/token", Whole, Whole, ScopeAdmin},
	{proto.Functions_Schedules_FullMethodName, http.MethodGet, "/schedules", "", "schedules", ScopeRead},
	{proto.Functions_RunSchedule_FullMethodName, http.MethodPost, "/schedules/run", Whole, Whole, ScopeDeploy},
	{proto.Functions_PauseSchedule_FullMethodName, http.MethodPost, "/schedules/pause", Whole, Whole, ScopeDeploy},
	{proto.Functions_ResumeSchedule_FullMethodName, http.MethodPost, "/schedules/resume", Whole, Whole, ScopeDeploy},
	// Agents have nothing but the secret or the certificate that these check.
	{proto.Functions_Join_FullMethodName, http.MethodPost, "/agents/join", Whole, Whole, ScopeOpen},
	{proto.Functions_Renew_FullMethodName, http.MethodPost, "/agents/renew", Whole, Whole, ScopeOpen},
	{proto.Functions_Calls_FullMethodName, http.MethodGet, "/calls", "", "calls", ScopeRead},
	// Whoever may call a function, and has the id of a call.
	{proto.Functions_ShowCall_FullMethodName, http.MethodGet, "/calls/:id", "", Whole, ScopeInvoke},
	{proto.Functions_CancelCall_FullMethodName, http.MethodDelete, "/calls/:id", "", Whole, ScopeInvoke},
	{proto.Functions_RedriveCalls_FullMethodName, http.MethodPost, "/dead/redrive", Whole, Whole, ScopeDeploy},
	{proto.Functions_PurgeCalls_FullMethodName, http.MethodPost, "/dead/purge", Whole, Whole, ScopeDeploy},
	{proto.Functions_CallbackSecret_FullMethodName, http.MethodGet, "/callbacks/secret", "", Whole, ScopeAdmin},
}

// RouteOf returns the route of a gRPC method.
func RouteOf(rpc string) (Route, bool) {
	for _, rt := range Routes {
		if rt.RPC == rpc {
			return rt, true
		}
	}
	return Route{}, false
}

// RouteFor returns the route of an HTTP request. HEAD asks like GET, without the body.
func RouteFor(method, path string) (Route, bool) {
	var get Route
	for _, rt := range Routes {
		switch {
		case !rt.matches(path):
		case rt.Method == method:
			return rt, true
		case rt.Method == http.MethodGet && method == http.MethodHead:
			get = rt
		}
	}
	return get, get.RPC != ""
}

// Methods returns the HTTP methods that a path takes, none for one that is not known.
func Methods(path string) []string {
	var methods []string
	for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodDelete} {
		if _, ok := RouteFor(method, path); ok {
			methods = append(methods, method)
		}
	}
	return methods
}

func (rt Route) matches(path string) bool {
	prefix, _, last := strings.Cut(rt.Path, ":")
	if !last {
		return path == rt.Path
	}
	rest, ok := strings.CutPrefix(path, prefix)
	return ok && rest != "" && !strings.Contains(rest, "/")
}
