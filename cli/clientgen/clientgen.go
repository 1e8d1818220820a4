package clientgen

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode"

	"github.com/Ishan27g/ryo-faas/proto"
)

// Languages are those of clients.
var Languages = []string{"go", "ts"}

// Function is what a client is written of.
type Function struct {
	Name    string
	URL     string // where the client calls it, unless it is told otherwise
	Version uint32
	Types   string // as in proto.Version
}

// Write returns a client. Types that are no JSON Schema are an ErrInvalid.
func Write(language string, fn Function) ([]byte, error) {
	var doc document
	if err := json.Unmarshal([]byte(fn.Types), &doc); err != nil {
		return nil, proto.Errorf(proto.ErrInvalid, "the types of %s are no JSON Schema: %w", fn.Name, err)
	}
	f := &file{Function: fn, document: doc, names: map[string]string{}}
	taken := map[string]bool{}
	for _, reserved := range []string{"Client", "Error", "New", "Options", "FunctionError", "Record", "AbortSignal"} {
		taken[reserved] = true
	}
	for _, def := range slices.Sorted(maps.Keys(doc.Defs)) {
		f.names[def] = free(taken, identifier(def))
	}
	switch language {
	case "go":
		return f.golang()
	case "ts":
		return f.typescript(), nil
	}
	return nil, proto.Errorf(proto.ErrInvalid, "there are no clients in %q", language).WithHint("take one of " + strings.Join(Languages, ", "))
}

// document is what Version.types holds.
type document struct {
	Properties map[string]*schema `json:"properties"`
	Defs       map[string]*schema `json:"$defs"`
}

// schema is as much of a JSON Schema as is understood.
type schema struct {
	Ref        string             `json:"$ref"`
	Type       words              `json:"type"`
	AnyOf      []*schema          `json:"anyOf"`
	Format     string             `json:"format"`
	Encoding   string             `json:"contentEncoding"`
	Minimum    *float64           `json:"minimum"`
	Items      *schema            `json:"items"`
	Values     *schema            `json:"additionalProperties"`
	Properties map[string]*schema `json:"properties"`
	Required   []string           `json:"required"`
}

// words is one word, or a list.
type words []string

// UnmarshalJSON implements json.Unmarshaler.
func (w *words) UnmarshalJSON(data []byte) error {
	var one string
	if json.Unmarshal(data, &one) == nil {
		*w = words{one}
		return nil
	}
	return json.Unmarshal(data, (*[]string)(w))
}

// plain returns what a schema is beside null, and whether it may be null.
func (s *schema) plain() (*schema, bool) {
	if s == nil {
		return &schema{}, false
	}
	if len(s.AnyOf) == 2 && slices.Equal(s.AnyOf[1].Type, words{"null"}) {
		return s.AnyOf[0], true
	}
	return s, slices.Contains(s.Type, "null")
}

// is returns the first type of a schema that is not null; "": it has none.
func (s *schema) is() string {
	for _, t := range s.Type {
		if t != "null" {
			return t
		}
	}
	return ""
}

// file is a client that is written.
type file struct {
	Function
	document
	names map[string]string // of types, by those in the schema
	out   strings.Builder
}

func (f *file) line(format string, args ...any) { fmt.Fprintf(&f.out, format+"\n", args...) }

// ref is the name of the type that a schema refers to; "": it refers to none that is known.
func (f *file) ref(s *schema) string { return f.names[strings.TrimPrefix(s.Ref, "#/$defs/")] }

// identifier is a name that begins with an upper-case letter, in Go as in TypeScript.
func identifier(name string) string {
	var b strings.Builder
	upper := true
	for _, r := range name {
		switch {
		case r > unicode.MaxASCII, !unicode.IsLetter(r) && !unicode.IsDigit(r):
			upper = true
		case b.Len() == 0 && unicode.IsDigit(r):
			b.WriteString("X" + string(r))
			upper = false
		case upper:
			b.WriteRune(unicode.ToUpper(r))
			upper = false
		default:
			b.WriteRune(r)
		}
	}
	if b.Len() == 0 {
		return "X"
	}
	return b.String()
}

// free returns a name that is not taken, and takes it.
func free(taken map[string]bool, name string) string {
	unique := name
	for n := 2; taken[unique]; n++ {
		unique = fmt.Sprintf("%s%d", name, n)
	}
	taken[unique] = true
	return unique
}
