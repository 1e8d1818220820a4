package serve

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"runtime/debug"
	_ "unsafe" // for go:linkname

	cloudevents "github.com/cloudevents/sdk-go/v2"
)

// convertBackgroundToCloudEvent converts events in the form that some clouds sent
// before there were CloudEvents.
//
//go:linkname convertBackgroundToCloudEvent github.com/GoogleCloudPlatform/functions-framework-go/funcframework.convertBackgroundToCloudEvent
func convertBackgroundToCloudEvent(http.Handler) http.Handler

// CloudEventAnswer returns the handler of a function that takes a CloudEvent and may
// answer with another. An event that is nil, or has no id, is no answer.
func CloudEventAnswer[E cloudevents.Event | *cloudevents.Event](fn func(context.Context, cloudevents.Event) (E, error)) (http.Handler, error) {
	p, err := cloudevents.NewHTTP()
	if err != nil {
		return nil, fmt.Errorf("receive CloudEvents: %w", err)
	}
	receive, err := cloudevents.NewHTTPReceiveHandler(context.Background(), p, func(ctx context.Context, e cloudevents.Event) (*cloudevents.Event, error) {
		defer func() {
			if v := recover(); v != nil { // the receiver answers, but does not say why
				fmt.Fprintf(os.Stderr, "A panic occurred during user function execution.\npanic message: %v\n%s", v, debug.Stack())
				panic(v)
			}
		}()
		out, err := fn(ctx, e)
		if err != nil {
			fmt.Fprintln(os.Stderr, "Function error:", err)
			return nil, err
		}
		switch out := any(out).(type) {
		case *cloudevents.Event:
			return out, nil
		case cloudevents.Event:
			if out.ID() != "" {
				return &out, nil
			}
		}
		return nil, nil //nolint:nilnil // there is no answer
	})
	if err != nil {
		return nil, fmt.Errorf("receive CloudEvents: %w", err)
	}
	return HTTP(convertBackgroundToCloudEvent(receive).ServeHTTP)
}

// CloudEventNoContext returns the handler of a function that takes a CloudEvent alone.
func CloudEventNoContext(fn func(cloudevents.Event) error) (http.Handler, error) {
	return CloudEvent(func(_ context.Context, e cloudevents.Event) error { return fn(e) })
}

// CloudEventNoError returns the handler of a function that takes a CloudEvent and
// does not fail.
func CloudEventNoError(fn func(context.Context, cloudevents.Event)) (http.Handler, error) {
	return CloudEvent(func(ctx context.Context, e cloudevents.Event) error {
		fn(ctx, e)
		return nil
	})
}
