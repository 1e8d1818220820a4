package dice

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/gin-gonic/gin"
)

func roll(path string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	c, _ := gin.CreateTestContext(w)
	c.Request = httptest.NewRequest(http.MethodGet, path, http.NoBody)
	c.Params = gin.Params{{Key: "path", Value: path}}
	Roll(c)
	return w
}

func TestRoll(t *testing.T) {
	var got struct {
		Rolls []int
		Sum   int
	}
	if err := json.Unmarshal(roll("/3d1").Body.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if len(got.Rolls) != 3 || got.Sum != 3 {
		t.Errorf("3d1 is %+v", got)
	}
	for _, path := range []string{"/", "/d6", "/0d6", "/2d0", "/101d6", "/2x6"} {
		if status := roll(path).Code; status != http.StatusBadRequest {
			t.Errorf("%s answered %d", path, status)
		}
	}
}
