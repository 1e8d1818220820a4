package serve

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"unsafe" // also for go:linkname

	"github.com/GoogleCloudPlatform/functions-framework-go/funcframework" // defines initServer
	cloudevents "github.com/cloudevents/sdk-go/v2"
)

//go:linkname initServer github.com/GoogleCloudPlatform/functions-framework-go/funcframework.initServer
func initServer() (*http.ServeMux, error)

// defaultRegistry is where declared functions are, and registered finds one.
//
//go:linkname defaultRegistry github.com/GoogleCloudPlatform/functions-framework-go/internal/registry.Default
func defaultRegistry() unsafe.Pointer

//go:linkname registered github.com/GoogleCloudPlatform/functions-framework-go/internal/registry.(*Registry).GetRegisteredFunction
func registered(registry unsafe.Pointer, name string) (*declared, bool)

// declared is the framework's registry.RegisteredFunction.
type declared struct {
	_, _       string // its name and path
	cloudEvent func(context.Context, cloudevents.Event) error
	http       func(http.ResponseWriter, *http.Request)
	_          any // a background event function
	typed      any
}

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

// handlerOf returns the handler of the function that was registered last, with the
// error that registering it gave.
func handlerOf(err error) (http.Handler, error) {
	if err != nil {
		return nil, fmt.Errorf("functions-framework: %w", err)
	}
	h, err := frameworkHandler()
	if err != nil {
		return nil, fmt.Errorf("the function may be a variable that is nil: %w", err)
	}
	return h, nil
}

// Declared returns the handler of a function that an init function has declared by
// name.
func Declared(name string) (http.Handler, error) {
	fn, ok := registered(defaultRegistry(), name)
	switch {
	case !ok:
		return nil, fmt.Errorf("the init functions have declared no function %q", name)
	case fn.http != nil:
		return HTTP(fn.http)
	case fn.cloudEvent != nil:
		return CloudEvent(fn.cloudEvent)
	case fn.typed != nil:
		typed, err := typedValue(fn.typed)
		if err != nil {
			return nil, fmt.Errorf("function %q: %w", name, err)
		}
		return HTTP(typed)
	}
	return nil, fmt.Errorf("function %q is declared with a function that is nil", name)
}

// frameworkHandler returns the framework's handler of the function that was
// registered last without a name.
func frameworkHandler() (http.Handler, error) {
	before, was := os.LookupEnv(envTarget)
	if err := os.Setenv(envTarget, noTarget); err != nil {
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
