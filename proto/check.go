package proto

import (
	"cmp"
	"fmt"
	"math"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// The kinds of functions. A function's declaration tells its kind.
const (
	KindHTTP       = "http"       // func(http.ResponseWriter, *http.Request)
	KindCloudEvent = "cloudevent" // func(context.Context, cloudevents.Event) error
	KindEvent      = "event"      // func(context.Context, T) error: a background event
	KindTyped      = "typed"      // func(T) (R, error), with a context before T or not
	KindGin        = "gin"        // func(*gin.Context)
)

var kinds = []string{KindHTTP, KindCloudEvent, KindEvent, KindTyped, KindGin}

// GateVuln is the gate that refuses programs that reach known faults.
const GateVuln = "vuln"

// The defaults and limits of a function's settings.
const (
	DefaultTimeout = 60 * time.Second // as long as common gateways wait for an answer to begin
	MaxTimeout     = 24 * time.Hour
	DefaultBody    = 10 << 20  // bytes; each is held in memory while its call lasts
	MinMemory      = 16 << 20  // a Go program that serves HTTP needs about 10 MiB
	MinDisk        = 1 << 20   // below it, a few files are too many
	MaxEnv         = 128       // variables
	MaxEnvBytes    = 128 << 10 // names and values; Linux limits one string to 128 KiB
	MaxPatterns    = 64        // include globs, or build tags

	DefaultIdle  = 15 * time.Minute     // a start takes milliseconds; what it saves is memory
	MaxIdle      = 365 * 24 * time.Hour // "0" says for ever
	DefaultDrain = 30 * time.Second     // as orchestrators wait before they kill
	MaxDrain     = time.Hour            // a version that retires must be closed some day
	MinLiveness  = time.Second          // below it, processes of a busy machine seem stuck
	MaxLiveness  = 24 * time.Hour
	MaxInstances = 64     // processes of one function on one agent
	MinCPU       = 0.01   // a cgroup's smallest share: 1 ms of every 100 ms
	MaxCPU       = 1024.0 // more than any machine has
	MaxCanary    = 99     // percent; 100 is no canary
	MaxTarget    = 256    // bytes: it is a variable of the process's environment
	MaxNote      = 256    // bytes: what a list of versions shows in a line

	// DefaultQueueTimeout is long enough for a burst, and too short for most callers to
	// have canceled.
	DefaultQueueTimeout = 10 * time.Second
	// MaxQueue bounds the calls that wait for one function: each holds a connection and
	// what has come of its request, up to 16 KiB.
	MaxQueue = 10_000

	// DefaultRetries and the backoff of the queue make about 15 seconds, in which most
	// restarts are over.
	DefaultRetries = 3
	MaxRetries     = 20
	// DefaultMaxAge is as long as the queue tells what became of a call.
	DefaultMaxAge = 24 * time.Hour
	MaxAge        = 7 * 24 * time.Hour // bodies are kept as long
)

var (
	envName     = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
	buildTag    = regexp.MustCompile(`^[A-Za-z0-9_.]+$`)
	sizeForm    = regexp.MustCompile(`^([0-9]+)(B|KiB|MiB|GiB)?$`)
	cpuForm     = regexp.MustCompile(`^[0-9]+(\.[0-9]+)?$`) // no exponents, no infinity
	appForm     = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,62}$`)
	programForm = regexp.MustCompile(`^[0-9a-f]{64}$`)
)

// reservedEnv are the variables that the platform sets or that would change how
// functions-framework-go serves; a function cannot set them.
var reservedEnv = map[string]bool{
	"FUNCTION_TARGET": true, "FUNCTION_SIGNATURE_TYPE": true, "K_SERVICE": true,
	"CLOUD_RUN_TIMEOUT_SECONDS": true, "PORT": true,
}

// Complete gives a function without a name the one that can be made of its target,
// if any, and a preview its own name: the target is then what had that of the function.
func (f *FunctionJson) Complete() {
	if f == nil {
		return
	}
	if f.GetName() == "" {
		f.Name = NameOf(f.GetTarget())
	}
	if f.GetPreview() == "" || PreviewOf(f.GetName(), f.GetPreview()) != "" {
		return
	}
	if made, err := PreviewName(f.GetName(), f.GetPreview()); err == nil { // else Check says what is wrong
		f.Name, f.Target = made, cmp.Or(f.GetTarget(), f.GetName())
	}
}

// Check reports the first thing that is wrong with a function to deploy, its
// name and settings, as an ErrInvalid. It reads no files.
func (f *FunctionJson) Check() error {
	if f == nil {
		return Errorf(ErrInvalid, "an element of the list of functions is null")
	}
	if f.GetName() == "" && f.GetTarget() != "" {
		return Errorf(ErrInvalid, "no name can be made of the target %.100q", f.GetTarget()).WithHint(`give one: "name": "HelloWorld"`)
	}
	if err := CheckName(f.GetName()); err != nil {
		return err
	}
	for i := range settings {
		if err := settings[i].valid(f); err != nil {
			return err
		}
	}
	if err := f.checkNeeds(); err != nil {
		return err
	}
	if f.GetProgram() != "" {
		return CheckProgramKey(f.GetProgram())
	}
	return f.checkKeep()
}

func (f *FunctionJson) checkKind() error {
	if k := f.GetKind(); k != "" && !slices.Contains(kinds, k) {
		return f.invalid("kind", "%q is not known; use one of %s", k, strings.Join(kinds, ", "))
	}
	return nil
}

// Who may call a function: the values of its setting auth.
const (
	AuthToken  = "token"  // those who have a token for it; the default
	AuthPublic = "public" // everybody
)

func (f *FunctionJson) checkAuth() error {
	switch f.GetAuth() {
	case "", AuthToken, AuthPublic:
		return nil
	}
	return f.invalid("auth", "%q is neither %q nor %q", f.GetAuth(), AuthToken, AuthPublic)
}

// What happens if an agent does not answer that is to be changed.
const (
	UnavailableContinue = "continue" // the others are changed
	UnavailableStop     = "stop"     // none is
)

// CheckUnavailable returns an ErrInvalid for what is neither of them, nor empty.
func CheckUnavailable(text string) error {
	switch text {
	case "", UnavailableContinue, UnavailableStop:
		return nil
	}
	return Errorf(ErrInvalid, "%.40q is neither %q nor %q", text, UnavailableContinue, UnavailableStop)
}

func (f *FunctionJson) checkUnavailable() error {
	if err := CheckUnavailable(f.GetUnavailable()); err != nil {
		return f.invalid("unavailable", "%v", err)
	}
	return nil
}

// CheckApp returns an ErrInvalid for what is not the name of an app.
func CheckApp(name string) error {
	if !appForm.MatchString(name) {
		return Errorf(ErrInvalid, "%.80q is not a name of up to 63 lower-case letters, digits, dots, dashes and underscores, that begins with a letter or digit", name)
	}
	return nil
}

func (f *FunctionJson) checkApp() error {
	if f.GetApp() == "" {
		return nil
	}
	if err := CheckApp(f.GetApp()); err != nil {
		return f.invalid("app", "%v", err)
	}
	return nil
}

// Public reports whether everybody may call the function.
func (r *FunctionJsonRsp) Public() bool { return r.GetAuth() == AuthPublic }

func (f *FunctionJson) checkGate() error {
	if g := f.GetGate(); g != "" && g != GateVuln {
		return f.invalid("gate", "%q is not known; the only one is %s", g, GateVuln)
	}
	return nil
}

func (f *FunctionJson) checkTarget() error {
	switch t := f.GetTarget(); {
	case len(t) > MaxTarget:
		return f.invalid("target", "%.40q… is longer than %d bytes", t, MaxTarget)
	case !utf8.ValidString(t) || strings.ContainsFunc(t, unicode.IsControl):
		return f.invalid("target", "%q is not plain text", t)
	}
	return nil
}

func (f *FunctionJson) checkTags() error {
	if len(f.GetTags()) > MaxPatterns {
		return f.invalid("tags", "there are %d; at most %d are taken", len(f.GetTags()), MaxPatterns)
	}
	for _, t := range f.GetTags() {
		if !buildTag.MatchString(t) {
			return f.invalid("tags", "%q is not a build tag: letters, digits, _ and . make one", t)
		}
	}
	return nil
}

func (f *FunctionJson) checkInclude() error {
	if len(f.GetInclude()) > MaxPatterns {
		return f.invalid("include", "there are %d; at most %d are taken", len(f.GetInclude()), MaxPatterns)
	}
	for _, g := range f.GetInclude() {
		if _, err := path.Match(g, ""); err != nil || g == "" || !utf8.ValidString(g) || path.IsAbs(g) || strings.HasPrefix(path.Clean(g), "..") {
			return f.invalid("include", "%q is not a glob of files below the package's folder, such as \"templates/*\"", g)
		}
	}
	return nil
}

// checkEnv checks env and secrets, which are one environment to the process.
func (f *FunctionJson) checkEnv() error {
	count, size := 0, 0
	for _, vars := range []struct {
		field  string
		values map[string]string
	}{{"env", f.GetEnv()}, {"secrets", f.GetSecrets()}} {
		for k, v := range vars.values {
			count, size = count+1, size+len(k)+len(v)
			switch {
			case !envName.MatchString(k):
				return f.invalid(vars.field, "%q is not the name of an environment variable", k)
			case reservedEnv[k] || strings.HasPrefix(k, "RYO_"):
				return f.invalid(vars.field, "%s is set by the platform", k)
			case strings.ContainsRune(v, 0):
				return f.invalid(vars.field, "the value of %s holds a NUL byte", k).WithHint(noTextHint)
			case !utf8.ValidString(v):
				return f.invalid(vars.field, "the value of %s is not UTF-8 text", k).WithHint(noTextHint)
			}
		}
	}
	for k := range f.GetSecrets() {
		if _, twice := f.GetEnv()[k]; twice {
			return f.invalid("secrets", "%s is in env as well", k)
		}
	}
	if count > MaxEnv || size > MaxEnvBytes {
		return f.invalid("env", "at most %d variables and %d bytes are taken, secrets included", MaxEnv, MaxEnvBytes)
	}
	return nil
}

// noTextHint is what to do with bytes that no environment variable can hold.
const noTextHint = "a variable holds text: encode the bytes, with base64 for example, and decode them in the function; or send them as a file, with include"

func (f *FunctionJson) checkInstances() error {
	if f.GetInstances() > MaxInstances {
		return f.invalid("instances", "%d are too many; the most is %d", f.GetInstances(), MaxInstances)
	}
	return nil
}

func (f *FunctionJson) checkQueue() error {
	if f.GetQueue() > MaxQueue {
		return f.invalid("queue", "%d are too many; the most is %d", f.GetQueue(), MaxQueue)
	}
	return nil
}

func (f *FunctionJson) checkRetries() error {
	if f.GetRetries() > MaxRetries {
		return f.invalid("retries", "%d are too many; the most is %d", f.GetRetries(), MaxRetries)
	}
	return nil
}

// checkNext checks the functions that are called after it. It is none of them: its own
// answers would be its calls for ever.
func (f *FunctionJson) checkNext() error {
	for field, name := range map[string]string{"onSuccess": f.GetOnSuccess(), "onFailure": f.GetOnFailure()} {
		switch {
		case name == "":
		case CheckName(name) != nil:
			return f.invalid(field, "%.100q is not the name of a function", name)
		case Path(name) == Path(f.GetName()):
			return f.invalid(field, "it cannot be the function itself")
		}
	}
	return nil
}

func (f *FunctionJson) checkMin() error {
	if int(f.GetMin()) > f.Processes() {
		return f.invalid("min", "%d are more than the instances, %d", f.GetMin(), f.Processes())
	}
	return nil
}

func (f *FunctionJson) checkMax() error {
	switch most := int(f.GetMax()); {
	case most == 0:
		return nil
	case most < f.Processes():
		return f.invalid("max", "%d are fewer than the instances, %d", most, f.Processes())
	case most > MaxInstances:
		return f.invalid("max", "%d are too many; the most is %d", most, MaxInstances)
	}
	return nil
}

// usualInFlight is how many calls a process should have where nothing is said of it: few
// enough that one more hardly delays them.
const usualInFlight = 10

// Load is how many calls in flight a process should have.
func (r *FunctionJsonRsp) Load() int {
	concurrency := uint32(0)
	for _, s := range r.GetServing() {
		if s.GetVersion() == r.GetVersion() {
			concurrency = s.GetConcurrency()
		}
	}
	return int(cmp.Or(r.GetInFlight(), concurrency, usualInFlight))
}

func (f *FunctionJson) checkCanary() error {
	if f.GetCanary() > MaxCanary {
		return f.invalid("canary", "%d is not a percentage from 1 to %d, or 0 for all calls", f.GetCanary(), MaxCanary)
	}
	return nil
}

func (f *FunctionJson) checkNote() error {
	if n := f.GetNote(); len(n) > MaxNote || !utf8.ValidString(n) || strings.ContainsFunc(n, unicode.IsControl) {
		return f.invalid("note", "it is one line of text of at most %d bytes", MaxNote)
	}
	return nil
}

// CheckProgramKey reports why key is no program's key, as an ErrInvalid: it is 64
// hexadecimal digits. It is checked before it touches a path.
func CheckProgramKey(key string) error {
	if !programForm.MatchString(key) {
		return Errorf(ErrInvalid, "%.80q is not the key of a program: 64 hexadecimal digits", key)
	}
	return nil
}

// checkLdflags lets only -X through: any other linker flag can run programs or
// read files of the machine that builds.
func (f *FunctionJson) checkLdflags() error {
	if !utf8.ValidString(f.GetLdflags()) || strings.ContainsRune(f.GetLdflags(), 0) {
		return f.invalid("ldflags", "it is not UTF-8 text, or holds a NUL byte")
	}
	words := strings.Fields(f.GetLdflags())
	for i := 0; i < len(words); i++ {
		value, joined := strings.CutPrefix(words[i], "-X=")
		if !joined {
			if words[i] != "-X" || i+1 == len(words) {
				return f.invalid("ldflags", "%q: only -X importpath.name=value is allowed", words[i])
			}
			i++
			value = words[i]
		}
		if name, _, ok := strings.Cut(value, "="); !ok || !strings.Contains(name, ".") || strings.ContainsAny(value, `'"`) {
			return f.invalid("ldflags", "%q is not of the form importpath.name=value", value)
		}
	}
	return nil
}

