package wire

import (
	"encoding/json"
	"math"
	"strconv"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protojson"
	protobuf "google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/Ishan27g/ryo-faas/proto"
)

func TestNumbersAreNumbersWhereEveryReaderTakesThem(t *testing.T) {
	for n, want := range map[uint64]string{
		0: "0", 1: "1", 1<<53 - 1: "9007199254740991", 1 << 53: `"9007199254740992"`, math.MaxUint64: `"18446744073709551615"`,
	} {
		sent := &proto.FunctionJsonRsp{Printed: n}
		body, err := Encode(sent)
		require.NoError(t, err)
		assert.Contains(t, string(body), `"printed":`+want+`,`)
		got := new(proto.FunctionJsonRsp)
		require.NoError(t, Read(body, got))
		assert.Equal(t, n, got.GetPrinted())
	}
	old := new(proto.FunctionJsonRsp)
	require.NoError(t, Read([]byte(`{"printed": "7"}`), old))
	assert.Equal(t, uint64(7), old.GetPrinted(), "servers before wrote strings")
}

// filled returns a message with something in each field, down to some depth.
func filled(m protoreflect.Message, depth int) protobuf.Message {
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		one := func(of protoreflect.FieldDescriptor, empty func() protoreflect.Value) protoreflect.Value {
			switch of.Kind() {
			case protoreflect.MessageKind:
				v := empty()
				if depth > 0 {
					filled(v.Message(), depth-1)
				}
				return v
			case protoreflect.StringKind:
				return protoreflect.ValueOfString("<é&\u2028\x00\"\\ü>\n")
			case protoreflect.BytesKind:
				return protoreflect.ValueOfBytes([]byte{0, 255})
			case protoreflect.BoolKind:
				return protoreflect.ValueOfBool(true)
			case protoreflect.DoubleKind:
				return protoreflect.ValueOfFloat64(1e-7)
			case protoreflect.Uint32Kind:
				return protoreflect.ValueOfUint32(math.MaxUint32)
			case protoreflect.Int32Kind:
				return protoreflect.ValueOfInt32(math.MinInt32)
			case protoreflect.Uint64Kind:
				return protoreflect.ValueOfUint64(math.MaxUint64)
			case protoreflect.Int64Kind:
				return protoreflect.ValueOfInt64(math.MinInt64)
			}
			panic("a kind that Encode does not know: " + of.Kind().String())
		}
		switch {
		case f.IsMap():
			for _, k := range []string{"b", "a"} {
				m.Mutable(f).Map().Set(protoreflect.ValueOfString(k).MapKey(), one(f.MapValue(), nil))
			}
		case f.IsList():
			list := m.Mutable(f).List()
			list.Append(one(f, list.NewElement))
			list.Append(one(f, list.NewElement))
		default:
			m.Set(f, one(f, func() protoreflect.Value { return m.NewField(f) }))
		}
	}
	return m.Interface()
}

// spelled is what JSON says, with strings for numbers.
func spelled(v any) any {
	switch v := v.(type) {
	case float64:
		return strconv.FormatFloat(v, 'g', -1, 64)
	case []any:
		for i := range v {
			v[i] = spelled(v[i])
		}
	case map[string]any:
		for k := range v {
			v[k] = spelled(v[k])
		}
	}
	return v
}

// Numbers that every reader takes aside, answers are as protojson writes them.
func TestEncodeWritesEveryMessageAsProtojsonDoes(t *testing.T) {
	messages := proto.File_proto_deploy_proto.Messages()
	for i := range messages.Len() {
		kind, err := protoregistry.GlobalTypes.FindMessageByName(messages.Get(i).FullName())
		require.NoError(t, err)
		for _, m := range []protobuf.Message{filled(kind.New(), 2), kind.New().Interface()} {
			ours, err := Encode(m)
			require.NoError(t, err)
			theirs, err := protojson.MarshalOptions{EmitDefaultValues: true}.Marshal(m)
			require.NoError(t, err)
			var a, b any
			require.NoError(t, json.Unmarshal(ours, &a))
			require.NoError(t, json.Unmarshal(theirs, &b))
			assert.Equal(t, spelled(b), spelled(a), "%s", messages.Get(i).Name())

			again := m.ProtoReflect().New().Interface()
			require.NoError(t, Read(ours, again))
			assert.True(t, protobuf.Equal(m, again), "%s", ours)
		}
	}
}
