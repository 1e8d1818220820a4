package server

import (
	"context"
	"errors"
	"io"
	"mime"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/gin-gonic/gin"
	"google.golang.org/grpc"
	protobuf "google.golang.org/protobuf/proto"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/transport/openapi"
	"github.com/Ishan27g/ryo-faas/transport/wire"
)

// routes answers wire.Routes over HTTP.
type routes struct{ service *service }

// quietly keeps gin from printing each route to stdout. Its mode is a global
// variable without a lock.
var quietly = sync.OnceFunc(func() { gin.SetMode(gin.ReleaseMode) })

func newRoutes(s *service) http.Handler {
	quietly()
	r := routes{s}
	engine := gin.New()
	engine.RedirectTrailingSlash = false
	engine.NoRoute(r.handle(missing))
	for _, rt := range wire.Routes {
		handler := r.handle(r.handler(rt))
		engine.Handle(rt.Method, rt.Path, handler)
		if own, _ := wire.RouteFor(http.MethodHead, rt.Path); rt.Method == http.MethodGet && own.RPC == rt.RPC {
			engine.HEAD(rt.Path, handler) // net/http leaves the body out
		}
	}
	return engine
}

// missing answers a request that has no route.
func missing(g *gin.Context) error {
	path := g.Request.URL.Path
	if methods := wire.Methods(path); methods != nil {
		return notAllowed(g.Writer, g.Request, methods)
	}
	err := proto.Errorf(proto.ErrNotFound, "there is nothing at %.100q", path)
	if strings.HasPrefix(path, functionsPath) {
		return err.WithHint("an agent's functions are called at urls of their own; GET /details shows them")
	}
	paths := []string{healthzPath, readyzPath, openapi.Path}
	for _, rt := range wire.Routes {
		paths = append(paths, rt.Path)
	}
	if near := proto.Nearest(strings.TrimSuffix(path, "/"), paths); near != "" {
		return err.WithHint("did you mean " + near + "?")
	}
	return err.WithHint("GET / says what there is")
}

// notAllowed is the error for a method that a path does not take.
func notAllowed(w http.ResponseWriter, r *http.Request, methods []string) error {
	allowed := strings.Join(methods, ", ")
	w.Header().Set("Allow", allowed)
	return proto.Errorf(proto.ErrUnsupported, "%.20q is not a method of %.100s", r.Method, r.URL.Path).WithHint("it takes " + allowed)
}

// handle makes a gin handler of one that returns an error. A panic, or an error
// after the answer has begun, closes that connection alone.
func (r routes) handle(f func(*gin.Context) error) gin.HandlerFunc {
	return func(g *gin.Context) {
		err := r.service.safely(g.Request.Context(), g.Request.Method+" "+g.FullPath(), func() error { return f(g) })
		deedOf(g.Request.Context()).fail(err)
		switch {
		case err == nil:
		case g.Writer.Written():
			panic(http.ErrAbortHandler)
		default:
			wire.WriteError(g.Writer, err)
		}
	}
}

// handler returns the handler of a route.
func (r routes) handler(rt wire.Route) func(*gin.Context) error {
	switch rt.RPC {
	case proto.Functions_Deploy_FullMethodName:
		return r.deploy(rt)
	case proto.Functions_Watch_FullMethodName:
		return r.watch(rt)
	case proto.Functions_Logs_FullMethodName:
		return r.logs(rt)
	case proto.Functions_Upload_FullMethodName:
		return r.upload
	case proto.Functions_Source_FullMethodName:
		return r.source(rt)
	case proto.Functions_FetchProgram_FullMethodName:
		return r.fetchProgram
	case proto.Functions_SendProgram_FullMethodName:
		return r.sendProgram(rt)
	}
	i := slices.IndexFunc(proto.Functions_ServiceDesc.Methods, func(m grpc.MethodDesc) bool {
		return rt.RPC == "/"+proto.Functions_ServiceDesc.ServiceName+"/"+m.MethodName
	})
	method := proto.Functions_ServiceDesc.Methods[i]
	return func(g *gin.Context) error {
		answer, err := method.Handler(r.service, g.Request.Context(), func(req any) error {
			err := r.decode(g, rt, req.(protobuf.Message))
			deedOf(g.Request.Context()).note(req)
			return err
		}, nil)
		if err != nil {
			return err
		}
		deedOf(g.Request.Context()).note(answer)
		if state, ok := answer.(*proto.PackageState); ok {
			g.Status(http.StatusNotFound)
			if state.GetStored() {
				g.Status(http.StatusOK)
			}
			return nil
		}
		return writeAnswer(g.Writer, rt, answer.(protobuf.Message))
	}
}

