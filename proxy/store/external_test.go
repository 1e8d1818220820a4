package store_test

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nkeys"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/Ishan27g/ryo-faas/internal/testkit"
	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/proxy/store"
)

// operator is the owner of a NATS server of somebody else's, with accounts of its own.
type operator struct {
	key      nkeys.KeyPair
	resolver server.MemAccResolver
}

// account makes an account, which may have JetStream.
func (o *operator) account(t *testing.T, jetStream bool) (nkeys.KeyPair, string) {
	t.Helper()
	key, err := nkeys.CreateAccount()
	require.NoError(t, err)
	name, err := key.PublicKey()
	require.NoError(t, err)
	claims := jwt.NewAccountClaims(name)
	if jetStream {
		claims.Limits.JetStreamLimits = jwt.JetStreamLimits{DiskStorage: -1, MemoryStorage: -1, Streams: -1, Consumer: -1}
	}
	text, err := claims.Encode(o.key)
	require.NoError(t, err)
	require.NoError(t, o.resolver.Store(name, text))
	return key, name
}

// creds writes the credentials of a new user of an account to a file.
func creds(t *testing.T, account nkeys.KeyPair) string {
	t.Helper()
	key, err := nkeys.CreateUser()
	require.NoError(t, err)
	name, err := key.PublicKey()
	require.NoError(t, err)
	text, err := jwt.NewUserClaims(name).Encode(account)
	require.NoError(t, err)
	seed, err := key.Seed()
	require.NoError(t, err)
	data, err := jwt.FormatUserConfig(text, seed)
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), "user.creds")
	require.NoError(t, os.WriteFile(path, data, 0o600))
	return path
}

// A NATS server of somebody else's, with TLS and accounts of an operator, is an engine; what it
// refuses is said with the way out.
func TestAServerOfOthersIsAnEngine(t *testing.T) {
	t.Parallel()
	key, err := nkeys.CreateOperator()
	require.NoError(t, err)
	public, err := key.PublicKey()
	require.NoError(t, err)
	o := &operator{key: key}
	account, _ := o.account(t, true)
	without, _ := o.account(t, false)
	_, system := o.account(t, false)
	stranger, err := nkeys.CreateAccount()
	require.NoError(t, err)
	ca := testkit.NewAuthority(t)
	issued := ca.Issue(t)
	pair, err := tls.X509KeyPair(issued.Cert, issued.Key)
	require.NoError(t, err)
	claims := jwt.NewOperatorClaims(public)
	claims.SystemAccount = system
	s, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: -1, NoSigs: true, NoLog: true, JetStream: true, StoreDir: t.TempDir(), SyncAlways: true, MaxPayload: 1 << 20,
		JetStreamMaxMemory: 1 << 20, JetStreamMaxStore: 64 << 30,
		TLS: true, TLSTimeout: 5, TLSConfig: &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}},
		TrustedOperators: []*jwt.OperatorClaims{claims}, AccountResolver: &o.resolver, SystemAccount: system,
	})
	require.NoError(t, err)
	s.Start()
	t.Cleanup(func() {
		s.Shutdown()
		s.WaitForShutdown()
	})
	require.True(t, s.ReadyForConnections(patience))
	at := "tls://" + s.Addr().String()
	trusted := &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: ca.Pool()}
	with := func(creds string, trusted *tls.Config, at string) (store.Config, *bytes.Buffer) {
		urls, err := store.ParseNodes(at)
		require.NoError(t, err)
		said := &bytes.Buffer{}
		return store.Config{Cluster: &store.Cluster{URLs: urls, Creds: creds, TLS: trusted}, Logger: hclog.New(&hclog.LoggerOptions{Output: said})}, said
	}
	cfg, said := with(creds(t, account), trusted, at)
	e, err := store.Open(cfg)
	require.NoError(t, err)
	assert.Contains(t, said.String(), "jetstream.sync_interval must be always")
	assert.Contains(t, said.String(), "this engine has one machine")
	_, err = e.Registry(store.Functions).Create(t.Context(), "hello", []byte("a wish"))
	require.NoError(t, err)
	_, err = e.Blobs().Put(t.Context(), "package", strings.NewReader("its files"))
	require.NoError(t, err)
	assert.Equal(t, "its files", read(t, e, "package"))
	_, err = e.Queue().Publish(t.Context(), store.Message{Topic: "a", ID: "1"})
	require.NoError(t, err)
	require.NoError(t, e.Stop())
	e, err = store.Open(cfg)
	require.NoError(t, err, "what it has suits the next process")
	require.NoError(t, e.Stop())

	for name, c := range map[string]struct {
		creds     string
		trusted   *tls.Config
		at        string
		say, hint string
		kind      proto.Kind
	}{
		"no credentials":            {"", trusted, at, "does not admit this caller", "-engine-creds FILE", proto.ErrUnavailable},
		"of an unknown account":     {creds(t, stranger), trusted, at, "does not admit this caller", "-engine-creds names", proto.ErrUnavailable},
		"an unknown authority":      {creds(t, account), &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: testkit.NewAuthority(t).Pool()}, at, "is not known by its certificate", "-engine-ca FILE", proto.ErrUnavailable},
		"another name":              {creds(t, account), trusted, strings.Replace(at, "127.0.0.1", "localhost", 1), "has the certificate of another name", "-engine names the nodes", proto.ErrUnavailable},
		"no JetStream of its own":   {creds(t, without), trusted, at, "has no JetStream, or not for this caller", "-engine-creds says which", proto.ErrUnsupported},
		"a version that is too old": {creds(t, account), nil, "nats://" + antique(t), "has version 2.10.22, and 2.14 is the least", "proxy engine -cluster", proto.ErrUnsupported},
	} {
		cfg, _ := with(c.creds, c.trusted, c.at)
		_, err := store.Open(cfg)
		require.ErrorIs(t, err, c.kind, name)
		assert.ErrorContains(t, err, c.say, name)
		assert.Contains(t, proto.AsError(err).Hint, c.hint, name)
	}
}

// antique is a server of an early version, which admits everybody.
func antique(t *testing.T) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			fmt.Fprint(conn, `INFO {"server_id":"old","version":"2.10.22","proto":1,"headers":true,"max_payload":1048576}`+"\r\n")
			_ = conn.SetDeadline(time.Now().Add(patience))
			for lines := bufio.NewScanner(conn); lines.Scan(); {
				if strings.HasPrefix(lines.Text(), "PING") {
					fmt.Fprint(conn, "PONG\r\n")
				}
			}
			_ = conn.Close()
		}
	}()
	t.Cleanup(func() {
		_ = l.Close()
		<-ended
	})
	return l.Addr().String()
}
