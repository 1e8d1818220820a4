package event

import (
	"context"
	"fmt"

	cloudevents "github.com/cloudevents/sdk-go/v2"
)

// Order is the data of an event.
type Order struct {
	Item     string `json:"item"`
	Quantity int    `json:"quantity"`
}

// Placed is the function to deploy. Its output is its log.
func Placed(_ context.Context, e cloudevents.Event) error {
	var o Order
	if err := e.DataAs(&o); err != nil {
		return fmt.Errorf("event %s: %w", e.ID(), err)
	}
	if o.Quantity < 1 {
		return fmt.Errorf("event %s: nobody orders %d × %s", e.ID(), o.Quantity, o.Item)
	}
	fmt.Printf("order %s from %s: %d × %s\n", e.ID(), e.Source(), o.Quantity, o.Item)
	return nil
}
