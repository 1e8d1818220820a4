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
)

var (
	envName  = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
	buildTag = regexp.MustCompile(`^[A-Za-z0-9_.]+$`)
	sizeForm = regexp.MustCompile(`^([0-9]+)(B|KiB|MiB|GiB)?$`)
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
	if _, err := f.TimeLimit(); err != nil {
		return err
	}
	if _, err := f.MemoryLimit(); err != nil {
		return err
	}
	if _, err := f.BodyLimit(KindHTTP); err != nil {
		return err
	}
	if err := f.checkEnv(); err != nil {
		return err
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

func (f *FunctionJson) checkEnv() error {
	size := 0
	for k, v := range f.GetEnv() {
		size += len(k) + len(v)
		switch {
		case !envName.MatchString(k):
			return f.invalid("env", "%q is not the name of an environment variable", k)
		case reservedEnv[k] || strings.HasPrefix(k, "RYO_"):
			return f.invalid("env", "%s is set by the platform", k)
		case strings.ContainsRune(v, 0):
			return f.invalid("env", "the value of %s holds a NUL byte", k)
		}
	}
	if len(f.GetEnv()) > MaxEnv || size > MaxEnvBytes {
		return f.invalid("env", "at most %d variables and %d bytes are taken", MaxEnv, MaxEnvBytes)
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
	if f.GetTimeout() == "" {
		return DefaultTimeout, nil
	}
	d, err := time.ParseDuration(f.GetTimeout())
	if err != nil || d <= 0 || d > MaxTimeout {
		return 0, f.invalid("timeout", `%q is not a duration between 1ns and 24h, such as "30s"`, f.GetTimeout())
	}
	return d, nil
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
