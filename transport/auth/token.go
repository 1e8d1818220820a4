package auth

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/transport/wire"
)

// Token is one token as it is stored and handed on.
type Token struct {
	ID        string       `json:"id"`
	Name      string       `json:"name,omitempty"`
	Scopes    []wire.Scope `json:"scopes"`
	Functions []string     `json:"functions,omitempty"` // that it is for; none: for all
	Hash      string       `json:"hash"`                // SHA-256 in hexadecimal digits
	Created   time.Time    `json:"created"`
	Expires   time.Time    `json:"expires,omitzero"` // zero: never
}

// The limits of a token's description.
const (
	maxNameLength = 100
	maxFunctions  = 100
)

// check returns what is wrong with the description of a token.
func (t *Token) check() error {
	invalid := func(format string, args ...any) error { return proto.Errorf(proto.ErrInvalid, format, args...) }
	if len(t.Scopes) == 0 {
		return proto.Errorf(proto.ErrInvalid, "the token has no scope").WithHint("it is one of " + scopeNames())
	}
	for _, s := range t.Scopes {
		if !slices.Contains(wire.Scopes, s) {
			return proto.Errorf(proto.ErrInvalid, "%.40q is not a scope", string(s)).WithHint("it is one of " + scopeNames())
		}
	}
	if len(t.Name) > maxNameLength || strings.ContainsFunc(t.Name, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return invalid("the token's name has more than %d bytes, or control bytes", maxNameLength)
	}
	if len(t.Functions) > maxFunctions {
		return invalid("the token is for %d functions; at most %d", len(t.Functions), maxFunctions)
	}
	for _, fn := range t.Functions {
		if err := proto.CheckName(strings.TrimSuffix(fn, proto.AllPreviews)); err != nil {
			return err
		}
	}
	if len(t.Functions) > 0 && slices.Contains(t.Scopes, wire.ScopeAdmin) {
		return invalid("a token with the scope admin cannot be limited to functions")
	}
	return nil
}

func scopeNames() string { return join(wire.Scopes) }

func join(scopes []wire.Scope) string {
	var names []string
	for _, s := range scopes {
		names = append(names, string(s))
	}
	return strings.Join(names, ", ")
}

// ScopeNames lists the token's scopes.
func (id *Identity) ScopeNames() string { return join(id.Scopes) }

// hashed returns the token's hash.
func (t *Token) hashed() (h hash, err error) {
	data, err := hex.DecodeString(t.Hash)
	if err == nil && len(data) != len(h) {
		err = fmt.Errorf("a hash has %d bytes", len(data))
	}
	copy(h[:], data)
	return h, err
}

// setHash stores what is kept of a secret.
func (t *Token) setHash(secret string) {
	h := sha256.Sum256([]byte(secret))
	t.Hash = hex.EncodeToString(h[:])
}

// describe is the token as callers see it.
func (t *Token) describe(issuer string) *proto.Token {
	d := &proto.Token{Id: t.ID, Name: t.Name, Functions: slices.Clone(t.Functions), Created: stamp(t.Created), Expires: stamp(t.Expires), Issuer: issuer}
	for _, s := range t.Scopes {
		d.Scopes = append(d.Scopes, string(s))
	}
	return d
}

func stamp(at time.Time) string {
	if at.IsZero() {
		return ""
	}
	return at.UTC().Format(time.RFC3339)
}

// Identity is what a token says of its caller.
type Identity struct {
	ID        string
	Name      string
	Scopes    []wire.Scope
	Functions []string // none: all
}

// May reports whether the caller is allowed what needs a scope. Deploy implies read.
func (id *Identity) May(scope wire.Scope) bool {
	return scope == wire.ScopeAny || slices.Contains(id.Scopes, scope) || scope == wire.ScopeRead && slices.Contains(id.Scopes, wire.ScopeDeploy)
}

// For reports whether the token is for a function.
func (id *Identity) For(name string) bool {
	return len(id.Functions) == 0 || slices.ContainsFunc(id.Functions, func(fn string) bool {
		if of, previews := strings.CutSuffix(fn, proto.AllPreviews); previews {
			return proto.IsPreview(name, of)
		}
		return proto.Path(fn) == proto.Path(name)
	})
}

// String names the token to people.
func (id *Identity) String() string {
	if id.Name == "" {
		return "token " + id.ID
	}
	return "token " + id.ID + " (" + id.Name + ")"
}

// Describe is the identity as callers are told it.
func (id *Identity) Describe() *proto.Token {
	t := Token{ID: id.ID, Name: id.Name, Scopes: id.Scopes, Functions: id.Functions}
	return t.describe("")
}
