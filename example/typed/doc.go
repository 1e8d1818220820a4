// Package typed has a function from one Go type to another. It knows nothing of
// HTTP: the platform decodes the request's JSON, calls it and encodes the result.
//
//	./bin/proxyCli def example/typed/deploy.json
//	curl -d '[3, 1, 2]' http://localhost:9002/functions/summary
//
// JSON that does not fit is answered with 400 and its line and column. An error with a
// method StatusCode is answered with that status and its text; any other error goes to
// the log, and callers get 500. The first parameter may be a context.Context, the
// request's.
package typed
