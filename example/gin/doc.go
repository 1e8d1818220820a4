// Package dice is a gin handler: one function that gin calls for each method and
// every path below its own. Here the path says which dice to roll.
//
//	./bin/proxyCli def example/gin/deploy.json
//	curl http://localhost:9002/functions/roll/2d6
//
// It is a module of its own that requires gin. The agent adds only the engine, in
// release mode and without a logger.
package dice
