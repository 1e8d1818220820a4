package proto

import (
	"fmt"
	"math"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// The kinds of functions. Which one a function is, its declaration tells.
const (
	KindHTTP       = "http"       // func(http.ResponseWriter, *http.Request)
	KindCloudEvent = "cloudevent" // func(context.Context, cloudevents.Event) error
	KindEvent      = "event"      // func(context.Context, T) error: a background event
	KindTyped      = "typed"      // func(T) (R, error), with a context before T or not
	KindGin        = "gin"        // func(*gin.Context)
)

var kinds = []string{KindHTTP, KindCloudEvent, KindEvent, KindTyped, KindGin}

// The defaults and limits of a function's settings.
const (
	DefaultTimeout = 60 * time.Second // as long as common gateways wait for an answer to begin
	MaxTimeout     = 24 * time.Hour
	DefaultBody    = 10 << 20  // bytes; each is held in memory while its call lasts
	MinMemory      = 16 << 20  // a Go program that serves HTTP needs about 10 MiB
	MaxEnv         = 128       // variables
	MaxEnvBytes    = 128 << 10 // names and values; Linux limits one string to 128 KiB
	MaxPatterns    = 64        // include globs, or build tags

	DefaultIdle  = 15 * time.Minute     // a start takes milliseconds; what it saves is memory
	MaxIdle      = 365 * 24 * time.Hour // "0" says for ever
	DefaultDrain = 30 * time.Second     // as orchestrators wait before they kill
	MaxDrain     = time.Hour            // a version that goes must be gone some day
	MinLiveness  = time.Second          // below it a busy machine is taken for a stuck process
	MaxLiveness  = 24 * time.Hour
	MaxInstances = 64     // processes of one function on one agent
	MinCPU       = 0.01   // a cgroup's smallest share: 1 ms of every 100 ms
	MaxCPU       = 1024.0 // more than any machine has
	MaxCanary    = 99     // percent; 100 is no canary
	MaxNote      = 256    // bytes: what a list of versions shows in a line
)

var (
	envName     = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
	buildTag    = regexp.MustCompile(`^[A-Za-z0-9_.]+$`)
	sizeForm    = regexp.MustCompile(`^([0-9]+)(B|KiB|MiB|GiB)?$`)
	cpuForm     = regexp.MustCompile(`^[0-9]+(\.[0-9]+)?$`) // no exponents, no infinity
	programForm = regexp.MustCompile(`^[0-9a-f]{64}$`)
)

// reservedEnv are the variables that the platform sets or that would change how
// functions-framework-go serves; a function cannot set them.
var reservedEnv = map[string]bool{
	"FUNCTION_TARGET": true, "FUNCTION_SIGNATURE_TYPE": true, "K_SERVICE": true,
	"CLOUD_RUN_TIMEOUT_SECONDS": true, "PORT": true,
}

// Check reports the first thing that is wrong with a function to deploy, its
// name and settings, as an ErrInvalid. It reads no files.
func (f *FunctionJson) Check() error {
	if f == nil {
		return Errorf(ErrInvalid, "an element of the list of functions is null")
	}
	if err := CheckName(f.GetName()); err != nil {
		return err
	}
	if k := f.GetKind(); k != "" && !slices.Contains(kinds, k) {
		return f.invalid("kind", "%q is not known; use one of %s", k, strings.Join(kinds, ", "))
	}
	_, timeout := f.TimeLimit()
	_, memory := f.MemoryLimit()
	_, body := f.BodyLimit(KindHTTP)
	_, idle := f.IdleLimit()
	_, drain := f.DrainLimit()
	_, liveness := f.LivenessLimit()
	_, cpu := f.CPUs()
	for _, err := range []error{timeout, memory, body, idle, drain, liveness, cpu, f.checkEnv(), f.checkRelease()} {
		if err != nil {
			return err
		}
	}
	if len(f.GetTags()) > MaxPatterns || len(f.GetInclude()) > MaxPatterns {
		return f.invalid("tags and include", "each takes at most %d entries", MaxPatterns)
	}
	for _, t := range f.GetTags() {
		if !buildTag.MatchString(t) {
			return f.invalid("tags", "%q is not a build tag", t)
		}
	}
	for _, g := range f.GetInclude() {
		if _, err := path.Match(g, ""); err != nil || g == "" || path.IsAbs(g) || strings.HasPrefix(path.Clean(g), "..") {
			return f.invalid("include", "%q is not a glob of files below the package's folder", g)
		}
	}
	return f.checkLdflags()
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
				return f.invalid(vars.field, "the value of %s holds a NUL byte", k)
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

// checkRelease checks how many processes serve a version, and how it is released.
func (f *FunctionJson) checkRelease() error {
	switch {
	case f.GetInstances() > MaxInstances:
		return f.invalid("instances", "%d are more than %d", f.GetInstances(), MaxInstances)
	case int(f.GetMin()) > f.Processes():
		return f.invalid("min", "%d are more than the instances, %d", f.GetMin(), f.Processes())
	case f.GetCanary() > MaxCanary:
		return f.invalid("canary", "%d is not a percentage from 1 to %d, or 0 for all calls", f.GetCanary(), MaxCanary)
	case len(f.GetNote()) > MaxNote || strings.ContainsFunc(f.GetNote(), unicode.IsControl):
		return f.invalid("note", "it is one line of at most %d bytes", MaxNote)
	}
	if f.GetProgram() != "" {
		return CheckProgramKey(f.GetProgram())
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

// DrainLimit is how long calls may take that are under way when their process is
// replaced or stopped.
func (f *FunctionJson) DrainLimit() (time.Duration, error) {
	return f.duration("drain", f.GetDrain(), DefaultDrain, 1, MaxDrain)
}

// LivenessLimit is how long a process may leave its health unanswered, 0 for ever.
func (f *FunctionJson) LivenessLimit() (time.Duration, error) {
	return f.duration("liveness", f.GetLiveness(), 0, MinLiveness, MaxLiveness)
}

// duration returns the duration that a setting says, within bounds, or the
// default of one that says nothing.
func (f *FunctionJson) duration(field, text string, fallback, least, most time.Duration) (time.Duration, error) {
	if text == "" {
		return fallback, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < least || d > most {
		return 0, f.invalid(field, `%q is not a duration between %s and %s, such as "30s"`, text, least, most)
	}
	return d, nil
}

// Processes is how many processes serve the function at the same time.
func (f *FunctionJson) Processes() int { return max(1, int(f.GetInstances())) }

// CPUs is how many processors a process may use, 0 for all.
func (f *FunctionJson) CPUs() (float64, error) {
	if f.GetCpu() == "" {
		return 0, nil
	}
	n, err := strconv.ParseFloat(f.GetCpu(), 64)
	if err != nil || !cpuForm.MatchString(f.GetCpu()) || n < MinCPU || n > MaxCPU {
		return 0, f.invalid("cpu", `%.40q is not a number of processors from %g to %g, such as "0.5"`, f.GetCpu(), MinCPU, MaxCPU)
	}
	return n, nil
}

// MemoryLimit is the limit of a process's memory in bytes, 0 for none.
func (f *FunctionJson) MemoryLimit() (int64, error) {
	if f.GetMemory() == "" {
		return 0, nil
	}
	n, ok := parseSize(f.GetMemory())
	if !ok || n < MinMemory {
		return 0, f.invalid("memory", `%q is not a size of at least 16MiB, such as "128MiB"`, f.GetMemory())
	}
	return n, nil
}

// BodyLimit is the limit of a request's body in bytes, 0 for none, of a function
// that is of a kind.
func (f *FunctionJson) BodyLimit(kind string) (int64, error) {
	if f.GetBody() == "" {
		if kind == KindHTTP || kind == KindGin {
			return 0, nil // they read their bodies as a stream
		}
		return DefaultBody, nil
	}
	n, ok := parseSize(f.GetBody())
	if !ok || n == 0 {
		return 0, f.invalid("body", `%q is not a size, such as "1MiB"`, f.GetBody())
	}
	return n, nil
}

// parseSize understands sizes such as "128MiB".
func parseSize(text string) (bytes int64, ok bool) {
	m := sizeForm.FindStringSubmatch(text)
	if m == nil {
		return 0, false
	}
	n, err := strconv.ParseInt(m[1], 10, 64)
	unit := map[string]int64{"": 1, "B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}[m[2]]
	if err != nil || n > math.MaxInt64/unit {
		return 0, false
	}
	return n * unit, true
}

func (f *FunctionJson) invalid(field, format string, args ...any) error {
	return Errorf(ErrInvalid, "function %s: %s: %s", f.GetName(), field, fmt.Sprintf(format, args...))
}
