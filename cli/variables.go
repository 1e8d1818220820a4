package cli

import (
	"os"
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/Ishan27g/ryo-faas/proto"
)

// In strings of a definition, ${NAME} is the value of a variable of proxyCli's environment,
// and ${NAME:-text} is text where the variable is not set or empty. $${ is ${ itself.
var placeholder = regexp.MustCompile(`^\$\{([A-Za-z_][A-Za-z0-9_]*)(:-([^}]*))?\}`)

const placeholderHint = "${NAME} is a variable of the environment of proxyCli, and ${NAME:-text} text where it is not set; write $${ for ${ itself"

// expand replaces variables in all strings below a node. Keys stay as they are.
func (d *document) expand(n *node) (err error) {
	switch value := n.value.(type) {
	case string:
		n.value, err = d.expanded(n.offset, value)
	case []*node:
		for _, e := range value {
			if err := d.expand(e); err != nil {
				return err
			}
		}
	case []member:
		for _, m := range value {
			if err := d.expand(m.node); err != nil {
				return err
			}
		}
	}
	return err
}

func (d *document) expanded(offset int, text string) (string, error) {
	var b strings.Builder
	for {
		i := strings.Index(text, "${")
		if i < 0 {
			b.WriteString(text)
			return b.String(), nil
		}
		if i > 0 && text[i-1] == '$' {
			b.WriteString(text[:i-1] + "${")
			text = text[i+2:]
			continue
		}
		m := placeholder.FindStringSubmatch(text[i:])
		if m == nil {
			return "", d.errorf(offset, "%.40q is no variable", text[i:]).WithHint(placeholderHint)
		}
		value, set := os.LookupEnv(m[1])
		switch {
		case m[2] != "" && value == "":
			value = m[3]
		case !set:
			return "", d.errorf(offset, "the variable %s is not set", m[1]).WithHint(placeholderHint)
		}
		b.WriteString(text[:i] + value)
		text = text[i+len(m[0]):]
		if b.Len() > maxDefinition || !utf8.ValidString(value) {
			return "", proto.AsError(d.errorf(offset, "the variable %s is larger than %d bytes, or not UTF-8", m[1], maxDefinition))
		}
	}
}
