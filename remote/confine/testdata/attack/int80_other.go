//go:build !amd64

package main

import "golang.org/x/sys/unix"

func int80Call(uint32, uint32, uint32, uint32) int32 { return -int32(unix.ENOSYS) }
