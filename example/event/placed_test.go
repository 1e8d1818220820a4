package event

import (
	"testing"

	cloudevents "github.com/cloudevents/sdk-go/v2"
)

func TestPlaced(t *testing.T) {
	for data, ok := range map[string]bool{
		`{"item": "tea", "quantity": 3}`: true,
		`{"item": "tea"}`:                false,
		`["tea"]`:                        false,
	} {
		e := cloudevents.NewEvent()
		if err := e.SetData(cloudevents.ApplicationJSON, []byte(data)); err != nil {
			t.Fatal(err)
		}
		if err := Placed(t.Context(), e); (err == nil) != ok {
			t.Errorf("%s: %v", data, err)
		}
	}
}
