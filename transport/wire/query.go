package wire

import (
	"encoding/json"
	"net/url"
	"strconv"

	protobuf "google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/Ishan27g/ryo-faas/proto"
)

// DecodeQuery reads the query of a request into m, as Decode does.
func DecodeQuery(query url.Values, m protobuf.Message) error {
	object, err := fromQuery(query, m.ProtoReflect().Descriptor().Fields())
	if err != nil {
		return err
	}
	data, err := json.Marshal(object)
	if err != nil {
		return proto.Errorf(proto.ErrInvalid, "read the query: %w", err)
	}
	return Decode(data, m)
}

// fromQuery makes a JSON object of a query: what is given once is a single value.
func fromQuery(query url.Values, fields protoreflect.FieldDescriptors) (map[string]any, error) {
	object := make(map[string]any, len(query))
	for key, values := range query {
		field := fieldNamed(fields, key)
		switch {
		case len(values) != 1:
			object[key] = values
		case field != nil && field.Kind() == protoreflect.BoolKind:
			claim, err := IsTrue(key, values[0])
			if err != nil {
				return nil, err
			}
			object[key] = claim
		default:
			object[key] = values[0]
		}
	}
	return object, nil
}

// IsTrue reads a boolean of a query; its name alone means true.
func IsTrue(key, value string) (bool, error) {
	if value == "" {
		return true, nil
	}
	claim, err := strconv.ParseBool(value)
	if err != nil {
		return false, proto.Errorf(proto.ErrInvalid, "%s=%.20s is neither true nor false", key, value)
	}
	return claim, nil
}
