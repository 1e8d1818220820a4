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
	Says       string             `json:"description"`
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

// remark is what a schema says of itself, or of the values that it holds, in one line that
// ends no comment; "": nothing.
func (s *schema) remark() string {
	if s == nil {
		return ""
	}
	if s.Says == "" {
		for _, part := range slices.Concat(s.AnyOf, []*schema{s.Items, s.Values}) {
			if text := part.remark(); text != "" {
				return text
			}
		}
		return ""
	}
	text := strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) && r != '*' {
			return r
		}
		return ' '
	}, s.Says)
	return strings.Join(strings.Fields(strings.ToValidUTF8(text[:min(len(text), maxRemark)], "")), " ")
}

// maxRemark bounds what is taken of a schema's description, in bytes.
const maxRemark = 400

// Remarks are what types say of parts that a client knows less of than the function does,
// such as those that are of any type: each once.
func Remarks(types string) []string {
	var doc document
	if json.Unmarshal([]byte(types), &doc) != nil {
		return nil
	}
	found := map[string]bool{}
	var look func(s *schema)
	look = func(s *schema) {
		if s == nil {
			return
		}
		if text := s.remark(); text != "" {
			found[text] = true
		}
		look(s.Items)
		look(s.Values)
		for _, one := range s.AnyOf {
			look(one)
		}
		for _, p := range s.Properties {
			look(p)
		}
	}
	for _, all := range []map[string]*schema{doc.Properties, doc.Defs} {
		for _, s := range all {
			look(s)
		}
	}
	return slices.Sorted(maps.Keys(found))
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
