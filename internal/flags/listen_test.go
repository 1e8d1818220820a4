package flags_test

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/Ishan27g/ryo-faas/internal/flags"
	"github.com/Ishan27g/ryo-faas/proto"
)

func TestListenersAreShownAsTheyWereGiven(t *testing.T) {
	for addr, want := range map[string]string{"0": "%s:%d", ":0": "%s:%d", "localhost:0": "localhost:%[2]d%.0[1]s", "127.0.0.1:0": "127.0.0.1:%[2]d%.0[1]s"} {
		l, err := flags.Listen("port", addr)
		require.NoError(t, err)
		for _, every := range []string{"", "[::]"} {
			assert.Equal(t, fmt.Sprintf(want, every, flags.Port(l)), flags.Shown(addr, l, every))
		}
		require.NoError(t, l.Close())
	}
	l, err := flags.Listen("port", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	assert.Equal(t, fmt.Sprintf("[::1]:%d", flags.Port(l)), flags.Shown("[::1]:0", l, ""))
}

func TestAnAddressInUseIsNamedWithTheWayOut(t *testing.T) {
	l, err := flags.Listen("http", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	_, err = flags.Listen("http", l.Addr().String())
	require.ErrorIs(t, err, proto.ErrConflict)

	var stderr bytes.Buffer
	set := flags.New("proxy", "", nil, &stderr)
	assert.Equal(t, 1, set.Fail(err))
	assert.Equal(t, fmt.Sprintf("proxy: the address %s is in use by another process\nhint: if it runs here already, stop it; or choose another one with -http\n", l.Addr()), stderr.String())

}

func TestTwoFlagsThatNameOneAddress(t *testing.T) {
	http := flags.Address{Flag: "http", Value: ":9002"}
	for value, want := range map[string]bool{
		":9002": true, "9002": true, "localhost:9002": true, "0.0.0.0:9002": true, "[::]:9002": true,
		":9001": false, "9001": false, ":0": false, "not:an:address": false, "": false,
	} {
		err := flags.Distinct(http, flags.Address{Flag: "rpc", Value: value})
		assert.Equal(t, want, err != nil, value)
		if want {
			require.ErrorIs(t, err, proto.ErrInvalid)
			require.EqualError(t, err, "-http and -rpc are the same address, "+value)
		}
	}
	require.NoError(t, flags.Distinct(flags.Address{Flag: "http", Value: "127.0.0.1:80"}, flags.Address{Flag: "rpc", Value: "127.0.0.2:80"}))
	require.NoError(t, flags.Distinct(flags.Address{Flag: "http", Value: ":0"}, flags.Address{Flag: "rpc", Value: ":0"}))
	require.Error(t, flags.Distinct(flags.Address{Flag: "http", Value: "127.0.0.1:80"}, flags.Address{Flag: "rpc", Value: "localhost:80"}))
	err := flags.Distinct(flags.Address{Flag: "functions", Value: ":80"}, flags.Address{Flag: "functions", Value: ":80"})
	require.EqualError(t, err, "two of -functions are the same address, :80")
}

func TestAddressesThatCannotBeAreRefusedInPlainWords(t *testing.T) {
	for addr, says := range map[string]string{
		"abc":             `-http "abc": the port is not a number from 0 to 65535`,
		"tcp/abc":         `-http "tcp/abc": the port is not a number from 0 to 65535`,
		"localhost:http":  `-http "localhost:http": the port is not a number from 0 to 65535`,
		"localhost:99999": `-http "localhost:99999": the port is not a number from 0 to 65535`,
		"::1":             `-http "::1": it is not of the form host:port`,
		"192.0.2.1:9":     `-http "192.0.2.1:9": 192.0.2.1 is no address of this machine`,
	} {
		_, err := flags.Listen("http", addr)
		require.ErrorIs(t, err, proto.ErrInvalid, addr)
		assert.EqualError(t, err, says)
	}
}
