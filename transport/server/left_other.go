//go:build !linux

package server

import "net/http"

// Left reports false: only Linux tells.
func Left(*http.Request) bool { return false }
