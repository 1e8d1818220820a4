package wire

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protojson"
	protobuf "google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/Ishan27g/ryo-faas/proto"
)

// aliases are the further names under which a field is taken in JSON, by the
// field's own name. Definition files use most of them.
var aliases = map[protoreflect.Name][]string{
	"dir":        {"packageDir"},
	"to_agent":   {"agentAddr"},
	"at_agent":   {"agentAddr"},
	"name":       {"entrypoint"},
	"entrypoint": {"name"},
}

// Read decodes the answer of a server, with 64-bit numbers in either form. It skips
// fields that it does not know: newer servers send them.
func Read(data []byte, m protobuf.Message) error {
	return protojson.UnmarshalOptions{DiscardUnknown: true}.Unmarshal(data, m)
}

// Decode reads one JSON object that a person or a program wrote into m. Fields
// may go by their aliases, and a string may stand for a list of one and the
// other way round. Unknown keys and names that disagree are an ErrInvalid that
// names them.
func Decode(data []byte, m protobuf.Message) error {
	entries, err := object(data)
	if err != nil {
		return err
	}
	fields := m.ProtoReflect().Descriptor().Fields()
	values := make(map[string]json.RawMessage, len(entries))
	sources := make(map[string]string, len(entries)) // the key that gave each value
	for _, e := range entries {
		field := fieldNamed(fields, e.key)
		if field == nil {
			return UnknownKey(e.key, keysOf(fields))
		}
		if !utf8.Valid(e.value) {
			return notText(e)
		}
		value, err := shape(field, e)
		if err != nil {
			return err
		}
		name := field.JSONName()
		if field.IsMap() {
			if err := givenOnce(e.value); err != nil {
				return fmt.Errorf("%q: %w", e.key, err)
			}
		}
		earlier, ok := values[name]
		if ok && sources[name] == e.key {
			return twice(e.key)
		}
		if ok && !bytes.Equal(earlier, value) {
			return proto.Errorf(proto.ErrInvalid, "%q and %q disagree: %s and %s", sources[name], e.key, shown(field, earlier), shown(field, value)).
				WithHint("they are two names for one thing; give one of them")
		}
		values[name], sources[name] = value, e.key
	}
	canonical, err := json.Marshal(values)
	if err != nil {
		return proto.Errorf(proto.ErrInvalid, "read JSON: %w", err)
	}
	if err := protojson.Unmarshal(canonical, m); err != nil {
		for name, value := range values {
			one, _ := json.Marshal(map[string]json.RawMessage{name: value})
			if protojson.Unmarshal(one, m.ProtoReflect().New().Interface()) != nil {
				field := fieldNamed(fields, name)
				return proto.Errorf(proto.ErrInvalid, "%q must be %s; %s is not", sources[name], form(field), shown(field, value))
			}
		}
		return proto.Errorf(proto.ErrInvalid, "read JSON: %s", reason(err))
	}
	return nil
}

// twice is the error of a key that an object has twice: readers of JSON differ in
// which value counts.
func twice(key string) error { return proto.Errorf(proto.ErrInvalid, "%.60q is given twice", key) }

// givenOnce refuses an object with a key that it has twice. What is no object passes.
func givenOnce(data []byte) error {
	if first(data) != '{' {
		return nil
	}
	entries, err := object(data)
	seen := map[string]bool{}
	for _, e := range entries {
		if seen[e.key] {
			return twice(e.key)
		}
		seen[e.key] = true
	}
	return err
}

// notText is the error of a value that is not UTF-8. Of an object it names the
// entry.
func notText(e entry) error {
	what := fmt.Sprintf("%q", e.key)
	var values map[string]json.RawMessage
	_ = json.Unmarshal(e.value, &values) // if it is no object, the key alone is named
	for _, k := range slices.Sorted(maps.Keys(values)) {
		if !utf8.Valid(values[k]) {
			what += ": the value of " + strings.ToValidUTF8(k, "\uFFFD")
			break
		}
	}
	return proto.Errorf(proto.ErrInvalid, "%s is not UTF-8 text", what).
		WithHint("encode bytes, with base64 for example, and decode them where they are used")
}

// form says what the value of a field must be.
func form(field protoreflect.FieldDescriptor) string {
	switch {
	case field.IsMap():
		return "an object of strings"
	case field.IsList() && field.Kind() == protoreflect.StringKind:
		return "a list of strings"
	case field.IsList():
		return "a list"
	case field.Kind() == protoreflect.StringKind:
		return "a string"
	case field.Kind() == protoreflect.BoolKind:
		return "true or false"
	case field.Kind() == protoreflect.MessageKind:
		return "an object"
	}
	return "a whole number from 0 on"
}

// shown is what an error shows of a value: its beginning; of secrets nothing.
func shown(field protoreflect.FieldDescriptor, value json.RawMessage) string {
	if field.Name() == "secrets" {
		return "the value"
	}
	return fmt.Sprintf("%.60s", value)
}

