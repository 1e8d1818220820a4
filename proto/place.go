package proto

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// ReplicasAll is the value of the setting replicas for each agent that may have a function.
const ReplicasAll = "all"

// The limits of where a function may be.
const (
	MaxReplicas = 1024 // as many agents as a proxy can hold
	MaxLabels   = 32   // of an agent or a function: what a list of agents can show
	MaxLabel    = 63   // bytes of a name or a value, as elsewhere
)

var labelForm = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9._/-]*[A-Za-z0-9])?$`)

// Replicas is on how many agents a function is to be. The zero value is none.
type Replicas struct {
	Least int  // from 1 on; 0: All
	Most  int  // Least, or more: then calls decide
	All   bool // each agent that may have it
}

// ParseReplicas parses a value of the setting replicas: a number from 1 on, two with "-" between
// them, or all.
func ParseReplicas(text string) (Replicas, error) {
	if text == ReplicasAll {
		return Replicas{All: true}, nil
	}
	low, high, between := strings.Cut(text, "-")
	if !between {
		high = low
	}
	r := Replicas{}
	var err, bad error
	r.Least, err = strconv.Atoi(low)
	r.Most, bad = strconv.Atoi(high)
	if err != nil || bad != nil || r.Least < 1 || r.Most > MaxReplicas || r.Least > r.Most || between == (r.Least == r.Most) || r.String() != text {
		return Replicas{}, fmt.Errorf("%.40q is neither a whole number from 1 to %d, nor two such as 1-4, nor %q", text, MaxReplicas, ReplicasAll)
	}
	return r, nil
}

// String writes it as ParseReplicas reads it.
func (r Replicas) String() string {
	switch {
	case r.All:
		return ReplicasAll
	case r.Follow():
		return fmt.Sprintf("%d-%d", r.Least, r.Most)
	}
	return strconv.Itoa(r.Least)
}

// Follow reports whether their number follows the calls.
func (r Replicas) Follow() bool { return r.Most > r.Least }

func (f *FunctionJson) checkReplicas() error {
	if f.GetReplicas() == "" {
		return nil
	}
	if _, err := ParseReplicas(f.GetReplicas()); err != nil {
		return f.invalid("replicas", "%s", err)
	}
	if len(f.GetToAgent()) > 0 {
		return f.invalid("replicas", "the proxy chooses agents for a number of replicas, and agents are named").
			WithHint("leave out one of the two")
	}
	return nil
}

func (f *FunctionJson) checkPlacement() error {
	if err := CheckLabels(f.GetPlacement()); err != nil {
		return f.invalid("placement", "%s", err)
	}
	if len(f.GetPlacement()) > 0 && len(f.GetToAgent()) > 0 {
		return f.invalid("placement", "labels are for agents that the proxy chooses, and agents are named").
			WithHint("leave out one of the two")
	}
	return nil
}

// CheckLabels says what is wrong with labels.
func CheckLabels(labels map[string]string) error {
	if len(labels) > MaxLabels {
		return fmt.Errorf("%d labels are too many; the most is %d", len(labels), MaxLabels)
	}
	for k, v := range labels {
		for _, text := range []string{k, v} {
			if len(text) > MaxLabel || !labelForm.MatchString(text) {
				return fmt.Errorf("%.80q is not a label: letters, digits, and . _ / - between them make its name and its value, up to %d bytes each", k+"="+v, MaxLabel)
			}
		}
	}
	return nil
}

// ParseLabels parses labels as in "zone=a,gpu=yes". An empty text has none.
func ParseLabels(text string) (map[string]string, error) {
	if text == "" {
		return nil, nil
	}
	labels := map[string]string{}
	for pair := range strings.SplitSeq(text, ",") {
		k, v, ok := strings.Cut(pair, "=")
		if !ok {
			return nil, fmt.Errorf("%.80q is not of the form K=V", pair)
		}
		if _, twice := labels[k]; twice {
			return nil, fmt.Errorf("label %.80q is given twice", k)
		}
		labels[k] = v
	}
	return labels, CheckLabels(labels)
}

// LabelsText writes labels as ParseLabels reads them.
func LabelsText(labels map[string]string) string {
	var pairs []string
	for _, k := range slices.Sorted(maps.Keys(labels)) {
		pairs = append(pairs, k+"="+labels[k])
	}
	return strings.Join(pairs, ",")
}
