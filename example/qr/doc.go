// Package qr draws QR codes. It is a module of its own, with a dependency: the
// agent builds with the versions of go.mod, which go.sum checks.
//
//	./bin/proxyCli def example/qr/deploy.json
//	curl 'http://localhost:9002/functions/qr?text=https://go.dev'
//	curl -o qr.png 'http://localhost:9002/functions/qr/png?text=https://go.dev'
package qr
