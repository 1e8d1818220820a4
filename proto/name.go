package proto

import (
	"go/token"
	"strings"
	"unicode"
	"unicode/utf8"
)

// MaxName bounds a function's name and path in bytes: both become file names,
// which Linux limits to 255 bytes, with room left for prefixes and suffixes.
const MaxName = 128

// CheckName reports why name cannot be a function's name, as an ErrInvalid. A
// name is a Go exported identifier. It is checked before it touches a path, a
// log, a header or generated source.
func CheckName(name string) error {
	switch {
	case name == "":
		return Errorf(ErrInvalid, "the function's name is missing").
			WithHint(`give the Go name of the function, such as "name": "HelloWorld"`)
	case len(name) > MaxName || len(Path(name)) > MaxName:
		return Errorf(ErrInvalid, "function name %.40q… is longer than %d bytes", name, MaxName)
	case !token.IsIdentifier(name):
		return Errorf(ErrInvalid, "function name %q is not a Go identifier", name).
			WithHint("a name begins with an upper-case letter; letters, digits and _ may follow. " +
				"The name in a declaration, as in functions.HTTP(\"blur-images\", f), is given as target")
	case !token.IsExported(name):
		e := Errorf(ErrInvalid, "function name %q is not exported", name)
		if up := strings.ToUpper(name[:1]) + name[1:]; token.IsExported(up) {
			return e.WithHint("export it, that is, call it " + up)
		}
		return e.WithHint("a name begins with an upper-case letter")
	}
	return nil
}

// Path is the path segment under which a function is called: its name in lower
// case. Two names with one path are the same function to callers.
func Path(name string) string { return strings.ToLower(name) }

// NameOf makes a function's name of its target, the name that the package declares it
// by: BlurImages of "blur-images". It is "" when none can be made.
func NameOf(target string) string {
	if CheckName(target) == nil {
		return target
	}
	var b strings.Builder
	for word := range strings.FieldsFuncSeq(target, func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) }) {
		first, size := utf8.DecodeRuneInString(word)
		b.WriteRune(unicode.ToUpper(first))
		b.WriteString(word[size:])
	}
	if CheckName(b.String()) != nil {
		return ""
	}
	return b.String()
}
