package serve

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"unsafe" // for go:linkname too

	"github.com/GoogleCloudPlatform/functions-framework-go/funcframework" // defines initServer
	cloudevents "github.com/cloudevents/sdk-go/v2"
)

//go:linkname initServer github.com/GoogleCloudPlatform/functions-framework-go/funcframework.initServer
func initServer() (*http.ServeMux, error)

// registration is the beginning of the framework's RegisteredFunction.
type registration struct {
	Name, Path   string
	CloudEventFn func() // of another type
	HTTPFn       func(http.ResponseWriter, *http.Request)
}

//go:linkname registry github.com/GoogleCloudPlatform/functions-framework-go/internal/registry.Default
func registry() unsafe.Pointer

//go:linkname declared github.com/GoogleCloudPlatform/functions-framework-go/internal/registry.(*Registry).GetRegisteredFunction
func declared(registry unsafe.Pointer, name string) (*registration, bool)

const (
	envTarget = "FUNCTION_TARGET"
	// noTarget is a name that no function can be registered with by accident.
	// When the framework finds none, it serves what was registered last without
	// a name. That is the function, whatever the user's init functions register.
	noTarget = "ryo/main"
)

// HTTP returns the handler of a function that answers requests.
func HTTP(fn func(http.ResponseWriter, *http.Request)) (http.Handler, error) {
	return handlerOf(funcframework.RegisterHTTPFunctionContext(context.Background(), "/", Guard(fn)))
}

// CloudEvent returns the handler of a function that takes CloudEvents.
func CloudEvent(fn func(context.Context, cloudevents.Event) error) (http.Handler, error) {
	return handlerOf(funcframework.RegisterCloudEventFunctionContext(context.Background(), "/", fn))
}

// Event returns the handler of a function that takes background events, of which
// the framework takes any.
func Event[T any](fn func(context.Context, T) error) (http.Handler, error) {
	return handlerOf(funcframework.RegisterEventFunctionContext(context.Background(), "/", fn))
}

// handlerOf returns the handler of the function that was registered last, with
// the error that registering it gave.
func handlerOf(err error) (http.Handler, error) {
	if err != nil {
		return nil, fmt.Errorf("functions-framework: %w", err)
	}
	h, err := frameworkHandler(noTarget)
	if err != nil {
		return nil, fmt.Errorf("the function may be a variable that is nil: %w", err)
	}
	return h, nil
}

// guardDeclared replaces an HTTP function that was declared by name, if that was, by
// its Guard.
func guardDeclared(name string) {
	if fn, ok := declared(registry(), name); ok && fn.HTTPFn != nil {
		fn.HTTPFn = Guard(fn.HTTPFn)
	}
}

// Declared returns the handler of a function that an init function has declared by
// name.
func Declared(name string) (http.Handler, error) {
	guardDeclared(name)
	// Where the framework does not find the name it takes what was registered last
	// without one. That shall be no function of the user's but this one, which no
	// handler can be made of.
	if err := funcframework.RegisterEventFunctionContext(context.Background(), "/", func() {}); err != nil {
		return nil, fmt.Errorf("functions-framework: %w", err)
	}
	h, err := frameworkHandler(name)
	if err != nil {
		return nil, fmt.Errorf("the init functions have not declared %s: %w", name, err)
	}
	return h, nil
}

// frameworkHandler returns the framework's handler of the function that was
// declared by name, or, without such a one, registered last without a name.
func frameworkHandler(name string) (http.Handler, error) {
	before, was := os.LookupEnv(envTarget)
	if err := os.Setenv(envTarget, name); err != nil {
		return nil, fmt.Errorf("choose the function: %w", err)
	}
	mux, err := initServer()
	if was {
		_ = os.Setenv(envTarget, before)
	} else {
		_ = os.Unsetenv(envTarget)
	}
	if err != nil {
		return nil, fmt.Errorf("functions-framework: %w", err)
	}
	h, pattern := mux.Handler(&http.Request{Method: http.MethodGet, URL: &url.URL{Path: "/"}})
	if pattern != "/" {
		return nil, fmt.Errorf("functions-framework serves %q, want /", pattern)
	}
	return h, nil
}
