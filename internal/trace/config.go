package trace

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"
)

// The variables of OpenTelemetry that FromEnv reads, with those for traces alone.
const (
	EndpointVariable = "OTEL_EXPORTER_OTLP_ENDPOINT"
	tracesVariable   = "OTEL_EXPORTER_OTLP_TRACES_"
	commonVariable   = "OTEL_EXPORTER_OTLP_"
)

// Config is what a Tracer needs.
type Config struct {
	Endpoint   string // where spans are posted; "": there is no Tracer
	Base       string // that other programs are told; "": they have none
	Headers    http.Header
	Timeout    time.Duration // of a request
	Compress   bool
	TLS        *tls.Config
	Sampler    Sampler
	Service    string            // name of the program
	Attributes map[string]string // of the program
	Logger     hclog.Logger

	ofBase bool // Endpoint is made from Base
}

// Sampler says which spans are recorded.
type Sampler struct {
	Ratio   float64 // of those without a parent
	Parents bool    // those with a parent are if it is; else as those without
}

func (s Sampler) name() string {
	if s.Parents {
		return "parentbased_traceidratio"
	}
	return "traceidratio"
}

// usualSampler records one trace in a hundred of those that nobody has begun before.
var usualSampler = Sampler{Ratio: 0.01, Parents: true}

// FromEnv returns the configuration of a program, by its environment variables. An
// endpoint that differs from that of the variables is the user's word and wins.
func FromEnv(endpoint, service string, env func(string) string) (cfg Config, err error) {
	own := func(name string) (value, variable string) {
		if value = env(tracesVariable + name); value != "" {
			return value, tracesVariable + name
		}
		return env(commonVariable + name), commonVariable + name
	}
	where, said := endpoint, "-otlp-endpoint"
	if endpoint == env(EndpointVariable) {
		said = EndpointVariable
		if traces := env(tracesVariable + "ENDPOINT"); traces != "" {
			where, said = traces, tracesVariable+"ENDPOINT"
		}
	}
	if where == "" || strings.EqualFold(env("OTEL_SDK_DISABLED"), "true") || env("OTEL_TRACES_EXPORTER") == "none" {
		return cfg, nil
	}
	if exporter := env("OTEL_TRACES_EXPORTER"); exporter != "" && exporter != "otlp" {
		return cfg, fmt.Errorf("OTEL_TRACES_EXPORTER: %q is not known; otlp and none are", exporter)
	}
	if protocol, variable := own("PROTOCOL"); protocol != "" && protocol != "http/protobuf" {
		return cfg, fmt.Errorf("%s: %q is not spoken; http/protobuf is, usually at port 4318", variable, protocol)
	}
	u, err := url.Parse(where)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return cfg, fmt.Errorf("%s: %q is not the url of a collector, such as http://localhost:4318", said, where)
	}
	cfg = Config{Base: endpoint, Service: service, Headers: make(http.Header), ofBase: where == endpoint}
	if cfg.ofBase { // of all signals
		u = u.JoinPath("v1/traces")
	}
	cfg.Endpoint = u.String()
	headers, variable := own("HEADERS")
	list, err := pairs(headers)
	if err != nil {
		return cfg, fmt.Errorf("%s: %w", variable, err)
	}
	for name, value := range list {
		cfg.Headers.Set(name, value)
	}
	if cfg.Timeout, err = timeout(own("TIMEOUT")); err != nil {
		return cfg, err
	}
	switch compression, variable := own("COMPRESSION"); compression {
	case "", "none":
	case "gzip":
		cfg.Compress = true
	default:
		return cfg, fmt.Errorf("%s: %q is not known; gzip and none are", variable, compression)
	}
	if file, variable := own("CERTIFICATE"); file != "" {
		if cfg.TLS, err = authorities(file); err != nil {
			return cfg, fmt.Errorf("%s: %w", variable, err)
		}
	}
	if cfg.Sampler, err = sampler(env("OTEL_TRACES_SAMPLER"), env("OTEL_TRACES_SAMPLER_ARG")); err != nil {
		return cfg, err
	}
	if cfg.Attributes, err = pairs(env("OTEL_RESOURCE_ATTRIBUTES")); err != nil {
		return cfg, fmt.Errorf("OTEL_RESOURCE_ATTRIBUTES: %w", err)
	}
	if name := env("OTEL_SERVICE_NAME"); name != "" {
		cfg.Service = name
	} else if name := cfg.Attributes["service.name"]; name != "" {
		cfg.Service = name
	}
	delete(cfg.Attributes, "service.name")
	return cfg, nil
}

func timeout(value, variable string) (time.Duration, error) {
	if value == "" {
		return 10 * time.Second, nil
	}
	ms, err := strconv.ParseUint(value, 10, 31)
	if err != nil || ms == 0 {
		return 0, fmt.Errorf("%s: %q is not a number of milliseconds", variable, value)
	}
	return time.Duration(ms) * time.Millisecond, nil
}

func authorities(file string) (*tls.Config, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("%s holds no certificate", file)
	}
	return &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}, nil
}

// samplers are those of the specification. A ratio of -1 is the argument.
var samplers = map[string]Sampler{
	"always_on":                {Ratio: 1},
	"always_off":               {Ratio: 0},
	"traceidratio":             {Ratio: -1},
	"parentbased_always_on":    {Ratio: 1, Parents: true},
	"parentbased_always_off":   {Ratio: 0, Parents: true},
	"parentbased_traceidratio": {Ratio: -1, Parents: true},
}

func sampler(name, arg string) (Sampler, error) {
	if name == "" {
		return usualSampler, nil
	}
	s, ok := samplers[name]
	if !ok {
		return s, fmt.Errorf("OTEL_TRACES_SAMPLER: %q is not one of %s", name, strings.Join(slices.Sorted(maps.Keys(samplers)), ", "))
	}
	if s.Ratio >= 0 {
		return s, nil
	}
	s.Ratio = 1
	if arg != "" {
		ratio, err := strconv.ParseFloat(arg, 64)
		if err != nil || !(ratio >= 0 && ratio <= 1) {
			return s, fmt.Errorf("OTEL_TRACES_SAMPLER_ARG: %q is not a part, from 0 to 1", arg)
		}
		s.Ratio = ratio
	}
	return s, nil
}

// pairs reads a list as "k=v,k2=v2", whose values are percent-encoded.
func pairs(text string) (map[string]string, error) {
	list := make(map[string]string)
	for pair := range strings.SplitSeq(text, ",") {
		if strings.TrimSpace(pair) == "" {
			continue
		}
		name, value, ok := strings.Cut(pair, "=")
		name = strings.TrimSpace(name)
		value, err := url.PathUnescape(strings.TrimSpace(value))
		if !ok || name == "" || err != nil {
			return nil, fmt.Errorf("it is not of the form name=value,name=value") // the value may be a secret
		}
		list[name] = value
	}
	return list, nil
}
