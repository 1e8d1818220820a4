package funcfw

import (
	"fmt"
	"go/token"
	"strings"

	"github.com/Ishan27g/ryo-faas/proto"
)

// Refusal says why a source cannot be deployed, where, and what to do. It is a
// proto.ErrInvalid to errors.Is, and proto.AsError keeps Fix as its hint.
type Refusal struct {
	File      string // relative to the bundle's root; "" when no file is to blame
	Line, Col int    // from 1, Col in bytes; 0 when the file as a whole is meant
	Reason    string // "parameter 2 of F is …"
	Fix       string // what to do about it; may be empty
}

// Error is the place and the reason in the compiler's form, without the fix.
func (r *Refusal) Error() string {
	switch {
	case r.File == "" || r.File == ".":
		return r.Reason
	case r.Line == 0:
		return r.File + ": " + r.Reason
	}
	return fmt.Sprintf("%s:%d:%d: %s", r.File, r.Line, r.Col, r.Reason)
}

// Unwrap gives the refusal its kind.
func (r *Refusal) Unwrap() error {
	return proto.Errorf(proto.ErrInvalid, "%s", r.Error()).WithHint(r.Fix)
}

// refuse is a refusal at a place; the zero position means the whole file.
func refuse(file string, at token.Position, reason, fix string) *Refusal {
	return &Refusal{File: file, Line: at.Line, Col: at.Column, Reason: reason, Fix: fix}
}

// maxReasons is how many refused functions are listed: those of a library would fill
// the screen.
const maxReasons = 10

// NoFunction refuses a package in which Candidates found none. The first line of
// its reason says so, with the folder as the user knows it; the others are why each
// function is refused.
func NoFunction(dir string, refused []*Refusal) *Refusal {
	var reason strings.Builder
	reason.WriteString("no function to deploy in " + dir)
	for _, r := range refused[:min(len(refused), maxReasons)] {
		reason.WriteString("\n" + r.Error())
	}
	if more := len(refused) - maxReasons; more > 0 {
		fmt.Fprintf(&reason, "\nand %d more", more)
	}
	return &Refusal{
		Reason: reason.String(),
		Fix:    "export a func(http.ResponseWriter, *http.Request); -name NAME says why the function NAME cannot be deployed",
	}
}
