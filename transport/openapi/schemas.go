package openapi

import (
	"maps"
	"math"
	"slices"

	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/transport/wire"
)

// schemas are those of the messages that routes carry.
type schemas struct {
	said            map[string]string // what deploy.proto says
	settings        map[string]proto.Setting
	inputs, outputs map[protoreflect.Name]protoreflect.MessageDescriptor
}

func newSchemas(routes []wire.Route) *schemas {
	s := &schemas{
		said: proto.Comments(), settings: make(map[string]proto.Setting),
		inputs: make(map[protoreflect.Name]protoreflect.MessageDescriptor), outputs: make(map[protoreflect.Name]protoreflect.MessageDescriptor),
	}
	for _, setting := range proto.Settings() {
		s.settings[setting.Name] = setting
	}
	for _, rt := range routes {
		m := methodOf(rt)
		switch {
		case rt.Body == wire.Whole:
			collect(s.inputs, m.Input())
		case rt.Body != "":
			collect(s.inputs, m.Input().Fields().ByJSONName(rt.Body).Message())
			collect(s.outputs, (&proto.WatchEvent{}).ProtoReflect().Descriptor())
		}
		switch {
		case rt.Answer == wire.Whole && m.Output().Fields().ByName("data") == nil:
			collect(s.outputs, m.Output())
		case rt.Answer != wire.Whole && rt.Answer != "":
			collect(s.outputs, m.Output().Fields().ByJSONName(rt.Answer).Message())
		}
	}
	collect(s.outputs, (&proto.ErrorDetail{}).ProtoReflect().Descriptor())
	return s
}

// collect adds a message and those that it holds.
func collect(found map[protoreflect.Name]protoreflect.MessageDescriptor, m protoreflect.MessageDescriptor) {
	if found[m.Name()] != nil {
		return
	}
	found[m.Name()] = m
	for i := range m.Fields().Len() {
		if f := m.Fields().Get(i); f.Kind() == protoreflect.MessageKind && !f.IsMap() {
			collect(found, f.Message())
		}
	}
}

// all returns every schema by its name.
func (s *schemas) all() object {
	all := object{"Error": object{"type": "object", "required": []string{"error"}, "properties": object{"error": ref("ErrorDetail")}}}
	for _, input := range []bool{true, false} {
		for _, m := range slices.Collect(maps.Values(s.side(input))) {
			all[s.name(m, input)] = s.schema(m, input)
		}
	}
	return all
}

func (s *schemas) side(input bool) map[protoreflect.Name]protoreflect.MessageDescriptor {
	if input {
		return s.inputs
	}
	return s.outputs
}

// name is that of the schema of a message, as it is sent or as it is answered.
func (s *schemas) name(m protoreflect.MessageDescriptor, input bool) string {
	if input && s.outputs[m.Name()] != nil {
		return string(m.Name()) + "Input"
	}
	return string(m.Name())
}

func (s *schemas) message(m protoreflect.MessageDescriptor, input bool) object {
	return ref(s.name(m, input))
}

// schema is that of a message.
func (s *schemas) schema(m protoreflect.MessageDescriptor, input bool) object {
	properties, required := make(object), []string{}
	for i := range m.Fields().Len() {
		f := m.Fields().Get(i)
		property := s.field(f, input)
		setting, is := s.settings[f.JSONName()]
		switch {
		case is && m.Name() == "FunctionJson" && input:
			property = settingSchema(property, setting)
		case s.said[s.nameOf(f)] != "":
			property["description"] = s.said[s.nameOf(f)]
		}
		properties[f.JSONName()] = property
		if !f.HasPresence() {
			required = append(required, f.JSONName())
		}
	}
	schema := object{"type": "object", "properties": properties}
	if text := s.said[string(m.Name())]; text != "" {
		schema["description"] = text
	}
	if input {
		schema["additionalProperties"] = false
	} else if len(required) > 0 {
		schema["required"] = required // Encode writes them all
	}
	return schema
}

// nameOf is how proto.Comments names a field.
func (s *schemas) nameOf(f protoreflect.FieldDescriptor) string {
	return string(f.ContainingMessage().Name()) + "." + string(f.Name())
}

// settingSchema adds to the schema of a field what is known of the setting that it is.
func settingSchema(schema object, setting proto.Setting) object {
	schema["description"] = setting.Help + "; default: " + setting.Default
	if words := setting.Words(); words != nil {
		schema["enum"] = words
	}
	if setting.Form == proto.Share {
		schema["type"] = []string{"string", "integer"}
	}
	return schema
}

// field is the schema of a field's values.
func (s *schemas) field(f protoreflect.FieldDescriptor, input bool) object {
	switch {
	case f.IsMap():
		return object{"type": "object", "additionalProperties": s.value(f.MapValue(), input)}
	case f.IsList():
		return object{"type": "array", "items": s.value(f, input)}
	}
	return s.value(f, input)
}

// value is the schema of one value of a field. Messages have no other kinds.
func (s *schemas) value(f protoreflect.FieldDescriptor, input bool) object {
	switch f.Kind() {
	case protoreflect.MessageKind:
		return s.message(f.Message(), input)
	case protoreflect.BoolKind:
		return object{"type": "boolean"}
	case protoreflect.BytesKind:
		return object{"type": "string", "contentEncoding": "base64"}
	case protoreflect.DoubleKind:
		return object{"type": "number", "format": "double"}
	case protoreflect.Int32Kind:
		return object{"type": "integer", "format": "int32"}
	case protoreflect.Uint32Kind:
		return object{"type": "integer", "minimum": 0, "maximum": uint32(math.MaxUint32)}
	case protoreflect.Int64Kind, protoreflect.Uint64Kind:
		return object{"type": []string{"integer", "string"}, "format": f.Kind().String()}
	}
	return object{"type": "string"}
}
