package auth

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/Ishan27g/ryo-faas/internal/state"
	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/transport/wire"
)

// folder is a folder of state that is closed with the test.
func folder(t *testing.T) *state.Dir {
	t.Helper()
	dir, err := state.Open(filepath.Join(t.TempDir(), "state"))
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, dir.Close()) })
	return dir
}

func open(t *testing.T, dir *state.Dir) *Keeper {
	t.Helper()
	k, err := Open(InFolder(dir))
	require.NoError(t, err)
	return k
}

// create makes a token and returns its secret and id.
func create(t *testing.T, k *Keeper, req *proto.TokenRequest) (secret, id string) {
	t.Helper()
	made, err := k.CreateToken(t.Context(), req)
	require.NoError(t, err)
	return made.GetSecret(), made.GetToken().GetId()
}

func TestATokenIsKnownByItsForm(t *testing.T) {
	seen := map[string]bool{}
	for range 100 {
		secret := newSecret()
		assert.Regexp(t, `^ryo_[0-9A-Za-z]{49}$`, secret)
		assert.NoError(t, checkForm(secret))
		assert.False(t, seen[secret])
		seen[secret] = true
		changed := []byte(secret)
		if changed[20]++; changed[20] > 'z' {
			changed[20] = '0'
		}
		for _, wrong := range []string{string(changed), secret[1:], secret[:20], secret + "0", "", "ryo_", strings.ToUpper(secret)} {
			err := checkForm(wrong)
			require.ErrorIs(t, err, proto.ErrUnauthenticated, wrong)
			if wrong != "" && wrong != "ryo_" {
				assert.NotContains(t, err.Error(), wrong, "a secret is never repeated")
			}
		}
	}
}

func TestTokensOutliveTheirKeeperAndTheirSecretsAreNotStored(t *testing.T) {
	dir := folder(t)
	k := open(t, dir)
	secret, id := create(t, k, &proto.TokenRequest{Name: "ci", Scopes: []string{"deploy"}, Functions: []string{"HelloWorld"}})
	for _, k := range []*Keeper{k, open(t, dir)} {
		who, err := k.Verify(secret)
		require.NoError(t, err)
		assert.Equal(t, id, who.ID)
		assert.True(t, who.May(wire.ScopeDeploy) && who.May(wire.ScopeRead) && who.May(wire.ScopeAny))
		assert.False(t, who.May(wire.ScopeInvoke) || who.May(wire.ScopeAdmin))
		assert.True(t, who.For("helloworld"))
		assert.False(t, who.For("Other"))
		_, err = k.Verify(newSecret())
		require.ErrorIs(t, err, proto.ErrUnauthenticated)
	}
	data, err := os.ReadFile(dir.Path(fileName))
	require.NoError(t, err)
	assert.NotContains(t, string(data), secret[len(prefix):len(prefix)+10])
	info, err := os.Stat(dir.Path(fileName))
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o600), info.Mode())
}

func TestARevokedTokenIsWrongAtOnce(t *testing.T) {
	k := open(t, folder(t))
	secret, id := create(t, k, &proto.TokenRequest{Scopes: []string{"read"}})
	_, changed := k.Share()
	_, err := k.RevokeToken(t.Context(), id)
	require.NoError(t, err)
	select {
	case <-changed:
	default:
		t.Error("agents are not told")
	}
	_, err = k.Verify(secret)
	require.ErrorIs(t, err, proto.ErrUnauthenticated)
	_, err = k.RevokeToken(t.Context(), id)
	require.ErrorIs(t, err, proto.ErrNotFound)
}

func TestTokensExpireAndRotate(t *testing.T) {
	dir := folder(t)
	synctest.Test(t, func(t *testing.T) {
		k := open(t, dir)
		secret, id := create(t, k, &proto.TokenRequest{Name: "ci", Scopes: []string{"invoke"}, Functions: []string{"Hello"}, Ttl: "24h"})
		pass(23 * time.Hour)
		made, err := k.RotateToken(t.Context(), &proto.RotateRequest{Id: id, Grace: "30m"})
		require.NoError(t, err)
		assert.NotEqual(t, id, made.GetToken().GetId())
		assert.Equal(t, []string{"Hello"}, made.GetToken().GetFunctions())
		pass(29 * time.Minute)
		for _, s := range []string{secret, made.GetSecret()} {
			_, err := k.Verify(s)
			require.NoError(t, err)
		}
		pass(time.Minute)
		_, err = k.Verify(secret)
		require.ErrorContains(t, err, "expired")
		_, err = k.RotateToken(t.Context(), &proto.RotateRequest{Id: id})
		require.ErrorIs(t, err, proto.ErrConflict)
		pass(24 * time.Hour)
		_, err = k.Verify(made.GetSecret())
		require.ErrorContains(t, err, "expired")
		list, err := k.Tokens(t.Context())
		require.NoError(t, err)
		assert.Len(t, list, 2, "what has expired is still shown")
		pass(keptExpired)
		create(t, k, &proto.TokenRequest{Scopes: []string{"read"}})
		list, err = k.Tokens(t.Context())
		require.NoError(t, err)
		assert.Len(t, list, 1)
	})
}

