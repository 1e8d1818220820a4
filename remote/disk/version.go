package disk

import (
	"cmp"
	"encoding/json"
	"maps"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	protobuf "google.golang.org/protobuf/proto"

	"github.com/Ishan27g/ryo-faas/proto"
)

// Version is a package with its settings. Once it was ready it never changes.
type Version struct {
	Number  uint32
	Time    time.Time      // of its deploy
	Note    string         `json:",omitempty"`
	Kind    string         `json:",omitempty"` // one of proto's; "" until the source is checked
	Types   string         `json:",omitempty"` // as in proto's Version
	Program *proto.Program `json:",omitempty"` // nil until it is built
	// Folder is the number of the version whose folder it shares, since its processes are
	// the same; 0: it has its own.
	Folder uint32 `json:",omitempty"`
	// Spec is the package and the settings, without the values of secrets.
	Spec    Spec
	Secrets Sealed `json:",omitempty"`
}

// Spec is a function to deploy, with Package set. Its JSON is that of protobuf.
type Spec struct{ *proto.FunctionJson }

// MarshalJSON implements json.Marshaler.
func (s Spec) MarshalJSON() ([]byte, error) {
	data, err := protojson.Marshal(s.FunctionJson)
	if err != nil {
		return nil, err
	}
	return json.RawMessage(data).MarshalJSON()
}

// UnmarshalJSON implements json.Unmarshaler.
func (s *Spec) UnmarshalJSON(data []byte) error {
	s.FunctionJson = new(proto.FunctionJson)
	// A record written by a later agent must not stop this one.
	return protojson.UnmarshalOptions{DiscardUnknown: true}.Unmarshal(data, s.FunctionJson)
}

// NewVersion is the version that a deploy asks for.
func NewVersion(fn *proto.FunctionJson, seal *Sealer, now time.Time) *Version {
	v := &Version{
		Number: fn.GetVersion(), Time: now, Note: fn.GetNote(),
		Spec: Spec{fn.Lasting()}, Secrets: seal.All(proto.Path(fn.GetName()), fn.GetSecrets()),
	}
	v.Spec.Secrets, v.Spec.Program = nil, fn.GetProgram()
	return v
}

// What a deploy would change, in the words of a plan's rows.
const (
	ChangeCreate   = "create"
	ChangeCode     = "code"
	ChangeSettings = "settings"
	ChangeNone     = "none"
)

// Compare says what a deploy of b in place of a would change, and which settings differ.
func Compare(a, b *Version, seal *Sealer) (change string, changed []string, err error) {
	changed, effect := proto.Compare(a.Spec.FunctionJson, b.Spec.FunctionJson)
	path := proto.Path(a.Spec.GetName())
	before, err := seal.Open(path, a.Secrets)
	if err != nil {
		return "", nil, err
	}
	after, err := seal.Open(path, b.Secrets)
	if err != nil {
		return "", nil, err
	}
	if !maps.Equal(before, after) {
		changed = append(changed, "secrets")
	}
	switch {
	case effect == proto.OnBuild:
		return ChangeCode, changed, nil
	case len(changed) > 0:
		return ChangeSettings, changed, nil
	}
	return ChangeNone, nil, nil
}

// Home is the number of the version's folder.
func (v *Version) Home() uint32 { return cmp.Or(v.Folder, v.Number) }

// SameProcesses reports whether the processes of a version serve another one as well: they
// know nothing of what differs.
func SameProcesses(a, b *Version, seal *Sealer) bool {
	if _, effect := proto.Compare(a.Spec.FunctionJson, b.Spec.FunctionJson); effect > proto.OnVersion {
		return false
	}
	path := proto.Path(a.Spec.GetName())
	before, err := seal.Open(path, a.Secrets)
	if err != nil {
		return false
	}
	after, err := seal.Open(path, b.Secrets)
	return err == nil && maps.Equal(before, after)
}

// Settings are the version's settings as they were deployed; of secrets only the names.
func (v *Version) Settings() *proto.FunctionJson {
	fn := protobuf.CloneOf(v.Spec.FunctionJson)
	if fn.GetProgram() != "" { // the program states the kind, whatever was deployed
		fn.Kind = ""
	}
	for name := range v.Secrets {
		if fn.Secrets == nil {
			fn.Secrets = make(map[string]string)
		}
		fn.Secrets[name] = ""
	}
	return fn
}

// KnownKind is the function's kind; "": not known yet.
func (v *Version) KnownKind() string { return cmp.Or(v.Kind, v.Spec.GetKind()) }

// Idle is how long a process without connections is kept, 0: for ever.
func (v *Version) Idle() time.Duration {
	limit, _ := v.Spec.IdleLimit() // settings were checked before they were accepted
	return limit
}

// Drain is how long a process may take to finish its calls when it is stopped.
func (v *Version) Drain() time.Duration {
	limit, _ := v.Spec.DrainLimit()
	return limit
}

// Disk is what temporary files may take, in bytes, 0 for any.
func (v *Version) Disk() int64 {
	limit, _ := v.Spec.DiskLimit()
	return limit
}

// Liveness is how long a process may leave its health unanswered, 0: for ever.
func (v *Version) Liveness() time.Duration {
	limit, _ := v.Spec.LivenessLimit()
	return limit
}
