// Package auth knows the tokens of a proxy or an agent, and records what callers did.
// Agents and proxies alone import it.
//
// A Keeper gets what a caller sent, and answers with an Identity: which token it is and
// what that allows. Who may do what is decided by package server.
//
// Decisions, and why:
//
//   - A token is 32 random bytes that begin with ryo_ and end with a checksum, so that
//     scanners for leaked secrets find it and believe it. The checksum tells a typing
//     error from a token that was revoked; it is no protection.
//   - SHA-256 of the token is kept, and nothing else of it: 256 random bits need no
//     slow hash, and the file alone gives no access.
//   - A proxy hands its list to its agents, which keep one for each proxy. They know the
//     hashes alone. A token is revoked where it was created. A proxy that is
//     silent for a day is one that cannot tell of that: its tokens do not hold then.
//   - Wrong tokens are answered late (Patience), right ones at once.
//   - What is kept lies behind Store, so that several proxies can share it: each changes
//     what it has read last, and reads again where another was faster.
//   - The record is lines of JSON in ASCII. What callers send cannot end a line or reach
//     a terminal as anything but text. What was refused is recorded in a file of its own,
//     so that strangers cannot push out what others did.
//
// The package must never log or store a token, or any part of one but its id.
package auth