// TimeLimit is how long the gateway waits for the function's answer to begin.
func (f *FunctionJson) TimeLimit() (time.Duration, error) {
	return f.duration("timeout", f.GetTimeout(), DefaultTimeout, 1, MaxTimeout)
}

// IdleLimit is how long a process without connections is kept, 0 for ever.
func (f *FunctionJson) IdleLimit() (time.Duration, error) {
	return f.duration("idle", f.GetIdle(), DefaultIdle, 0, MaxIdle)
}

// QueueLimit is how long a call waits for a place, 0 for not at all.
func (f *FunctionJson) QueueLimit() (time.Duration, error) {
	return f.duration("queueTimeout", f.GetQueueTimeout(), DefaultQueueTimeout, 0, MaxTimeout)
}

// Tries is how often a call that waits is made at most.
func (f *FunctionJson) Tries() int {
	if f.Retries == nil {
		return DefaultRetries + 1
	}
	return int(f.GetRetries()) + 1
}

// AgeLimit is how long a call may wait and be tried.
func (f *FunctionJson) AgeLimit() (time.Duration, error) {
	return f.duration("maxAge", f.GetMaxAge(), DefaultMaxAge, time.Second, MaxAge)
}

// DrainLimit is how long calls under way may take when their process is replaced or
// stopped.
func (f *FunctionJson) DrainLimit() (time.Duration, error) {
	return f.duration("drain", f.GetDrain(), DefaultDrain, 1, MaxDrain)
}