func TestWhatATokenCannotBe(t *testing.T) {
	k := open(t, folder(t))
	for name, req := range map[string]*proto.TokenRequest{
		"without a scope":     {},
		"of another scope":    {Scopes: []string{"root"}},
		"open to all":         {Scopes: []string{"open"}},
		"of any":              {Scopes: []string{"any"}},
		"with a bad name":     {Scopes: []string{"read"}, Name: "a\nb"},
		"for no function":     {Scopes: []string{"read"}, Functions: []string{"a-b"}},
		"for an admin's":      {Scopes: []string{"admin"}, Functions: []string{"Hello"}},
		"for a bad time":      {Scopes: []string{"read"}, Ttl: "soon"},
		"for a negative time": {Scopes: []string{"read"}, Ttl: "-1h"},
	} {
		_, err := k.CreateToken(t.Context(), req)
		assert.ErrorIs(t, err, proto.ErrInvalid, name)
	}
}

func TestAProxysTokensHoldAtItsAgents(t *testing.T) {
	proxy, dir := open(t, folder(t)), folder(t)
	agent := open(t, dir)
	own, _ := create(t, agent, &proto.TokenRequest{Scopes: []string{"read"}})
	secret, id := create(t, proxy, &proto.TokenRequest{Scopes: []string{"deploy"}, Ttl: "1h"})
	share := func() {
		list, _ := proxy.Share()
		require.NoError(t, agent.ShareTokens(t.Context(), list))
	}
	share()
	for _, k := range []*Keeper{agent, open(t, dir)} {
		for _, s := range []string{own, secret} {
			_, err := k.Verify(s)
			require.NoError(t, err)
		}
	}
	_, err := agent.RevokeToken(t.Context(), id)
	require.ErrorIs(t, err, proto.ErrConflict, "the proxy would bring it back")
	_, err = proxy.RevokeToken(t.Context(), id)
	require.NoError(t, err)
	share()
	for _, k := range []*Keeper{agent, open(t, dir)} {
		_, err = k.Verify(secret)
		require.ErrorIs(t, err, proto.ErrUnauthenticated)
		_, err = k.Verify(own)
		require.NoError(t, err)
	}
	before, err := os.Stat(dir.Path(fileName))
	require.NoError(t, err)
	share()
	after, err := os.Stat(dir.Path(fileName))
	require.NoError(t, err)
	assert.True(t, os.SameFile(before, after), "what has not changed is not written")
	for name, bad := range map[string]*proto.TokenShare{
		"of nobody":       {},
		"with a bad hash": {Issuer: "i_1", Tokens: []*proto.Token{{Id: "t_1", Scopes: []string{"read"}, Hash: "00"}}},
		"without a scope": {Issuer: "i_1", Tokens: []*proto.Token{{Id: "t_1", Hash: strings.Repeat("0", 64)}}},
		"with a bad time": {Issuer: "i_1", Tokens: []*proto.Token{{Id: "t_1", Scopes: []string{"read"}, Hash: strings.Repeat("0", 64), Expires: "never"}}},
	} {
		assert.ErrorIs(t, agent.ShareTokens(t.Context(), bad), proto.ErrInvalid, name)
	}
}

