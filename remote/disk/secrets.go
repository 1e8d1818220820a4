package disk

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/Ishan27g/ryo-faas/proto"
)

// Sealed are the values of secrets by name, as they lie on the disk: a nonce and
// the AES-GCM sealing of the value for its function and name alone.
type Sealed map[string][]byte

// Sealer seals secrets with a key that stays on this machine, so that a copy of
// the records alone discloses nothing. Its methods may be called concurrently.
type Sealer struct{ aead cipher.AEAD }

// OpenSealer takes the key from a file, which it makes if there is none.
func OpenSealer(path string) (*Sealer, error) {
	key, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		key = make([]byte, 32) // AES-256
		_, _ = rand.Read(key)  // it never fails
		err = writeKey(path, key)
	}
	if err != nil {
		return nil, fmt.Errorf("the key of the secrets: %w", err)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("the key of the secrets, %s: %w", path, err)
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, err
	}
	return &Sealer{aead}, nil
}

// writeKey stores a key for good: a secret whose key is lost is lost.
func writeKey(path string, key []byte) (err error) {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err = errors.Join(err, file.Close()); err != nil {
			_ = os.Remove(path)
		}
	}()
	if _, err := file.Write(key); err != nil {
		return err
	}
	return file.Sync()
}

// All seals the secrets of the function at a path.
func (s *Sealer) All(path string, values map[string]string) Sealed {
	if len(values) == 0 {
		return nil
	}
	out := make(Sealed, len(values))
	for name, value := range values {
		out[name] = s.aead.Seal(nil, nil, []byte(value), owner(path, name))
	}
	return out
}

// Open returns the values of sealed secrets.
func (s *Sealer) Open(path string, secrets Sealed) (map[string]string, error) {
	values := make(map[string]string, len(secrets))
	for name, box := range secrets {
		value, err := s.aead.Open(nil, nil, box, owner(path, name))
		if err != nil {
			return nil, proto.Errorf(proto.ErrUnavailable, "the secret %s of function %s cannot be read: %w", name, path, err).
				WithHint("the agent's key has changed since; deploy the function with its secrets again")
		}
		values[name] = string(value)
	}
	return values, nil
}

// owner is what a sealed value belongs to: it is worth nothing in another place.
func owner(path, name string) []byte { return []byte(path + "\x00" + name) }
