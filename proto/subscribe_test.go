package proto

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestPatternsOfEvents(t *testing.T) {
	for _, tt := range []struct {
		pattern string
		matches []string
		not     []string
	}{
		{"orders.created", []string{"orders.created"}, []string{"orders.Created", "orders", "orders.created.eu", "xorders.created"}},
		{"orders.*", []string{"orders.created", "orders.x"}, []string{"orders", "orders.", "orders.a.b", "order.a"}},
		{"*.created", []string{"orders.created"}, []string{".created", "created", "a.b.created"}},
		{"com.*.order.*", []string{"com.shop.order.new"}, []string{"com.shop.order", "com.shop.eu.order.new"}},
		{"orders.**", []string{"orders.a", "orders.a.b", "orders.a.b.c"}, []string{"orders", "orders.", "order.a"}},
		{"orders.*.**", []string{"orders.a.b"}, []string{"orders.a"}},
		{"**", []string{"a", "a.b"}, []string{""}},
		{"*", []string{"a"}, []string{"a.b", ""}},
	} {
		require.NoError(t, (&FunctionJson{Name: "F", Subscribe: []string{tt.pattern}}).Check(), tt.pattern)
		row := &FunctionJsonRsp{Subscribe: []string{"never", tt.pattern}}
		for _, kind := range tt.matches {
			assert.True(t, row.Subscribes(kind), "%s: %s", tt.pattern, kind)
		}
		for _, kind := range tt.not {
			assert.False(t, row.Subscribes(kind), "%s: %s", tt.pattern, kind)
		}
	}
	for pattern, says := range map[string]string{
		"": "not a type", "a b": "not a type", "a\n": "not a type", strings.Repeat("a", MaxEventType+1): "not a type",
		"**.created": "at the end", "orders.>": "write **", "orders.cr*": "whole segment", "a.***": "whole segment",
	} {
		err := (&FunctionJson{Name: "F", Subscribe: []string{pattern}}).Check()
		require.ErrorIs(t, err, ErrInvalid, pattern)
		assert.ErrorContains(t, err, says)
	}
	require.ErrorIs(t, (&FunctionJson{Name: "F", Subscribe: make([]string, MaxSubscribe+1)}).Check(), ErrInvalid)
}
