package proto

import (
	"cmp"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	protobuf "google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// Setting is one thing that a deployer can say about a function. The flags of
// proxyCli, the keys of definition files, help, the table of docs/settings.md and Compare
// follow from the list of settings: a new one is a field of FunctionJson, an entry
// here, and its effect where it is used.
type Setting struct {
	// Name is its key in definition files and in the JSON of calls.
	Name string
	// Flag is its flag on the command line.
	Flag string
	// Value stands for its value in help: DURATION.
	Value string
	Form  Form
	// Help says what it is, as the rest of "-timeout DURATION  …".
	Help string
	// Default says what holds where it is not given.
	Default string
	Effect  Effect
	// Needs is the setting without which this one means nothing, and is refused; "": none.
	Needs string

	// check says what is wrong with the value. Without one, read does.
	check func(*FunctionJson) error
	// read returns what the value comes to, and the default where none is given: "1m" and
	// "60s" are one timeout. Without it each text is a value of its own, and none is another
	// one still: another setting, the source or the agent decides the default then.
	read func(*FunctionJson) (any, error)
}

// words are a setting's values where Value lists them.
var words = regexp.MustCompile(`^[a-z]+(\|[a-z]+)+$`)

// Words returns the words of which the setting's value is one, nil where it is anything else.
func (s *Setting) Words() []string {
	if s.Form != Text || !words.MatchString(s.Value) {
		return nil
	}
	return strings.Split(s.Value, "|")
}

// Form is how the value of a setting is written.
type Form int

// The forms, each with what it is in JSON.
const (
	Text      Form = iota // a string
	Count                 // a whole number from 0 on
	Switch                // true or false
	List                  // strings, or one string
	Variables             // an object of strings
	Secrets               // the same; people give references instead of values
	Labels                // an object of strings
	Share                 // a whole number, or a word: a string, in JSON also a number
)

// Effect is what a change of a setting comes to.
type Effect int

// The effects. A later one contains those before it.
const (
	// OnDeploy: the setting is about one deploy alone, and no part of the version.
	OnDeploy Effect = iota
	// OnPlace: it says which agents have the function, and is no part of the version.
	OnPlace
	// OnPackage: it chooses files, so that the digest of the package tells a change.
	OnPackage
	// OnVersion: a change makes a version, served by the same processes.
	OnVersion
	// OnProcess: a change makes a version, served by new processes.
	OnProcess
	// OnBuild: the setting enters the build, so that a change makes a new program.
	OnBuild
)

// String says what a change comes to.
func (e Effect) String() string {
	return [...]string{"is for one deploy alone", "moves replicas alone", "changes the package", "keeps the processes", "starts new processes", "builds anew"}[e]
}

// settings are all of them, in the order in which people are shown them.
var settings = []Setting{
	{
		Name: "env", Flag: "env", Value: "K=V", Form: Variables, Effect: OnProcess, check: (*FunctionJson).checkEnv,
		Help:    "environment variable of the function; may be repeated",
		Default: "none; nothing is inherited",
	},
	{
		Name: "secrets", Flag: "secret", Value: "K=env:NAME|K=file:PATH", Form: Secrets, Effect: OnProcess, check: (*FunctionJson).checkEnv,
		Help:    "environment variable that is never shown, taken from a variable or a file here; may be repeated",
		Default: "none",
	},
	{
		Name: "include", Flag: "include", Value: "GLOB,…", Form: List, Effect: OnPackage, check: (*FunctionJson).checkInclude,
		Help:    "files below the package's folder that the function opens at run time",
		Default: "none",
	},
	{
		Name: "tags", Flag: "tags", Value: "TAG,…", Form: List, Effect: OnBuild, check: (*FunctionJson).checkTags,
		Help:    "build tags",
		Default: "none",
	},
	{
		Name: "ldflags", Flag: "ldflags", Value: "FLAGS", Form: Text, Effect: OnBuild, check: (*FunctionJson).checkLdflags,
		Help:    "linker flags, of the form -X importpath.name=value",
		Default: "none",
	},
	{
		Name: "kind", Flag: "kind", Value: "KIND", Form: Text, Effect: OnBuild, check: (*FunctionJson).checkKind,
		Help:    "what the function must be: http, cloudevent, event, typed or gin",
		Default: "what its declaration says",
	},
	{
		Name: "target", Flag: "target", Value: "NAME", Form: Text, Effect: OnBuild, check: (*FunctionJson).checkTarget,
		Help:    "name under which the package declares the function, such as blur-images",
		Default: "the function's name, or the declared name that it is made of",
	},
	{
		Name: "auth", Flag: "auth", Value: "token|public", Form: Text, Effect: OnVersion, check: (*FunctionJson).checkAuth, read: word((*FunctionJson).GetAuth, AuthToken),
		Help:    "who may call the function: public publishes it to everybody",
		Default: AuthToken,
	},
	{
		Name: "routes", Flag: "routes", Value: "HOST[/PATH],…", Form: List, Effect: OnVersion, check: (*FunctionJson).checkRoutes,
		Help:    "hosts, or paths of hosts, of the function's own at the proxy's -functions, such as api.example.com",
		Default: "none: /functions/{name} alone",
	},
	{
		Name: "timeout", Flag: "timeout", Value: "DURATION", Form: Text, Effect: OnVersion, read: reads((*FunctionJson).TimeLimit),
		Help:    "how long the gateway waits for an answer to begin, such as 30s; a caller's X-Ryo-Timeout may shorten it",
		Default: plain(DefaultTimeout),
	},
	{
		Name: "body", Flag: "body", Value: "SIZE", Form: Text, Effect: OnProcess,
		read: reads(func(f *FunctionJson) (int64, error) { return f.BodyLimit(KindHTTP) }),
		Help: "largest body of a request, such as 1MiB; the gateway refuses larger ones", Default: "10MiB for typed, cloudevent and event, and with webhook, else none",
	},
	{
		Name: "rate", Flag: "rate", Value: "N/s|m|h[ burst N]", Form: Text, Effect: OnVersion, read: reads((*FunctionJson).RateLimit),
		Help:    "how often each caller may call the function, a token or else an address, such as \"100/s burst 500\"; a burst is N unless it is given",
		Default: "any number of times",
	},
	{
		Name: "allowIPs", Flag: "allow-ips", Value: "NETWORK,…", Form: List, Effect: OnVersion, read: reads((*FunctionJson).AllowedIPs),
		Help:    "networks and addresses from which alone the function may be called, such as 10.0.0.0/8",
		Default: "any",
	},
	{
		Name: "webhook", Flag: "webhook", Value: "FORM:VARIABLE", Form: Text, Effect: OnProcess, check: (*FunctionJson).checkWebhook,
		Help:    "calls must be signed as by github, stripe, slack or standard (Standard Webhooks), with the secret in a variable of secrets",
		Default: "calls need no signature",
	},
	{
		Name: "compress", Flag: "compress", Form: Switch, Effect: OnVersion, check: always,
		Help:    "the gateway compresses text of 1KiB or more, by zstd or gzip, for callers who accept that",
		Default: "false",
	},
	{
		Name: "strict", Flag: "strict", Form: Switch, Effect: OnProcess, check: always,
		Help:    "a typed function, no other kind, refuses JSON with fields that its type does not have",
		Default: "false",
	},
	{
		Name: "memory", Flag: "memory", Value: "SIZE", Form: Text, Effect: OnProcess, read: reads((*FunctionJson).MemoryLimit),
		Help:    "memory limit of a process, with its children on tier full, such as 128MiB, at least 16MiB; GOMEMLIMIT is 90 % of it",
		Default: "none",
	},
	{
		Name: "cpu", Flag: "cpu", Value: "N", Form: Text, Effect: OnProcess, read: reads((*FunctionJson).CPUs),
		Help:    "processors of a process, such as 0.5: sets GOMAXPROCS, rounded up, and is a limit on tier full",
		Default: "all",
	},
	{
		Name: "disk", Flag: "disk", Value: "SIZE", Form: Text, Effect: OnProcess, read: reads((*FunctionJson).DiskLimit),
		Help:    "what temporary files of the function's version may take, such as 1GiB, at least 1MiB; looked at every second",
		Default: "what there is",
	},
	{
		Name: "network", Flag: "network", Value: "any|none|PORT,…", Form: List, Effect: OnProcess, read: reads((*FunctionJson).Ports),
		Help:    "TCP ports that the function may dial; any leaves UDP open, and a list of ports too, but under an agent of root's to DNS alone",
		Default: NetworkAny,
	},
	{
		Name: "allow", Flag: "allow", Value: "WHAT,…", Form: List, Effect: OnProcess, check: (*FunctionJson).checkAllow,
		Help:    "what the function may do beyond what others may: subprocess, listen (on ports of its own), unix (sockets)",
		Default: "none",
	},
	{
		Name: "isolation", Flag: "isolation", Value: "TIER", Form: Text, Effect: OnProcess, read: reads((*FunctionJson).MinIsolation),
		Help:    "least isolation to run under: none, basic, strong or full",
		Default: "what the agent asks for",
	},
	{
		Name: "concurrency", Flag: "concurrency", Value: "N", Form: Count, Effect: OnProcess, check: always,
		Help:    "calls that a process serves at the same time; further ones wait at the proxy",
		Default: "any number",
	},
	{
		Name: "queue", Flag: "queue", Value: "N", Form: Count, Effect: OnVersion, Needs: "concurrency", check: (*FunctionJson).checkQueue,
		Help:    fmt.Sprintf("calls that wait at the proxy where concurrency is set, up to %d; further ones get 503", MaxQueue),
		Default: "10 for each that is served",
	},
	{
		Name: "queueTimeout", Flag: "queue-timeout", Value: "DURATION", Form: Text, Effect: OnVersion, Needs: "concurrency", read: reads((*FunctionJson).QueueLimit),
		Help:    "how long a call waits, where concurrency is set, before it gets 503; 0: none waits",
		Default: plain(DefaultQueueTimeout),
	},
	{
		Name: "retries", Flag: "retries", Value: "N", Form: Count, Effect: OnVersion, check: (*FunctionJson).checkRetries, read: number((*FunctionJson).Tries),
		Help:    fmt.Sprintf("how often a call of /async that failed is tried again, up to %d", MaxRetries),
		Default: strconv.Itoa(DefaultRetries),
	},
	{
		Name: "maxAge", Flag: "max-age", Value: "DURATION", Form: Text, Effect: OnVersion, read: reads((*FunctionJson).AgeLimit),
		Help:    "how long a call of /async may wait and be tried, up to " + plain(MaxAge),
		Default: plain(DefaultMaxAge),
	},
	{
		Name: "onSuccess", Flag: "on-success", Value: "NAME", Form: Text, Effect: OnVersion, check: (*FunctionJson).checkNext,
		Help:    "function that is called with the answer of each call of /async that succeeded",
		Default: "none",
	},
	{
		Name: "onFailure", Flag: "on-failure", Value: "NAME", Form: Text, Effect: OnVersion, check: (*FunctionJson).checkNext,
		Help:    "function that is called with what is known of each call of /async that is tried no more, as JSON",
		Default: "none",
	},
	{
		Name: "instances", Flag: "instances", Value: "N", Form: Count, Effect: OnProcess, check: (*FunctionJson).checkInstances, read: number((*FunctionJson).Processes),
		Help:    fmt.Sprintf("processes that serve at the same time, up to %d", MaxInstances),
		Default: "1",
	},
	{
		Name: "max", Flag: "max", Value: "N", Form: Count, Effect: OnVersion, check: (*FunctionJson).checkMax,
		Help:    fmt.Sprintf("processes on an agent up to which the proxy raises instances while calls need them, up to %d", MaxInstances),
		Default: "as many as instances",
	},
	{
		Name: "inFlight", Flag: "in-flight", Value: "N", Form: Count, Effect: OnVersion, Needs: "max", check: always,
		Help:    "calls in flight that a process should have, where max is set",
		Default: "concurrency, or else 10",
	},
	{
		Name: "min", Flag: "min", Value: "N", Form: Count, Effect: OnProcess, check: (*FunctionJson).checkMin,
		Help:    "processes that are kept when they are idle",
		Default: "0",
	},
	{
		Name: "idle", Flag: "idle", Value: "DURATION", Form: Text, Effect: OnProcess, read: reads((*FunctionJson).IdleLimit),
		Help:    "how long a process without connections is kept; 0: for ever",
		Default: plain(DefaultIdle),
	},
	{
		Name: "drain", Flag: "drain", Value: "DURATION", Form: Text, Effect: OnProcess, read: reads((*FunctionJson).DrainLimit),
		Help:    "how long calls may go on when their process is replaced or stopped, up to " + plain(MaxDrain),
		Default: plain(DefaultDrain),
	},
	{
		Name: "liveness", Flag: "liveness", Value: "DURATION", Form: Text, Effect: OnProcess, read: reads((*FunctionJson).LivenessLimit),
		Help:    "a process that does not answer for this long is replaced",
		Default: "never",
	},
	{
		Name: "replicas", Flag: "replicas", Value: "N|N-M|all", Form: Share, Effect: OnPlace, check: (*FunctionJson).checkReplicas,
		Help:    "agents that have the function, where it names none: the proxy chooses them, and others if they drain or are lost; 1-4: from one to four, as its calls need, with max",
		Default: "as many as have it; of a new one, 1",
	},
	{
		Name: "placement", Flag: "placement", Value: "K=V,…", Form: Labels, Effect: OnPlace, check: (*FunctionJson).checkPlacement,
		Help:    "labels that an agent must have to get it, as agent -labels says them",
		Default: "none",
	},
	{
		Name: "schedule", Flag: "schedule", Value: "CRON", Form: Text, Effect: OnVersion, check: (*FunctionJson).checkSchedule,
		Help:    "when the proxy calls the function, such as \"30 2 * * mon-fri\", @hourly or \"@every 10m\"",
		Default: "never",
	},
	{
		Name: "timezone", Flag: "timezone", Value: "ZONE", Form: Text, Effect: OnVersion, Needs: "schedule", check: (*FunctionJson).checkTimezone, read: word((*FunctionJson).GetTimezone, DefaultTimezone),
		Help:    "time zone of schedule, such as Europe/Berlin",
		Default: DefaultTimezone,
	},
	{
		Name: "overlap", Flag: "overlap", Value: "allow|forbid|replace", Form: Text, Effect: OnVersion, Needs: "schedule", check: (*FunctionJson).checkOverlap, read: word((*FunctionJson).GetOverlap, OverlapAllow),
		Help:    "what becomes of a run of schedule while the one before goes on: forbid leaves it out, replace cancels the one before",
		Default: OverlapAllow,
	},
	{
		Name: "jitter", Flag: "jitter", Value: "DURATION", Form: Text, Effect: OnVersion, Needs: "schedule", read: reads((*FunctionJson).JitterLimit),
		Help:    "runs of schedule begin later, by up to this, so that not all begin at once; at most " + plain(MaxJitter),
		Default: "0s",
	},
	{
		Name: "missed", Flag: "missed", Value: "skip|once", Form: Text, Effect: OnVersion, Needs: "schedule", check: (*FunctionJson).checkMissed, read: word((*FunctionJson).GetMissed, MissedSkip),
		Help:    "what becomes of runs that no proxy could begin at their time: once makes up for the last one",
		Default: MissedSkip,
	},
	{
		Name: "subscribe", Flag: "subscribe", Value: "TYPE,…", Form: List, Effect: OnVersion, check: (*FunctionJson).checkSubscribe,
		Help:    "types of events that the function gets from POST /events, such as orders.created; in orders.* the * stands for one segment, in orders.** for all that follow",
		Default: "none",
	},
	{
		Name: "gate", Flag: "gate", Value: "vuln", Form: Text, Effect: OnVersion, check: (*FunctionJson).checkGate,
		Help:    "what proxyCli checks before it uploads: vuln refuses programs that reach known faults",
		Default: "none",
	},
	{
		Name: "app", Flag: "app", Value: "NAME", Form: Text, Effect: OnVersion, check: (*FunctionJson).checkApp,
		Help:    "what the function is a part of, such as shop",
		Default: "none",
	},
	{
		Name: "preview", Flag: "preview", Value: "BRANCH", Form: Text, Effect: OnVersion, check: (*FunctionJson).checkPreview,
		Help:    "this is a preview of a branch: it has a name of its own, NAME__BRANCH, beside the function, and the proxy removes it for its age",
		Default: "none: it is the function itself",
	},
	{
		Name: "previewTTL", Flag: "preview-ttl", Value: "DURATION", Form: Text, Effect: OnVersion, Needs: "preview", read: reads((*FunctionJson).PreviewAge),
		Help:    "how long a preview is kept after its last deploy",
		Default: plain(DefaultPreviewTTL),
	},
	{
		Name: "note", Flag: "note", Value: "TEXT", Form: Text, Effect: OnDeploy, check: (*FunctionJson).checkNote,
		Help:    "text for the list of versions",
		Default: "none",
	},
	{
		Name: "canary", Flag: "canary", Value: "PERCENT", Form: Count, Effect: OnDeploy, check: (*FunctionJson).checkCanary,
		Help:    "part of the calls for the new version; the one that serves keeps the rest",
		Default: "all calls",
	},
	{
		Name: "ifVersion", Flag: "if-version", Value: "N", Form: Count, Effect: OnDeploy, check: always,
		Help:    "refuses the deploy unless version N serves and no other change is under way; 0: unless there is none yet",
		Default: "whatever serves is replaced",
	},
	{
		Name: "unavailable", Flag: "unavailable", Value: "continue|stop", Form: Text, Effect: OnDeploy, check: (*FunctionJson).checkUnavailable,
		Help:    "what a proxy does if an agent does not answer: continue changes the others, and that one when it is back; stop changes none",
		Default: "what the proxy's own -unavailable says",
	},
}

// valid returns the first thing that is wrong with the value in f.
func (s *Setting) valid(f *FunctionJson) error {
	if s.check != nil {
		return s.check(f)
	}
	_, err := s.read(f)
	return err
}

// reads is the value of a setting that has a getter.
func reads[T any](get func(*FunctionJson) (T, error)) func(*FunctionJson) (any, error) {
	return func(f *FunctionJson) (any, error) { return get(f) }
}

// number is the value of a setting whose getter knows the default.
func number(get func(*FunctionJson) int) func(*FunctionJson) (any, error) {
	return func(f *FunctionJson) (any, error) { return get(f), nil }
}

// word is the value of a setting that is one of a few words, or a name.
func word(get func(*FunctionJson) string, fallback string) func(*FunctionJson) (any, error) {
	return func(f *FunctionJson) (any, error) { return cmp.Or(get(f), fallback), nil }
}

// always is the check of a setting whose every value is good.
func always(*FunctionJson) error { return nil }

// Settings returns all settings, in the order in which people are shown them.
func Settings() []Setting { return slices.Clone(settings) }

// source are the fields that say which code a function is.
var source = []string{"package", "packagePath", "filePath"}

// effectOf returns what a change of a field comes to. A field that is neither a
// setting nor the source is about one deploy alone.
func effectOf(field string) Effect {
	if slices.Contains(source, field) {
		return OnBuild
	}
	if s := settingOf(field); s != nil {
		return s.Effect
	}
	return OnDeploy
}

// settingOf returns the setting of a field, nil if it is none.
func settingOf(field string) *Setting {
	if i := slices.IndexFunc(settings, func(s Setting) bool { return s.Name == field }); i >= 0 {
		return &settings[i]
	}
	return nil
}

// Compare returns the fields that make a another version than b, by their names in
// JSON, and the greatest effect that one of them has, OnDeploy without any. The file
// that a function is said to be in is not one: the package alone decides where it is.
func Compare(a, b *FunctionJson) (changed []string, effect Effect) {
	fields := a.ProtoReflect().Descriptor().Fields()
	for i := range fields.Len() {
		field := fields.Get(i)
		of := effectOf(field.JSONName())
		if of < OnVersion || field.JSONName() == "filePath" || same(a, b, field) {
			continue
		}
		changed, effect = append(changed, field.JSONName()), max(effect, of)
	}
	return changed, effect
}

// same reports whether two functions say the same in a field: the same value, or what comes
// to it. 0 is not the same as nothing where that makes a difference.
func same(a, b *FunctionJson, field protoreflect.FieldDescriptor) bool {
	x, y := a.ProtoReflect(), b.ProtoReflect()
	if x.Has(field) == y.Has(field) && x.Get(field).Equal(y.Get(field)) {
		return true
	}
	s := settingOf(field.JSONName())
	if s == nil || s.read == nil {
		return false
	}
	before, err := s.read(a)
	if err != nil {
		return false
	}
	after, err := s.read(b)
	return err == nil && reflect.DeepEqual(before, after)
}

// Same reports whether two functions have the same value of the setting, given or by
// default.
func (s *Setting) Same(a, b *FunctionJson) bool {
	_, field := s.field(a)
	return same(a, b, field)
}

// Lasting returns a copy of f with what its version keeps: its name, its source
// and the settings that outlive the deploy, but for those of where it runs.
func (f *FunctionJson) Lasting() *FunctionJson {
	kept := &FunctionJson{}
	f.ProtoReflect().Range(func(field protoreflect.FieldDescriptor, value protoreflect.Value) bool {
		if field.JSONName() == "name" || effectOf(field.JSONName()) > OnPlace {
			kept.ProtoReflect().Set(field, value)
		}
		return true
	})
	return protobuf.CloneOf(kept) // lists and maps are f's
}

// Keepable returns those of some names of settings that f can keep of a version: one that
// names its agents does not keep how the proxy was to choose them.
func (f *FunctionJson) Keepable(names []string) []string {
	if len(f.GetToAgent()) == 0 {
		return names
	}
	return slices.DeleteFunc(slices.Clone(names), func(name string) bool {
		s := settingOf(name)
		return s != nil && s.Effect == OnPlace
	})
}

// Retain copies the named settings from a version into f, as Copy does, but for those that mean
// nothing without another one which f has not.
func (f *FunctionJson) Retain(from *FunctionJson, names []string) {
	f.Copy(from, names)
	f.withoutIdle(names)
}

// Copy copies the named settings into f. Of env and secrets it copies the variables that f does
// not give itself.
func (f *FunctionJson) Copy(from *FunctionJson, names []string) {
	given := map[string]bool{}
	for _, vars := range []map[string]string{f.GetEnv(), f.GetSecrets()} {
		for k := range vars {
			given[k] = true
		}
	}
	for i := range settings {
		s := &settings[i]
		if !slices.Contains(names, s.Name) {
			continue
		}
		to, field := s.field(f)
		value := from.ProtoReflect().Get(field)
		switch s.Form {
		case Variables, Secrets:
			value.Map().Range(func(k protoreflect.MapKey, v protoreflect.Value) bool {
				if !given[k.String()] {
					to.Mutable(field).Map().Set(k, v)
				}
				return true
			})
		case List:
			to.Clear(field) // from's list is its own
			for i := range value.List().Len() {
				to.Mutable(field).List().Append(value.List().Get(i))
			}
		case Labels:
			to.Clear(field)
			value.Map().Range(func(k protoreflect.MapKey, v protoreflect.Value) bool {
				to.Mutable(field).Map().Set(k, v)
				return true
			})
		default:
			if to.Clear(field); from.ProtoReflect().Has(field) {
				to.Set(field, value)
			}
		}
	}
}

// checkNeeds refuses a setting that means nothing without another one, which is not given,
// unless it says the default. Of one that is kept, the version that it is kept of says.
func (f *FunctionJson) checkNeeds() error {
	for i := range settings {
		s := &settings[i]
		if s.Needs == "" || !s.given(f) || s.read != nil && s.Same(f, &FunctionJson{}) || settingOf(s.Needs).given(f) || slices.Contains(f.GetKeep(), s.Needs) {
			continue
		}
		return f.invalid(s.Name, "it means nothing without %s", s.Needs).WithHint("give " + s.Needs + " as well, or leave " + s.Name + " out")
	}
	if k := f.GetKind(); f.GetStrict() && k != "" && k != KindTyped {
		return f.invalid("strict", "it is for typed functions, and kind says %s", k).WithHint("leave it out")
	}
	return nil
}

// withoutIdle takes those settings of some names away that mean nothing without another one.
func (f *FunctionJson) withoutIdle(names []string) {
	for i := range settings {
		s := &settings[i]
		if s.Needs != "" && slices.Contains(names, s.Name) && !settingOf(s.Needs).given(f) {
			m, field := s.field(f)
			m.Clear(field)
		}
	}
}

// given reports whether f says anything of the setting.
func (s *Setting) given(f *FunctionJson) bool {
	m, field := s.field(f)
	return m.Has(field)
}

// checkKeep checks the names of settings to retain.
func (f *FunctionJson) checkKeep() error {
	var known []string
	for i := range settings {
		if settings[i].Effect > OnDeploy {
			known = append(known, settings[i].Name)
		}
	}
	for _, name := range f.GetKeep() {
		if slices.Contains(known, name) {
			continue
		}
		err := f.invalid("keep", "%q is not a setting that a version keeps", name)
		if near := Nearest(name, known); near != "" {
			return err.WithHint(fmt.Sprintf("did you mean %q?", near))
		}
		return err.WithHint("known are " + strings.Join(known, ", "))
	}
	return nil
}

// field is the setting's field in a FunctionJson.
func (s *Setting) field(f *FunctionJson) (protoreflect.Message, protoreflect.FieldDescriptor) {
	m := f.ProtoReflect()
	return m, m.Descriptor().Fields().ByJSONName(s.Name)
}

// Set gives the setting a value: a string, uint32, bool, []string or
// map[string]string, as its form wants it.
func (s *Setting) Set(f *FunctionJson, value any) {
	m, field := s.field(f)
	switch value := value.(type) {
	case []string:
		list := m.NewField(field).List()
		for _, e := range value {
			list.Append(protoreflect.ValueOfString(e))
		}
		m.Set(field, protoreflect.ValueOfList(list))
	case map[string]string:
		vars := m.NewField(field).Map()
		for k, v := range value {
			vars.Set(protoreflect.ValueOfString(k).MapKey(), protoreflect.ValueOfString(v))
		}
		m.Set(field, protoreflect.ValueOfMap(vars))
	default:
		m.Set(field, protoreflect.ValueOf(value))
	}
}

// Text is the setting's value as it is written on a command line, "" where it is not
// given. Of variables it is their names.
func (s *Setting) Text(f *FunctionJson) string {
	m, field := s.field(f)
	value := m.Get(field)
	switch {
	case !m.Has(field):
		return ""
	case s.Form == Labels:
		return LabelsText(f.GetPlacement())
	case field.IsMap():
		var names []string
		value.Map().Range(func(k protoreflect.MapKey, _ protoreflect.Value) bool {
			names = append(names, k.String())
			return true
		})
		slices.Sort(names)
		return strings.Join(names, ",")
	case field.IsList():
		var elements []string
		for i := range value.List().Len() {
			elements = append(elements, value.List().Get(i).String())
		}
		return strings.Join(elements, ",")
	}
	return value.String()
}

// Parse gives the setting the value that a word of a command line is. A list is
// separated by commas; of a list and of variables each call adds to those before.
func (s *Setting) Parse(f *FunctionJson, word string) error {
	m, field := s.field(f)
	switch s.Form {
	case Count:
		n, err := ParseCount(word)
		if err != nil {
			return err
		}
		s.Set(f, n)
	case Switch:
		on, err := strconv.ParseBool(word)
		if err != nil {
			return fmt.Errorf("%.40q is neither true nor false", word)
		}
		s.Set(f, on)
	case List:
		for e := range strings.SplitSeq(word, ",") {
			m.Mutable(field).List().Append(protoreflect.ValueOfString(e))
		}
	case Labels:
		labels, err := ParseLabels(word)
		if err != nil {
			return err
		}
		s.Set(f, labels)
	case Variables, Secrets:
		k, v, ok := strings.Cut(word, "=")
		if !ok {
			return fmt.Errorf("%.40q is not of the form K=V", word)
		}
		key := protoreflect.ValueOfString(k).MapKey()
		if m.Get(field).Map().Has(key) {
			return fmt.Errorf("%s is given twice", k)
		}
		m.Mutable(field).Map().Set(key, protoreflect.ValueOfString(v))
	default:
		s.Set(f, word)
	}
	return nil
}

// ParseCount parses a whole number from 0 on.
func ParseCount(text string) (uint32, error) {
	n, err := strconv.ParseUint(text, 10, 32)
	if err != nil {
		return 0, fmt.Errorf("%.40q is not a whole number from 0 on", text)
	}
	return uint32(n), nil
}
