// Package catalog has the prices of catalog.json, which the compiler embeds in the
// function's program.
package catalog
