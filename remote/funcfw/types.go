package funcfw

import (
	"cmp"
	"encoding/json"
	"go/types"
	"io/fs"
	"reflect"
	"slices"
	"strings"

	"github.com/Ishan27g/ryo-faas/proto"
)

// Limits of Types, so that a hostile source costs little.
const (
	maxTypes    = 64 << 10 // bytes of what is returned
	maxPackages = 64       // that are read
	maxNesting  = 32       // of a type, as far as it has no name
	maxParts    = 10_000   // of all types together
)

// Types returns what a typed function takes and answers: the JSON Schema (2020-12) of an
// object whose properties request and answer are these; nil if the function is of another
// kind or its types are not known, as of one that is declared elsewhere than in its package.
// An event has a request alone.
//
// It reads the declarations of types in the package, in those of its module, and in those of
// other modules that were sent with it; of the standard library it knows those types that
// are in JSON most. A type that is declared elsewhere, or says itself what it is in JSON, is
// anything, and has a description that says so. The schema is as encoding/json writes: what
// is nil is null, and a field is required unless it is left out when empty. In a request
// nothing is: what is not given is the zero value.
func Types(fsys fs.FS, t *Target, p Platform) (schema []byte) {
	if t.Kind != proto.KindTyped && t.Kind != proto.KindEvent {
		return nil
	}
	defer func() {
		if recover() != nil { // go/types takes most sources that do not compile, but not all
			schema = nil
		}
	}()
	r := newReader(fsys, t, p)
	sig := r.signature(t)
	if sig == nil {
		return nil
	}
	s := &jsonTypes{defs: make(map[string]any), names: make(map[*types.TypeName]string)}
	properties := map[string]any{}
	if n := sig.Params().Len(); n > 0 {
		properties["request"] = s.of(sig.Params().At(n-1).Type(), 0)
	}
	if sig.Results().Len() == 2 {
		properties["answer"] = s.of(sig.Results().At(0).Type(), 0)
	}
	doc := map[string]any{
		"$schema": "https://json-schema.org/draft/2020-12/schema", "type": "object", "properties": properties,
	}
	if len(s.defs) > 0 {
		doc["$defs"] = s.defs
	}
	data, err := json.Marshal(doc)
	if err != nil || len(data) > maxTypes {
		return nil
	}
	return data
}

// jsonTypes makes schemas of types, as encoding/json treats them.
type jsonTypes struct {
	defs  map[string]any
	names map[*types.TypeName]string
	parts int // that were looked at
}

// of is the schema of a type's values.
func (s *jsonTypes) of(t types.Type, depth int) map[string]any {
	if s.parts++; depth > maxNesting || s.parts > maxParts {
		return map[string]any{}
	}
	t = types.Unalias(t)
	if isUnknown(t) {
		return opaque(spelled(t) + " is declared elsewhere than in what was sent")
	}
	if named, ok := t.(*types.Named); ok {
		if schema := s.named(named); schema != nil {
			return schema
		}
	}
	switch u := t.Underlying().(type) {
	case *types.Basic:
		return basic(u)
	case *types.Pointer:
		return nullable(s.of(u.Elem(), depth+1))
	case *types.Slice:
		if b, ok := u.Elem().Underlying().(*types.Basic); ok && b.Kind() == types.Uint8 {
			return nullable(map[string]any{"type": "string", "contentEncoding": "base64"})
		}
		return nullable(map[string]any{"type": "array", "items": s.of(u.Elem(), depth+1)})
	case *types.Array:
		return map[string]any{"type": "array", "items": s.of(u.Elem(), depth+1), "minItems": u.Len(), "maxItems": u.Len()}
	case *types.Map:
		return nullable(map[string]any{"type": "object", "additionalProperties": s.of(u.Elem(), depth+1)})
	case *types.Struct:
		return s.object(u, depth)
	}
	return map[string]any{} // an interface, or what is not known
}

// named is the schema of a type that has a name: nil where its name makes no difference.
func (s *jsonTypes) named(t *types.Named) map[string]any {
	obj := t.Obj()
	if obj.Pkg() != nil {
		switch obj.Pkg().Path() + "." + obj.Name() {
		case "math/big.Int":
			return map[string]any{"type": "integer"}
		case "log/slog.Level":
			return map[string]any{"type": "string"}
		case "time.Time":
			return map[string]any{"type": "string", "format": "date-time"}
		case "encoding/json.RawMessage":
			return map[string]any{}
		case "encoding/json.Number":
			return map[string]any{"type": "number"}
		}
	}
	methods := types.NewMethodSet(types.NewPointer(t))
	has := func(name string) bool { return methods.Lookup(obj.Pkg(), name) != nil }
	switch {
	case has("MarshalJSON") || has("UnmarshalJSON"):
		return opaque(spelled(t) + " says itself what it is in JSON")
	case has("MarshalText") || has("UnmarshalText"):
		return map[string]any{"type": "string"}
	}
	u, ok := t.Underlying().(*types.Struct)
	if !ok {
		return nil
	}
	if t.TypeArgs().Len() > 0 { // each is another type, and there may be no end of them
		return nil
	}
	name, known := s.names[obj]
	if !known {
		name = obj.Name()
		for n := 2; s.defs[name] != nil; n++ {
			name = obj.Name() + string(rune('0'+n%10))
			if n > 9 {
				return map[string]any{}
			}
		}
		s.names[obj], s.defs[name] = name, map[string]any{}
		s.defs[name] = s.object(u, 0)
	}
	return map[string]any{"$ref": "#/$defs/" + name}
}