// DecodeFunctions reads a JSON array of functions, each as Decode does.
func DecodeFunctions(data []byte) ([]*proto.FunctionJson, error) {
	if first(data) == 0 {
		return nil, proto.Errorf(proto.ErrInvalid, "the body is empty; it is not a JSON array").
			WithHint(`it holds one object for each function: [{"name": "HelloWorld", …}]`)
	}
	if first(data) != '[' {
		return nil, proto.Errorf(proto.ErrInvalid, "the body is not a JSON array").
			WithHint(`it holds one object for each function: [{"name": "HelloWorld", …}]`)
	}
	var elements []json.RawMessage
	if err := json.Unmarshal(data, &elements); err != nil {
		return nil, syntaxError(err)
	}
	if err := CheckCount(len(elements)); err != nil {
		return nil, err
	}
	fns := make([]*proto.FunctionJson, len(elements))
	for i, e := range elements {
		fns[i] = new(proto.FunctionJson)
		if err := Decode(e, fns[i]); err != nil {
			return nil, fmt.Errorf("element %d: %w", i, err)
		}
	}
	return fns, nil
}

// CheckCount refuses deploys of too many functions.
func CheckCount(n int) error {
	if n <= MaxFunctions {
		return nil
	}
	return proto.Errorf(proto.ErrTooLarge, "%d functions in one deploy; it takes %d at most", n, MaxFunctions).
		WithHint("deploy them in several requests")
}

type entry struct {
	key   string
	value json.RawMessage
}

// object returns the entries of a JSON object in their order, duplicates included.
func object(data []byte) ([]entry, error) {
	if first(data) == 0 {
		return nil, proto.Errorf(proto.ErrInvalid, "the body is empty; it is not a JSON object").WithHint(`write one, such as {"name": "HelloWorld"}`)
	}
	if first(data) != '{' {
		return nil, proto.Errorf(proto.ErrInvalid, "%.60q is not a JSON object", data)
	}
	if err := json.Unmarshal(data, new(json.RawMessage)); err != nil {
		return nil, syntaxError(err) // also what follows the object
	}
	d := json.NewDecoder(bytes.NewReader(data))
	if _, err := d.Token(); err != nil {
		return nil, syntaxError(err)
	}
	var entries []entry
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return nil, syntaxError(err)
		}
		e := entry{key: fmt.Sprint(key)}
		if err := d.Decode(&e.value); err != nil {
			return nil, syntaxError(err)
		}
		entries = append(entries, e)
	}
	return entries, nil
}

// shape returns an entry's value, compacted, as a list or as a single value,
// whichever the field is.
func shape(field protoreflect.FieldDescriptor, e entry) (json.RawMessage, error) {
	var b bytes.Buffer
	if err := json.Compact(&b, e.value); err != nil {
		return nil, syntaxError(err)
	}
	value := b.Bytes()
	switch {
	case field.Name() == "replicas" && len(value) > 0 && value[0] >= '0' && value[0] <= '9': // a number, or a word
		return slices.Concat([]byte{'"'}, value, []byte{'"'}), nil
	case field.IsList() && first(value) == '"':
		return slices.Concat([]byte("["), value, []byte("]")), nil
	case field.Kind() == protoreflect.StringKind && field.Cardinality() != protoreflect.Repeated && first(value) == '[':
		var list []json.RawMessage
		if err := json.Unmarshal(value, &list); err != nil {
			return nil, syntaxError(err)
		}
		if len(list) != 1 {
			return nil, proto.Errorf(proto.ErrInvalid, "%q takes one value, not %d", e.key, len(list))
		}
		return list[0], nil
	}
	return value, nil
}

func fieldNamed(fields protoreflect.FieldDescriptors, key string) protoreflect.FieldDescriptor {
	for i := range fields.Len() {
		f := fields.Get(i)
		if f.JSONName() == key || string(f.Name()) == key || slices.Contains(aliases[f.Name()], key) {
			return f
		}
	}
	return nil
}

// keysOf are the names under which fields are taken.
func keysOf(fields protoreflect.FieldDescriptors) []string {
	var keys []string
	for i := range fields.Len() {
		keys = append(append(keys, fields.Get(i).JSONName()), aliases[fields.Get(i).Name()]...)
	}
	return keys
}

// UnknownKey is the error for a key, or the name of a part, that is not known.
func UnknownKey(key string, known []string) error {
	err := proto.Errorf(proto.ErrInvalid, "unknown key %.60q", key)
	if near := proto.Nearest(key, known); near != "" {
		return err.WithHint(fmt.Sprintf("did you mean %q?", near))
	}
	if len(known) == 0 {
		return err.WithHint("this request takes none")
	}
	return err.WithHint("known are: " + strings.Join(known, ", "))
}

func syntaxError(err error) error {
	var at *json.SyntaxError
	if errors.As(err, &at) {
		return proto.Errorf(proto.ErrInvalid, "the JSON is not valid: %s (at byte %d)", err, at.Offset)
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return proto.Errorf(proto.ErrInvalid, "the JSON ends early")
	}
	return proto.Errorf(proto.ErrInvalid, "the JSON is not valid: %w", err)
}

// reason is protojson's error without what varies on purpose: its prefix holds
// spaces that differ from build to build.
func reason(err error) string {
	_, text, found := strings.Cut(strings.ReplaceAll(err.Error(), "\u00a0", " "), "proto: ")
	if !found {
		return err.Error()
	}
	return text
}

// first returns the first byte that is not white space, 0 for none.
func first(data []byte) byte {
	if data = bytes.TrimLeft(data, " \t\r\n"); len(data) > 0 {
		return data[0]
	}
	return 0
}
