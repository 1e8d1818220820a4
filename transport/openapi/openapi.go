package openapi

import (
	"net/http"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/transport/wire"
)

// Path is where a server serves its document.
const Path = "/openapi.json"

// API is what a document describes.
type API struct {
	Title, Version string
	Routes         []wire.Route
	Others         []Other
}

// Other are requests that are in no table of routes and whose answers are described by a
// text alone.
type Other struct {
	Path    string   // with {name} for what stands for something
	Methods []string // default: all that OpenAPI knows but TRACE
	Scope   wire.Scope
	Does    string
}

// methods are those that OpenAPI knows, but TRACE.
var methods = []string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions}

// object is a JSON object.
type object map[string]any

// Document returns the document, ready to be written as JSON, or for WithFunctions.
func Document(api API) map[string]any {
	s := newSchemas(api.Routes)
	paths := make(map[string]object)
	add := func(path, method string, operation object) {
		if paths[path] == nil {
			paths[path] = make(object)
		}
		if method = strings.ToLower(method); paths[path][method] == nil {
			paths[path][method] = operation
		}
	}
	for _, rt := range api.Routes {
		add(pathOf(rt), rt.Method, s.operation(rt))
	}
	for _, o := range api.Others {
		of := o.Methods
		if of == nil {
			of = methods
		}
		for _, method := range of {
			add(o.Path, method, o.operation(method))
		}
	}
	return object{
		"openapi": "3.1.1",
		"info": object{
			"title": api.Title, "version": api.Version, "license": object{"name": "Apache-2.0", "identifier": "Apache-2.0"},
			"description": "Fields may be added to any answer. Requests with unknown keys are refused. Every answer has an X-Request-Id.",
		},
		"paths": paths,
		"components": object{
			"schemas":   s.all(),
			"responses": object{"Error": object{"description": "What is wrong, and what to do about it.", "content": content("application/json", ref("Error"))}},
			"securitySchemes": object{"token": object{
				"type": "http", "scheme": "bearer",
				"description": "A token with the scope that the operation names as a role. Callers of the program's own user, on its machine, need none.",
			}},
		},
	}
}

// pathOf is the path of a route in a document: "/calls/{id}".
func pathOf(rt wire.Route) string {
	prefix, name, last := strings.Cut(rt.Path, ":")
	if !last {
		return prefix
	}
	return prefix + "{" + name + "}"
}

// operation describes a route.
func (s *schemas) operation(rt wire.Route) object {
	m := methodOf(rt)
	does := s.said["Functions."+string(m.Name())]
	summary, _, _ := strings.Cut(does, ". ")
	op := object{
		"operationId": string(m.Name()), "summary": strings.TrimSuffix(summary, "."), "description": does,
		"tags": []string{string(rt.Scope)}, "security": security(rt.Scope),
		"responses": s.responses(rt, m),
	}
	if parameters := s.parameters(rt, m); parameters != nil {
		op["parameters"] = parameters
	}
	if body := s.body(rt, m); body != nil {
		op["requestBody"] = object{"required": true, "content": body}
	}
	return op
}

// methodOf returns the gRPC method of a route.
func methodOf(rt wire.Route) protoreflect.MethodDescriptor {
	_, name, _ := strings.Cut(strings.TrimPrefix(rt.RPC, "/"), "/")
	return proto.File_proto_deploy_proto.Services().ByName("Functions").Methods().ByName(protoreflect.Name(name))
}

// parameters are what a request has in its path and its query.
func (s *schemas) parameters(rt wire.Route, m protoreflect.MethodDescriptor) (list []object) {
	_, inPath, _ := strings.Cut(rt.Path, ":")
	add := func(f protoreflect.FieldDescriptor) {
		p := object{"name": f.JSONName(), "in": "query", "schema": s.field(f, true), "description": s.said[s.nameOf(f)]}
		if f.JSONName() == inPath {
			p["in"], p["required"] = "path", true
		} else if f.Kind() == protoreflect.BoolKind {
			p["allowEmptyValue"] = true // the name alone means true
		}
		list = append(list, p)
	}
	switch {
	case rt.Body == wire.Whole:
	case rt.Body != "": // of a deploy, for all its functions at once
		for _, name := range []string{"wait", "plan"} {
			add(m.Input().Fields().ByJSONName(rt.Body).Message().Fields().ByJSONName(name))
		}
	default:
		for f := range sent(m) {
			add(f)
		}
	}
	return list
}

// sent yields the fields that travel beside the body: of chunks, those of what the first
// one says.
func sent(m protoreflect.MethodDescriptor) func(func(protoreflect.FieldDescriptor) bool) {
	return func(yield func(protoreflect.FieldDescriptor) bool) {
		message := m.Input()
		if about := message.Fields().ByName("program"); m.IsStreamingClient() && about != nil {
			message = about.Message()
		}
		for i := range message.Fields().Len() {
			if f := message.Fields().Get(i); f.Kind() != protoreflect.BytesKind && !yield(f) {
				return
			}
		}
	}
}

