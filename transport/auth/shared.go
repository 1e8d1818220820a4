package auth

import (
	"context"
	"maps"
	"reflect"
	"time"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/transport/wire"
)

// maxSilence is how long the tokens of a proxy hold at an agent that hears nothing of it:
// the proxy may have revoked them, or be gone for good. It is as long as the certificates
// hold by which the two know each other.
const maxSilence = 24 * time.Hour

// stamp is the time as it is stored. The clock that stops while the machine is suspended
// is no part of it.
func (k *Keeper) stamp() time.Time { return k.now().UTC().Truncate(time.Second) }

// silent reports whether the tokens that a proxy told of do not hold any longer.
func (k *Keeper) silent(heard time.Time) bool {
	return !heard.IsZero() && k.now().UTC().Sub(heard) >= maxSilence
}

func errSilent(heard time.Time) *proto.Error {
	return proto.Errorf(proto.ErrUnauthenticated, "the token is a proxy's of which nothing was heard since %s: it may have been revoked", stamp(heard)).
		WithHint("it holds again when the proxy reaches this agent; processes of the agent's own user need none")
}

// Silent returns the proxies whose tokens do not hold, and when each was heard last.
func (k *Keeper) Silent() map[string]time.Time {
	k.mu.Lock()
	defer k.mu.Unlock()
	found := make(map[string]time.Time)
	for issuer := range k.lists.Shared {
		if heard := k.lists.Heard[issuer]; k.silent(heard) {
			found[issuer] = heard
		}
	}
	return found
}

// Watch calls lapsed for each proxy when its tokens cease to hold since it is silent,
// until ctx is done.
func (k *Keeper) Watch(ctx context.Context, lapsed func(issuer string, heard time.Time)) {
	told := make(map[string]time.Time)
	for {
		for issuer, heard := range k.Silent() {
			if told[issuer] != heard {
				told[issuer] = heard
				lapsed(issuer, heard)
			}
		}
		select {
		case <-time.After(time.Minute):
		case <-ctx.Done():
			return
		}
	}
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

// ShareTokens implements transport.Admin. The tokens hold until the proxy was silent for
// too long.
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
		shared, heard := maps.Clone(lists.Shared), maps.Clone(lists.Heard)
		if shared == nil {
			shared = make(map[string][]Token)
		}
		shared[share.GetIssuer()], heard[share.GetIssuer()] = tokens, k.stamp()
		if len(tokens) == 0 {
			delete(shared, share.GetIssuer())
			delete(heard, share.GetIssuer())
		}
		if share.GetIssuer() == lists.Issuer {
			return proto.Errorf(proto.ErrInvalid, "these tokens are this agent's own")
		}
		if len(shared) > maxIssuers {
			return proto.Errorf(proto.ErrExhausted, "this agent has the tokens of %d proxies, the most there can be", maxIssuers)
		}
		lists.Shared, lists.Heard = shared, heard
		return nil
	})
}

// has reports whether these are the tokens of an issuer already, as it said a moment ago.
func (k *Keeper) has(issuer string, tokens []Token) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	before := k.lists.Shared[issuer]
	return len(before) == 0 && len(tokens) == 0 || reflect.DeepEqual(before, tokens) && k.now().Sub(k.lists.Heard[issuer]) < wire.ShareEvery/2
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
