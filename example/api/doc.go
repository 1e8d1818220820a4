// Package api is a small JSON API in one function, with the standard library
// alone: sub-paths, methods, a query, and errors that a program can read.
//
//	./bin/proxyCli def example/api/deploy.json
//	curl -d '{"title": "buy milk"}' http://localhost:9002/functions/tasks
//	curl -X PUT -d '{"title": "buy milk", "done": true}' http://localhost:9002/functions/tasks/1
//	curl 'http://localhost:9002/functions/tasks?done=true'
//	curl -X DELETE http://localhost:9002/functions/tasks/1
//
// A function sees the path below its own: /functions/tasks/1 arrives as /1. So a test
// need not know where it is deployed.
//
// The tasks are in the memory of the process: its calls share them, and a new process,
// such as that of the next deploy, starts without any.
package api
