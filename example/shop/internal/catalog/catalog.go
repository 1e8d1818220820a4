package catalog

import (
	_ "embed"
	"encoding/json"
	"fmt"
)

//go:embed catalog.json
var source []byte

var prices = load(source)

// load panics on a broken catalog, which is a bug: the deploy then fails, and its
// error says why.
func load(source []byte) map[string]int64 {
	var prices map[string]int64
	if err := json.Unmarshal(source, &prices); err != nil {
		panic(fmt.Errorf("read catalog.json: %w", err))
	}
	return prices
}

// Price returns what an item costs in cents, and whether the shop has it.
func Price(item string) (cents int64, ok bool) {
	cents, ok = prices[item]
	return cents, ok
}
