package transport

import (
	"net/http"

	"github.com/Ishan27g/ryo-faas/proto"
)

// route says which HTTP call stands for which gRPC method. A field of the
// request travels in the body, or else in the path (":digest"), or else in the
// query.
type route struct {
	rpc    string // full name of the gRPC method
	method string
	path   string
	body   string // the field that the body is; whole: the message itself; "": there is none
	answer string // the field that the answer is; whole: the message itself
}

const whole = "*"

// routes is the one table of calls. The server registers it, the HTTP client
// looks its calls up in it.
//
// Some calls are not plain messages in JSON: Watch and Logs answer with
// server-sent events, each a message; HasPackage and HasProgram answer with
// their status alone; the bodies of Upload and SendProgram, and the answer of
// FetchProgram, are the package or the compressed program itself. Deploy takes
// ?wait=true and ?plan=true for all its functions at once, and
// multipart/form-data as well; one that waits is answered with events if asked
// so.
var routes = []route{
	{proto.Functions_Deploy_FullMethodName, http.MethodPost, "/deploy", "functions", "functions"},
	{proto.Functions_Stop_FullMethodName, http.MethodPost, "/stop", whole, whole},
	{proto.Functions_List_FullMethodName, http.MethodPost, "/list", whole, "functions"},
	{proto.Functions_Log_FullMethodName, http.MethodGet, "/log", "", whole},
	{proto.Functions_Details_FullMethodName, http.MethodGet, "/details", "", "functions"},
	{proto.Functions_Watch_FullMethodName, http.MethodGet, "/watch", "", whole},
	{proto.Functions_HasPackage_FullMethodName, http.MethodHead, "/packages/:digest", "", ""},
	{proto.Functions_Upload_FullMethodName, http.MethodPut, "/packages/:digest", "", whole},
	{proto.Functions_Versions_FullMethodName, http.MethodGet, "/versions", "", "versions"},
	{proto.Functions_Rollback_FullMethodName, http.MethodPost, "/rollback", whole, "functions"},
	{proto.Functions_Shift_FullMethodName, http.MethodPost, "/shift", whole, "functions"},
	{proto.Functions_Crashes_FullMethodName, http.MethodGet, "/crashes", "", "crashes"},
	{proto.Functions_Logs_FullMethodName, http.MethodGet, "/logs", "", whole},
	{proto.Functions_Usage_FullMethodName, http.MethodGet, "/usage", "", "usage"},
	{proto.Functions_Wake_FullMethodName, http.MethodPost, "/wake", whole, whole},
	{proto.Functions_Build_FullMethodName, http.MethodPost, "/build", whole, whole},
	{proto.Functions_HasProgram_FullMethodName, http.MethodHead, "/programs/:key", "", ""},
	{proto.Functions_FetchProgram_FullMethodName, http.MethodGet, "/programs/:key", "", whole},
	{proto.Functions_SendProgram_FullMethodName, http.MethodPut, "/programs/:key", "", whole},
}

// routeOf returns the route of a gRPC method.
func routeOf(rpc string) (route, bool) {
	for _, rt := range routes {
		if rt.rpc == rpc {
			return rt, true
		}
	}
	return route{}, false
}

// The limits of what travels.
const (
	// maxAnswer bounds a message to a client. 2,000 rows with long texts of
	// errors fit; so does the longest log.
	maxAnswer = 16 << 20
	// maxRequest bounds a gRPC message to a server; it is grpc's own default.
	maxRequest = 4 << 20
	// maxJSON bounds a JSON body. A function to deploy takes about 200 bytes.
	maxJSON = 1 << 20
	// maxPackages bounds the packages in one multipart body.
	maxPackages = 64
	// chunkSize is the data in one message of an upload: large enough that framing
	// costs nothing, small enough that progress is seen.
	chunkSize = 128 << 10
)
