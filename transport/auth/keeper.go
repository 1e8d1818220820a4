package auth

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/transport/wire"
)

const (
	// maxTokens bounds the tokens of one issuer. Whoever needs more has forgotten to
	// revoke.
	maxTokens = 1000
	// maxIssuers bounds the proxies whose lists an agent keeps.
	maxIssuers = 16
	// defaultGrace is how long a token that was rotated still holds: until all who use
	// it have the new one.
	defaultGrace = time.Hour
)

// Lists is all that a Keeper keeps of tokens.
type Lists struct {
	Issuer string             `json:"issuer"`           // the id of this proxy or agent
	Tokens []Token            `json:"tokens"`           // its own
	Shared map[string][]Token `json:"shared,omitempty"` // those of proxies, by their ids
	// Heard is when each of those proxies last told its tokens.
	Heard map[string]time.Time `json:"heard,omitempty"`
}

// Store keeps the lists. Several keepers may share one.
type Store interface {
	// Load returns what was saved last, nil if nothing was.
	Load() (*Lists, error)
	// Save replaces what is stored. When it returns, either all of it is stored or all
	// of what was there before. If that is not what this keeper has loaded or saved last,
	// it is an ErrConflict.
	Save(*Lists) error
}

// maxConflicts is how often a change is made anew, since other keepers have changed the
// lists meanwhile.
const maxConflicts = 10

// Keeper knows the tokens that hold here.
type Keeper struct {
	store Store
	now   func() time.Time
	index atomic.Pointer[index]

	mu      sync.Mutex // guards the fields below
	lists   Lists
	changed chan struct{} // closed when the own tokens change
}

// index finds tokens by the beginning of their hashes. It never changes.
type index map[[8]byte][]indexed

type indexed struct {
	hash    hash
	expires time.Time
	heard   time.Time // when its proxy last told of it; zero: it is an own one
	who     *Identity
}

// Open returns the keeper of a store.
func Open(store Store) (*Keeper, error) {
	lists, err := store.Load()
	if err != nil {
		return nil, err
	}
	k := &Keeper{store: store, now: time.Now, changed: make(chan struct{})}
	if lists == nil {
		lists = &Lists{Issuer: newID("i_")}
		err := store.Save(lists)
		if errors.Is(err, proto.ErrConflict) { // another keeper was first
			if lists, err = store.Load(); err == nil && lists == nil {
				err = proto.Errorf(proto.ErrUnavailable, "the tokens were stored by another, and cannot be read")
			}
		}
		if err != nil {
			return nil, err
		}
	}
	k.complete(lists)
	if err := k.use(*lists); err != nil {
		return nil, err
	}
	return k, nil
}

// complete adds what stored lists may lack.
func (k *Keeper) complete(lists *Lists) {
	if lists.Heard == nil {
		lists.Heard = make(map[string]time.Time)
	}
	for issuer := range lists.Shared {
		if lists.Heard[issuer].IsZero() { // a file of an older version
			lists.Heard[issuer] = k.stamp()
		}
	}
}

func newID(prefix string) string {
	var random [6]byte
	_, _ = rand.Read(random[:]) // never fails
	return prefix + hex.EncodeToString(random[:])
}

// use makes lists those that hold.
func (k *Keeper) use(lists Lists) error {
	next := index{}
	add := func(tokens []Token, heard time.Time) error {
		for i := range tokens {
			t := &tokens[i]
			h, err := t.hashed()
			if err != nil {
				return fmt.Errorf("token %.40q: %w", t.ID, err)
			}
			key := [8]byte(h[:8])
			next[key] = append(next[key], indexed{h, t.Expires, heard, &Identity{ID: t.ID, Name: t.Name, Scopes: t.Scopes, Functions: t.Functions}})
		}
		return nil
	}
	if err := add(lists.Tokens, time.Time{}); err != nil {
		return err
	}
	for issuer, tokens := range lists.Shared {
		if err := add(tokens, lists.Heard[issuer]); err != nil {
			return err
		}
	}
	k.lists = lists
	k.index.Store(&next)
	return nil
}

// Verify returns whose a token is, or an ErrUnauthenticated that says why it is wrong.
func (k *Keeper) Verify(secret string) (*Identity, error) {
	if err := checkForm(secret); err != nil {
		return nil, err
	}
	h := sha256.Sum256([]byte(secret))
	for _, t := range (*k.index.Load())[[8]byte(h[:8])] {
		if subtle.ConstantTimeCompare(h[:], t.hash[:]) == 0 {
			continue
		}
		if !t.expires.IsZero() && !k.now().Before(t.expires) {
			return nil, unknown("it expired at " + stamp(t.expires))
		}
		if k.silent(t.heard) {
			return nil, errSilent(t.heard)
		}
		return t.who, nil
	}
	return nil, unknown("it is not known here; it may have been revoked")
}

// change saves and uses what edit makes of the lists. It calls edit again if another keeper
// has changed them meanwhile.
func (k *Keeper) change(edit func(*Lists) error) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	for conflicts := 0; ; conflicts++ {
		next := k.lists
		next.Tokens = slices.DeleteFunc(slices.Clone(k.lists.Tokens), func(t Token) bool { return k.gone(&t) })
		if err := edit(&next); err != nil {
			return err
		}
		err := k.store.Save(&next)
		if errors.Is(err, proto.ErrConflict) && conflicts < maxConflicts {
			if err := k.reload(); err != nil {
				return err
			}
			continue
		}
		if err != nil {
			return err
		}
		return k.useAndTell(next)
	}
}

