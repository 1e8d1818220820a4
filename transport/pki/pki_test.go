package pki

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/Ishan27g/ryo-faas/internal/state"
	"github.com/Ishan27g/ryo-faas/proto"
)

func store(t testing.TB) *state.Dir {
	dir, err := state.Open(t.TempDir())
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, dir.Close()) })
	return dir
}

func authority(t testing.TB, s Store) *Authority {
	a, err := OpenAuthority(s)
	require.NoError(t, err)
	return a
}

func identity(t testing.TB, s Store, id string) *Identity {
	i, err := OpenIdentity(s, id)
	require.NoError(t, err)
	return i
}

func token(t testing.TB, a *Authority) Token {
	made, _, err := a.Token()
	require.NoError(t, err)
	got, err := ParseToken(made.String())
	require.NoError(t, err)
	return got
}

func admit(a *Authority, i *Identity, tok Token) error {
	csr, err := i.Request()
	if err != nil {
		return err
	}
	chain, err := a.Admit(tok.Secret, i.id, "worker-1:9000", csr)
	if err != nil {
		return err
	}
	return i.Keep(chain, tok.Pin)
}

// joined returns an agent that has joined.
func joined(t testing.TB, a *Authority, id string) *Identity {
	i := identity(t, store(t), id)
	require.NoError(t, admit(a, i, token(t, a)))
	return i
}

// shake makes a TLS connection over loopback and a byte pass over it. It returns the
// client's certificates.
func shake(t testing.TB, client, server *tls.Config) ([]*x509.Certificate, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	type end struct {
		certs []*x509.Certificate
		err   error
	}
	served := make(chan end, 1)
	go func() {
		conn, err := l.Accept()
		if err != nil {
			served <- end{nil, err}
			return
		}
		defer conn.Close()
		c := tls.Server(conn, server)
		_, err = c.Write([]byte("x"))
		served <- end{c.ConnectionState().PeerCertificates, err}
	}()
	conn, err := net.Dial("tcp", l.Addr().String())
	require.NoError(t, err)
	defer conn.Close()
	c := tls.Client(conn, client)
	_, err = io.ReadFull(c, make([]byte, 1))
	conn.Close()
	e := <-served
	return e.certs, err
}

func TestAProxyAndItsAgentsKnowEachOther(t *testing.T) {
	a := authority(t, store(t))
	i := joined(t, a, "a1")
	require.NoError(t, i.Valid())

	certs, err := shake(t, a.Dial("a1"), i.ServerConfig())
	require.NoError(t, err)
	role, err := i.Verify(certs)
	require.NoError(t, err)
	assert.Equal(t, Proxy, role.Kind)

	certs, err = shake(t, i.Dial(), a.ServerConfig())
	require.NoError(t, err)
	role, err = a.Verify(certs)
	require.NoError(t, err)
	assert.Equal(t, Role{Agent, "a1"}, role)

	other := joined(t, a, "a2")
	_, err = shake(t, a.Dial("a1"), other.ServerConfig())
	assert.ErrorContains(t, err, "agent a2 answers there, not agent a1")
	_, err = shake(t, i.Dial(), other.ServerConfig())
	assert.ErrorContains(t, err, "an agent answers there")
}

func TestWhatIsKeptSurvivesARestart(t *testing.T) {
	s, own := store(t), store(t)
	a := authority(t, s)
	i := identity(t, own, "a1")
	used, unused := token(t, a), token(t, a)
	require.NoError(t, admit(a, i, used))

	a, i = authority(t, s), identity(t, own, "a1")
	_, err := shake(t, a.Dial("a1"), i.ServerConfig())
	require.NoError(t, err)
	require.NoError(t, admit(a, identity(t, store(t), "a2"), unused))
	assert.Len(t, a.Members(), 2)
	for file, dir := range map[string]*state.Dir{authorityFile: s, membersFile: s, identityFile: own} {
		text, err := dir.ReadFile(file)
		require.NoError(t, err)
		for _, tok := range []Token{used, unused} {
			assert.NotContains(t, string(text), hex.EncodeToString(tok.Secret), file)
			assert.NotContains(t, string(text), base64.StdEncoding.EncodeToString(tok.Secret), file)
			assert.NotContains(t, string(text), tok.String(), file)
		}
	}

	renamed := identity(t, own, "a3")
	_, is := renamed.Joined()
	assert.False(t, is, "the certificate is another agent's")
}

