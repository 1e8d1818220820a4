// Package event receives CloudEvents (cloudevents.io). It returns an error when
// it could not do its work: the sender gets a 500 and may try again.
//
//	./bin/proxyCli def example/event/deploy.json
//	curl http://localhost:9002/functions/placed -d '{"item": "tea", "quantity": 3}' \
//		-H 'Content-Type: application/json' -H 'Ce-Specversion: 1.0' \
//		-H 'Ce-Type: shop.order.placed' -H 'Ce-Source: /shop' -H 'Ce-Id: 7'
//	./bin/proxyCli log Placed
//
// Events come in binary mode, as above, or in structured mode, whole as JSON.
package event