func writeAnswer(w http.ResponseWriter, rt wire.Route, answer protobuf.Message) error {
	body, err := wire.EncodePart(answer, rt.Answer)
	if err != nil {
		return err
	}
	wire.WriteJSON(w, http.StatusOK, body)
	return nil
}

// decode reads a request into its message.
func (r routes) decode(g *gin.Context, rt wire.Route, req protobuf.Message) error {
	switch rt.Body {
	case "":
		query := g.Request.URL.Query()
		for _, p := range g.Params {
			query.Set(p.Key, p.Value)
		}
		return wire.DecodeQuery(query, req)
	case wire.Whole:
		data, err := readJSON(g)
		if err != nil {
			return err
		}
		return wire.Decode(data, req)
	}
	return r.decodeDeploy(g, req.(*proto.DeployRequest))
}

func readJSON(g *gin.Context) ([]byte, error) {
	return io.ReadAll(http.MaxBytesReader(g.Writer, g.Request.Body, wire.MaxJSON))
}

// deploy answers with the rows. A caller that waits and accepts events is sent each
// change of the functions' rows; the last event, named result, holds the list of rows.
func (r routes) deploy(rt wire.Route) func(*gin.Context) error {
	return func(g *gin.Context) error {
		req, ctx := new(proto.DeployRequest), g.Request.Context()
		if err := r.decodeDeploy(g, req); err != nil {
			return err
		}
		deedOf(ctx).note(req)
		if !waits(req) || !accepts(g.Request.Header, wire.EventStream) {
			answer, err := r.service.Deploy(ctx, req)
			if err != nil {
				return err
			}
			deedOf(ctx).note(answer)
			return writeAnswer(g.Writer, rt, answer)
		}
		return r.events(g, func(send sendEvent) error {
			rows, err := r.service.follow(ctx, req, func(e *proto.WatchEvent) error { return send("", e, wire.Whole) })
			if err != nil {
				return err
			}
			deedOf(ctx).note(rows)
			return send(wire.ResultEvent, rows, rt.Answer)
		})
	}
}

// waits reports whether a function of a deploy waits.
func waits(req *proto.DeployRequest) bool {
	return slices.ContainsFunc(req.GetFunctions(), (*proto.FunctionJson).GetWait)
}

// accepts reports whether a caller asks for answers of a media type.
func accepts(h http.Header, kind string) bool {
	return slices.ContainsFunc(strings.Split(strings.Join(h.Values("Accept"), ","), ","), func(s string) bool {
		got, _, _ := mime.ParseMediaType(s)
		return got == kind
	})
}

func (r routes) decodeDeploy(g *gin.Context, req *proto.DeployRequest) error {
	var wait, plan bool
	for key, values := range g.Request.URL.Query() {
		claim, known := map[string]*bool{"wait": &wait, "plan": &plan}[key]
		if !known {
			return wire.UnknownKey(key, []string{"wait", "plan"})
		}
		var err error
		if *claim, err = wire.IsTrue(key, values[0]); err != nil {
			return err
		}
	}
	kind, _, _ := mime.ParseMediaType(g.Request.Header.Get("Content-Type"))
	var err error
	if kind == "multipart/form-data" {
		err = r.decodeMultipart(g, req)
	} else {
		var data []byte
		if data, err = readJSON(g); err == nil {
			req.Functions, err = wire.DecodeFunctions(data)
		}
	}
	if err != nil {
		return err
	}
	for _, fn := range req.GetFunctions() {
		fn.Wait = fn.GetWait() || wait
		fn.Plan = fn.GetPlan() || plan
	}
	return nil
}

