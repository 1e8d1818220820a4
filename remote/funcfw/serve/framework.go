package serve

import (
	"fmt"
	"net/http"
	"net/url"
	"os"
	_ "unsafe" // for go:linkname

	_ "github.com/GoogleCloudPlatform/functions-framework-go/funcframework" // defines initServer
)

//go:linkname initServer github.com/GoogleCloudPlatform/functions-framework-go/funcframework.initServer
func initServer() (*http.ServeMux, error)

const (
	envTarget = "FUNCTION_TARGET"
	// noTarget is a name that no function can be registered with by accident.
	// When the framework finds none, it serves what was registered last without
	// a name. That is the function, whatever the user's init functions register.
	noTarget = "ryo/main"
)

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
