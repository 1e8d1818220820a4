package price

import (
	"fmt"

	"example.com/shop/internal/catalog"
)

// Cents is an amount of money: whole cents, since fractions of them do not add up.
type Cents int64

func (c Cents) String() string { return fmt.Sprintf("%d.%02d", c/100, c%100) }

// Of returns the price of items, or an error that names one that is not sold.
func Of(items ...string) (Cents, error) {
	var total Cents
	for _, item := range items {
		cents, ok := catalog.Price(item)
		if !ok {
			return 0, fmt.Errorf("the shop has no %q", item)
		}
		total += Cents(cents)
	}
	return total, nil
}
