package queue

import (
	"encoding/binary"
	"encoding/json"
	"net/http"
	"time"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/proxy/gateway/forward"
	"github.com/Ishan27g/ryo-faas/proxy/store"
)

// request is a call as it is stored: this, as JSON, and the body, as far as that fits.
type request struct {
	// ID is the call's, where it was known before the message was stored; else it follows
	// from the message's sequence and Nonce.
	ID       string      `json:"id,omitempty"`
	Nonce    []byte      `json:"nonce"`
	Path     string      `json:"path"` // of the function
	Name     string      `json:"name,omitempty"`
	Segment  string      `json:"segment"` // by which it was called
	Target   string      `json:"target,omitempty"`
	Method   string      `json:"method"`
	Header   http.Header `json:"header,omitempty"`
	Host     string      `json:"host,omitempty"`
	Remote   string      `json:"remote,omitempty"`
	Scheme   string      `json:"scheme,omitempty"`
	Accepted time.Time   `json:"accepted"`
	// NotBefore is when it is made at the earliest; zero: at once.
	NotBefore time.Time `json:"notBefore,omitzero"`
	// Age is how long it may take, while the function does not say.
	Age      time.Duration `json:"age"`
	Depth    int           `json:"depth,omitempty"`
	Callback string        `json:"callback,omitempty"`
	Priority string        `json:"priority,omitempty"` // "": normal
	Blob     string        `json:"blob,omitempty"`     // that has the body; "": the message has it
	Size     int64         `json:"size,omitempty"`     // of the body
	// Round counts how often the call was put back into the queue after it was dead.
	Round int `json:"round,omitempty"`
}

// maxMeta bounds what is stored of a request beside its body, in bytes of JSON: more than
// the headers that a server takes, escaped.
const maxMeta = 2*64<<10 - 1

// encode returns the data of a message. The body is not larger than room says.
func (r *request) encode(body []byte) ([]byte, error) {
	meta, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	if len(meta) > maxMeta {
		return nil, proto.Errorf(proto.ErrTooLarge, "the target and the headers of the call take %d bytes; at most %d are kept", len(meta), maxMeta)
	}
	data := binary.AppendUvarint(make([]byte, 0, binary.MaxVarintLen32+len(meta)+len(body)), uint64(len(meta)))
	return append(append(data, meta...), body...), nil
}

// inline bounds a body that is stored in its message, in bytes.
const inline = store.MaxPayload - maxMeta - binary.MaxVarintLen32

// decode reads the data of a message.
func decode(data []byte) (r *request, body []byte, err error) {
	n, size := binary.Uvarint(data)
	if size <= 0 || n > uint64(len(data)-size) {
		return nil, nil, proto.Errorf(proto.ErrInvalid, "the message is no call")
	}
	r = new(request)
	if err := json.Unmarshal(data[size:size+int(n)], r); err != nil { //nolint:gosec // n is less than a length
		return nil, nil, proto.Errorf(proto.ErrInvalid, "the message is no call: %w", err)
	}
	if !isPath(r.Path) || len(r.Nonce) != nonceSize || !forward.IsToken(r.Method) || r.Segment == "" {
		return nil, nil, proto.Errorf(proto.ErrInvalid, "the message is no call of a function")
	}
	return r, data[size+int(n):], nil //nolint:gosec // as above
}

// id returns the call's, given the sequence of its message.
func (r *request) id(sequence uint64) id {
	if given, err := parseID(r.ID); err == nil {
		return given
	}
	i := id{path: r.Path, sequence: sequence}
	copy(i.nonce[:], r.Nonce)
	return i
}

// due is when the call may be made.
func (r *request) due() time.Time {
	if r.NotBefore.After(r.Accepted) {
		return r.NotBefore
	}
	return r.Accepted
}

// kept returns the headers of a request that the function gets later. It speaks of this
// connection alone in none of them, and asks for no encoding of an answer that is stored.
func kept(h http.Header) http.Header {
	to := http.Header{}
	forward.Pass(to, h.Clone())
	for name := range to {
		if forward.FateOf(name) != forward.Passes && name != forward.Timeout {
			delete(to, name)
		}
	}
	for _, name := range []string{"Prefer", "Accept-Encoding", "Expect", "Max-Forwards"} {
		to.Del(name)
	}
	return to
}