// decodeMultipart reads a deploy whose packages come with it: a part "definition"
// and one part "package" for each function that names no stored package, in the
// functions' order. Packages go to the store as they come.
func (r routes) decodeMultipart(g *gin.Context, req *proto.DeployRequest) error {
	const definition, pkg = "definition", "package"
	parts, err := g.Request.MultipartReader()
	if err != nil {
		return proto.Errorf(proto.ErrInvalid, "read the multipart body: %w", err)
	}
	var digests []string
	for {
		part, err := parts.NextPart()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return wire.InputError(err)
		}
		switch name := part.FormName(); {
		case name == definition && req.Functions == nil:
			data, err := io.ReadAll(http.MaxBytesReader(g.Writer, part, wire.MaxJSON))
			if err != nil {
				return wire.InputError(err)
			}
			if req.Functions, err = wire.DecodeFunctions(data); err != nil {
				return err
			}
		case name == definition:
			return proto.Errorf(proto.ErrInvalid, "there are two parts %q", definition)
		case name == pkg && len(digests) == wire.MaxPackages:
			return proto.Errorf(proto.ErrTooLarge, "more than %d packages in one body", wire.MaxPackages)
		case name == pkg:
			digest, err := r.service.receive(g.Request.Context(), "", input{part})
			if err != nil {
				return err
			}
			digests = append(digests, digest)
		default:
			return wire.UnknownKey(name, []string{definition, pkg})
		}
	}
	return assign(req.GetFunctions(), digests)
}

// assign gives functions the packages that came with them.
func assign(fns []*proto.FunctionJson, digests []string) error {
	sent := len(digests)
	for _, fn := range fns {
		if fn.GetDir() != "" {
			return proto.Errorf(proto.ErrInvalid, "function %.40s has a dir, and a package comes with it", fn.GetName()).
				WithHint("leave dir out of the definition, or post it as JSON")
		}
		if filepath.IsAbs(fn.GetFilePath()) { // where it was on the caller's machine
			fn.FilePath = filepath.Base(fn.GetFilePath())
		}
		if fn.GetPackage() == "" && len(digests) > 0 {
			fn.Package, digests = digests[0], digests[1:]
		}
		if fn.GetPackage() == "" {
			return proto.Errorf(proto.ErrInvalid, "function %.40s has no package: %d came for %d functions", fn.GetName(), sent, len(fns)).
				WithHint(`send a part "package" for each function`)
		}
	}
	if len(digests) > 0 {
		return proto.Errorf(proto.ErrInvalid, "%d packages came for %d functions", sent, len(fns)).
			WithHint(`send a part "package" for each function, and one part "definition"`)
	}
	return nil
}

func (r routes) upload(g *gin.Context) error {
	ref, err := r.service.put(g.Request.Context(), g.Param("digest"), g.Request.Body)
	if err != nil {
		return err
	}
	return writeAnswer(g.Writer, wire.Route{Answer: wire.Whole}, ref)
}

func (r routes) sendProgram(rt wire.Route) func(*gin.Context) error {
	return func(g *gin.Context) error {
		program := new(proto.Program)
		if err := r.decode(g, rt, program); err != nil {
			return err
		}
		program, err := r.service.keep(g.Request.Context(), program, g.Request.Body)
		if err != nil {
			return err
		}
		return writeAnswer(g.Writer, rt, program)
	}
}