func TestRefusedToJoin(t *testing.T) {
	a := authority(t, store(t))
	day := 24 * time.Hour
	at := func(d time.Duration) func() time.Time { return func() time.Time { return time.Now().Add(d) } }

	used := token(t, a)
	require.NoError(t, admit(a, identity(t, store(t), "a1"), used))
	assert.ErrorContains(t, admit(a, identity(t, store(t), "a2"), used), "has been used")

	old := token(t, a)
	a.now = at(2 * time.Hour)
	assert.ErrorContains(t, admit(a, identity(t, store(t), "a2"), old), "expired at")
	a.now = at(3 * day)
	_, _, err := a.Token()
	require.NoError(t, err)
	assert.ErrorContains(t, admit(a, identity(t, store(t), "a2"), old), "not one of this proxy", "it was forgotten")
	a.now = time.Now

	wrong := token(t, a)
	wrong.Secret = make([]byte, len(wrong.Secret))
	assert.ErrorContains(t, admit(a, identity(t, store(t), "a2"), wrong), "not one of this proxy")
	for _, err := range []error{admit(a, identity(t, store(t), "a2"), used), admit(a, identity(t, store(t), "a2"), wrong)} {
		require.ErrorIs(t, err, proto.ErrUnauthenticated)
		assert.NotEmpty(t, proto.AsError(err).Hint)
	}

	err = admit(a, identity(t, store(t), "a1"), token(t, a))
	require.ErrorIs(t, err, proto.ErrConflict, "the id is another agent's")
	assert.Contains(t, proto.AsError(err).Hint, "agents rm a1")

	// The pin is verified in the handshake, before anything is sent.
	other := authority(t, store(t))
	_, err = shake(t, token(t, a).Dial(), other.ServerConfig())
	assert.ErrorContains(t, err, "its authority is another")
	_, err = shake(t, token(t, a).Dial(), a.ServerConfig())
	require.NoError(t, err)
	_, err = shake(t, token(t, a).Dial(), joined(t, a, "a9").ServerConfig())
	assert.ErrorContains(t, err, "not of a proxy")

	for name, d := range map[string]time.Duration{"ahead": day + time.Hour, "behind": -day} {
		a.now = at(d) // of the proxy, which is the same as the agent's the other way round
		_, err = shake(t, token(t, a).Dial(), other.ServerConfig())
		assert.Error(t, err, name)
		a.own = nil
		_, err = shake(t, token(t, a).Dial(), a.ServerConfig())
		if d > 0 {
			assert.ErrorContains(t, err, "is valid from", name)
		} else {
			assert.ErrorContains(t, err, "expired at", name)
		}
	}
}

func TestOtherAuthoritiesCertificatesAreRefused(t *testing.T) {
	a, other := authority(t, store(t)), authority(t, store(t))
	i, stranger := joined(t, a, "a1"), joined(t, other, "a1")
	_, err := shake(t, a.Dial("a1"), stranger.ServerConfig())
	assert.ErrorContains(t, err, "not of this cluster's authority")
	_, err = shake(t, i.Dial(), other.ServerConfig())
	assert.ErrorContains(t, err, "not of this cluster's authority")
	certs, err := shake(t, stranger.Dial(), other.ServerConfig())
	require.NoError(t, err)
	_, err = a.Verify(certs)
	assert.ErrorIs(t, err, proto.ErrUnauthenticated)
	_, err = a.Verify(nil)
	assert.ErrorIs(t, err, proto.ErrUnauthenticated)
}

