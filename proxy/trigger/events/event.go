package events

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/Ishan27g/ryo-faas/proto"
)

// The limits of what is accepted.
const (
	// MaxData bounds the data of an event in bytes: twice what the specification asks
	// everybody to pass on, and with its attributes no more than a message of the store has.
	MaxData = 128 << 10
	// MaxBatch bounds the events of a request.
	MaxBatch = 100
	// maxBody bounds a request in bytes: data may be in base64.
	maxBody = 4 << 20
	// maxAttributes bounds the names and values of an event's attributes in bytes.
	maxAttributes = 16 << 10
	// maxName bounds the name of an attribute. The specification asks for 20.
	maxName = 64
)

// Event is a CloudEvent.
type Event struct {
	// Attributes has all, but for datacontenttype.
	Attributes map[string]string
	// ContentType is that of Data; "": it is not known.
	ContentType string
	Data        []byte
}

// ID is what its source names it by.
func (e *Event) ID() string { return e.Attributes["id"] }

// Source says where it comes from.
func (e *Event) Source() string { return e.Attributes["source"] }

// Type says what has happened.
func (e *Event) Type() string { return e.Attributes["type"] }

// Header is the event in the binary form, without its data.
func (e *Event) Header() http.Header {
	h := http.Header{}
	for name, value := range e.Attributes {
		h.Set("Ce-"+name, escape(value))
	}
	if e.ContentType != "" {
		h.Set("Content-Type", e.ContentType)
	}
	return h
}

const (
	structured = "application/cloudevents+json"
	batched    = "application/cloudevents-batch+json"
	contents   = "datacontenttype"
)

// Parse returns the events of a request, at least one. What is no CloudEvent is an
// ErrInvalid, what is over a limit an ErrTooLarge.
func Parse(h http.Header, body []byte) ([]*Event, error) {
	kind, params, err := mime.ParseMediaType(h.Get("Content-Type"))
	if err != nil && h.Get("Content-Type") != "" {
		return nil, invalid("the Content-Type %.100q cannot be read", h.Get("Content-Type"))
	}
	switch {
	case !strings.HasPrefix(kind, "application/cloudevents"):
		e, err := binary(h, body)
		return []*Event{e}, err
	case kind != structured && kind != batched:
		return nil, invalid("events of the form %.100s are not taken; send %s, %s, or headers ce-…", kind, structured, batched)
	case params["charset"] != "" && !strings.EqualFold(params["charset"], "utf-8"):
		return nil, invalid("JSON is in UTF-8, not in %.40s", params["charset"])
	case kind == structured:
		e, err := fromJSON(body)
		return []*Event{e}, err
	}
	var parts []json.RawMessage
	if err := json.Unmarshal(body, &parts); err != nil {
		return nil, unlike("the batch", "a list", err)
	}
	if len(parts) == 0 {
		return nil, invalid("the batch is empty")
	}
	if len(parts) > MaxBatch {
		return nil, proto.Errorf(proto.ErrTooLarge, "a batch of %d events is larger than %d", len(parts), MaxBatch)
	}
	list := make([]*Event, 0, len(parts))
	for i, part := range parts {
		e, err := fromJSON(part)
		if err != nil {
			return nil, fmt.Errorf("event %d of the batch: %w", i+1, err)
		}
		list = append(list, e)
	}
	return list, nil
}

func invalid(format string, args ...any) *proto.Error {
	return proto.Errorf(proto.ErrInvalid, format, args...)
}

// jsonForms are the forms of JSON values, by what encoding/json calls them.
var jsonForms = map[string]string{"object": "an object", "array": "a list", "string": "a string", "number": "a number", "bool": "true or false"}

// unlike is the error for JSON that does not have the form that something must have. What
// encoding/json says of that names types of Go.
func unlike(what, form string, err error) *proto.Error {
	if is, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return invalid("%s must be %s in JSON, not %s", what, form, jsonForms[is.Value])
	}
	return invalid("%s is not valid JSON: %v", what, err)
}

// binary reads an event whose attributes are headers.
func binary(h http.Header, body []byte) (*Event, error) {
	e := &Event{Attributes: map[string]string{}, ContentType: h.Get("Content-Type"), Data: body}
	for header, values := range h {
		name, ok := strings.CutPrefix(strings.ToLower(header), "ce-")
		if !ok {
			continue
		}
		if len(values) > 1 {
			return nil, invalid("the header ce-%.64s is given twice", name)
		}
		value, err := unescape(values[0])
		if err != nil {
			return nil, invalid("the header ce-%.64s: %v", name, err)
		}
		e.Attributes[name] = value
	}
	if len(e.Attributes) == 0 {
		return nil, invalid("the request is no CloudEvent").
			WithHint("send ce-specversion: 1.0, ce-id, ce-source and ce-type as headers, or " + structured)
	}
	if _, there := e.Attributes[contents]; there {
		return nil, invalid("%s stands in the header Content-Type", contents)
	}
	if err := e.check(); err != nil {
		return nil, err
	}
	return e, nil
}

