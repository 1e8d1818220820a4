package cli

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/transport/wire"
)

// errorTopic is the help topic of errors.
const errorTopic = "errors"

// explained are the explanations of errors in groups, each with its title and what comes
// before it.
var explained = []struct {
	title, intro string
	list         []proto.Explanation
	name         func(proto.Explanation) string
}{
	{"Codes", "Each error has a code, which tells its HTTP status and its code of gRPC.", proto.Codes, func(e proto.Explanation) string {
		code, status := wire.CodeOf(proto.Kind(e.Word))
		return fmt.Sprintf("%s (%d, %s)", e.Word, status, code)
	}},
	{"Component and reason", "They say which part has failed, and why. A reason that is not here is the code, or that of a function.", proto.CallReasons, func(e proto.Explanation) string {
		return e.Component + " " + e.Word
	}},
	{"Reasons of functions", "A function that has failed, or does not serve everywhere, says in its row why.", proto.RowReasons, func(e proto.Explanation) string { return e.Word }},
}

// helpErrors prints what errors mean: those with some words, or all.
func (a *app) helpErrors(words []string) error {
	var known []string
	var b strings.Builder
	for _, group := range explained {
		var items [][2]string
		for _, e := range group.list {
			known = append(known, e.Word)
			if len(words) == 0 || slices.Contains(words, e.Word) || slices.Contains(words, e.Component) {
				items = append(items, [2]string{group.name(e), e.Meaning + " → " + e.Way})
			}
		}
		printItems(&b, group.title, items)
	}
	if b.Len() == 0 {
		e := proto.Errorf(proto.ErrInvalid, "no error has the word %.100q", strings.Join(words, " "))
		if near := proto.Nearest(words[0], known); near != "" {
			return e.WithHint(fmt.Sprintf("did you mean %q?", near))
		}
		return e.WithHint("proxyCli help errors lists them all")
	}
	_, err := io.WriteString(a.stdout, strings.TrimPrefix(b.String(), "\n"))
	return err
}
