package store

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"strings"
)

// encode returns a key as a subject: its segments, separated by ".", in which all bytes
// but letters, digits, "-" and "_" are "=" and two hexadecimal digits.
func encode(key string) string {
	var b strings.Builder
	b.Grow(len(key))
	for i := range len(key) {
		switch c := key[i]; {
		case c == '/':
			b.WriteByte('.')
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_':
			b.WriteByte(c)
		default:
			const digits = "0123456789ABCDEF"
			b.Write([]byte{'=', digits[c>>4], digits[c&15]})
		}
	}
	return b.String()
}

// decode is the key of a subject. What encode does not return is no key.
func decode(subject string) (key string, ok bool) {
	var b strings.Builder
	b.Grow(len(subject))
	for i := 0; i < len(subject); i++ {
		switch c := subject[i]; c {
		case '.':
			b.WriteByte('/')
		case '=':
			if len(subject) < i+3 {
				return "", false
			}
			value, err := hex.DecodeString(subject[i+1 : i+3])
			if err != nil {
				return "", false
			}
			b.Write(value)
			i += 2
		default:
			b.WriteByte(c)
		}
	}
	key = b.String()
	return key, encode(key) == subject
}

// filters are the subjects of the keys that begin with the segments of prefix.
func filters(prefix string) []string {
	if prefix = strings.TrimSuffix(prefix, "/"); prefix == "" {
		return []string{">"}
	}
	return []string{encode(prefix), encode(prefix) + ".>"}
}

// token is a word of fixed length that stands for a text.
func token(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:16])
}

// sealed is the first byte of a value as it is stored; a digest of the key and the value
// follows, then the value.
const sealed, sealLength = 1, 1 + 16

var errDamaged = errors.New("it is damaged: its digest is another one")

func seal(key string, value []byte) []byte {
	return append(append(make([]byte, 0, sealLength+len(value)), sealOf(key, value)...), value...)
}

func sealOf(key string, value []byte) []byte {
	h := sha256.New()
	h.Write([]byte(key))
	h.Write([]byte{0})
	h.Write(value)
	return append([]byte{sealed}, h.Sum(nil)[:sealLength-1]...)
}

// unseal returns the value, which is a part of data.
func unseal(key string, data []byte) ([]byte, error) {
	if len(data) < sealLength || !bytes.Equal(data[:sealLength], sealOf(key, data[sealLength:])) {
		return nil, errDamaged
	}
	return data[sealLength:], nil
}
