package checkout

import (
	"fmt"
	"net/http"

	"example.com/shop/price"
)

// Checkout is the function to deploy. It answers with the bill for the query's
// items.
func Checkout(w http.ResponseWriter, r *http.Request) {
	items := r.URL.Query()["item"]
	if len(items) == 0 {
		http.Error(w, "the basket is empty: ?item=tea&item=cup", http.StatusBadRequest)
		return
	}
	total, err := price.Of(items...)
	if err != nil {
		http.Error(w, err.Error(), http.StatusNotFound)
		return
	}
	fmt.Fprintf(w, "%d items: %s\n", len(items), total)
}
