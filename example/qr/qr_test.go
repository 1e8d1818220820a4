package qr

import (
	"bytes"
	"image/png"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func call(target string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	QR(w, httptest.NewRequest(http.MethodGet, target, nil))
	return w
}

func TestQRDraws(t *testing.T) {
	const side = 21 // modules of the smallest code
	lines := strings.Split(strings.TrimSpace(call("/?text=hi").Body.String()), "\n")
	if got := len(lines); got != (side+2*quiet+1)/2 {
		t.Errorf("the drawing has %d lines", got)
	}
	img, err := png.Decode(bytes.NewReader(call("/png?text=hi").Body.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	if got := img.Bounds().Dx(); got != (side+2*quiet)*pixels {
		t.Errorf("the picture is %d pixels wide", got)
	}
}

func TestQRRefuses(t *testing.T) {
	for target, want := range map[string]int{
		"/":                                   http.StatusBadRequest,
		"/?text=" + strings.Repeat("x", 5000): http.StatusRequestEntityTooLarge,
		"/jpeg?text=hi":                       http.StatusNotFound,
	} {
		if got := call(target).Code; got != want {
			t.Errorf("GET %.20s answered %d, want %d", target, got, want)
		}
	}
}
