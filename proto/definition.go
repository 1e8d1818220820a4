package proto

import (
	_ "embed" // for Definition
	"regexp"
	"strings"
)

// Definition is the text of deploy.proto. What it says of messages, fields and methods is in
// no descriptor at run time: protoc-gen-go leaves comments out.
//
//go:embed deploy.proto
var Definition string

var (
	opened   = regexp.MustCompile(`^(?:message|service) (\w+) \{`)
	declared = regexp.MustCompile(`^(?:rpc (\w+)\(|(?:repeated |optional )?[\w<>, .]+ (\w+) = \d+)`)
)

// Comments returns what Definition says, by the name of what it is said of: "Call",
// "Call.not_before", "Functions.Deploy". A text that several lines are is one line.
func Comments() map[string]string {
	said := make(map[string]string)
	var text []string
	var of string // the message or service
	for line := range strings.Lines(Definition) {
		line = strings.TrimSpace(line)
		comment, ok := strings.CutPrefix(line, "//")
		if ok {
			text = append(text, strings.TrimSpace(comment))
			continue
		}
		name := ""
		if m := opened.FindStringSubmatch(line); m != nil {
			of, name = m[1], m[1]
		} else if m := declared.FindStringSubmatch(line); m != nil {
			name = of + "." + m[1] + m[2]
		}
		if name != "" && text != nil {
			said[name] = strings.Join(text, " ")
		}
		text = nil
	}
	return said
}
