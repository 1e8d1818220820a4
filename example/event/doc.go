// Package event receives CloudEvents (cloudevents.io). When its function returns an
// error, the sender gets a 500 and may try again.
//
//	./bin/proxyCli def example/event/deploy.json
//	curl http://localhost:9002/functions/placed -d '{"item": "tea", "quantity": 3}' \
//		-H 'Content-Type: application/json' -H 'Ce-Specversion: 1.0' \
//		-H 'Ce-Type: shop.order.placed' -H 'Ce-Source: /shop' -H 'Ce-Id: 7'
//	./bin/proxyCli log Placed
//
// Events may be binary, as above, or structured: the whole event as JSON.
package event
