package qr

import (
	"image"
	"image/color"
	"image/png"
	"net/http"
	"strings"

	"github.com/boombuler/barcode"
	"github.com/boombuler/barcode/qr"
)

const (
	pixels = 8 // the side of a module, as QR codes call their squares, in a PNG
	quiet  = 4 // modules of white that the standard asks for around a code
)

// QR is the function to deploy. It draws the query's text, for a terminal or,
// below /png, as a picture.
func QR(w http.ResponseWriter, r *http.Request) {
	text := r.URL.Query().Get("text")
	if text == "" {
		http.Error(w, "say what to draw: ?text=https://go.dev", http.StatusBadRequest)
		return
	}
	code, err := qr.Encode(text, qr.M, qr.Auto)
	if err != nil {
		http.Error(w, err.Error(), http.StatusRequestEntityTooLarge)
		return
	}
	switch r.URL.Path {
	case "/":
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		// An error of Write or Encode means that the caller has canceled.
		_, _ = w.Write([]byte(draw(code)))
	case "/png":
		w.Header().Set("Content-Type", "image/png")
		_ = png.Encode(w, paint(code))
	default:
		http.NotFound(w, r)
	}
}

// dark reports whether a module is; x and y count from the corner of the quiet zone.
func dark(code barcode.Barcode, x, y int) bool {
	at := image.Pt(x-quiet, y-quiet)
	return at.In(code.Bounds()) && color.GrayModel.Convert(code.At(at.X, at.Y)) == color.Gray{}
}

// draw puts two modules, one above the other, into each character.
func draw(code barcode.Barcode) string {
	var b strings.Builder
	side := code.Bounds().Dx() + 2*quiet
	for y := 0; y < side; y += 2 {
		for x := range side {
			upper, lower := dark(code, x, y), dark(code, x, y+1)
			switch {
			case upper && lower:
				b.WriteRune(' ')
			case upper:
				b.WriteRune('▄')
			case lower:
				b.WriteRune('▀')
			default:
				b.WriteRune('█')
			}
		}
		b.WriteByte('\n')
	}
	return b.String()
}

func paint(code barcode.Barcode) image.Image {
	side := (code.Bounds().Dx() + 2*quiet) * pixels
	img := image.NewGray(image.Rect(0, 0, side, side))
	for y := range side {
		for x := range side {
			if !dark(code, x/pixels, y/pixels) {
				img.SetGray(x, y, color.Gray{Y: 0xff})
			}
		}
	}
	return img
}
