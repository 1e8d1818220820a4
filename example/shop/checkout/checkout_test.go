package checkout

import (
	"net/http"
	"net/http/httptest"
	"testing"
)

func TestCheckout(t *testing.T) {
	tests := []struct {
		query  string
		status int
		body   string
	}{
		{"?item=tea&item=tea&item=cup", http.StatusOK, "3 items: 16.49\n"},
		{"?item=yacht", http.StatusNotFound, "the shop has no \"yacht\"\n"},
		{"", http.StatusBadRequest, "the basket is empty: ?item=tea&item=cup\n"},
	}
	for _, tt := range tests {
		w := httptest.NewRecorder()
		Checkout(w, httptest.NewRequest(http.MethodGet, "/"+tt.query, nil))
		if w.Code != tt.status || w.Body.String() != tt.body {
			t.Errorf("%s: answered %d %q, want %d %q", tt.query, w.Code, w.Body, tt.status, tt.body)
		}
	}
}
