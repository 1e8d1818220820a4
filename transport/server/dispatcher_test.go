package server_test

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/transport"
	"github.com/Ishan27g/ryo-faas/transport/server"
	"github.com/Ishan27g/ryo-faas/transport/transporttest"
	"github.com/Ishan27g/ryo-faas/transport/wire"
)

// kept is a Dispatcher that keeps two calls: of HelloWorld and of Other, by these ids.
type kept struct{ asked []any }

func (k *kept) Calls(_ context.Context, req *proto.CallsRequest) ([]*proto.Call, error) {
	k.asked = append(k.asked, req.GetFunction(), req.GetState(), req.GetLimit())
	return []*proto.Call{{Id: "helloworld", Function: "helloworld"}, {Id: "other", Function: "other"}}, nil
}

func (k *kept) Call(_ context.Context, id string, wait time.Duration) (*proto.Call, error) {
	k.asked = append(k.asked, id, wait)
	if id == "unknown" {
		return nil, proto.Errorf(proto.ErrNotFound, "there is no call %s", id)
	}
	return &proto.Call{Id: id, Function: id, State: "done", BodyBase64: []byte{0xff}, Headers: map[string]string{"A": "b"}}, nil
}

func (k *kept) CancelCall(_ context.Context, id string) (*proto.Call, error) {
	return nil, proto.Errorf(proto.ErrConflict, "call %s has ended", id)
}

func (k *kept) RedriveCalls(_ context.Context, which *proto.DeadCalls) (int, error) {
	k.asked = append(k.asked, which.GetFunction(), which.GetId())
	return 3, nil
}

func (k *kept) PurgeCalls(context.Context, *proto.DeadCalls) (int, error) { return 4, nil }

func (k *kept) CallbackSecret(context.Context) (string, error) { return "whsec_x", nil }

func TestCallsThatWaitAreToldOverBothTransports(t *testing.T) {
	for _, kind := range bothKinds {
		fake, k := transporttest.NewFake(t), &kept{}
		var all transport.Dispatcher = clientOf(t, kind, serve(t, fake, fake, server.Config{Dispatcher: k}))
		list, err := all.Calls(t.Context(), &proto.CallsRequest{Function: "HelloWorld", State: "dead", Limit: 7})
		require.NoError(t, err)
		assert.Len(t, list, 2)
		c, err := all.Call(t.Context(), "other", 2*time.Second)
		require.NoError(t, err)
		assert.Equal(t, []any{"done", []byte{0xff}, map[string]string{"A": "b"}}, []any{c.GetState(), c.GetBodyBase64(), c.GetHeaders()})
		_, err = all.CancelCall(t.Context(), "other")
		require.ErrorIs(t, err, proto.ErrConflict)
		n, err := all.RedriveCalls(t.Context(), &proto.DeadCalls{Function: "Other", Id: "x"})
		require.NoError(t, err)
		assert.Equal(t, 3, n)
		n, err = all.PurgeCalls(t.Context(), &proto.DeadCalls{})
		require.NoError(t, err)
		assert.Equal(t, 4, n)
		secret, err := all.CallbackSecret(t.Context())
		require.NoError(t, err)
		assert.Equal(t, "whsec_x", secret)
		assert.Subset(t, k.asked, []any{"HelloWorld", "dead", uint32(7), "other", 2 * time.Second, "Other", "x"})

		none := clientOf(t, kind, serve(t, fake, fake, server.Config{}))
		_, err = none.Calls(t.Context(), &proto.CallsRequest{})
		require.ErrorIs(t, err, proto.ErrUnsupported)
		_, err = none.Call(t.Context(), "other", 0)
		require.ErrorIs(t, err, proto.ErrUnsupported)
	}
}

