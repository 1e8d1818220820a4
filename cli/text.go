package cli

import "bytes"

// withoutMark is a text that a person wrote without the byte order mark that some
// editors begin with.
func withoutMark(text []byte) []byte { return bytes.TrimPrefix(text, []byte("\uFEFF")) }
