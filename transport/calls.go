package transport

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/gin-gonic/gin"
	"google.golang.org/grpc"
	protobuf "google.golang.org/protobuf/proto"

	"github.com/Ishan27g/ryo-faas/proto"
)

// calls answers the calls of routes over HTTP.
type calls struct{ service *service }

func newCalls(s *service) http.Handler {
	gin.SetMode(gin.ReleaseMode) // else it prints each route to stdout
	c := calls{s}
	engine := gin.New()
	engine.HandleMethodNotAllowed = true
	engine.RedirectTrailingSlash = false
	engine.NoRoute(c.handle(func(g *gin.Context) error {
		return proto.Errorf(proto.ErrNotFound, "there is nothing at %.100q", g.Request.URL.Path).WithHint(knownCalls())
	}))
	engine.NoMethod(c.handle(func(g *gin.Context) error {
		return proto.Errorf(proto.ErrUnsupported, "%.20q is not a method of %s", g.Request.Method, g.Request.URL.Path).WithHint(knownCalls())
	}))
	for _, rt := range routes {
		engine.Handle(rt.method, rt.path, c.handle(c.handler(rt)))
	}
	return engine
}

func knownCalls() string {
	known := "known are: "
	for i, rt := range routes {
		if i > 0 {
			known += ", "
		}
		known += rt.method + " " + rt.path
	}
	return known
}

// handle makes a gin handler of one that returns an error. A panic, or an error
// after the answer has begun, ends that connection alone.
func (c calls) handle(f func(*gin.Context) error) gin.HandlerFunc {
	return func(g *gin.Context) {
		err := c.service.safely(g.Request.Method+" "+g.FullPath(), func() error { return f(g) })
		switch {
		case err == nil:
		case g.Writer.Written():
			panic(http.ErrAbortHandler)
		default:
			WriteError(g.Writer, err)
		}
	}
}

// handler returns the handler of a route.
func (c calls) handler(rt route) func(*gin.Context) error {
	switch rt.rpc {
	case proto.Functions_Watch_FullMethodName:
		return c.watch
	case proto.Functions_HasPackage_FullMethodName:
		return c.hasPackage
	case proto.Functions_Upload_FullMethodName:
		return c.upload
	}
	i := slices.IndexFunc(proto.Functions_ServiceDesc.Methods, func(m grpc.MethodDesc) bool {
		return rt.rpc == "/"+proto.Functions_ServiceDesc.ServiceName+"/"+m.MethodName
	})
	method := proto.Functions_ServiceDesc.Methods[i]
	return func(g *gin.Context) error {
		answer, err := method.Handler(c.service, g.Request.Context(), func(req any) error {
			return c.decode(g, rt, req.(protobuf.Message))
		}, nil)
		if err != nil {
			return err
		}
		return writeAnswer(g.Writer, rt, answer.(protobuf.Message))
	}
}

func writeAnswer(w http.ResponseWriter, rt route, answer protobuf.Message) error {
	body, err := encodePart(answers, answer, rt.answer)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, body)
	return nil
}

// decode reads a request into its message.
func (c calls) decode(g *gin.Context, rt route, req protobuf.Message) error {
	switch rt.body {
	case "":
		fields, err := json.Marshal(single(g.Request.URL.Query()))
		if err != nil {
			return proto.Errorf(proto.ErrInvalid, "read the query: %w", err)
		}
		return Decode(fields, req)
	case whole:
		data, err := readJSON(g)
		if err != nil {
			return err
		}
		return Decode(data, req)
	}
	return c.decodeDeploy(g, req.(*proto.DeployRequest))
}

// single makes a JSON object of a query: what is given once is a string.
func single(query url.Values) map[string]any {
	object := make(map[string]any, len(query))
	for key, values := range query {
		object[key] = values
		if len(values) == 1 {
			object[key] = values[0]
		}
	}
	return object
}

func readJSON(g *gin.Context) ([]byte, error) {
	return io.ReadAll(http.MaxBytesReader(g.Writer, g.Request.Body, maxJSON))
}