// LivenessLimit is how long a process may not answer for its health, 0 for ever.
func (f *FunctionJson) LivenessLimit() (time.Duration, error) {
	return f.duration("liveness", f.GetLiveness(), 0, MinLiveness, MaxLiveness)
}

// duration returns the duration that a setting says, within bounds, or fallback
// where it says nothing.
func (f *FunctionJson) duration(field, text string, fallback, least, most time.Duration) (time.Duration, error) {
	if text == "" {
		return fallback, nil
	}
	d, err := time.ParseDuration(text)
	switch {
	case err != nil:
		return 0, f.invalid(field, "%.40q is not a duration; write a number with its unit, such as 500ms, 30s, 5m or 1h", text)
	case d < 0 && least == 0:
		return 0, f.invalid(field, "%.40q is less than 0, which is the least", text)
	case d <= 0 && least > 0:
		return 0, f.invalid(field, "%.40q is too short; it must be longer than 0", text)
	case d < least:
		return 0, f.invalid(field, "%.40q is too short; the least is %s", text, plain(least))
	case d > most:
		return 0, f.invalid(field, "%.40q is too long; the most is %s", text, plain(most))
	}
	return d, nil
}

// plain is a duration as people write it: "60s", "15m", "1h".
func plain(d time.Duration) string {
	switch {
	case d >= time.Hour && d%time.Hour == 0:
		return fmt.Sprintf("%dh", d/time.Hour)
	case d > time.Minute && d%time.Minute == 0:
		return fmt.Sprintf("%dm", d/time.Minute)
	case d >= time.Second && d%time.Second == 0:
		return fmt.Sprintf("%ds", d/time.Second)
	}
	return d.String()
}

