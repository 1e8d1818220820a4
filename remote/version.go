package remote

import (
	"cmp"
	"encoding/json"
	"maps"
	"slices"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	protobuf "google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/Ishan27g/ryo-faas/proto"
)

// version is a package with its settings. It never changes once it has come up.
type version struct {
	Number  uint32
	Time    time.Time      // of its deploy
	Note    string         `json:",omitempty"`
	Kind    string         `json:",omitempty"` // one of proto's; "" until the source was checked
	Program *proto.Program `json:",omitempty"` // nil until it was built
	// Spec is the package and the settings, without the values of secrets.
	Spec    spec
	Secrets sealed `json:",omitempty"`
}

// spec is a function to deploy, with Package set. Its JSON is that of protobuf.
type spec struct{ *proto.FunctionJson }

func (s spec) MarshalJSON() ([]byte, error) {
	data, err := protojson.Marshal(s.FunctionJson)
	if err != nil {
		return nil, err
	}
	return json.RawMessage(data).MarshalJSON()
}

func (s *spec) UnmarshalJSON(data []byte) error {
	s.FunctionJson = new(proto.FunctionJson)
	// A record written by a later agent must not stop this one.
	return protojson.UnmarshalOptions{DiscardUnknown: true}.Unmarshal(data, s.FunctionJson)
}

// newVersion is the version that a deploy asks for.
func newVersion(fn *proto.FunctionJson, seal *sealer, now time.Time) *version {
	v := &version{
		Number: fn.GetVersion(), Time: now, Note: fn.GetNote(),
		Spec: spec{&proto.FunctionJson{}}, Secrets: seal.all(proto.Path(fn.GetName()), fn.GetSecrets()),
	}
	fn.ProtoReflect().Range(func(field protoreflect.FieldDescriptor, value protoreflect.Value) bool {
		if !passing[field.Name()] {
			v.Spec.ProtoReflect().Set(field, value)
		}
		return true
	})
	v.Spec.FunctionJson = protobuf.CloneOf(v.Spec.FunctionJson) // fn is its caller's
	v.Spec.Secrets, v.Spec.Program = nil, fn.GetProgram()
	return v
}

// passing are the fields of a FunctionJson that say how a deploy goes on. The
// others make the version.
var passing = map[protoreflect.Name]bool{
	"dir": true, "include": true, "to_agent": true, "wait": true, "note": true, "canary": true, "plan": true, "version": true, "program": true,
}

// coded are the fields that enter the build.
var coded = map[protoreflect.Name]bool{
	"package": true, "package_path": true, "file_path": true, "kind": true, "tags": true, "ldflags": true,
}

// What a deploy would change, as rows of a plan say it.
const (
	changeCreate   = "create"
	changeCode     = "code"
	changeSettings = "settings"
	changeNone     = "none"
)

// compare says what a deploy of b in place of a would change, and the names of the
// settings that differ.
func compare(a, b *version, seal *sealer) (change string, changed []string, err error) {
	change = changeNone
	fields := a.Spec.ProtoReflect().Descriptor().Fields()
	for i := range fields.Len() {
		field := fields.Get(i)
		if passing[field.Name()] || a.Spec.ProtoReflect().Get(field).Equal(b.Spec.ProtoReflect().Get(field)) {
			continue
		}
		changed = append(changed, field.JSONName())
		if coded[field.Name()] {
			change = changeCode
		}
	}
	path := proto.Path(a.Spec.GetName())
	before, err := seal.open(path, a.Secrets)
	if err != nil {
		return "", nil, err
	}
	after, err := seal.open(path, b.Secrets)
	if err != nil {
		return "", nil, err
	}
	if !maps.Equal(before, after) {
		changed = append(changed, "secrets")
	}
	if change == changeNone && len(changed) > 0 {
		change = changeSettings
	}
	return change, changed, nil
}

// settings is what a version's deployer said, of secrets the names alone.
func (v *version) settings() *proto.FunctionJson {
	fn := protobuf.CloneOf(v.Spec.FunctionJson)
	for name := range v.Secrets {
		if fn.Secrets == nil {
			fn.Secrets = make(map[string]string)
		}
		fn.Secrets[name] = ""
	}
	return fn
}

// kind is what is known of the function's kind.
func (v *version) kind() string { return cmp.Or(v.Kind, v.Spec.GetKind()) }

// idle is how long a process without connections is kept, 0 for ever; drain is how
// long calls may take that are under way when a process is ended; liveness is how
// long it may leave its health unanswered, 0 for ever. Specs were checked before
// they were accepted.
func (v *version) idle() time.Duration {
	limit, _ := v.Spec.IdleLimit()
	return limit
}

func (v *version) drain() time.Duration {
	limit, _ := v.Spec.DrainLimit()
	return limit
}

func (v *version) liveness() time.Duration {
	limit, _ := v.Spec.LivenessLimit()
	return limit
}

// find returns the version of a number among those that are kept, nil if it is none.
func (r *record) find(number uint32) *version {
	i := slices.IndexFunc(r.Versions, func(v *version) bool { return v.Number == number })
	if i < 0 {
		return nil
	}
	return r.Versions[i]
}

// keep adds a version that has come up and lets go of the oldest beyond limit,
// which it returns, but never of one that is needed.
func (r *record) keep(v *version, limit int, needed func(uint32) bool) (gone []*version) {
	if r.find(v.Number) == nil {
		r.Versions = append(r.Versions, v)
	}
	surplus := len(r.Versions) - limit
	r.Versions = slices.DeleteFunc(slices.Clone(r.Versions), func(old *version) bool {
		if surplus <= 0 || needed(old.Number) {
			return false
		}
		surplus--
		gone = append(gone, old)
		return true
	})
	return gone
}
