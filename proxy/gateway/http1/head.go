package http1

import "bytes"

// Header is a header line of a head, without the space around its value.
type Header struct{ Name, Value []byte }

// Verdict is what is known of a head.
type Verdict int

// The verdicts.
const (
	More    Verdict = iota // it has not come whole
	Good                   // it was read
	Unusual                // it may be wrong, or right in a rare way
)

// Kinds of bytes.
const (
	tokenByte  = 1 << iota // can stand in a method or a name (RFC 9110 section 5.6.2)
	valueByte              // can stand in a value (section 5.5), with the space in it
	targetByte             // can stand in a target that needs no second look
	hexByte
	spaceByte
	hostByte // can stand in a host that needs no second look
)

var kinds = func() (k [256]byte) {
	for i := range k {
		b := byte(i)
		letter := 'a' <= b && b <= 'z' || 'A' <= b && b <= 'Z'
		digit := '0' <= b && b <= '9'
		if letter || digit || bytes.IndexByte([]byte("!#$%&'*+-.^_`|~"), b) >= 0 {
			k[i] |= tokenByte
		}
		if b >= ' ' && b != 0x7f || b == '\t' {
			k[i] |= valueByte
		}
		if b > ' ' && b < 0x7f && b != '#' {
			k[i] |= targetByte
		}
		if letter || digit || bytes.IndexByte([]byte("-._:[]"), b) >= 0 {
			k[i] |= hostByte
		}
		if digit || 'a' <= b && b <= 'f' || 'A' <= b && b <= 'F' {
			k[i] |= hexByte
		}
	}
	k[' '] |= spaceByte
	return k
}()

func all(p []byte, kind byte) bool {
	for _, b := range p {
		if kinds[b]&kind == 0 {
			return false
		}
	}
	return true
}

// trim takes the space around a value off.
func trim(p []byte) []byte {
	for len(p) > 0 && (p[0] == ' ' || p[0] == '\t') {
		p = p[1:]
	}
	for len(p) > 0 && (p[len(p)-1] == ' ' || p[len(p)-1] == '\t') {
		p = p[:len(p)-1]
	}
	return p
}

// maxDigits is how many digits of a number are read: as many as fit an int64, whatever
// the base.
const maxDigits = 15

// decimal reads a number that consists of digits.
func decimal(p []byte) (n int64, ok bool) {
	for _, b := range p {
		if b < '0' || b > '9' {
			return 0, false
		}
		n = n*10 + int64(b-'0')
	}
	return n, len(p) > 0 && len(p) <= maxDigits
}

// Equal compares with a lower-case text, without regard to case.
func Equal(p []byte, lower string) bool {
	if len(p) != len(lower) {
		return false
	}
	for i, b := range p {
		if 'A' <= b && b <= 'Z' {
			b += 'a' - 'A'
		}
		if b != lower[i] {
			return false
		}
	}
	return true
}

// Lower appends a text in lower case.
func Lower(b, text []byte) []byte {
	for _, c := range text {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		b = append(b, c)
	}
	return b
}

// Holds says whether a list, as in Connection, has a word, which is in lower case.
func Holds(list []byte, word string) bool {
	for item := range bytes.SplitSeq(list, []byte(",")) {
		if Equal(trim(item), word) {
			return true
		}
	}
	return false
}