func TestARemovedAgentDoesNotComeBack(t *testing.T) {
	a := authority(t, store(t))
	i := joined(t, a, "a1")
	removed, err := a.Remove("a1")
	require.NoError(t, err)
	assert.True(t, removed)
	removed, err = a.Remove("a1")
	require.NoError(t, err)
	assert.False(t, removed)

	certs, err := shake(t, i.Dial(), a.ServerConfig())
	require.NoError(t, err)
	_, err = a.Verify(certs)
	require.ErrorIs(t, err, proto.ErrForbidden)
	_, err = shake(t, a.Dial("a1"), i.ServerConfig())
	assert.ErrorContains(t, err, "was removed")
	csr, err := i.Request()
	require.NoError(t, err)
	_, err = a.Renew("a1", "worker-1:9000", csr)
	assert.ErrorIs(t, err, proto.ErrForbidden)

	require.NoError(t, admit(a, i, token(t, a)), "with a new token it may")
}

func TestRenew(t *testing.T) {
	a := authority(t, store(t))
	i := joined(t, a, "a1")
	pin, _ := i.Joined()
	renew, expires := i.Due()
	assert.WithinDuration(t, time.Now().Add(16*time.Hour), renew, time.Minute)
	assert.WithinDuration(t, time.Now().Add(24*time.Hour), expires, time.Minute)

	csr, err := i.Request()
	require.NoError(t, err)
	a.now = func() time.Time { return renew }
	i.now = a.now
	chain, err := a.Renew("a1", "worker-2:9000", csr)
	require.NoError(t, err)
	require.NoError(t, i.Keep(chain, pin))
	_, later := i.Due()
	assert.WithinDuration(t, renew.Add(24*time.Hour), later, time.Minute)
	assert.Equal(t, "worker-2:9000", a.Members()[0].Addr)

	stranger, err := identity(t, store(t), "a1").Request()
	require.NoError(t, err)
	_, err = a.Renew("a1", "worker-1:9000", stranger)
	assert.ErrorIs(t, err, proto.ErrForbidden, "its key is another")
	assert.Error(t, i.Keep(chain[:1], pin))
	assert.Error(t, i.Keep(chain, Pin{}))

	i.now = func() time.Time { return later.Add(time.Hour) }
	assert.ErrorContains(t, i.Valid(), "expired at")
}

func TestTheProxysCertificateIsMadeAnew(t *testing.T) {
	a := authority(t, store(t))
	first, err := a.certificate()
	require.NoError(t, err)
	again, err := a.certificate()
	require.NoError(t, err)
	assert.Same(t, first, again)
	a.now = func() time.Time { return time.Now().Add(17 * time.Hour) }
	next, err := a.certificate()
	require.NoError(t, err)
	assert.NotSame(t, first, next)
}

func TestDamagedFilesOfTheAuthority(t *testing.T) {
	for _, file := range []string{authorityFile, membersFile} {
		s := store(t)
		token(t, authority(t, s))
		require.NoError(t, s.WriteFile(file, []byte("{")))
		_, err := OpenAuthority(s)
		require.Error(t, err)
		assert.Contains(t, err.Error(), file)
		assert.NotEmpty(t, proto.AsError(err).Hint)
	}
}

func FuzzParseToken(f *testing.F) {
	f.Add(newToken(Pin{1}).String())
	f.Add("ryojoin_")
	f.Fuzz(func(t *testing.T, text string) {
		tok, err := ParseToken(text)
		if err != nil {
			require.ErrorIs(t, err, proto.ErrInvalid)
			if len(text) > 40 {
				assert.NotContains(t, err.Error(), text)
			}
			return
		}
		assert.Equal(t, strings.TrimSpace(text), tok.String())
	})
}

func FuzzAdmit(f *testing.F) {
	a := authority(f, store(f))
	i := identity(f, store(f), "a1")
	csr, err := i.Request()
	if err != nil {
		f.Fatal(err)
	}
	f.Add("a1", csr)
	f.Add("../x", []byte{0x30})
	f.Fuzz(func(t *testing.T, id string, csr []byte) {
		_, err := a.Admit(nil, id, "", csr)
		var e *proto.Error
		require.ErrorAs(t, err, &e, "nobody joins without a token")
	})
}

func BenchmarkHandshake(b *testing.B) {
	a := authority(b, store(b))
	i := joined(b, a, "a1")
	for b.Loop() {
		if _, err := shake(b, a.Dial("a1"), i.ServerConfig()); err != nil {
			b.Fatal(err)
		}
	}
}
