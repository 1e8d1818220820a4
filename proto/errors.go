package proto

import (
	"errors"
	"fmt"
	"time"
)

// Kind is a kind of error. Its text is the code that callers see in answers, so
// it never changes. A Kind is itself an error: errors.Is(err, ErrNotFound).
type Kind string

// The kinds. transport maps each to one gRPC code and one HTTP status.
const (
	ErrInvalid         Kind = "invalid"         // the call is wrong and would be wrong again
	ErrUnauthenticated Kind = "unauthenticated" // the caller did not say who it is, or nobody knows it
	ErrForbidden       Kind = "forbidden"       // the caller may not do this
	ErrNotFound        Kind = "not_found"       // there is no such thing
	ErrConflict        Kind = "conflict"        // it clashes with what is there
	ErrTooLarge        Kind = "too_large"       // over a limit
	ErrUnsupported     Kind = "unsupported"     // no such call, or not with this method
	ErrIncapable       Kind = "incapable"       // this machine, or these agents, cannot do it; others may
	ErrTimeout         Kind = "timeout"         // a time limit ran out
	ErrStalled         Kind = "stalled"         // the caller stopped sending in the middle
	ErrCanceled        Kind = "canceled"        // the caller canceled
	ErrUnavailable     Kind = "unavailable"     // a part cannot be reached now; it may be later
	ErrBadGateway      Kind = "bad_gateway"     // the function's process gave no valid answer
	ErrTooMany         Kind = "too_many"        // too many at once, or too fast; it passes by itself
	ErrExhausted       Kind = "exhausted"       // no port, disk or place is left; something must be removed first
	ErrInternal        Kind = "internal"        // a fault of this program
)

// Error makes a Kind an error.
func (k Kind) Error() string { return string(k) }

// Error is an error with its kind and what callers are told.
type Error struct {
	Kind    Kind
	Message string
	// Hint says what to do about it, as a sentence or a command.
	Hint string
	// Component and Reason say which part failed and why, in a word each.
	Component, Reason string
	// RequestID is the id of the request that failed.
	RequestID string
	// Limit is the time limit that ran out, and Elapsed after how long that was found; 0
	// where none did.
	Limit, Elapsed time.Duration

	cause error
}

// Errorf returns an Error of a kind. A %w in the format wraps its operand, as in
// fmt.Errorf.
func Errorf(kind Kind, format string, args ...any) *Error {
	err := fmt.Errorf(format, args...)
	return &Error{Kind: kind, Message: err.Error(), cause: errors.Unwrap(err)}
}

// WithHint returns a copy that says what to do about it.
func (e *Error) WithHint(hint string) *Error {
	c := *e
	c.Hint = hint
	return &c
}

// From returns a copy that says which part failed and why.
func (e *Error) From(component, reason string) *Error {
	c := *e
	c.Component, c.Reason = component, reason
	return &c
}

// Late returns a copy that says which time limit ran out, and after how long.
func (e *Error) Late(limit, elapsed time.Duration) *Error {
	c := *e
	c.Limit, c.Elapsed = limit, elapsed
	return &c
}

func (e *Error) Error() string { return e.Message }

// Unwrap gives errors.Is and errors.As the kind and the cause.
func (e *Error) Unwrap() []error {
	if e.cause == nil {
		return []error{e.Kind}
	}
	return []error{e.Kind, e.cause}
}

// AsError returns err as an *Error. One without an *Error in its chain gets the kind
// that it wraps, or ErrInternal. AsError(nil) is nil.
func AsError(err error) *Error {
	if err == nil {
		return nil
	}
	var e *Error
	if errors.As(err, &e) {
		if e.Message == err.Error() {
			return e
		}
		// Keep the words that were wrapped around it.
		c := *e
		c.Message = err.Error()
		return &c
	}
	kind := ErrInternal
	errors.As(err, &kind)
	return &Error{Kind: kind, Message: err.Error(), cause: err}
}

// Detail is the error as it travels.
func (e *Error) Detail() *ErrorDetail {
	d := &ErrorDetail{
		Code: string(e.Kind), Message: e.Message, Hint: e.Hint,
		Component: e.Component, Reason: e.Reason, RequestId: e.RequestID,
	}
	if e.Limit > 0 {
		limit, elapsed := e.Limit.String(), e.Elapsed.String()
		d.Limit, d.Elapsed = &limit, &elapsed
	}
	return d
}

// Err is the error that a detail stands for.
func (d *ErrorDetail) Err() *Error {
	limit, _ := time.ParseDuration(d.GetLimit()) // 0 where there is none, or none that we know
	elapsed, _ := time.ParseDuration(d.GetElapsed())
	return &Error{
		Kind: Kind(d.GetCode()), Message: d.GetMessage(), Hint: d.GetHint(),
		Component: d.GetComponent(), Reason: d.GetReason(), RequestID: d.GetRequestId(),
		Limit: limit, Elapsed: elapsed,
	}
}