// fromJSON reads an event in the JSON format.
func fromJSON(text []byte) (*Event, error) {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(text, &members); err != nil {
		return nil, unlike("the event", "an object", err)
	}
	e := &Event{Attributes: map[string]string{}}
	maps.DeleteFunc(members, func(_ string, raw json.RawMessage) bool { return string(raw) == "null" }) // as if it were not there
	data, encoded := members["data"], members["data_base64"]
	delete(members, "data")
	delete(members, "data_base64")
	for name, raw := range members {
		value, err := attribute(raw)
		if err != nil {
			return nil, invalid("attribute %.64q: %v", name, err)
		}
		e.Attributes[name] = value
	}
	e.ContentType = e.Attributes[contents]
	delete(e.Attributes, contents)
	isJSON := e.ContentType == "" || strings.HasSuffix(mediaType(e.ContentType), "json")
	switch {
	case encoded != nil && data != nil:
		return nil, invalid("the event has both data and data_base64")
	case encoded != nil:
		if err := json.Unmarshal(encoded, &e.Data); err != nil {
			return nil, invalid("data_base64 is not in base64")
		}
	case data == nil:
	case !isJSON && data[0] == '"':
		var text string
		if err := json.Unmarshal(data, &text); err != nil {
			return nil, invalid("data: %v", err)
		}
		e.Data = []byte(text)
	default:
		e.Data = data
		if e.ContentType == "" {
			e.ContentType = "application/json"
		}
	}
	if err := e.check(); err != nil {
		return nil, err
	}
	return e, nil
}

func mediaType(text string) string {
	kind, _, _ := mime.ParseMediaType(text)
	return kind
}

// attribute returns the text of an attribute's value: a string, a truth or a whole number.
func attribute(raw json.RawMessage) (string, error) {
	var value any
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	if err := d.Decode(&value); err != nil {
		return "", err
	}
	switch value := value.(type) {
	case string:
		return value, nil
	case bool:
		return fmt.Sprint(value), nil
	case json.Number:
		if _, err := value.Int64(); err == nil {
			return value.String(), nil
		}
	}
	return "", fmt.Errorf("%.40s is no string, truth or whole number", raw)
}

// check reports what the specification does not allow.
func (e *Event) check() error {
	a := e.Attributes
	if v := a["specversion"]; v != "1.0" {
		return invalid("specversion is %.20q; events of version 1.0 are taken", v)
	}
	for _, name := range []string{"id", "source", "type"} {
		if a[name] == "" {
			return invalid("the event has no %s", name)
		}
	}
	size := 0
	for name, value := range a {
		size += len(name) + len(value)
		switch {
		case name == "data" || len(name) > maxName || strings.ContainsFunc(name, func(r rune) bool { return (r < 'a' || r > 'z') && (r < '0' || r > '9') }) || name == "":
			return invalid("%.64q is not the name of an attribute: up to %d lower-case letters and digits", name, maxName)
		case !utf8.ValidString(value) || strings.ContainsFunc(value, unicode.IsControl):
			return invalid("%s is no plain text", name)
		}
	}
	if len(a["type"]) > proto.MaxEventType {
		return invalid("the type %.40q… is longer than %d bytes", a["type"], proto.MaxEventType)
	}
	if _, err := url.Parse(a["source"]); err != nil || strings.Contains(a["source"], " ") {
		return invalid("the source %.100q is no URI", a["source"])
	}
	if text, there := a["dataschema"]; there {
		if u, err := url.Parse(text); err != nil || !u.IsAbs() {
			return invalid("dataschema %.100q is no absolute URI", text)
		}
	}
	if text, there := a["subject"]; there && text == "" {
		return invalid("the subject is empty")
	}
	if text, there := a["time"]; there {
		if _, err := time.Parse(time.RFC3339, text); err != nil {
			return invalid("the time %.100q is not of RFC 3339, such as 2026-03-01T10:00:00Z", text)
		}
	}
	if e.ContentType != "" && mediaType(e.ContentType) == "" || strings.ContainsFunc(e.ContentType, func(r rune) bool { return r < ' ' || r > '~' }) {
		return invalid("%s %.100q is no media type", contents, e.ContentType)
	}
	if size += len(e.ContentType); size > maxAttributes {
		return proto.Errorf(proto.ErrTooLarge, "the attributes of an event take %d bytes; at most %d are taken", size, maxAttributes)
	}
	if len(e.Data) > MaxData {
		return proto.Errorf(proto.ErrTooLarge, "the data of an event has %d bytes; at most %d are taken", len(e.Data), MaxData).
			WithHint("store what is larger elsewhere, and send where it is")
	}
	return nil
}

// escape writes a value for a header: what is not printable ASCII, and spaces, quotes and
// percent signs, percent-encoded (section 3.1.3.2 of the HTTP binding).
func escape(value string) string {
	var b strings.Builder
	for i := range len(value) {
		if c := value[i]; c <= ' ' || c > '~' || c == '"' || c == '%' {
			fmt.Fprintf(&b, "%%%02X", c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

// unescape reads what escape writes. A value may be quoted, as others have done.
func unescape(value string) (string, error) {
	if n := len(value); n > 1 && value[0] == '"' && value[n-1] == '"' {
		value = strings.NewReplacer(`\"`, `"`, `\\`, `\`).Replace(value[1 : n-1])
	}
	text, err := url.PathUnescape(value)
	if err != nil {
		return "", fmt.Errorf("%.40q is not percent-encoded", value)
	}
	return text, nil
}