// body is what the body of a request may be, by its media type; nil: there is none.
func (s *schemas) body(rt wire.Route, m protoreflect.MethodDescriptor) object {
	switch {
	case m.IsStreamingClient():
		return content(chunkType(m.Input()), nil)
	case rt.Body == "":
		return nil
	case rt.Body == wire.Whole:
		return content("application/json", s.message(m.Input(), true))
	}
	functions := s.field(m.Input().Fields().ByJSONName(rt.Body), true)
	both := content("application/json", functions)
	both["multipart/form-data"] = object{
		"schema": object{
			"type": "object", "required": []string{"definition"}, "additionalProperties": false,
			"properties": object{
				"definition": functions,
				"package": object{
					"type": "array", "items": object{}, "maxItems": wire.MaxPackages,
					"description": "A zip of each function that names no stored package, in the functions' order.",
				},
			},
		},
		"encoding": object{"definition": object{"contentType": "application/json"}, "package": object{"contentType": "application/zip"}},
	}
	return both
}

// chunkType is the media type of what travels in chunks.
func chunkType(chunk protoreflect.MessageDescriptor) string {
	if chunk.Fields().ByName("program") != nil {
		return wire.ZstdType
	}
	return wire.ZipType
}

func (s *schemas) responses(rt wire.Route, m protoreflect.MethodDescriptor) object {
	failed := object{"$ref": "#/components/responses/Error"}
	out := m.Output()
	switch {
	case rt.Answer == "":
		return object{"200": object{"description": "It is stored."}, "404": object{"description": "It is not."}, "default": failed}
	case m.IsStreamingServer() && out.Fields().ByName("data") != nil:
		return object{"200": object{"description": "The data itself.", "content": content(chunkType(out), nil)}, "default": failed}
	case m.IsStreamingServer():
		return object{"200": object{"description": "Server-sent events, each with a message.", "content": content(wire.EventStream, events(s.message(out, false)))}, "default": failed}
	}
	answer := s.message(out, false)
	if rt.Answer != wire.Whole {
		answer = s.field(out.Fields().ByJSONName(rt.Answer), false)
	}
	ok := object{"description": s.described(out, rt.Answer), "content": content("application/json", answer)}
	if rt.Body != "" && rt.Body != wire.Whole {
		watched := ref(string((&proto.WatchEvent{}).ProtoReflect().Descriptor().Name()))
		stream := events(watched)
		stream["description"] = "With ?wait, for callers that accept it: each change, then an event named result with the answer."
		ok["content"].(object)[wire.EventStream] = object{"schema": stream}
	}
	return object{"200": ok, "default": failed}
}

// described says what an answer is.
func (s *schemas) described(out protoreflect.MessageDescriptor, part string) string {
	if part != wire.Whole {
		out = out.Fields().ByJSONName(part).Message()
	}
	if text := s.said[string(out.Name())]; text != "" {
		return text
	}
	return string(out.Name())
}

func (o Other) operation(method string) object {
	name := strings.ToLower(method)
	for part := range strings.FieldsFuncSeq(o.Path, func(r rune) bool { return strings.ContainsRune("/{}.", r) }) {
		name += strings.ToUpper(part[:1]) + part[1:]
	}
	op := object{
		"operationId": name, "summary": o.Does, "tags": []string{string(o.Scope)}, "security": security(o.Scope),
		"responses": object{"2XX": object{"description": o.Does}, "default": object{"$ref": "#/components/responses/Error"}},
	}
	var parameters []object
	for rest := o.Path; strings.Contains(rest, "{"); {
		_, rest, _ = strings.Cut(rest, "{")
		p, _, _ := strings.Cut(rest, "}")
		parameters = append(parameters, object{"name": p, "in": "path", "required": true, "schema": object{"type": "string"}})
	}
	if parameters != nil {
		op["parameters"] = parameters
	}
	return op
}

// security is what callers of a scope must show.
func security(scope wire.Scope) []object {
	roles := []string{}
	switch scope {
	case wire.ScopeOpen:
		return []object{}
	case wire.ScopeAny:
	default:
		roles = append(roles, string(scope))
	}
	return []object{{"token": roles}, {}}
}

func content(kind string, schema object) object {
	if schema == nil {
		return object{kind: object{}}
	}
	return object{kind: object{"schema": schema}}
}

// events is the schema of a stream of events of a schema.
func events(data object) object {
	return object{"type": "string", "contentMediaType": "application/json", "contentSchema": data}
}

func ref(schema string) object { return object{"$ref": "#/components/schemas/" + schema} }
