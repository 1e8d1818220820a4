// Package proto holds the words that agent, proxy and clients share:
//
//   - deploy.proto: the messages and the service, with the code generated from it
//   - name.go: names and paths of functions; nearest.go: what a wrong word may mean
//   - status.go: statuses and their legal moves
//   - settings.go, check.go: each setting once, and its limits
//   - errors.go: the kinds of error
//   - logs.go, requestid.go: since when log lines are asked for, the id of a request
//
// It imports the standard library and what the generated code needs, nothing
// else, so that every other package may import it. It must never do I/O.
//
// deploy.proto is the only definition of a message. HTTP bodies are the same
// messages in the JSON form of protobuf, so a field that is added there is
// added everywhere at once.
package proto

//go:generate sh -c "cd .. && protoc -I . --plugin=protoc-gen-go=\"$(go tool -n protoc-gen-go)\" --plugin=protoc-gen-go-grpc=\"$(go tool -n protoc-gen-go-grpc)\" --go_out=. --go_opt=paths=source_relative --go-grpc_out=. --go-grpc_opt=paths=source_relative proto/deploy.proto"
//go:generate go test -count=1 -run ^TestTheDocsListTheSettings$ . -write
