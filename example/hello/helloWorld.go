package hello

import (
	"fmt"
	"net/http"
)

// HelloWorld is the function to deploy: exported, with the signature of an HTTP handler.
func HelloWorld(w http.ResponseWriter, r *http.Request) {
	fmt.Fprint(w, "Hello, World!\n")
}