// useAndTell makes lists those that hold, and says that they have changed. k.mu is held.
func (k *Keeper) useAndTell(lists Lists) error {
	if err := k.use(lists); err != nil {
		return err
	}
	close(k.changed)
	k.changed = make(chan struct{})
	return nil
}

// Reload makes what is stored hold, which other keepers may have changed.
func (k *Keeper) Reload() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.reload()
}

func (k *Keeper) reload() error {
	lists, err := k.store.Load()
	if err != nil || lists == nil {
		return err
	}
	if k.complete(lists); reflect.DeepEqual(*lists, k.lists) {
		return nil
	}
	return k.useAndTell(*lists)
}

// keptExpired is how long a token that has expired is still listed, so that its owner
// sees why it does not hold.
const keptExpired = 7 * 24 * time.Hour

func (k *Keeper) gone(t *Token) bool {
	return !t.Expires.IsZero() && k.now().Sub(t.Expires) > keptExpired
}

// CreateToken implements transport.Admin.
func (k *Keeper) CreateToken(_ context.Context, req *proto.TokenRequest) (*proto.NewToken, error) {
	t := Token{Name: req.GetName(), Functions: req.GetFunctions()}
	for _, s := range req.GetScopes() {
		t.Scopes = append(t.Scopes, wire.Scope(s))
	}
	ttl, err := duration("ttl", req.GetTtl())
	if err != nil {
		return nil, err
	}
	if err := t.check(); err != nil {
		return nil, err
	}
	var made *proto.NewToken
	err = k.change(func(lists *Lists) (err error) {
		made, err = k.add(lists, t, ttl)
		return err
	})
	if err != nil {
		return nil, err
	}
	return made, nil
}

// add makes a token like t.
func (k *Keeper) add(lists *Lists, t Token, ttl time.Duration) (*proto.NewToken, error) {
	if len(lists.Tokens) >= maxTokens {
		return nil, proto.Errorf(proto.ErrExhausted, "there are %d tokens, the most there can be", maxTokens).WithHint("revoke those that nobody uses: proxyCli token list")
	}
	secret := newSecret()
	t.setHash(secret)
	t.ID, t.Created, t.Expires = newID("t_"), k.now().UTC().Truncate(time.Second), time.Time{}
	if ttl > 0 {
		t.Expires = t.Created.Add(ttl)
	}
	lists.Tokens = append(lists.Tokens, t)
	return &proto.NewToken{Token: t.describe(lists.Issuer), Secret: secret}, nil
}

// duration reads a time span that may be left out.
func duration(name, text string) (time.Duration, error) {
	if text == "" || text == "0" {
		return 0, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < time.Second {
		return 0, proto.Errorf(proto.ErrInvalid, "%s: %.40q is not a duration of a second or more, such as 24h", name, text)
	}
	return d, nil
}

// Tokens implements transport.Admin.
func (k *Keeper) Tokens(context.Context) ([]*proto.Token, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	list := []*proto.Token{}
	add := func(issuer string, tokens []Token) {
		for i := range tokens {
			if !k.gone(&tokens[i]) {
				list = append(list, tokens[i].describe(issuer))
			}
		}
	}
	add(k.lists.Issuer, k.lists.Tokens)
	for _, issuer := range slices.Sorted(maps.Keys(k.lists.Shared)) {
		add(issuer, k.lists.Shared[issuer])
	}
	slices.SortStableFunc(list, func(a, b *proto.Token) int { return strings.Compare(a.GetCreated(), b.GetCreated()) })
	return list, nil
}

// RevokeToken implements transport.Admin.
func (k *Keeper) RevokeToken(_ context.Context, id string) (*proto.Token, error) {
	var revoked *proto.Token
	err := k.change(func(lists *Lists) error {
		i, err := lists.find(id)
		if err == nil {
			revoked = lists.Tokens[i].describe(lists.Issuer)
			lists.Tokens = slices.Delete(lists.Tokens, i, i+1)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return revoked, nil
}

// RotateToken implements transport.Admin.
func (k *Keeper) RotateToken(_ context.Context, req *proto.RotateRequest) (*proto.NewToken, error) {
	grace, err := duration("grace", req.GetGrace())
	if err != nil {
		return nil, err
	}
	if req.GetGrace() == "" {
		grace = defaultGrace
	}
	var made *proto.NewToken
	err = k.change(func(lists *Lists) error {
		i, err := lists.find(req.GetId())
		if err != nil {
			return err
		}
		old := &lists.Tokens[i]
		var ttl time.Duration
		if !old.Expires.IsZero() {
			if !k.now().Before(old.Expires) {
				return proto.Errorf(proto.ErrConflict, "token %s has expired", old.ID).WithHint("make a new one: proxyCli token create")
			}
			ttl = old.Expires.Sub(old.Created)
		}
		made, err = k.add(lists, *old, ttl)
		if err != nil {
			return err
		}
		old = &lists.Tokens[i]
		if end := k.now().UTC().Add(grace).Truncate(time.Second); old.Expires.IsZero() || end.Before(old.Expires) {
			old.Expires = end
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return made, nil
}

// find returns the place of a token that was created here.
func (l *Lists) find(id string) (int, error) {
	if i := slices.IndexFunc(l.Tokens, func(t Token) bool { return t.ID == id }); i >= 0 {
		return i, nil
	}
	for issuer, tokens := range l.Shared {
		if slices.ContainsFunc(tokens, func(t Token) bool { return t.ID == id }) {
			return 0, proto.Errorf(proto.ErrConflict, "token %s is the proxy's (%s)", id, issuer).WithHint("ask the proxy, with -proxy: it tells its agents")
		}
	}
	return 0, proto.Errorf(proto.ErrNotFound, "there is no token %.40q", id).WithHint("proxyCli token list shows their ids")
}
