package wish

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"maps"
	"slices"
	"strings"

	"github.com/Ishan27g/ryo-faas/proto"
)

// Sealed are values of secrets by name, which only those can read who have the key.
type Sealed map[string]Box

// Box is a sealed value.
type Box struct {
	Key  string `json:"key"`  // the name of the key
	Data []byte `json:"data"` // a nonce, and the value sealed with AES-256-GCM for its function and name
}

// Keys are what secrets are sealed with. The store has none of them.
type Keys struct{ list []key }

type key struct {
	name string // says nothing of the key but which it is
	aead cipher.AEAD
}

const keySize = 32 // bytes: AES-256

// NewKey returns a file of keys with a new one.
func NewKey() []byte {
	secret := make([]byte, keySize)
	_, _ = rand.Read(secret) // it never fails
	return []byte("# What the proxies of a store seal secrets with. The first key seals, each opens.\n" + base64.StdEncoding.EncodeToString(secret) + "\n")
}

// ReadKeys reads a file of keys: one on a line, in base64; lines that begin with # say
// nothing.
func ReadKeys(file []byte) (*Keys, error) {
	keys := &Keys{}
	for i, line := range bytes.Split(file, []byte("\n")) {
		line = bytes.TrimSpace(line)
		if len(line) == 0 || line[0] == '#' {
			continue
		}
		secret, err := base64.StdEncoding.DecodeString(string(line))
		if err != nil || len(secret) != keySize { // what it is instead may be a secret too
			return nil, proto.Errorf(proto.ErrInvalid, "line %d is no key: %d bytes in base64", i+1, keySize).
				WithHint("head -c 32 /dev/urandom | base64 makes one")
		}
		block, err := aes.NewCipher(secret)
		if err != nil {
			return nil, err
		}
		aead, err := cipher.NewGCMWithRandomNonce(block)
		if err != nil {
			return nil, err
		}
		sum := sha256.Sum256(append([]byte("name of a key\x00"), secret...))
		keys.list = append(keys.list, key{hex.EncodeToString(sum[:4]), aead})
	}
	if len(keys.list) == 0 {
		return nil, proto.Errorf(proto.ErrInvalid, "there is no key").WithHint("head -c 32 /dev/urandom | base64 makes one")
	}
	return keys, nil
}

// Seal seals the values of secrets of the function of a path.
func (k *Keys) Seal(path string, values map[string]string) Sealed {
	if len(values) == 0 {
		return nil
	}
	sealed := make(Sealed, len(values))
	for name, value := range values {
		sealed[name] = Box{k.list[0].name, k.list[0].aead.Seal(nil, nil, []byte(value), owner(path, name))}
	}
	return sealed
}

// Open returns the values of secrets, an ErrUnavailable if the key is not here.
func (k *Keys) Open(path string, sealed Sealed) (map[string]string, error) {
	values := make(map[string]string, len(sealed))
	for _, name := range slices.Sorted(maps.Keys(sealed)) {
		box := sealed[name]
		i := slices.IndexFunc(k.list, func(k key) bool { return k.name == box.Key })
		if i < 0 {
			return nil, proto.Errorf(proto.ErrUnavailable, "the secret %s of function %s is sealed with the key %s, and this proxy has %s", name, path, box.Key, k.names()).
				WithHint("give it the file of the proxy that stored the secret: proxy -secrets-key FILE; or deploy again with the secrets")
		}
		value, err := k.list[i].aead.Open(nil, nil, box.Data, owner(path, name))
		if err != nil {
			return nil, proto.Errorf(proto.ErrInternal, "the secret %s of function %s, as it is stored, is damaged: %w", name, path, err).
				WithHint("deploy again with the secrets")
		}
		values[name] = string(value)
	}
	return values, nil
}

func (k *Keys) names() string {
	var names []string
	for _, one := range k.list {
		names = append(names, one.name)
	}
	return strings.Join(names, ", ")
}

// Renew returns secrets sealed with the first key, and whether some were with another one
// that is here.
func (k *Keys) Renew(path string, sealed Sealed) (renewed Sealed, changed bool) {
	renewed = maps.Clone(sealed)
	for name, box := range sealed {
		if box.Key == k.list[0].name {
			continue
		}
		if values, err := k.Open(path, Sealed{name: box}); err == nil {
			renewed[name], changed = k.Seal(path, values)[name], true
		}
	}
	return renewed, changed
}

// owner is what a sealed value belongs to: it cannot be opened for another one.
func owner(path, name string) []byte { return []byte(path + "\x00" + name) }

// Whole reports whether the values of all secrets of a version are stored with it.
func (v *Version) Whole() bool {
	for name := range v.Settings.GetSecrets() {
		if _, is := v.Sealed[name]; !is {
			return false
		}
	}
	return true
}