func (c calls) decodeDeploy(g *gin.Context, req *proto.DeployRequest) error {
	wait, err := waits(g.Request.URL.Query())
	if err != nil {
		return err
	}
	kind, _, _ := mime.ParseMediaType(g.Request.Header.Get("Content-Type"))
	if kind == "multipart/form-data" {
		err = c.decodeMultipart(g, req)
	} else {
		var data []byte
		if data, err = readJSON(g); err == nil {
			req.Functions, err = decodeList(data, func() *proto.FunctionJson { return new(proto.FunctionJson) })
		}
	}
	if err != nil {
		return err
	}
	for _, fn := range req.GetFunctions() {
		fn.Wait = fn.GetWait() || wait
	}
	return nil
}

// waits reads the query of a deploy.
func waits(query url.Values) (bool, error) {
	for key := range query {
		if key != "wait" {
			return false, unknownKey(key, []string{"wait"})
		}
	}
	value := query.Get("wait")
	if value == "" {
		return query.Has("wait"), nil
	}
	wait, err := strconv.ParseBool(value)
	if err != nil {
		return false, proto.Errorf(proto.ErrInvalid, "wait=%.20s is neither true nor false", value)
	}
	return wait, nil
}

// decodeMultipart reads a deploy whose packages come with it: a part "definition"
// and one part "package" for each function that names no stored package, in the
// functions' order. Packages go to the store as they come.
func (c calls) decodeMultipart(g *gin.Context, req *proto.DeployRequest) error {
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
			return inputError(err)
		}
		switch name := part.FormName(); {
		case name == definition && req.Functions == nil:
			data, err := io.ReadAll(http.MaxBytesReader(g.Writer, part, maxJSON))
			if err != nil {
				return inputError(err)
			}
			if req.Functions, err = decodeList(data, func() *proto.FunctionJson { return new(proto.FunctionJson) }); err != nil {
				return err
			}
		case name == definition:
			return proto.Errorf(proto.ErrInvalid, "there are two parts %q", definition)
		case name == pkg && len(digests) == maxPackages:
			return proto.Errorf(proto.ErrTooLarge, "more than %d packages in one body", maxPackages)
		case name == pkg:
			stored, err := c.service.store.Put(g.Request.Context(), "", input{part})
			if err != nil {
				return err
			}
			digests = append(digests, stored.Digest)
		default:
			return unknownKey(name, []string{definition, pkg})
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

func (c calls) hasPackage(g *gin.Context) error {
	state, err := c.service.HasPackage(g.Request.Context(), &proto.PackageRef{Digest: g.Param("digest")})
	if err != nil {
		return err
	}
	code := http.StatusNotFound
	if state.GetStored() {
		code = http.StatusOK
	}
	g.Status(code)
	return nil
}

func (c calls) upload(g *gin.Context) error {
	ref, err := c.service.put(g.Request.Context(), g.Param("digest"), g.Request.Body)
	if err != nil {
		return err
	}
	return writeAnswer(g.Writer, route{answer: whole}, ref)
}

func (c calls) watch(g *gin.Context) error {
	conn := http.NewResponseController(g.Writer)
	send := func(name string, m protobuf.Message) error {
		data, err := Encode(m)
		if err != nil {
			return err
		}
		if !g.Writer.Written() {
			h := g.Writer.Header()
			h.Set("Content-Type", eventStream)
			h.Set("Cache-Control", "no-cache")
			h.Set("X-Accel-Buffering", "no") // else nginx holds events back
		}
		_ = conn.SetWriteDeadline(time.Now().Add(writeSilence))
		if err := writeEvent(g.Writer, name, data); err != nil {
			return err
		}
		return conn.Flush()
	}
	err := c.service.watch(g.Request.Context(), func(e *proto.WatchEvent) error { return send("", e) })
	if err == nil || errors.Is(err, context.Canceled) || !g.Writer.Written() {
		return err
	}
	return send(errorEvent, detail(err))
}
