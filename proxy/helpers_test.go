package proxy

import (
	"encoding/json"
	"io"
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/Ishan27g/ryo-faas/internal/testkit"
)

// patience bounds every wait of a test.
const patience = testkit.Patience

func bodyOf(t testing.TB, res *http.Response) string {
	t.Helper()
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	return string(b)
}

// client returns a client whose connections end with the test.
func client(t testing.TB) *http.Client {
	tr := &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 64}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: patience}
}

// errorOf reads an answer of the gateway's own.
func errorOf(t testing.TB, res *http.Response) map[string]any {
	t.Helper()
	var answer struct{ Error map[string]any }
	require.NoError(t, json.Unmarshal([]byte(bodyOf(t, res)), &answer))
	require.NotEmpty(t, answer.Error["message"])
	assert.NotEmpty(t, answer.Error["component"])
	assert.NotEmpty(t, answer.Error["reason"])
	assert.Equal(t, res.Header.Get("X-Request-Id"), answer.Error["requestId"])
	assert.NotEmpty(t, answer.Error["requestId"])
	return answer.Error
}
