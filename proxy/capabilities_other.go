//go:build !linux

package proxy

func dropCapabilities() error { return nil }
