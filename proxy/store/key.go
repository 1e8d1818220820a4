package store

import (
	"strings"

	"github.com/Ishan27g/ryo-faas/proto"
)

// The limits of a key.
const (
	maxSegment = 200 // bytes: a function's name and more
	maxKey     = 500
)

// CheckKey returns an ErrInvalid for what is no key of a registry, name of a blob, or topic.
func CheckKey(key string) error {
	bad := key == "" || len(key) > maxKey
	for segment := range strings.SplitSeq(key, "/") {
		bad = bad || segment == "" || len(segment) > maxSegment
	}
	if bad {
		return proto.Errorf(proto.ErrInvalid, "%.100q is no key of the store", key).
			WithHint("a key is segments of 1 to 200 bytes, separated by /, 500 bytes in all")
	}
	return nil
}

// Below reports whether a key begins with the segments of prefix; "" stands for all.
func Below(key, prefix string) bool {
	prefix = strings.TrimSuffix(prefix, "/")
	return prefix == "" || key == prefix || strings.HasPrefix(key, prefix+"/")
}

// CheckHeader returns an ErrTooLarge for a message whose id and header are.
func CheckHeader(m *Message) error {
	size := len(m.ID)
	for name, value := range m.Header {
		size += len(name) + len(value)
	}
	if size > MaxHeader {
		return proto.Errorf(proto.ErrTooLarge, "a message's header of %d bytes is larger than %d", size, MaxHeader)
	}
	return nil
}
