package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/Ishan27g/ryo-faas/proto"
)

// document is a text of JSON, or of YAML (yaml.go), whose errors name file, line and column. encoding/json
// alone reports neither places nor keys that are given twice.
type document struct {
	file string
	data []byte
	// over is an overlay, whose nodes begin behind data and a byte more; nil: there is none.
	over *document
}

// node is a JSON value and where it begins. Its value is a string, a bool, a
// json.Number, nil, a []*node or a []member.
type node struct {
	value  any
	offset int
}

type member struct {
	key    string
	offset int
	node   *node
}

// shift moves where a node and what it has begin.
func (n *node) shift(by int) {
	n.offset += by
	switch value := n.value.(type) {
	case []*node:
		for _, e := range value {
			e.shift(by)
		}
	case []member:
		for i := range value {
			value[i].offset += by
			value[i].node.shift(by)
		}
	}
}

// errorf is an ErrInvalid about what stands at offset, which counts from 0.
func (d *document) errorf(offset int, format string, args ...any) *proto.Error {
	return proto.Errorf(proto.ErrInvalid, "%s: %s", d.position(offset), fmt.Sprintf(format, args...))
}

// position is file:line:column, both counted from 1, columns in characters.
func (d *document) position(offset int) string {
	if d.over != nil && offset > len(d.data) {
		return d.over.position(offset - len(d.data) - 1)
	}
	before := d.data[:min(offset, len(d.data))]
	start := bytes.LastIndexByte(before, '\n') + 1
	return fmt.Sprintf("%s:%d:%d", d.file, bytes.Count(before, []byte{'\n'})+1, utf8.RuneCount(before[start:])+1)
}

func (d *document) parse() (*node, error) {
	if len(bytes.TrimSpace(d.data)) == 0 {
		return nil, d.errorf(0, "the file is empty").WithHint(`write {"deploy": [{"packageDir": "./hello", "name": "Hello"}]}`)
	}
	for i := 0; i < len(d.data); {
		r, size := utf8.DecodeRune(d.data[i:])
		if r == utf8.RuneError && size == 1 {
			return nil, d.errorf(i, "the text is not UTF-8")
		}
		i += size
	}
	if isYAML(d.file, d.data) {
		return d.parseYAML()
	}
	// Token accepts some texts that are not JSON, so Unmarshal checks the whole first.
	var all any
	if err := json.Unmarshal(d.data, &all); err != nil {
		if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
			return nil, d.errorf(max(int(syntax.Offset)-1, 0), "%v", syntax)
		}
		return nil, d.errorf(0, "%v", err)
	}
	dec := json.NewDecoder(bytes.NewReader(d.data))
	dec.UseNumber()
	return d.node(dec)
}

func (d *document) node(dec *json.Decoder) (*node, error) {
	n := &node{offset: d.next(dec)}
	tok, err := dec.Token()
	if err != nil {
		return nil, d.errorf(n.offset, "%v", err)
	}
	switch tok {
	default:
		n.value = tok
		return n, nil
	case json.Delim('['):
		list := []*node{}
		for dec.More() {
			e, err := d.node(dec)
			if err != nil {
				return nil, err
			}
			list = append(list, e)
		}
		n.value = list
	case json.Delim('{'):
		members := []member{}
		for dec.More() {
			key, err := d.node(dec)
			if err != nil {
				return nil, err
			}
			value, err := d.node(dec)
			if err != nil {
				return nil, err
			}
			name, _ := key.value.(string)
			if first := memberOf(members, name); first != nil {
				return nil, d.errorf(key.offset, "%q is given twice; the first is at %s", name, d.position(first.offset))
			}
			members = append(members, member{name, key.offset, value})
		}
		n.value = members
	}
	if _, err := dec.Token(); err != nil { // the closing bracket
		return nil, d.errorf(d.next(dec), "%v", err)
	}
	return n, nil
}

// next is the offset of the next token of dec.
func (d *document) next(dec *json.Decoder) int {
	rest := d.data[dec.InputOffset():]
	return len(d.data) - len(bytes.TrimLeft(rest, " \t\r\n,:"))
}

