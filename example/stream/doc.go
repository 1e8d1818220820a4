// Package stream sends its answer piece by piece: five server-sent events, 300 ms
// apart. Nothing on the way buffers them, so they arrive one by one:
//
//	./bin/proxyCli def example/stream/deploy.json
//	curl -N http://localhost:9002/functions/countdown
//
// When the caller cancels, the request's context is canceled, and the function returns.
package stream