func TestATokenShowsCallsOfItsFunctionsAlone(t *testing.T) {
	k, fake := transporttest.Keeper(t), transporttest.NewFake(t)
	addr := serve(t, fake, fake, server.Config{Tokens: k, Dispatcher: &kept{}})
	invoke := gateway(t, addr, token(t, k, wire.ScopeInvoke, "HelloWorld"))
	deploy := gateway(t, addr, token(t, k, wire.ScopeDeploy, "HelloWorld"))
	for _, c := range []struct {
		ask                func(method, path, body string) (int, string)
		method, path, body string
		status             int
	}{
		{invoke, http.MethodGet, "/calls/helloworld", "", http.StatusOK},
		{invoke, http.MethodGet, "/calls/other", "", http.StatusForbidden},
		{invoke, http.MethodDelete, "/calls/helloworld", "", http.StatusConflict},
		{invoke, http.MethodDelete, "/calls/other", "", http.StatusForbidden},
		{invoke, http.MethodGet, "/calls", "", http.StatusForbidden},
		{invoke, http.MethodPost, "/dead/purge", "{}", http.StatusForbidden},
		{deploy, http.MethodPost, "/dead/purge", "{}", http.StatusForbidden},
		{deploy, http.MethodPost, "/dead/purge", `{"function": "Other"}`, http.StatusForbidden},
		{deploy, http.MethodPost, "/dead/purge", `{"function": "HelloWorld"}`, http.StatusOK},
		{deploy, http.MethodGet, "/callbacks/secret", "", http.StatusForbidden},
	} {
		code, body := c.ask(c.method, c.path, c.body)
		assert.Equal(t, c.status, code, "%s %s %s: %s", c.method, c.path, c.body, body)
	}
	_, body := deploy(http.MethodGet, "/calls", "")
	assert.Contains(t, body, `"helloworld"`)
	assert.NotContains(t, body, `"other"`)
}

// busy is a Dispatcher with many calls of Other, and two of HelloWorld before them.
type busy struct{ kept }

func (b *busy) Calls(_ context.Context, req *proto.CallsRequest) (list []*proto.Call, err error) {
	for i := range 200 {
		list = append(list, &proto.Call{Id: "other", Function: "other", Accepted: fmt.Sprintf("2026-01-02T00:%02d:%02dZ", 59-i/60, 59-i%60)})
	}
	list = append(list, &proto.Call{Id: "late", Function: "helloworld", Accepted: "2026-01-01T00:00:01Z"}, &proto.Call{Id: "early", Function: "helloworld", Accepted: "2026-01-01T00:00:00Z"})
	list = slices.DeleteFunc(list, func(c *proto.Call) bool {
		return req.GetFunction() != "" && c.GetFunction() != proto.Path(req.GetFunction())
	})
	return list[:min(len(list), cmp.Or(int(req.GetLimit()), 100))], nil
}

// Calls of others do not hide a token's own.
func TestATokenShowsAllCallsOfItsFunctions(t *testing.T) {
	k, fake := transporttest.Keeper(t), transporttest.NewFake(t)
	ask := gateway(t, serve(t, fake, fake, server.Config{Tokens: k, Dispatcher: &busy{}}), token(t, k, wire.ScopeRead, "HelloWorld", "Missing"))
	for query, want := range map[string][]string{"": {"late", "early"}, "?limit=1": {"late"}, "?function=HelloWorld": {"late", "early"}} {
		code, body := ask(http.MethodGet, "/calls"+query, "")
		require.Equal(t, http.StatusOK, code, body)
		var list []struct{ ID string }
		require.NoError(t, json.Unmarshal([]byte(body), &list), body)
		var got []string
		for _, c := range list {
			got = append(got, c.ID)
		}
		assert.Equal(t, want, got, query)
	}
}

// A call that is not there looks like one that the caller may not see.
func TestACallThatIsNotThereIsToldToThoseWhoMaySeeAll(t *testing.T) {
	k, fake := transporttest.Keeper(t), transporttest.NewFake(t)
	for _, c := range []struct {
		name       string
		dispatcher transport.Dispatcher
		all        int
	}{
		{"a proxy", &kept{}, http.StatusNotFound},
		{"an agent", nil, http.StatusMethodNotAllowed},
	} {
		addr := serve(t, fake, fake, server.Config{Tokens: k, Dispatcher: c.dispatcher})
		all, one := gateway(t, addr, token(t, k, wire.ScopeInvoke)), gateway(t, addr, token(t, k, wire.ScopeInvoke, "HelloWorld"))
		for _, method := range []string{http.MethodGet, http.MethodDelete} {
			code, body := all(method, "/calls/unknown", "")
			assert.Equal(t, c.all, code, "%s: %s: %s", c.name, method, body)
			code, body = one(method, "/calls/unknown", "")
			assert.Equal(t, http.StatusForbidden, code, "%s: %s: %s", c.name, method, body)
		}
	}
}
