// Package pki says which programs belong together: a proxy and the agents that have
// joined it.
//
// A proxy has an authority, which it makes at its first start. A join token carries the
// SHA-256 of the authority's public key, the pin, and a secret that is good once, for an
// hour. The agent dials the proxy by TLS 1.3 and verifies the proxy's chain against the
// pin before it sends the secret, so that a stranger in between gets nothing. It sends a
// certificate request for its id and gets a certificate for a day, which it renews when
// two thirds of that have passed. Its key never leaves its machine and stays the same,
// so that nobody else can join as an agent that is a member.
//
// What a certificate allows is in its one URI, as in SPIFFE: spiffe://ryo/proxy/ID or
// spiffe://ryo/agent/ID. A proxy may control agents. An agent may renew its own
// certificate and nothing else. An agent that was removed is not a member any longer,
// and its certificate is refused although it has not expired.
//
// Certificates are verified against the one authority alone, never against those that
// the system trusts. Servers verify those of clients with the first request instead of in
// the handshake: then they can say why one is refused.
//
// The package reaches no network. What it keeps lies behind Store: the folder of the
// program now.
package pki
