package gateway

import (
	"bytes"
	"io"
	"net/http"
	"net/textproto"
	"slices"
	"strings"
	"sync"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

const (
	// compressFrom is the least length of a body that is compressed, in bytes: a smaller one
	// fills one packet either way.
	compressFrom = 1 << 10
	// compressors bounds the answers that are compressed at the same time, and with them
	// their memory, 0.8 MiB each. Further ones pass as they are.
	compressors = 128
	// zstdWindow is how far zstd looks back, in bytes: callers keep as much.
	zstdWindow = 128 << 10
)

// codings are the content codings that answers get, the better one first.
var codings = []string{"zstd", "gzip"}

// squeezers hold what compresses, by coding.
var squeezers = map[string]*sync.Pool{
	"zstd": {New: func() any {
		enc, _ := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedFastest),
			zstd.WithWindowSize(zstdWindow), zstd.WithLowerEncoderMem(true), zstd.WithZeroFrames(true)) // fails for bad options alone
		return &squeezer{encoder: enc}
	}},
	"gzip": {New: func() any {
		enc, _ := gzip.NewWriterLevel(nil, gzip.BestSpeed) // fails for bad levels alone
		return &squeezer{encoder: enc}
	}},
}

// squeezer compresses one answer after the other.
type squeezer struct {
	encoder interface {
		io.WriteCloser
		Flush() error
		Reset(to io.Writer)
	}
	in  [copyBuffer]byte
	out bytes.Buffer // what the encoder has written
}

// compress makes the function's answer smaller, if it and the caller allow that (RFC 9110
// sections 8.4.1 and 12.5.3).
func (c *call) compress(res *http.Response) {
	if e := c.route.edge; e == nil || !e.compress || !canShrink(res) {
		return
	}
	vary(res.Header)
	name := coding(c.in.Header["Accept-Encoding"])
	if name == "" || holds(c.in.Header["Cache-Control"], "no-transform") {
		return
	}
	switch {
	case res.StatusCode == http.StatusNotModified: // the caller has one of the two, both by this tag
		weaken(res.Header)
		return
	case c.in.Method == http.MethodHead: // as a GET would be answered
	default:
		select {
		case c.compressing <- struct{}{}:
		default:
			return
		}
		s := squeezers[name].Get().(*squeezer)
		s.out.Reset()
		s.encoder.Reset(&s.out)
		res.Body = &squeezedBody{ReadCloser: res.Body, left: res.ContentLength, squeezer: s, release: func() {
			s.encoder.Reset(nil)
			squeezers[name].Put(s)
			<-c.compressing
		}}
	}
	weaken(res.Header)
	res.Header["Content-Encoding"] = []string{name}
	res.Header.Del("Content-Length")
	res.Header.Del("Accept-Ranges") // ranges would be of the whole
	res.ContentLength = -1
}

// canShrink says whether an answer may be compressed for callers who ask for that.
func canShrink(res *http.Response) bool {
	h := res.Header
	switch {
	case res.StatusCode == http.StatusNotModified:
		return true
	case res.StatusCode < 200, res.StatusCode == http.StatusNoContent, res.StatusCode == http.StatusPartialContent,
		res.ContentLength >= 0 && res.ContentLength < compressFrom,
		len(h["Content-Encoding"]) > 0, len(h["Content-Range"]) > 0,
		holds(h["Cache-Control"], "no-transform"), !isText(h.Get("Content-Type")):
		return false
	}
	for _, name := range []string{"Content-Digest", "Content-Md5", "Digest", "Repr-Digest"} { // they are of the bytes as they are
		if _, trails := res.Trailer[name]; trails || len(h[name]) > 0 {
			return false
		}
	}
	return true
}

