package auth

import (
	"crypto/rand"
	"crypto/sha256"
	"hash/crc32"
	"math/big"
	"strings"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/transport/wire"
)

// prefix begins every token.
const prefix = wire.TokenPrefix

// A token is prefix, 32 random bytes and their checksum, both in base 62: letters and
// digits alone, so that a double click selects all of it.
const (
	secretBytes  = 32
	secretDigits = 43 // of 32 bytes
	sumDigits    = 6  // of 4 bytes
	tokenLength  = len(prefix) + secretDigits + sumDigits
)

// hash is what is kept of a token.
type hash = [sha256.Size]byte

// newSecret returns a new token.
func newSecret() string {
	var random [secretBytes]byte
	_, _ = rand.Read(random[:]) // never fails
	body := base62(random[:], secretDigits)
	return prefix + body + checksum(body)
}

func checksum(body string) string {
	sum := crc32.ChecksumIEEE([]byte(body))
	return base62([]byte{byte(sum >> 24), byte(sum >> 16), byte(sum >> 8), byte(sum)}, sumDigits)
}

// base62 is a number of digits digits, zeros first.
func base62(data []byte, digits int) string {
	text := new(big.Int).SetBytes(data).Text(62)
	return strings.Repeat("0", digits-len(text)) + text
}

// checkForm returns why a text cannot be a token, without repeating it.
func checkForm(secret string) error {
	body, ok := strings.CutPrefix(secret, prefix)
	if !ok {
		return unknown("it does not begin with " + prefix)
	}
	if len(secret) != tokenLength || checksum(body[:secretDigits]) != body[secretDigits:] {
		return unknown("it is not whole: a part is missing or was changed")
	}
	return nil
}

func unknown(why string) *proto.Error {
	return proto.Errorf(proto.ErrUnauthenticated, "the token is wrong: %s", why).
		WithHint("proxyCli login takes a new one; proxyCli token create makes one")
}

// FromHeader returns the token in the value of an Authorization header. It returns ""
// for any other value: that belongs to the function.
func FromHeader(value string) string {
	const scheme = "Bearer "
	if len(value) <= len(scheme) || !strings.EqualFold(value[:len(scheme)], scheme) {
		return ""
	}
	if secret := strings.TrimSpace(value[len(scheme):]); strings.HasPrefix(secret, prefix) {
		return secret
	}
	return ""
}
