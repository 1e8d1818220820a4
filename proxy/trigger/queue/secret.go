package queue

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"strings"
	"sync"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/proxy/store"
)

const (
	secretKey    = "callbacks/secret"
	secretPrefix = "whsec_"
	secretSize   = 32 // bytes: Standard Webhooks ask for 24 to 64
)

// secret is what all proxies of a store share, once it was read.
type secret struct {
	mu  sync.Mutex
	key []byte // mu guards it; nil: not yet
}

// signingKey returns the secret, which the first who asks makes.
func (q *Queue) signingKey(ctx context.Context) ([]byte, error) {
	s := &q.secret
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.key != nil {
		return s.key, nil
	}
	settings := q.store.Registry(store.Settings)
	e, err := settings.Get(ctx, secretKey)
	if errors.Is(err, proto.ErrNotFound) {
		fresh := make([]byte, secretSize)
		_, _ = rand.Read(fresh) // which never fails
		_, err = settings.Create(ctx, secretKey, []byte(secretPrefix+base64.StdEncoding.EncodeToString(fresh)))
		if err == nil || errors.Is(err, proto.ErrConflict) {
			e, err = settings.Get(ctx, secretKey)
		}
	}
	if err != nil {
		return nil, err
	}
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(string(e.Value), secretPrefix))
	if err != nil || len(key) == 0 {
		return nil, proto.Errorf(proto.ErrInternal, "the secret of callbacks in the store is not one")
	}
	s.key = key
	return key, nil
}

// CallbackSecret implements transport.Calls.
func (q *Queue) CallbackSecret(ctx context.Context) (string, error) {
	key, err := q.signingKey(ctx)
	if err != nil {
		return "", err
	}
	return secretPrefix + base64.StdEncoding.EncodeToString(key), nil
}

// derive returns a nonce that follows from what, and that nobody can guess.
func (q *Queue) derive(ctx context.Context, what string) (n [nonceSize]byte, err error) {
	key, err := q.signingKey(ctx)
	if err != nil {
		return n, err
	}
	mac := hmac.New(sha256.New, key)
	_, _ = mac.Write([]byte("id " + what))
	copy(n[:], mac.Sum(nil))
	return n, nil
}

// rand16 returns a name that no other has.
func rand16() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // which never fails
	return hex.EncodeToString(b[:])
}
