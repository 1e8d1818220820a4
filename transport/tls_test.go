package transport_test

import (
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/transport"
	"github.com/Ishan27g/ryo-faas/transport/server"
	"github.com/Ishan27g/ryo-faas/transport/transporttest"
)

func TestClientsSpeakTLS(t *testing.T) {
	issuer := httptest.NewTLSServer(http.NotFoundHandler())
	defer issuer.Close()
	trusting := &tls.Config{RootCAs: issuer.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs}
	fake := transporttest.NewFake(t)
	addr := transporttest.Serve(t, fake, server.Config{Store: fake.Store(), TLS: &tls.Config{Certificates: issuer.TLS.Certificates}})
	plain := transporttest.Serve(t, fake, server.Config{Store: fake.Store()})
	for _, kind := range bothKinds {
		t.Run(string(kind), func(t *testing.T) {
			cli := connect(t, kind, addr, transport.WithTLS(trusting))
			rows, err := cli.Deploy(t.Context(), &proto.FunctionJson{Name: "HelloWorld", Dir: source(t), Wait: true})
			require.NoError(t, err)
			assert.Len(t, rows, 1)

			_, err = connect(t, kind, "https://"+addr).Details(t.Context())
			require.ErrorIs(t, err, proto.ErrUnavailable)
			assert.ErrorContains(t, err, "no TLS with "+addr)
			assert.ErrorContains(t, err, "unknown authority")
			assert.Contains(t, proto.AsError(err).Hint, "-ca")

			other := trusting.Clone()
			other.ServerName = "node-b"
			_, err = connect(t, kind, addr, transport.WithTLS(other)).Details(t.Context())
			require.ErrorIs(t, err, proto.ErrUnavailable)
			assert.ErrorContains(t, err, "not node-b")

			_, err = connect(t, kind, "https://"+plain, transport.WithTLS(trusting)).Details(t.Context())
			require.ErrorIs(t, err, proto.ErrUnavailable)
			assert.Contains(t, proto.AsError(err).Hint, "without https://", err)
		})
	}
}
