package serve

import (
	"context"
	"fmt"
	"net/http"
	"reflect"
)

// Variable returns the handler that a variable of the user's package holds: an
// http.Handler such as a router, or a function. at is its address, since a type
// may have ServeHTTP for its pointers alone.
func Variable[T any](name string, at *T) (http.Handler, error) {
	v := reflect.ValueOf(at).Elem()
	for v.Kind() == reflect.Interface && !v.IsNil() {
		v = v.Elem()
	}
	switch v.Kind() {
	case reflect.Interface, reflect.Pointer, reflect.Func, reflect.Map:
		if v.IsNil() {
			return nil, fmt.Errorf("the variable %s is nil: give it a handler where it is declared, or in an init function", name)
		}
	}
	if h, ok := any(*at).(http.Handler); ok {
		return HTTP(h.ServeHTTP)
	}
	if h, ok := any(at).(http.Handler); ok {
		return HTTP(h.ServeHTTP)
	}
	if plain := reflect.TypeFor[func(http.ResponseWriter, *http.Request)](); v.CanConvert(plain) {
		return HTTP(v.Convert(plain).Interface().(func(http.ResponseWriter, *http.Request)))
	}
	if with := reflect.TypeFor[func(context.Context, http.ResponseWriter, *http.Request)](); v.CanConvert(with) {
		return HTTP(WithContext(v.Convert(with).Interface().(func(context.Context, http.ResponseWriter, *http.Request))))
	}
	return nil, fmt.Errorf("the variable %s is a %T, which is no http.Handler: it has no method ServeHTTP(http.ResponseWriter, *http.Request)", name, any(*at))
}

// WithContext makes a plain function of one that takes the request's context before
// the request.
func WithContext(fn func(context.Context, http.ResponseWriter, *http.Request)) func(http.ResponseWriter, *http.Request) {
	return func(w http.ResponseWriter, r *http.Request) { fn(r.Context(), w, r) }
}
