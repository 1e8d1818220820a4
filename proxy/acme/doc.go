// Package acme gets the certificates of public names from an authority that speaks ACME
// (RFC 8555), Let's Encrypt by default, and renews them. A Manager is given names, keeps
// what it gets in its folder, and serves with it. It must never ask for a name that
// neither the operator nor a deployed function has.
//
// The work is certmagic's, which is nothing that one writes again: when to renew, backing
// off, the limits of authorities, several processes that share a folder.
// A certificate that cannot be renewed serves on. It costs the proxy 2.2 MB, and no other
// program links it.
//
// Authorities check that a name leads here, by a handshake at port 443 (TLS-ALPN-01) or
// a request at port 80 (HTTP-01). Both arrive at the proxy's public listeners.
package acme
