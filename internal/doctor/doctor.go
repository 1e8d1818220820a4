package doctor

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
)

// State is how something is.
type State string

// The states.
const (
	Good State = "good"
	Poor State = "poor" // it works, and should be better
	Bad  State = "bad"  // something does not work
)

// Finding is what a check found.
type Finding struct {
	Check string `json:"check"` // what was looked at, in a word
	State State  `json:"state"`
	Says  string `json:"says"`
	// Remedy is what to do about it; never empty unless the state is Good.
	Remedy string `json:"remedy,omitempty"`
}

// Found returns a finding that all is well.
func Found(check, format string, args ...any) Finding {
	return Finding{Check: check, State: Good, Says: fmt.Sprintf(format, args...)}
}

// Poorly returns a finding of something that should be better.
func Poorly(check, remedy, format string, args ...any) Finding {
	return Finding{Check: check, State: Poor, Says: fmt.Sprintf(format, args...), Remedy: remedy}
}

// Badly returns a finding of something that does not work.
func Badly(check, remedy, format string, args ...any) Finding {
	return Finding{Check: check, State: Bad, Says: fmt.Sprintf(format, args...), Remedy: remedy}
}

// Report is the findings of a doctor.
type Report []Finding

// Well reports whether all is well.
func (r Report) Well() bool {
	for _, f := range r {
		if f.State != Good {
			return false
		}
	}
	return true
}

// JSON writes the report as one line of JSON.
func (r Report) JSON(w io.Writer) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	if r == nil {
		r = Report{}
	}
	return enc.Encode(struct {
		Well     bool   `json:"well"`
		Findings Report `json:"findings"`
	}{r.Well(), r})
}

// Text writes the report for people: a line for each finding, and its remedy below it.
func (r Report) Text(w io.Writer) error {
	var b strings.Builder
	wide := 0
	for _, f := range r {
		wide = max(wide, len(f.Check))
	}
	for _, f := range r {
		fmt.Fprintf(&b, "%-4s  %-*s  %s\n", f.State, wide, f.Check, f.Says)
		if f.Remedy != "" {
			fmt.Fprintf(&b, "%*s→ %s\n", wide+8, "", f.Remedy)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}
