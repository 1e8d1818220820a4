package wire

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"strconv"

	protobuf "google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/Ishan27g/ryo-faas/proto"
)

// exact is the largest whole number that every reader of JSON takes as it is (RFC 8259,
// section 6). protojson writes all 64-bit numbers as strings, which readers in other
// languages do not expect; Encode does so only beyond exact. They differ in nothing
// else.
const exact = 1<<53 - 1

// Encode returns m as answers are written: as compact JSON with every field, so
// that its keys do not depend on its values.
func Encode(m protobuf.Message) (json.RawMessage, error) { return EncodePart(m, Whole) }

// EncodePart is Encode for m, or for the list in one field of m.
func EncodePart(m protobuf.Message, field string) ([]byte, error) {
	return encodePart(m, field, true)
}

// EncodeRequest returns m, or the list in one field of m, as requests are written:
// as compact JSON with the fields that are set.
func EncodeRequest(m protobuf.Message, field string) ([]byte, error) {
	return encodePart(m, field, false)
}

func encodePart(m protobuf.Message, field string, every bool) ([]byte, error) {
	e := encoder{every: every}
	e.scalars = json.NewEncoder(&e.out)
	e.scalars.SetEscapeHTML(false)
	if msg := m.ProtoReflect(); field == Whole {
		e.message(msg)
	} else {
		e.list(msg.Descriptor().Fields().ByJSONName(field), msg)
	}
	if e.err != nil {
		return nil, proto.Errorf(proto.ErrInternal, "encode %s: %w", m.ProtoReflect().Descriptor().Name(), e.err)
	}
	return e.out.Bytes(), nil
}

// encoder writes the messages of proto: they have neither enums nor oneofs.
type encoder struct {
	every   bool // also fields that are not set, as far as they have a zero value
	out     bytes.Buffer
	scalars *json.Encoder // to out
	err     error         // the first
}

func (e *encoder) message(m protoreflect.Message) {
	e.out.WriteByte('{')
	fields, sep := m.Descriptor().Fields(), ""
	for i := range fields.Len() {
		f := fields.Get(i)
		if !m.Has(f) && (!e.every || f.HasPresence()) {
			continue
		}
		e.out.WriteString(sep + `"` + f.JSONName() + `":`)
		sep = ","
		switch {
		case f.IsMap():
			e.entries(m.Get(f).Map())
		case f.IsList():
			e.list(f, m)
		default:
			e.value(f, m.Get(f))
		}
	}
	e.out.WriteByte('}')
}

func (e *encoder) list(f protoreflect.FieldDescriptor, m protoreflect.Message) {
	e.out.WriteByte('[')
	for i, list := 0, m.Get(f).List(); i < list.Len(); i++ {
		if i > 0 {
			e.out.WriteByte(',')
		}
		e.value(f, list.Get(i))
	}
	e.out.WriteByte(']')
}

// entries writes a map, whose keys are strings and whose values are scalars.
func (e *encoder) entries(m protoreflect.Map) {
	values := make(map[string]any, m.Len())
	m.Range(func(k protoreflect.MapKey, v protoreflect.Value) bool {
		values[k.String()] = v.Interface()
		return true
	})
	e.scalar(values) // in the order of their keys
}

func (e *encoder) value(f protoreflect.FieldDescriptor, v protoreflect.Value) {
	switch f.Kind() {
	case protoreflect.MessageKind:
		e.message(v.Message())
	case protoreflect.BytesKind:
		e.scalar(base64.StdEncoding.EncodeToString(v.Bytes()))
	case protoreflect.Uint64Kind:
		e.number(strconv.FormatUint(v.Uint(), 10), v.Uint() <= exact)
	case protoreflect.Int64Kind:
		e.number(strconv.FormatInt(v.Int(), 10), -exact <= v.Int() && v.Int() <= exact)
	default:
		e.scalar(v.Interface())
	}
}

func (e *encoder) number(digits string, safe bool) {
	if !safe {
		digits = `"` + digits + `"`
	}
	e.out.WriteString(digits)
}

func (e *encoder) scalar(v any) {
	if err := e.scalars.Encode(v); err != nil {
		if e.err == nil {
			e.err = err
		}
		return
	}
	e.out.Truncate(e.out.Len() - 1) // the line's end
}
