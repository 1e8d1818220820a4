// Package trace tells a collector how long parts of the programs' work took: it makes
// spans and sends them as OTLP over HTTP, when an endpoint is set. Without one there is no
// Tracer, and all of its methods do nothing on nil.
//
// Whether a span is recorded is decided when it begins, by its parent or by chance, before
// anything else is done for it: a call that is not recorded costs the making of its ids.
// Spans are told when they have ended (Record), which never waits. One goroutine (Run)
// sends them. The package must never hold up the work that it is about, and never fill the
// memory: what a collector does not take in time is dropped and counted.
//
// Environment variables are those of OpenTelemetry
// (https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/ and
// https://opentelemetry.io/docs/specs/otel/protocol/exporter/), as far as FromEnv reads them.
//
// Decisions:
//
//   - The messages are OpenTelemetry's own module, and nothing else of it. Its SDK with the
//     exporter for OTLP over HTTP adds 64 packages to the proxy and 1.5 MB to its program,
//     among them a gateway for gRPC, two loggers and state of the whole process, and does
//     not say what it drops; the messages add 3 packages and 0.1 MB. What we need beyond
//     them is a queue and a POST.
//   - Without OTEL_TRACES_SAMPLER one in a hundred is recorded, not all as in the
//     specification: who sets an endpoint for a proxy does not ask for a span of each call.
//   - Ids are random, not secret.
package trace