func basic(b *types.Basic) map[string]any {
	switch info := b.Info(); {
	case info&types.IsBoolean != 0:
		return map[string]any{"type": "boolean"}
	case info&types.IsUnsigned != 0:
		return map[string]any{"type": "integer", "minimum": 0}
	case info&types.IsInteger != 0:
		return map[string]any{"type": "integer"}
	case info&types.IsFloat != 0:
		return map[string]any{"type": "number"}
	case info&types.IsString != 0:
		return map[string]any{"type": "string"}
	}
	return map[string]any{}
}

// opaque is the schema of what is not known, which says why.
func opaque(why string) map[string]any { return map[string]any{"description": why} }

// spelled is a type as an import path and a name say it.
func spelled(t types.Type) string {
	if t == types.Typ[types.Invalid] {
		return "the type"
	}
	return types.TypeString(t, nil)
}

// nullable is a schema that also takes null.
func nullable(schema map[string]any) map[string]any {
	switch typ := schema["type"].(type) {
	case string:
		schema["type"] = []string{typ, "null"}
		return schema
	case []string:
		return schema
	}
	if schema["$ref"] == nil && schema["anyOf"] == nil { // it takes all
		return schema
	}
	return map[string]any{"anyOf": []any{schema, map[string]any{"type": "null"}}}
}

// member is a field of a struct, or of one that is embedded in it.
type member struct {
	name     string
	typ      types.Type
	depth    int
	tagged   bool
	required bool
	text     bool // it is written as a string
	unknown  bool // it stands for the fields of an embedded type, which are not known
}

// object is the schema of a struct.
func (s *jsonTypes) object(u *types.Struct, depth int) map[string]any {
	byName, more := make(map[string][]member), []string{}
	for _, m := range s.members(u, 0, true) {
		if m.unknown {
			more = append(more, spelled(m.typ))
			continue
		}
		byName[m.name] = append(byName[m.name], m)
	}
	properties, required := make(map[string]any), []string{}
	for name, all := range byName {
		m, ok := dominant(all)
		if !ok {
			continue
		}
		schema := s.of(m.typ, depth+1)
		if m.text {
			schema = map[string]any{"type": "string"}
		}
		properties[name] = schema
		if m.required {
			required = append(required, name)
		}
	}
	slices.Sort(required)
	object := map[string]any{"type": "object", "properties": properties}
	if len(more) > 0 {
		slices.Sort(more)
		object["description"] = "it may have further fields: " + strings.Join(slices.Compact(more), ", ") + ", declared elsewhere than in what was sent"
	}
	if len(required) > 0 {
		object["required"] = required
	}
	return object
}

// members are the fields of a struct that JSON has.
func (s *jsonTypes) members(u *types.Struct, depth int, required bool) (all []member) {
	for i := range u.NumFields() {
		if s.parts++; s.parts > maxParts {
			return all
		}
		f := u.Field(i)
		tag := reflect.StructTag(u.Tag(i)).Get("json")
		name, options, _ := strings.Cut(tag, ",")
		if tag == "-" {
			continue
		}
		typ := types.Unalias(f.Type())
		_, pointer := typ.(*types.Pointer)
		if p, ok := typ.(*types.Pointer); ok {
			typ = types.Unalias(p.Elem())
		}
		if f.Embedded() && name == "" && isUnknown(typ) {
			all = append(all, member{typ: typ, unknown: true})
			continue
		}
		embedded, isStruct := typ.Underlying().(*types.Struct)
		if f.Embedded() && name == "" && isStruct {
			if depth < maxNesting {
				all = append(all, s.members(embedded, depth+1, required && !pointer)...)
			}
			continue
		}
		if !f.Exported() {
			continue
		}
		has := func(option string) bool { return slices.Contains(strings.Split(options, ","), option) }
		_, plain := typ.Underlying().(*types.Basic)
		all = append(all, member{
			name: cmp.Or(name, f.Name()), typ: f.Type(), depth: depth, tagged: name != "",
			required: required && !has("omitempty") && !has("omitzero"), text: has("string") && plain,
		})
	}
	return all
}

// dominant is the one of several fields of a name that JSON has, by Go's rules; none if two
// are equal.
func dominant(all []member) (member, bool) {
	slices.SortStableFunc(all, func(a, b member) int {
		if c := cmp.Compare(a.depth, b.depth); c != 0 || a.tagged == b.tagged {
			return c
		}
		if a.tagged {
			return -1
		}
		return 1
	})
	if len(all) > 1 && all[0].depth == all[1].depth && all[0].tagged == all[1].tagged {
		return member{}, false
	}
	return all[0], true
}
