// Package openapi describes the HTTP API of a server as an OpenAPI 3.1 document
// (https://spec.openapis.org/oas/v3.1.1), for generators of clients, for pages that show it,
// and for tests of others.
//
// It is pure: Document makes it of the table of routes, the messages' descriptors, the
// comments of deploy.proto and the settings. So it has no list of its own that could fall
// behind: a route that is added is in the document.
//
//   - Schemas say how answers are written and how requests are best written. What is taken
//     beyond that (aliases of fields, a string for a list of one) is not in it: generators
//     make of alternatives what nobody likes to use.
//   - A message that is in requests and in answers has two schemas, since requests with
//     unknown fields are refused, while answers may get further ones, and have all those that
//     the schema requires. That of requests ends in Input.
//   - 64-bit numbers are integers, or strings where some readers would round them
//     (wire.Encode).
//   - OpenAPI 3.1 cannot say what the events of a stream are: the schema of a stream is
//     that of a text whose content is said to be the event's data.
//   - Functions have paths of their own, by which typed ones say what they take and answer
//     (WithFunctions). Their schemas are named FUNCTION.TYPE; no message has a dot in its name.
//   - Scopes are the roles of the security requirement, as section 4.8.30 allows. Callers who
//     need no token are the empty requirement.
package openapi