// isText says whether what has a media type is made of words, and not compressed already.
func isText(contentType string) bool {
	media, _, _ := strings.Cut(contentType, ";")
	media = strings.ToLower(textproto.TrimString(media))
	if strings.HasPrefix(media, "text/") || strings.HasSuffix(media, "+json") || strings.HasSuffix(media, "+xml") {
		return true
	}
	switch media {
	case "application/json", "application/x-ndjson", "application/jsonl", "application/xml", "application/javascript",
		"application/yaml", "application/toml", "application/wasm", "application/x-www-form-urlencoded",
		"font/ttf", "font/otf", "image/bmp", "image/x-icon", "image/vnd.microsoft.icon":
		return true
	}
	return false
}

// vary tells caches that the answer is another one for other callers.
func vary(h http.Header) {
	if !holds(h["Vary"], "accept-encoding") && !holds(h["Vary"], "*") {
		h.Add("Vary", "Accept-Encoding")
	}
}

// weaken makes a tag say that the same content may have other bytes (RFC 9110 section
// 8.8.1): parts of the two do not fit together.
func weaken(h http.Header) {
	if tag := h.Get("Etag"); strings.HasPrefix(tag, `"`) {
		h.Set("Etag", "W/"+tag)
	}
}

// holds says whether the lists in lines of a header hold a word, in lower case.
func holds(lines []string, word string) bool {
	return slices.ContainsFunc(lines, func(line string) bool {
		for part := range strings.SplitSeq(line, ",") {
			if strings.EqualFold(textproto.TrimString(part), word) {
				return true
			}
		}
		return false
	})
}

// coding returns the coding that the lines of an Accept-Encoding prefer, among those that
// they allow; "" for none.
func coding(lines []string) (chosen string) {
	weights := map[string]int{}
	for _, line := range lines {
		for part := range strings.SplitSeq(line, ",") {
			name, parameter, _ := strings.Cut(part, ";")
			weights[strings.ToLower(textproto.TrimString(name))] = weight(textproto.TrimString(parameter))
		}
	}
	best := 0
	for _, name := range codings {
		w, said := weights[name]
		if !said {
			w = weights["*"]
		}
		if w > best && w >= weights["identity"] {
			best, chosen = w, name
		}
	}
	return chosen
}

// weight reads a weight in thousandths (RFC 9110 section 12.4.2). One that is none weighs
// nothing, so that nobody gets what it may not have asked for.
func weight(text string) int {
	if text == "" {
		return 1000
	}
	name, value, _ := strings.Cut(text, "=")
	if !strings.EqualFold(name, "q") || value == "" || len(value) > len("0.000") || value[0] != '0' && value[0] != '1' || len(value) > 1 && value[1] != '.' {
		return 0
	}
	w, unit := int(value[0]-'0')*1000, 100
	for i := 2; i < len(value); i++ {
		if value[i] < '0' || value[i] > '9' {
			return 0
		}
		w += int(value[i]-'0') * unit
		unit /= 10
	}
	if w > 1000 {
		return 0
	}
	return w
}

// squeezedBody is the body of an answer, compressed as it is read. What the function has
// sent can be read without waiting for more, and an end that is missing stays missing.
type squeezedBody struct {
	io.ReadCloser        // as the function gives it
	left          int64  // bytes of it still to come; negative: not known
	*squeezer            // nil: it was closed
	release       func() // gives back what the squeezer takes
	err           error  // of the function's body
}

func (b *squeezedBody) Read(p []byte) (int, error) {
	if b.squeezer == nil {
		return 0, http.ErrBodyReadAfterClose
	}
	for b.out.Len() == 0 {
		if b.err != nil {
			return 0, b.err
		}
		b.out.Reset()
		var n int
		n, b.err = b.ReadCloser.Read(b.in[:])
		_, _ = b.encoder.Write(b.in[:n]) // a buffer takes all
		b.left -= int64(n)
		switch {
		case b.err == io.EOF: //nolint:errorlint // readers return io.EOF itself
			_ = b.encoder.Close()
		case n > 0 && b.left != 0: // the last part comes with the end
			_ = b.encoder.Flush()
		}
	}
	return b.out.Read(p)
}

// Close implements io.Closer.
func (b *squeezedBody) Close() error {
	if b.squeezer != nil {
		b.squeezer = nil
		b.release()
	}
	return b.ReadCloser.Close()
}