// Processes is how many processes serve the function at the same time.
func (f *FunctionJson) Processes() int { return max(1, int(f.GetInstances())) }

// CPUs is how many processors a process may use, 0 for all.
func (f *FunctionJson) CPUs() (float64, error) {
	if f.GetCpu() == "" {
		return 0, nil
	}
	n, err := strconv.ParseFloat(f.GetCpu(), 64)
	switch {
	case err != nil || !cpuForm.MatchString(f.GetCpu()):
		return 0, f.invalid("cpu", "%.40q is not a number of processors; write one such as 0.5 or 2", f.GetCpu())
	case n < MinCPU || n > MaxCPU:
		return 0, f.invalid("cpu", "%s is out of bounds; from %g to %g processors can be given", f.GetCpu(), MinCPU, MaxCPU)
	}
	return n, nil
}

// MemoryLimit is the limit of a process's memory in bytes, 0 for none.
func (f *FunctionJson) MemoryLimit() (int64, error) {
	return f.size("memory", f.GetMemory(), 0, MinMemory)
}

// DiskLimit is the limit of what temporary files take, in bytes, 0 for none.
func (f *FunctionJson) DiskLimit() (int64, error) {
	return f.size("disk", f.GetDisk(), 0, MinDisk)
}

// BodyLimit is the limit of a request's body in bytes, 0 for none, for a function of
// a kind.
func (f *FunctionJson) BodyLimit(kind string) (int64, error) {
	fallback := int64(DefaultBody)
	if (kind == KindHTTP || kind == KindGin) && f.GetWebhook() == "" {
		fallback = 0 // they read their bodies as a stream
	}
	return f.size("body", f.GetBody(), fallback, 1)
}

