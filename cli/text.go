package cli

import "bytes"

// withoutMark removes the byte order mark that some editors write.
func withoutMark(text []byte) []byte { return bytes.TrimPrefix(text, []byte("\uFEFF")) }
