// Package stream sends its answer piece by piece: five server-sent events, 300 ms
// apart. Nothing on the way holds them back, so they arrive one by one:
//
//	./bin/proxyCli def example/stream/deploy.json
//	curl -N http://localhost:9002/functions/countdown
//
// When the caller leaves, the request's context ends, and the function with it.
package stream
