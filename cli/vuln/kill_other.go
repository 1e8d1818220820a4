//go:build !unix

package vuln

import "os/exec"

// killTogether leaves a program as it is: without process groups it is killed alone.
func killTogether(*exec.Cmd) {}
