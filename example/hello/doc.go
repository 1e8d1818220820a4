// Package hello is the smallest function there is. Deploy it and call it:
//
//	./bin/proxyCli def example/hello/deploy.json
//	curl http://localhost:9002/functions/helloworld
//
// Any package will do, and any exported function in it with the signature of an
// http.HandlerFunc. There is no main, no server and nothing of the platform to
// import: the agent adds what serves it.
package hello