// size returns the bytes that a setting says, at least least, or fallback where it
// says nothing.
func (f *FunctionJson) size(field, text string, fallback, least int64) (int64, error) {
	if text == "" {
		return fallback, nil
	}
	m := sizeForm.FindStringSubmatch(text)
	if m == nil {
		return 0, f.invalid(field, "%.40q is not a size; write a number with its unit, such as 128MiB (B, KiB, MiB or GiB)", text)
	}
	n, err := strconv.ParseInt(m[1], 10, 64)
	unit := map[string]int64{"": 1, "B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}[m[2]]
	switch {
	case err != nil || n > math.MaxInt64/unit:
		return 0, f.invalid(field, "%.40q is more than any machine has", text)
	case n*unit < least:
		return 0, f.invalid(field, "%.40q is too small; the least is %s", text, plainSize(least))
	}
	return n * unit, nil
}

// plainSize is a size as people write it: "16MiB".
func plainSize(n int64) string {
	if n%(1<<20) == 0 {
		return fmt.Sprintf("%dMiB", n>>20)
	}
	return fmt.Sprintf("%dB", n)
}

func (f *FunctionJson) invalid(field, format string, args ...any) *Error {
	return Errorf(ErrInvalid, "function %s: %s: %s", f.GetName(), field, fmt.Sprintf(format, args...))
}
