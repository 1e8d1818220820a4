// Package http1 reads heads and chunks of HTTP/1.1 (RFC 9112) where they lie, without
// copying them and without an allocation.
//
// Of requests it reads the plain ones alone: whatever is unusual in the form of one is
// left to a parser that knows all cases and answers for it. So it may be strict without
// refusing anything. Of answers it takes what net/http's client takes, since there is
// nobody to leave them to. It never reads or sends anything itself.
package http1
