package openapi

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/transport/wire"
)

const (
	// MaxFunctions bounds the functions that a document describes.
	MaxFunctions = 500
	// MaxTypes bounds the types of functions that a document has, in bytes of their schemas.
	MaxTypes = 2 << 20
)

// Function is a function as its callers see it.
type Function struct {
	Name, Kind string
	Version    uint32
	Path       string // not escaped, below Server
	Server     string // default: where the document is
	Public     bool   // its callers need no token
	Types      []byte // as in a Version; default: they are not known
}

// WithFunctions returns a document that has a path for each function as well, as far as
// MaxFunctions and MaxTypes go: of those beyond them the text of the document says how many
// there are. It changes nothing in doc, which Document has returned, but has parts of it.
func WithFunctions(doc map[string]any, functions []Function) map[string]any {
	doc = maps.Clone(doc)
	paths, components := maps.Clone(doc["paths"].(map[string]object)), maps.Clone(doc["components"].(object))
	schemas := maps.Clone(components["schemas"].(object))
	doc["paths"], doc["components"], components["schemas"] = paths, components, schemas
	unnamed := max(len(functions)-MaxFunctions, 0)
	untyped, types := 0, 0
	for _, fn := range functions[:len(functions)-unnamed] {
		if types+len(fn.Types) > MaxTypes {
			fn.Types = nil
			untyped++
		}
		types += len(fn.Types)
		at := (&url.URL{Path: fn.Path}).EscapedPath()
		if paths[at] != nil { // an agent's own: what ends with a slash is the function, too
			at += "/"
		}
		paths[at] = fn.item(schemas)
	}
	if unnamed+untyped > 0 {
		info := maps.Clone(doc["info"].(object))
		info["description"] = fmt.Sprintf("%s Not here are %d functions beyond the first %d, and the types of %d beyond %d MiB.",
			info["description"], unnamed, MaxFunctions, untyped, MaxTypes>>20)
		doc["info"] = info
	}
	return doc
}

// item is what a path of a function answers. The function's types are added to schemas.
func (fn Function) item(schemas object) object {
	item := make(object)
	if fn.Server != "" {
		item["servers"] = []object{{"url": fn.Server}}
	}
	kind := strings.Replace(fn.Kind, "http", "HTTP", 1)
	does := fmt.Sprintf("calls %s, version %d, of kind %s", fn.Name, fn.Version, kind)
	base := object{"summary": does, "tags": []string{string(wire.ScopeInvoke)}, "security": security(wire.ScopeInvoke)}
	if fn.Public {
		base["security"] = []object{}
	}
	failed := object{"description": "What the function, or the way to it, says of a failure."}
	add := func(method string, more object) {
		op := maps.Clone(base)
		op["operationId"] = fn.Name + "_" + strings.ToLower(method)
		maps.Copy(op, more)
		item[strings.ToLower(method)] = op
	}
	types := fn.types(schemas)
	switch fn.Kind {
	case proto.KindTyped:
		responses := object{"204": object{"description": "It is done; the function has no answer."}, "default": failed}
		if types == nil {
			responses = object{"2XX": object{"description": "The function's answer.", "content": content("application/json", object{})}, "default": failed}
		} else if answer, ok := types["answer"]; ok {
			responses = object{"200": object{"description": "The function's answer.", "content": content("application/json", answer)}, "default": failed}
		}
		add(http.MethodPost, object{
			"requestBody": object{"required": true, "content": content("application/json", orAny(types["request"]))}, "responses": responses,
		})
	case proto.KindEvent, proto.KindCloudEvent:
		data := object{"description": "The event's data."}
		if request := types["request"]; request != nil {
			data = request
		}
		add(http.MethodPost, object{
			"requestBody": object{"required": true, "description": "A CloudEvent: in the structured form, or its data, and its attributes in headers.", "content": object{
				"application/cloudevents+json": object{"schema": object{
					"type": "object", "required": []string{"specversion", "id", "source", "type"},
					"properties": object{"specversion": object{"const": "1.0"}, "id": object{"type": "string"}, "source": object{"type": "string"}, "type": object{"type": "string"}, "data": data},
				}},
				"application/json": object{"schema": data},
			}},
			"responses": object{"2XX": object{"description": "The function has taken the event, and may answer with one."}, "default": failed},
		})
	default:
		for _, method := range methods {
			add(method, object{"responses": object{"default": object{"description": "The function's own answer, or what the way to it says of a failure."}}})
		}
	}
	return item
}

