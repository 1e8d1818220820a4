// Package catalog knows what the shop sells: what catalog.json says, which the
// compiler puts into the function's binary.
package catalog
