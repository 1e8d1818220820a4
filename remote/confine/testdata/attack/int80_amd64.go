package main

// int80Call makes a system call of the i386 architecture.
func int80Call(call, a, b, c uint32) int32
