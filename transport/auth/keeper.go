package auth

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
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
}

// Store keeps the lists.
type Store interface {
	// Load returns what was saved last, nil if nothing was.
	Load() (*Lists, error)
	// Save replaces what is stored. When it returns, either all of it is stored or all
	// of what was there before.
	Save(*Lists) error
}

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
		if err := store.Save(lists); err != nil {
			return nil, err
		}
	}
	if err := k.use(*lists); err != nil {
		return nil, err
	}
	return k, nil
}

func newID(prefix string) string {
	var random [6]byte
	_, _ = rand.Read(random[:]) // never fails
	return prefix + hex.EncodeToString(random[:])
}

// use makes lists those that hold.
func (k *Keeper) use(lists Lists) error {
	next := index{}
	add := func(tokens []Token) error {
		for i := range tokens {
			t := &tokens[i]
			h, err := t.hashed()
			if err != nil {
				return fmt.Errorf("token %.40q: %w", t.ID, err)
			}
			key := [8]byte(h[:8])
			next[key] = append(next[key], indexed{h, t.Expires, &Identity{ID: t.ID, Name: t.Name, Scopes: t.Scopes, Functions: t.Functions}})
		}
		return nil
	}
	if err := add(lists.Tokens); err != nil {
		return err
	}
	for _, tokens := range lists.Shared {
		if err := add(tokens); err != nil {
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
		return t.who, nil
	}
	return nil, unknown("it is not known here; it may have been revoked")
}

// change saves and uses what edit makes of the lists.
func (k *Keeper) change(edit func(*Lists) error) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	next := k.lists
	next.Tokens = slices.DeleteFunc(slices.Clone(k.lists.Tokens), func(t Token) bool { return k.gone(&t) })
	if err := edit(&next); err != nil {
		return err
	}
	if err := k.store.Save(&next); err != nil {
		return err
	}
	if err := k.use(next); err != nil {
		return err
	}
	close(k.changed)
	k.changed = make(chan struct{})
	return nil
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

// Share returns the own tokens as agents are told them, and a channel that is closed
// when they change.
func (k *Keeper) Share() (*proto.TokenShare, <-chan struct{}) {
	k.mu.Lock()
	defer k.mu.Unlock()
	share := &proto.TokenShare{Issuer: k.lists.Issuer}
	for i := range k.lists.Tokens {
		t := k.lists.Tokens[i].describe("")
		t.Hash = k.lists.Tokens[i].Hash
		share.Tokens = append(share.Tokens, t)
	}
	return share, k.changed
}

// ShareTokens implements transport.Admin.
func (k *Keeper) ShareTokens(_ context.Context, share *proto.TokenShare) error {
	if share.GetIssuer() == "" || len(share.GetIssuer()) > maxNameLength {
		return proto.Errorf(proto.ErrInvalid, "the issuer of the tokens is missing, or no id")
	}
	if len(share.GetTokens()) > maxTokens {
		return proto.Errorf(proto.ErrTooLarge, "%d tokens; at most %d of one issuer", len(share.GetTokens()), maxTokens)
	}
	tokens := make([]Token, 0, len(share.GetTokens()))
	for _, told := range share.GetTokens() {
		t, err := read(told)
		if err != nil {
			return err
		}
		tokens = append(tokens, t)
	}
	if k.has(share.GetIssuer(), tokens) {
		return nil
	}
	return k.change(func(lists *Lists) error {
		shared := make(map[string][]Token, len(lists.Shared)+1)
		for issuer, list := range lists.Shared {
			shared[issuer] = list
		}
		shared[share.GetIssuer()] = tokens
		if len(tokens) == 0 {
			delete(shared, share.GetIssuer())
		}
		if share.GetIssuer() == lists.Issuer {
			return proto.Errorf(proto.ErrInvalid, "these tokens are this agent's own")
		}
		if len(shared) > maxIssuers {
			return proto.Errorf(proto.ErrExhausted, "this agent has the tokens of %d proxies, the most there can be", maxIssuers)
		}
		lists.Shared = shared
		return nil
	})
}

// has reports whether these are the tokens of an issuer already.
func (k *Keeper) has(issuer string, tokens []Token) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	before := k.lists.Shared[issuer]
	return len(before) == 0 && len(tokens) == 0 || reflect.DeepEqual(before, tokens)
}

// read returns a token that a proxy tells.
func read(told *proto.Token) (Token, error) {
	t := Token{ID: told.GetId(), Name: told.GetName(), Functions: told.GetFunctions(), Hash: told.GetHash()}
	for _, s := range told.GetScopes() {
		t.Scopes = append(t.Scopes, wire.Scope(s))
	}
	invalid := func(err error) error { return proto.Errorf(proto.ErrInvalid, "token %.40q: %w", told.GetId(), err) }
	if t.ID == "" || len(t.ID) > maxNameLength {
		return t, proto.Errorf(proto.ErrInvalid, "%.40q is no id of a token", t.ID)
	}
	if err := t.check(); err != nil {
		return t, invalid(err)
	}
	if _, err := t.hashed(); err != nil {
		return t, invalid(err)
	}
	for _, at := range []struct {
		text string
		to   *time.Time
	}{{told.GetCreated(), &t.Created}, {told.GetExpires(), &t.Expires}} {
		if at.text == "" {
			continue
		}
		var err error
		if *at.to, err = time.Parse(time.RFC3339, at.text); err != nil {
			return t, invalid(err)
		}
	}
	return t, nil
}
