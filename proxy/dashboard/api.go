package dashboard

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/Ishan27g/ryo-faas/proto"
)

// apiDocument is what is shown of an OpenAPI document.
type apiDocument struct {
	Paths      map[string]map[string]apiOperation
	Components struct{ Schemas map[string]apiSchema }
}

type apiOperation struct {
	OperationID, Summary, Description string
	Tags                              []string
	Parameters                        []struct {
		Name, In, Description string
		Required              bool
		Schema                apiSchema
	}
	RequestBody struct{ Content map[string]apiContent }
	Responses   map[string]struct {
		Description string
		Content     map[string]apiContent
	}
}

type apiContent struct{ Schema apiSchema }

type apiSchema struct {
	Ref           string `json:"$ref"`
	Type          any    // a word, or a list of words
	Format        string
	Description   string
	Enum          []any
	Items         *apiSchema
	OneOf, AnyOf  []apiSchema
	Values        any        `json:"additionalProperties"` // a schema, or whether there may be others
	ContentSchema *apiSchema // of what a string holds
	Properties    map[string]apiSchema
	Required      []string
}

// apiType is a type as people read it, with the schema that it names, if any.
type apiType struct{ Before, Schema string }

type apiField struct {
	Name, Description string
	Type              apiType
	Required          bool
}

// apiTable is a table of fields.
type apiTable struct {
	What, Label string
	Fields      []apiField
}

func apiFields(what, of string, fields []apiField) apiTable {
	return apiTable{What: what, Label: what + "s of " + of, Fields: fields}
}

type apiCall struct {
	ID, Method, Path, Summary, Description, Scope string
	Parameters                                    []apiField
	Bodies, Answers                               []apiField // by their media types
}

type apiMessage struct {
	Name, Description string
	Fields            []apiField
}

type apiBody struct {
	Calls    []apiCall
	Messages []apiMessage
}

// apiPage shows the HTTP API as the proxy describes it itself.
func (d *Dashboard) apiPage(v *visit) error {
	req, err := http.NewRequestWithContext(v.r.Context(), http.MethodGet, "http://"+self+"/openapi.json", http.NoBody)
	if err != nil {
		return err
	}
	rsp, err := v.send(req)
	if err != nil {
		return err
	}
	defer rsp.Body.Close()
	if rsp.StatusCode != http.StatusOK {
		return proto.Errorf(proto.ErrForbidden, "what the API has takes the scope read")
	}
	var doc apiDocument
	if err := json.NewDecoder(rsp.Body).Decode(&doc); err != nil {
		return err
	}
	return d.show(v, "api", page{Title: "The HTTP API, call by call", At: "docs", Body: describe(doc)})
}

func describe(doc apiDocument) (body apiBody) {
	for path, methods := range doc.Paths {
		every, all := methods["options"] // of what takes all methods, each is there, and says the same
		_, read := methods["get"]
		for method, op := range methods {
			same := all && op.Summary == every.Summary
			if method == "head" && read || same && method != "post" {
				continue // HEAD works where GET does
			}
			word := strings.ToUpper(method)
			if same {
				word = "ANY"
			}
			call := apiCall{ID: op.OperationID, Method: word, Path: path, Summary: op.Summary, Description: op.Description}
			if len(op.Tags) > 0 {
				call.Scope = op.Tags[0]
			}
			for _, p := range op.Parameters {
				call.Parameters = append(call.Parameters, apiField{Name: p.Name, Description: p.Description, Type: typeOf(p.Schema), Required: p.Required})
			}
			call.Bodies = contents(op.RequestBody.Content)
			for _, status := range slices.Sorted(maps.Keys(op.Responses)) {
				answer := op.Responses[status]
				if len(answer.Content) == 0 && status != "default" {
					call.Answers = append(call.Answers, apiField{Name: status, Description: answer.Description})
				}
				for _, c := range contents(answer.Content) {
					c.Name, c.Description = status+" "+c.Name, answer.Description
					call.Answers = append(call.Answers, c)
				}
			}
			body.Calls = append(body.Calls, call)
		}
	}
	slices.SortFunc(body.Calls, func(a, b apiCall) int {
		return cmp.Or(strings.Compare(a.Path, b.Path), strings.Compare(a.Method, b.Method))
	})
	for _, name := range slices.Sorted(maps.Keys(doc.Components.Schemas)) {
		schema := doc.Components.Schemas[name]
		m := apiMessage{Name: name, Description: schema.Description}
		for _, field := range slices.Sorted(maps.Keys(schema.Properties)) {
			p := schema.Properties[field]
			m.Fields = append(m.Fields, apiField{Name: field, Description: p.Description, Type: typeOf(p), Required: slices.Contains(schema.Required, field)})
		}
		body.Messages = append(body.Messages, m)
	}
	return body
}

func contents(content map[string]apiContent) (list []apiField) {
	for _, media := range slices.Sorted(maps.Keys(content)) {
		list = append(list, apiField{Name: media, Type: typeOf(content[media].Schema)})
	}
	return list
}

// typeOf is a schema's type as people read it.
func typeOf(s apiSchema) apiType {
	if s.Ref != "" {
		return apiType{Schema: s.Ref[strings.LastIndexByte(s.Ref, '/')+1:]}
	}
	if s.ContentSchema != nil {
		t := typeOf(*s.ContentSchema)
		t.Before = "events of " + t.Before
		return t
	}
	var words []string
	switch t := s.Type.(type) {
	case string:
		words = []string{t}
	case []any:
		for _, word := range t {
			words = append(words, fmt.Sprint(word))
		}
	}
	switch {
	case s.Items != nil:
		t := typeOf(*s.Items)
		t.Before = "list of " + t.Before
		return t
	case slices.Contains(words, "object") && s.Properties == nil:
		return apiType{Before: "object"}
	}
	for _, one := range slices.Concat(s.OneOf, s.AnyOf) {
		t := typeOf(one)
		words = append(words, t.Before+t.Schema)
	}
	text := cmp.Or(strings.Join(words, " or "), "anything")
	if s.Format != "" {
		text += " (" + s.Format + ")"
	}
	if len(s.Enum) > 0 && len(s.Enum) <= 12 {
		var values []string
		for _, value := range s.Enum {
			values = append(values, fmt.Sprintf("%v", value))
		}
		text += ": " + strings.Join(values, ", ")
	}
	return apiType{Before: text}
}
