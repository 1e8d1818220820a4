package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"math/big"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// maxAliased bounds how many values a YAML text may have once its aliases are replaced: a
// few lines can stand for billions.
const maxAliased = 100_000

// isYAML reports whether a definition is YAML: by its name, or, of stdin, since it does
// not begin as JSON does.
func isYAML(name string, data []byte) bool {
	switch filepath.Ext(name) {
	case ".yaml", ".yml":
		return true
	case "":
		rest := bytes.TrimLeft(data, " \t\r\n")
		return name == "stdin" && len(rest) > 0 && rest[0] != '{' && rest[0] != '['
	}
	return false
}

// yamlText makes the nodes of a document of a YAML text.
type yamlText struct {
	*document
	lines []int // where each line begins
	made  int   // values
	open  []*yaml.Node
}

// parseYAML reads a YAML text. What JSON does not have is refused: several documents, tags of
// other types, keys that are no strings.
func (d *document) parseYAML() (*node, error) {
	y := &yamlText{document: d, lines: []int{0}}
	for i, b := range d.data {
		if b == '\n' {
			y.lines = append(y.lines, i+1)
		}
	}
	dec := yaml.NewDecoder(bytes.NewReader(d.data))
	var root, more yaml.Node
	switch err := dec.Decode(&root); {
	case errors.Is(err, io.EOF):
		return nil, d.errorf(0, "the file has no content")
	case err != nil:
		return nil, y.syntax(err)
	}
	if err := dec.Decode(&more); !errors.Is(err, io.EOF) {
		if err != nil {
			return nil, y.syntax(err)
		}
		return nil, d.errorf(y.offset(&more), "a definition is one document; another one begins here")
	}
	return y.node(root.Content[0])
}

// lineOf is how the library's errors tell the line.
var lineOf = regexp.MustCompile(`^yaml: (?:line (\d+): )?`)

// syntax says where the text is no YAML.
func (y *yamlText) syntax(err error) error {
	text := strings.ReplaceAll(err.Error(), "\n", " ")
	at := 0
	if m := lineOf.FindStringSubmatch(text); m != nil {
		text = text[len(m[0]):]
		if line, err := strconv.Atoi(m[1]); err == nil {
			at = y.lines[min(max(line, 1), len(y.lines))-1]
		}
	}
	return y.errorf(at, "%s", text)
}

// offset is where a value begins. The library counts characters.
func (y *yamlText) offset(n *yaml.Node) int {
	at := y.lines[min(max(n.Line, 1), len(y.lines))-1]
	for range n.Column - 1 {
		_, size := utf8.DecodeRune(y.data[at:])
		at += size
	}
	return min(at, len(y.data))
}

func (y *yamlText) node(n *yaml.Node) (*node, error) {
	made := &node{offset: y.offset(n)}
	if y.made++; y.made > maxAliased {
		return nil, y.errorf(made.offset, "with its aliases the text has more than %d values", maxAliased)
	}
	switch n.Kind {
	case yaml.AliasNode:
		if slices.Contains(y.open, n.Alias) {
			return nil, y.errorf(made.offset, "*%s is a part of itself", n.Value)
		}
		y.open = append(y.open, n.Alias)
		defer func() { y.open = y.open[:len(y.open)-1] }()
		return y.node(n.Alias)
	case yaml.SequenceNode:
		list := []*node{}
		for _, e := range n.Content {
			element, err := y.node(e)
			if err != nil {
				return nil, err
			}
			list = append(list, element)
		}
		made.value = list
		return made, nil
	case yaml.MappingNode:
		members, err := y.members(n)
		made.value = members
		return made, err
	}
	value, err := y.scalar(n, made.offset)
	made.value = value
	return made, err
}

// members are those of an object. What "<<" names is there too, unless the object has a
// member of that key.
func (y *yamlText) members(n *yaml.Node) ([]member, error) {
	members, merged := []member{}, []member{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		at := y.offset(key)
		value, err := y.node(n.Content[i+1])
		if err != nil {
			return nil, err
		}
		if key.ShortTag() == "!!merge" {
			from := []*node{value}
			if list, ok := value.value.([]*node); ok {
				from = list
			}
			for _, f := range from {
				more, ok := f.value.([]member)
				if !ok {
					return nil, y.errorf(at, "what << names must be an object, not %s", f.kind())
				}
				merged = append(merged, more...)
			}
			continue
		}
		if key.Kind != yaml.ScalarNode || key.ShortTag() != "!!str" {
			return nil, y.errorf(at, "a key must be a string").WithHint("quote it")
		}
		if first := memberOf(members, key.Value); first != nil {
			return nil, y.errorf(at, "%q is given twice; the first is at %s", key.Value, y.position(first.offset))
		}
		members = append(members, member{key.Value, at, value})
	}
	for _, m := range merged {
		if memberOf(members, m.key) == nil {
			members = append(members, m)
		}
	}
	return members, nil
}

func memberOf(members []member, key string) *member {
	if i := slices.IndexFunc(members, func(m member) bool { return m.key == key }); i >= 0 {
		return &members[i]
	}
	return nil
}

// scalar is a string, a bool, a json.Number or nil.
func (y *yamlText) scalar(n *yaml.Node, at int) (any, error) {
	switch tag := n.ShortTag(); tag {
	case "!!str", "!!timestamp": // JSON has no times
		return n.Value, nil
	case "!!null":
		return nil, nil
	case "!!bool":
		var b bool
		if err := n.Decode(&b); err != nil {
			return nil, y.errorf(at, "%q is neither true nor false", n.Value)
		}
		return b, nil
	case "!!int":
		if i, ok := new(big.Int).SetString(n.Value, 0); ok {
			return json.Number(i.String()), nil
		}
		return nil, y.errorf(at, "%q is not a number", n.Value)
	case "!!float":
		return json.Number(n.Value), nil
	default:
		return nil, y.errorf(at, "values of the type %s are not known here", tag)
	}
}
