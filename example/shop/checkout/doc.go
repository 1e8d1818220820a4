// Package checkout is a function that is part of a larger module: it imports a
// sibling package, which imports an internal one, which embeds a file. A
// deploy sends these, and nothing else of the module.
//
//	./bin/proxyCli def example/shop/deploy.json
//	curl 'http://localhost:9002/functions/checkout?item=tea&item=tea&item=cup'
package checkout
