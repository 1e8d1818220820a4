package hello

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestHelloWorldGreets(t *testing.T) {
	w := httptest.NewRecorder()
	HelloWorld(w, httptest.NewRequest(http.MethodGet, "/", nil))

	assert.Equal(t, http.StatusOK, w.Code)
	assert.Equal(t, "Hello, World!\n", w.Body.String())
}
