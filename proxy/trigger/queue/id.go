package queue

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"unicode"
	"unicode/utf8"

	"github.com/Ishan27g/ryo-faas/proto"
)

// id names a call. Who has it finds the call: it says where the message lies until the
// first attempt, and holds what nobody can guess.
type id struct {
	path     string // of the function
	sequence uint64 // of its message, as it was stored first; 0: it had none yet
	nonce    [nonceSize]byte
}

const (
	nonceSize = 10 // bytes: 80 bits, so that the longest id is a segment of a key
	idPrefix  = "c_"
	maxID     = 200 // bytes: a segment of a key
)

func newNonce() (n [nonceSize]byte) {
	_, _ = rand.Read(n[:]) // which never fails
	return n
}

// String is the form that callers see.
func (i id) String() string {
	b := binary.AppendUvarint(nil, i.sequence)
	b = append(b, i.nonce[:]...)
	b = append(b, i.path...)
	return idPrefix + base64.RawURLEncoding.EncodeToString(b)
}

// key is where the record of the call is: a message gets another sequence when it waits for
// its next attempt.
func (i id) key() string { return i.path + "/" + nonceText(i.nonce) }

// once names a message that follows from the call, so that it is stored once.
func (i id) once(what string) string { return what + " " + i.key() }

// parseID reads what String has written, and nothing else.
func parseID(text string) (i id, err error) {
	bad := proto.Errorf(proto.ErrNotFound, "there is no call %.*q", maxID, text).WithHint("proxyCli calls shows which there are")
	if len(text) < len(idPrefix) || len(text) > maxID || text[:len(idPrefix)] != idPrefix {
		return id{}, bad
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(text[len(idPrefix):])
	if err != nil {
		return id{}, bad
	}
	sequence, n := binary.Uvarint(b)
	if n <= 0 || len(b) <= n+nonceSize {
		return id{}, bad
	}
	i.sequence = sequence
	copy(i.nonce[:], b[n:])
	i.path = string(b[n+nonceSize:])
	if !isPath(i.path) || i.String() != text {
		return id{}, bad
	}
	return i, nil
}

func (i id) blob(kind string) string { return kind + "/" + i.key() }

// same reports whether a message's nonce is the id's.
func (i id) same(nonce []byte) bool { return bytes.Equal(i.nonce[:], nonce) }

func nonceText(n [nonceSize]byte) string { return hex.EncodeToString(n[:]) }

// isPath reports whether text is a function's path.
func isPath(text string) bool {
	first, size := utf8.DecodeRuneInString(text)
	return proto.Path(text) == text && proto.CheckName(string(unicode.ToUpper(first))+text[size:]) == nil
}
