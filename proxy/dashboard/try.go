package dashboard

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"net/textproto"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/Ishan27g/ryo-faas/proto"
)

// Limits of a call that is made from a page.
const (
	tryAnswer = 256 << 10       // bytes of the answer that are shown
	tryLimit  = 2 * time.Minute // for the whole call
	// tryLog is how long is waited for lines of the call's log after its answer: agents read
	// what functions print a little later.
	tryLog = 500 * time.Millisecond
)

// tryMethods are the methods to choose from.
var tryMethods = []string{"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"}

// tryBody is the page on which a function is called.
type tryBody struct {
	Method, Path, Headers, Body string
	Answer                      *tryResult
	Problem                     string // of what was typed
}

// Methods are those to choose from.
func (tryBody) Methods() []string { return tryMethods }

// tryResult is what became of a call.
type tryResult struct {
	Status, StatusClass, Took, ID string
	Headers                       []change // name and value
	Text                          string
	Note                          string // what is not shown of the body
	Lines                         []logLine
}

// tryFunction calls a function as the form says, by the same way as all callers.
func (d *Dashboard) tryFunction(v *visit) error {
	if !v.may.Invoke {
		return proto.Errorf(proto.ErrForbidden, "%s may not call functions: that takes the scope invoke", v.who.GetWho())
	}
	rows, err := v.found(v.r.Context(), v.r.PathValue("name"))
	if err != nil {
		return err
	}
	form := v.r.PostFormValue
	body := tryBody{Method: form("method"), Path: form("path"), Headers: form("headers"), Body: form("body")}
	req, err := body.request(v.r.Context(), rows[0].GetName())
	if err != nil {
		body.Problem = err.Error()
		return d.showFunction(v, rows, "test", body, http.StatusOK)
	}
	if body.Answer, err = d.try(v, req, rows[0].GetName()); err != nil {
		return err
	}
	return d.showFunction(v, rows, "test", body, http.StatusOK)
}

// request returns the call that a form describes.
func (b *tryBody) request(ctx context.Context, name string) (*http.Request, error) {
	if !slices.Contains(tryMethods, b.Method) {
		return nil, proto.Errorf(proto.ErrInvalid, "%.20q is not one of the methods", b.Method)
	}
	if !strings.HasPrefix(b.Path, "/") {
		b.Path = "/" + b.Path
	}
	var content io.Reader = http.NoBody
	if text := strings.ReplaceAll(b.Body, "\r\n", "\n"); text != "" { // as forms send it
		content = strings.NewReader(text)
	}
	target := "http://" + self + "/functions/" + proto.Path(name)
	if b.Path != "/" {
		target += b.Path
	}
	req, err := http.NewRequestWithContext(ctx, b.Method, target, content)
	if err != nil {
		return nil, proto.Errorf(proto.ErrInvalid, "the path %.100q is none", b.Path)
	}
	if text := strings.TrimSpace(b.Headers); text != "" {
		header, err := textproto.NewReader(bufio.NewReader(strings.NewReader(text + "\r\n\r\n"))).ReadMIMEHeader()
		if err != nil {
			return nil, proto.Errorf(proto.ErrInvalid, "headers are lines such as Content-Type: application/json")
		}
		for _, name := range []string{"Connection", "Upgrade", "Te", "Transfer-Encoding", "Content-Length", "Authorization", "Host"} {
			if header.Get(name) != "" {
				return nil, proto.Errorf(proto.ErrInvalid, "the header %s is not sent from here", name)
			}
		}
		req.Header = http.Header(header)
	}
	return req, nil
}

func (d *Dashboard) try(v *visit, req *http.Request, name string) (*tryResult, error) {
	ctx, cancel := context.WithTimeout(req.Context(), tryLimit)
	defer cancel()
	id := proto.RequestID(req.Header.Get(proto.RequestIDHeader))
	req.Header.Set(proto.RequestIDHeader, id)
	began := time.Now()
	rsp, err := v.send(req.WithContext(ctx))
	if err != nil {
		return nil, err
	}
	defer rsp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(rsp.Body, tryAnswer+1))
	took := time.Since(began)
	r := &tryResult{Status: strings.TrimSpace(http.StatusText(rsp.StatusCode)), Took: secondsText(took.Seconds()), ID: id}
	r.Status = strings.TrimSpace(itoa(rsp.StatusCode) + " " + r.Status)
	switch {
	case rsp.StatusCode >= http.StatusInternalServerError:
		r.StatusClass = "bad"
	case rsp.StatusCode >= http.StatusBadRequest:
		r.StatusClass = "warn"
	default:
		r.StatusClass = "good"
	}
	for name, values := range rsp.Header {
		r.Headers = append(r.Headers, change{Name: name, To: clip(strings.Join(values, ", "), 1000)})
	}
	slices.SortFunc(r.Headers, func(a, b change) int { return strings.Compare(a.Name, b.Name) })
	switch {
	case err != nil:
		r.Note = "The answer broke off."
	case len(data) > tryAnswer:
		data = data[:tryAnswer]
		r.Note = "The answer is longer: these are its first " + bytesText(tryAnswer) + "."
	}
	if r.Text = strings.ToValidUTF8(string(data), ""); !utf8.Valid(data) && len(r.Text) < len(data)*9/10 {
		r.Text, r.Note = "", "The answer is no text: "+bytesText(uint64(len(data)))+"."
	}
	if v.may.Read {
		r.Lines = callLines(v, name, id)
	}
	return r, nil
}

// callLines returns what a call printed, as far as that is known soon after it.
func callLines(v *visit, name, id string) (lines []logLine) {
	ctx, cancel := context.WithTimeout(v.r.Context(), tryLog)
	defer cancel()
	_ = v.api.Logs(ctx, &proto.LogsRequest{Name: name, Id: id, Follow: true, Since: "5m"}, func(batch *proto.LogLines) error {
		for _, l := range batch.GetLines() {
			if len(lines) == maxLines {
				return io.EOF
			}
			lines = append(lines, lineOf(l))
		}
		return nil
	})
	return lines
}