func TestTheTokensOfASilentProxyHoldForADay(t *testing.T) {
	proxyDir, dir := folder(t), folder(t)
	synctest.Test(t, func(t *testing.T) {
		proxy, agent := open(t, proxyDir), open(t, dir)
		own, _ := create(t, agent, &proto.TokenRequest{Scopes: []string{"read"}})
		secret, _ := create(t, proxy, &proto.TokenRequest{Scopes: []string{"deploy"}})
		share := func() {
			list, _ := proxy.Share()
			require.NoError(t, agent.ShareTokens(t.Context(), list))
		}
		share()
		pass(12 * time.Hour)
		share() // nothing has changed, but it was heard
		ctx, cancel := context.WithCancel(t.Context())
		lapsed := make(chan string, 10)
		go agent.Watch(ctx, func(issuer string, heard time.Time) { lapsed <- issuer })
		pass(23 * time.Hour)
		for _, k := range []*Keeper{agent, open(t, dir)} {
			_, err := k.Verify(secret)
			require.NoError(t, err)
			assert.Empty(t, k.Silent())
		}
		pass(time.Hour + 2*time.Minute)
		for _, k := range []*Keeper{agent, open(t, dir)} { // a restart is no contact
			_, err := k.Verify(secret)
			require.ErrorIs(t, err, proto.ErrUnauthenticated)
			require.ErrorContains(t, err, "nothing was heard since 2000-01-01T12:00:00Z")
			assert.Len(t, k.Silent(), 1)
			_, err = k.Verify(own)
			require.NoError(t, err)
		}
		pass(time.Hour)
		assert.Len(t, lapsed, 1, "it is said once")
		share()
		_, err := agent.Verify(secret)
		require.NoError(t, err)
		assert.Empty(t, agent.Silent())
		cancel()
	})
}

func TestListsOfAnOlderVersionCountAsHeardWhenTheyAreRead(t *testing.T) {
	dir := folder(t)
	require.NoError(t, dir.WriteFile(fileName, []byte(`{"issuer": "i_1", "shared": {"i_2": [{"id": "t_1", "scopes": ["read"], "hash": "`+strings.Repeat("0", 64)+`", "created": "2026-01-01T00:00:00Z"}]}}`)))
	k := open(t, dir)
	assert.Empty(t, k.Silent())
	assert.WithinDuration(t, time.Now(), k.lists.Heard["i_2"], time.Minute)
}

// What is read again and again is told to nobody, unless it has changed.
func TestReadingTheSameListsAgainChangesNothing(t *testing.T) {
	dir := folder(t)
	k := open(t, dir)
	create(t, k, &proto.TokenRequest{Name: "ci", Scopes: []string{"read"}})
	for range 2 {
		_, changed := k.Share()
		require.NoError(t, k.Reload())
		select {
		case <-changed:
			t.Fatal("nothing has changed")
		default:
		}
	}
	_, changed := k.Share()
	create(t, open(t, dir), &proto.TokenRequest{Name: "another keeper's", Scopes: []string{"read"}})
	require.NoError(t, k.Reload())
	<-changed
}

func TestADamagedListStopsTheProgram(t *testing.T) {
	for name, text := range map[string]string{"half": `{"issuer": "i_1", "tok`, "without an issuer": "{}", "a bad hash": `{"issuer": "i_1", "tokens": [{"id": "t_1", "hash": "x"}]}`} {
		dir := folder(t)
		require.NoError(t, dir.WriteFile(fileName, []byte(text)))
		_, err := Open(InFolder(dir))
		assert.Error(t, err, name)
	}
}

func FuzzFromHeader(f *testing.F) {
	k := &Keeper{now: time.Now}
	k.index.Store(&index{})
	for _, s := range []string{"", "Bearer ", "Bearer ryo_", "bearer ryo_x", "Basic eDp5", "Bearer " + newSecret()} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, header string) {
		secret := FromHeader(header)
		if secret == "" {
			return
		}
		if !strings.HasPrefix(secret, prefix) || !strings.HasSuffix(strings.TrimSpace(header), secret) {
			t.Fatalf("%q is not in %q", secret, header)
		}
		if _, err := k.Verify(secret); err == nil {
			t.Fatal("nobody has a token")
		}
	})
}

func FuzzTokenFile(f *testing.F) {
	f.Add([]byte(`{"issuer": "i_1", "tokens": [{"id": "t_1", "scopes": ["read"], "hash": "` + strings.Repeat("0", 64) + `", "created": "2026-01-01T00:00:00Z"}]}`))
	f.Add([]byte("{"))
	dir, err := state.Open(filepath.Join(f.TempDir(), "state"))
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { dir.Close() })
	f.Fuzz(func(t *testing.T, data []byte) {
		if err := dir.WriteFile(fileName, data); err != nil {
			t.Fatal(err)
		}
		k, err := Open(InFolder(dir))
		if err != nil {
			return
		}
		if _, err := k.Verify(newSecret()); err == nil {
			t.Fatal("a new token is known")
		}
		if _, err := k.Tokens(t.Context()); err != nil {
			t.Fatal(err)
		}
	})
}
