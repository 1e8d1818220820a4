//go:build !linux

package testkit

func relayMain() {}
