package bundle

// Package is a packed archive in a file.
type Package struct {
	Digest string // of the archive's bytes: "sha256:" and 64 hexadecimal digits
	Size   int64  // bytes
	Path   string // the file that holds it
}