// setter stores a value of the document in Go, or says why it cannot.
type setter func(*node) error

// object passes each member of the object n to the setter of its key, in the order
// of the document.
func (d *document) object(n *node, what string, setters map[string]setter) error {
	members, ok := n.value.([]member)
	if !ok {
		return d.errorf(n.offset, "%s must be an object, not %s", what, n.kind())
	}
	known := slices.Sorted(maps.Keys(setters))
	known = slices.DeleteFunc(known, func(key string) bool { return key == schemaKey })
	for _, m := range members {
		set, ok := setters[m.key]
		if !ok {
			if near := proto.Nearest(m.key, known); near != "" {
				return d.errorf(m.offset, "unknown key %q in %s; did you mean %q?", m.key, what, near)
			}
			return d.errorf(m.offset, "unknown key %q in %s; known are %s", m.key, what, strings.Join(known, ", "))
		}
		if err := set(m.node); err != nil {
			return err
		}
	}
	return nil
}

func (d *document) text(key string, to *string) setter {
	return func(n *node) (err error) {
		*to, err = d.str(n, key)
		return err
	}
}

// share reads a whole number, or a word that stands for one.
func (d *document) share(key string, to *string) setter {
	return func(n *node) (err error) {
		if number, ok := n.value.(json.Number); ok {
			*to = number.String()
			return nil
		}
		*to, err = d.str(n, key)
		return err
	}
}

func (d *document) flag(key string, to *bool) setter {
	return func(n *node) error {
		b, ok := n.value.(bool)
		if !ok {
			return d.errorf(n.offset, "%q must be true or false, not %s", key, n.kind())
		}
		*to = b
		return nil
	}
}

func (d *document) count(key string, to *uint32) setter {
	return func(n *node) error {
		number, ok := n.value.(json.Number)
		if !ok {
			return d.errorf(n.offset, "%q must be a number, not %s", key, n.kind())
		}
		count, err := strconv.ParseUint(number.String(), 10, 32)
		if err != nil {
			return d.errorf(n.offset, "%q must be a whole number from 0 on, not %s", key, number)
		}
		*to = uint32(count)
		return nil
	}
}

// texts takes a string for a list of one. Each element passes through check,
// which returns what to keep of it.
func (d *document) texts(key string, to *[]string, check func(string) (string, error)) setter {
	return func(n *node) error {
		list, ok := n.value.([]*node)
		if !ok {
			if _, ok := n.value.(string); !ok {
				return d.errorf(n.offset, "%q must be a string or a list of strings, not %s", key, n.kind())
			}
			list = []*node{n}
		}
		for _, e := range list {
			s, ok := e.value.(string)
			if !ok {
				return d.errorf(e.offset, "each element of %q must be a string, not %s", key, e.kind())
			}
			s, err := check(s)
			if err != nil {
				return d.errorf(e.offset, "%s: %v", key, err).WithHint(proto.AsError(err).Hint)
			}
			*to = append(*to, s)
		}
		return nil
	}
}

// notEmpty is the least that an element of a list must be.
func notEmpty(s string) (string, error) {
	if s == "" {
		return "", errors.New("an element is empty")
	}
	return s, nil
}

func (d *document) dict(key string, to *map[string]string) setter {
	return func(n *node) error {
		members, ok := n.value.([]member)
		if !ok {
			return d.errorf(n.offset, "%q must be an object of strings, not %s", key, n.kind())
		}
		*to = make(map[string]string, len(members))
		for _, m := range members {
			s, err := d.str(m.node, m.key)
			if err != nil {
				return err
			}
			(*to)[m.key] = s
		}
		return nil
	}
}

func (d *document) str(n *node, what string) (string, error) {
	s, ok := n.value.(string)
	if !ok {
		return "", d.errorf(n.offset, "%q must be a string, not %s", what, n.kind())
	}
	return s, nil
}

func (n *node) kind() string {
	switch n.value.(type) {
	case string:
		return "a string"
	case bool:
		return "a boolean"
	case json.Number:
		return "a number"
	case []*node:
		return "a list"
	case []member:
		return "an object"
	}
	return "null"
}