func (r routes) fetchProgram(g *gin.Context) error {
	return r.service.fetch(g.Request.Context(), g.Param("key"), func(p *proto.Program) (io.Writer, error) {
		about, err := wire.Encode(p)
		if err != nil {
			return nil, err
		}
		h := g.Writer.Header()
		h.Set(wire.APIHeader, wire.APIVersion)
		h.Set("Content-Type", wire.ZstdType)
		h.Set(wire.ProgramHeader, string(about))
		return prompt{g.Writer}, nil
	})
}

func (r routes) source(rt wire.Route) func(*gin.Context) error {
	return func(g *gin.Context) error {
		req := new(proto.SourceRequest)
		if err := r.decode(g, rt, req); err != nil {
			return err
		}
		return r.service.source(g.Request.Context(), req, func() io.Writer {
			h := g.Writer.Header()
			h.Set(wire.APIHeader, wire.APIVersion)
			h.Set("Content-Type", wire.ZipType)
			return prompt{g.Writer}
		})
	}
}

// prompt is an answer that the caller must keep reading: a write that waits longer
// than WriteSilence fails.
type prompt struct{ gin.ResponseWriter }

func (w prompt) Write(p []byte) (int, error) {
	conn := http.NewResponseController(w.ResponseWriter)
	_ = conn.SetWriteDeadline(time.Now().Add(wire.WriteSilence))
	n, err := w.ResponseWriter.Write(p)
	if err == nil {
		err = conn.Flush()
	}
	// A deadline that stays would hit the next request on the connection.
	_ = conn.SetWriteDeadline(time.Time{})
	return n, err
}

func (r routes) watch(rt wire.Route) func(*gin.Context) error {
	return func(g *gin.Context) error {
		if err := r.decode(g, rt, new(proto.WatchRequest)); err != nil {
			return err
		}
		return r.events(g, func(send sendEvent) error {
			return r.service.watch(g.Request.Context(), func(e *proto.WatchEvent) error { return send("", e, wire.Whole) })
		})
	}
}

func (r routes) logs(rt wire.Route) func(*gin.Context) error {
	return func(g *gin.Context) error {
		req := new(proto.LogsRequest)
		if err := r.decode(g, rt, req); err != nil {
			return err
		}
		return r.events(g, func(send sendEvent) error {
			return r.service.logs(g.Request.Context(), req, func(l *proto.LogLines) error { return send("", l, wire.Whole) })
		})
	}
}

// sendEvent sends an event of a name, which holds a message or one list of it.
type sendEvent func(name string, m protobuf.Message, part string) error

// events answers with the events that run sends. An error before the first of
// them is a plain answer, any later one an event.
func (r routes) events(g *gin.Context, run func(sendEvent) error) error {
	begin := func() {
		h := g.Writer.Header()
		h.Set(wire.APIHeader, wire.APIVersion)
		h.Set("Content-Type", wire.EventStream)
		h.Set("Cache-Control", "no-cache")
		h.Set("X-Accel-Buffering", "no") // else nginx holds events back
	}
	send := func(name string, m protobuf.Message, part string) error {
		data, err := wire.EncodePart(m, part)
		if err != nil {
			return err
		}
		if !g.Writer.Written() {
			begin()
		}
		return wire.WriteEvent(prompt{g.Writer}, name, data)
	}
	if g.Request.Method == http.MethodHead {
		begin()
		g.Status(http.StatusOK)
		return nil
	}
	err := run(send)
	switch {
	case err == nil && !g.Writer.Written(): // there was nothing to say
		begin()
		g.Status(http.StatusOK)
		return nil
	case err == nil || errors.Is(err, context.Canceled) || !g.Writer.Written():
		return err
	}
	deedOf(g.Request.Context()).fail(err)
	return send(wire.ErrorEvent, wire.Detail(ofRequest(CallerFrom(g.Request.Context()).RequestID, err)), wire.Whole)
}