// orAny is a schema, or that of anything.
func orAny(schema object) object {
	if schema == nil {
		return object{}
	}
	return schema
}

// types returns the schemas of request and answer, nil if they are not known. Those that
// they refer to are added to schemas. Each is an object of its own there, named after the
// function, so that pages and generators have a word for it. Nothing is required in a
// request, so what is in both has two, and that of requests ends in Input.
func (fn Function) types(schemas object) map[string]object {
	var said struct {
		Properties map[string]any `json:"properties"`
		Defs       map[string]any `json:"$defs"`
	}
	if len(fn.Types) == 0 || json.Unmarshal(fn.Types, &said) != nil {
		return nil
	}
	types := make(map[string]object, 2)
	answered := reached(said.Properties["answer"], said.Defs, map[string]bool{})
	for _, part := range []string{"request", "answer"} {
		schema, ok := said.Properties[part].(map[string]any)
		if !ok {
			continue
		}
		input := part == "request"
		names := make(map[string]string) // in the document, by those in the types
		for _, name := range slices.Sorted(maps.Keys(reached(schema, said.Defs, map[string]bool{}))) {
			own := name
			if input && answered[name] {
				own += "Input"
			}
			names[name] = componentName(fn.Name, own, schemas)
			schemas[names[name]] = object{}
		}
		for name, own := range names {
			schemas[own] = inDocument(said.Defs[name], names, input)
		}
		types[part], _ = inDocument(schema, names, input).(map[string]any)
		if schema["properties"] != nil {
			name := componentName(fn.Name, part, schemas)
			schemas[name], types[part] = types[part], ref(name)
		}
	}
	return types
}

// reached adds to found the names of the definitions that a schema refers to.
func reached(v any, defs map[string]any, found map[string]bool) map[string]bool {
	switch v := v.(type) {
	case map[string]any:
		to, _ := v["$ref"].(string)
		if name := strings.TrimPrefix(to, definition); defs[name] != nil && !found[name] {
			found[name] = true
			reached(defs[name], defs, found)
		}
		for _, e := range v {
			reached(e, defs, found)
		}
	case []any:
		for _, e := range v {
			reached(e, defs, found)
		}
	}
	return found
}

// definition is how references begin in the types of a function.
const definition = "#/$defs/"

// componentName is a name in a document that no schema has yet: OpenAPI allows letters of
// ASCII, digits, and three signs.
func componentName(function, name string, schemas object) string {
	var b strings.Builder
	for _, r := range function + "." + name {
		if r < 0x80 {
			b.WriteRune(r)
		} else {
			fmt.Fprintf(&b, "-%x-", r)
		}
	}
	text := b.String()
	for schemas[text] != nil {
		text += "-"
	}
	return text
}

// inDocument is a schema whose references lead to the document's schemas. It has one of
// anything for those that lead nowhere. In an input nothing is required.
func inDocument(v any, names map[string]string, input bool) any {
	switch v := v.(type) {
	case map[string]any:
		if to, ok := v["$ref"].(string); ok {
			if name := names[strings.TrimPrefix(to, definition)]; name != "" {
				return map[string]any(ref(name))
			}
			return map[string]any{}
		}
		changed := make(map[string]any, len(v))
		for key, e := range v {
			if _, list := e.([]any); !input || key != "required" || !list { // a field may be called so, too
				changed[key] = inDocument(e, names, input)
			}
		}
		return changed
	case []any:
		changed := make([]any, len(v))
		for i, e := range v {
			changed[i] = inDocument(e, names, input)
		}
		return changed
	}
	return v
}
