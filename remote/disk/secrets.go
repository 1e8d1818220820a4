package disk

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"

	"github.com/Ishan27g/ryo-faas/internal/state"
	"github.com/Ishan27g/ryo-faas/proto"
)

// Sealed are the values of secrets by name, as they are stored: a nonce, and the value
// sealed with AES-GCM for its function and name.
type Sealed map[string][]byte

// Sealer seals secrets with a key that stays on this machine, so that a copy of
// the records alone discloses nothing. Its methods may be called concurrently.
type Sealer struct{ aead cipher.AEAD }

// keyFile has the key of the secrets.
const keyFile = "secrets.key"

// keySize is that of a key of AES-256, in bytes.
const keySize = 32

// Sealer returns a sealer with the folder's key, which it makes if it is missing. A
// damaged key is set aside: then the secrets that it has sealed cannot be opened.
func (d Folder) Sealer() (*Sealer, error) {
	key, err := d.ReadFile(keyFile)
	if err == nil && len(key) != keySize {
		err = fmt.Errorf("%w: it has %d bytes instead of %d", state.ErrDamaged, len(key), keySize)
	}
	if errors.Is(err, state.ErrDamaged) {
		damage := Damage{
			File: d.Path(keyFile), Why: err.Error(),
			Way: "put the key back, with the agent stopped, or deploy functions that have secrets again, with these",
		}
		if damage.Aside, err = d.SetAside(keyFile); err != nil {
			return nil, err
		}
		d.report(damage)
		err = fs.ErrNotExist
	}
	if errors.Is(err, fs.ErrNotExist) {
		key = make([]byte, keySize)
		_, _ = rand.Read(key) // it never fails
		err = d.WriteFile(keyFile, key)
	}
	if err != nil {
		return nil, fmt.Errorf("the key of the secrets: %w", err)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, err
	}
	return &Sealer{aead}, nil
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
				WithHint("the agent's key has changed since; deploy the function with its secrets again").From("agent", proto.ReasonDamaged)
		}
		values[name] = string(value)
	}
	return values, nil
}

// owner is what a sealed value belongs to: it cannot be opened for another one.
func owner(path, name string) []byte { return []byte(path + "\x00" + name) }
