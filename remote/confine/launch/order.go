package launch

import (
	"encoding/binary"
	"errors"
)

// Name is what a launcher is started as, with the number of the descriptor from
// which it reads its order. On the next one it says why it failed.
const Name = "ryo-confine"

// Done is what a launcher says before it becomes the program.
const Done = "+"

// Failed is the exit code of a launcher that could not become the program.
const Failed = 97

// Order is what a launcher is told. It is sent once, from a process to another
// one of the same source.
type Order struct {
	// Path is the program; "": none, it says instead what it can do under all of this.
	Path      string
	Args, Env []string
	Limits    []Limit
	// Joins are descriptors of files of control groups, to which the thread writes 0 to
	// join them.
	Joins []uint32
	// Ruleset is the descriptor of a Landlock ruleset; 0: there is none.
	Ruleset uint32
	// Filter are the instructions of a seccomp filter, as the kernel reads them; empty:
	// there is none.
	Filter string
	// User is the user and the group to become; 0: stay who one is.
	User uint32
}

// Limit is a resource limit, soft and hard, as in setrlimit(2).
type Limit struct {
	What  string // for messages
	Which uint32
	Value uint64
}

var errCut = errors.New("the order is cut short")

// Encode writes an order down: its size and its fields, each with its size or number.
func (o *Order) Encode() []byte {
	b := make([]byte, 8)
	b = appendText(b, o.Path)
	b = appendTexts(b, o.Args)
	b = appendTexts(b, o.Env)
	b = appendNumber(b, uint64(len(o.Limits)))
	for _, l := range o.Limits {
		b = appendText(b, l.What)
		b = appendNumber(b, uint64(l.Which))
		b = appendNumber(b, l.Value)
	}
	b = appendNumber(b, uint64(len(o.Joins)))
	for _, fd := range o.Joins {
		b = appendNumber(b, uint64(fd))
	}
	b = appendNumber(b, uint64(o.Ruleset))
	b = appendText(b, o.Filter)
	b = appendNumber(b, uint64(o.User))
	binary.LittleEndian.PutUint64(b, uint64(len(b)))
	return b
}

func appendNumber(b []byte, n uint64) []byte { return binary.LittleEndian.AppendUint64(b, n) }

func appendText(b []byte, text string) []byte {
	return append(appendNumber(b, uint64(len(text))), text...)
}

func appendTexts(b []byte, texts []string) []byte {
	b = appendNumber(b, uint64(len(texts)))
	for _, text := range texts {
		b = appendText(b, text)
	}
	return b
}

// Decode reads what Encode wrote.
func Decode(b []byte) (*Order, error) {
	d := decoder{rest: b}
	if size := d.number(); size != uint64(len(b)) {
		return nil, errCut
	}
	o := &Order{Path: d.text(), Args: d.texts(), Env: d.texts()}
	for range d.count() {
		o.Limits = append(o.Limits, Limit{d.text(), uint32(d.number()), d.number()}) //nolint:gosec // as it was encoded
	}
	for range d.count() {
		o.Joins = append(o.Joins, uint32(d.number())) //nolint:gosec // as it was encoded
	}
	o.Ruleset, o.Filter, o.User = uint32(d.number()), d.text(), uint32(d.number()) //nolint:gosec // as it was encoded
	if d.cut || len(d.rest) > 0 {
		return nil, errCut
	}
	return o, nil
}

// decoder takes fields from the front of rest. Once one is cut short all are empty.
type decoder struct {
	rest []byte
	cut  bool
}

func (d *decoder) number() uint64 {
	if len(d.rest) < 8 {
		d.cut, d.rest = true, nil
		return 0
	}
	n := binary.LittleEndian.Uint64(d.rest)
	d.rest = d.rest[8:]
	return n
}

// count is a number of fields, of which each has 8 bytes at least.
func (d *decoder) count() uint64 {
	n := d.number()
	if n > uint64(len(d.rest))/8 {
		d.cut, d.rest = true, nil
		return 0
	}
	return n
}

func (d *decoder) text() string {
	n := d.number()
	if n > uint64(len(d.rest)) {
		d.cut, d.rest = true, nil
		return ""
	}
	text := string(d.rest[:n])
	d.rest = d.rest[n:]
	return text
}

func (d *decoder) texts() (list []string) {
	for range d.count() {
		list = append(list, d.text())
	}
	return list
}
