package wish

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"google.golang.org/protobuf/encoding/protojson"

	"github.com/Ishan27g/ryo-faas/proto"
)

// State is what is to become of a function.
type State string

// The states.
const (
	Running State = "running"
	Stopped State = "stopped" // its versions are kept
	Removed State = "removed" // from agents that have not followed yet; then there is no wish
)

// Wish is what is to run of a function.
type Wish struct {
	Name       string    `json:"name"`
	Generation uint64    `json:"generation"`        // counts the changes, from 1
	Change     string    `json:"change"`            // id of the last one
	By         string    `json:"by"`                // who made it
	Time       time.Time `json:"time"`              // of it
	Deployed   time.Time `json:"deployed,omitzero"` // the last deploy of it; zero: not known
	Epoch      string    `json:"epoch"`             // of the store that it was made in
	State      State     `json:"state"`
	Paused     bool      `json:"paused,omitempty"`
	Version    Version   `json:"version"`          // that serves, or served before the stop
	Canary     *Canary   `json:"canary,omitempty"` // nil: there is none
	// Last is the highest number that a version has had, as far as was seen.
	Last uint32 `json:"last"`
	// Secrets is the number of the version with which values of secrets were given last:
	// an agent that has had none since does not know them by itself.
	Secrets uint32 `json:"secrets,omitempty"`
	App     string `json:"app,omitempty"` // that the function is a part of; "": of none
	Placed  bool   `json:"placed"`        // a proxy chose the agents; else somebody named them
	// Replicas is how many agents are to have it, where the proxy chooses them, and Labels
	// are those that they must have.
	Replicas string            `json:"replicas,omitempty"`
	Labels   map[string]string `json:"labels,omitempty"`
	At       []Place           `json:"at"` // the agents, each once
	// Untold are notices of the change that deploy hooks may not have been told yet.
	Untold []Notice `json:"untold,omitempty"`
}

// Notice is what deploy hooks are to be told: what, as package proxy writes it, by an id.
type Notice struct {
	ID   string          `json:"id"`
	What json.RawMessage `json:"what"`
}

// Version is a package with settings.
type Version struct {
	Number   uint32    `json:"number"`
	Package  string    `json:"package"` // its digest
	Settings Settings  `json:"settings"`
	Sealed   Sealed    `json:"sealed,omitempty"` // values of its secrets, as far as they were given to a proxy
	Note     string    `json:"note,omitempty"`
	Time     time.Time `json:"time"`
}

// Canary is a version that gets a part of the calls.
type Canary struct {
	Version
	Share uint32 `json:"share"` // in percent
}

// Place is an agent that is to have a function, or to lose it.
type Place struct {
	Agent string `json:"agent"`        // its address
	ID    string `json:"id,omitempty"` // as it says itself
	// Done is the generation of the wish up to which the agent has followed.
	Done    uint64 `json:"done"`
	Leaving bool   `json:"leaving,omitempty"` // it is to remove the function
	// Number is the one that the version has there, if it is another.
	Number uint32 `json:"number,omitempty"`
	// Crashing says that deploy hooks were told that the processes there keep exiting.
	Crashing bool `json:"crashing,omitempty"`
}

// Is reports whether the place is an agent's, wherever that is now.
func (p *Place) Is(addr, id string) bool {
	if p.ID != "" && id != "" {
		return p.ID == id
	}
	return p.Agent == addr
}

// Place returns what the wish says of an agent, nil if nothing.
func (w *Wish) Place(addr, id string) *Place {
	i := slices.IndexFunc(w.At, func(p Place) bool { return p.Is(addr, id) })
	if i < 0 {
		return nil
	}
	return &w.At[i]
}

// Behind reports whether the agent of a place has not followed to the last change.
func (w *Wish) Behind(p *Place) bool { return p.Done < w.Generation }

// Held says why a row of the function at an agent is not to be called yet; "": it may be.
func (w *Wish) Held(addr, id string) string {
	p := w.Place(addr, id)
	switch {
	case p == nil || !w.Behind(p):
		return ""
	case w.State == Removed || p.Leaving:
		return "it is removed from this agent when the agent answers again"
	case w.State == Stopped:
		return "it is stopped on this agent when the agent answers again"
	}
	return fmt.Sprintf("version %d is wished; this agent is brought up to date when it answers again", w.Version.Number)
}

// Drift says what an agent that has followed runs instead of what is wished; "": nothing.
func (w *Wish) Drift(addr, id string, row *proto.FunctionJsonRsp) string {
	p := w.Place(addr, id)
	if p == nil || w.Behind(p) || p.Leaving || w.State == Removed {
		return ""
	}
	stopped := proto.Status(row.GetStatus()) == proto.Stopped
	runs := !stopped && row.GetVersion() > 0 // a deploy that fails may leave nothing
	number := p.number(w)
	switch {
	case w.State == Stopped && runs:
		return fmt.Sprintf("version %d runs, and the function is stopped by what was asked of the proxy", row.GetVersion())
	case w.State == Running && !stopped && !runs:
		return fmt.Sprintf("no version serves, and version %d is wished", number)
	case w.State == Running && !runs:
		return fmt.Sprintf("it is stopped, and version %d is wished", number)
	case w.State == Running && (row.GetVersion() != number || row.GetPackage() != w.Version.Package):
		return fmt.Sprintf("version %d serves, and version %d is wished", row.GetVersion(), number)
	case w.State == Running && row.GetPaused() != w.Paused:
		return map[bool]string{true: "it is paused, and wished to serve", false: "it serves, and is wished to be paused"}[row.GetPaused()]
	}
	return ""
}

// number is the one that the version has at a place.
func (p *Place) number(w *Wish) uint32 {
	if p.Number > 0 {
		return p.Number
	}
	return w.Version.Number
}

// Expires returns when a preview is to be removed; zero: never.
func (w *Wish) Expires() time.Time {
	settings := w.Version.Settings.FunctionJson
	if settings.GetPreview() == "" || w.State == Removed {
		return time.Time{}
	}
	age, err := settings.PreviewAge()
	if err != nil { // of a later program
		age = proto.DefaultPreviewTTL
	}
	since := w.Deployed
	if since.IsZero() {
		since = w.Version.Time
	}
	return since.Add(age)
}

// Next begins the next generation, of a change of somebody's. Nobody has followed yet.
func (w *Wish) Next(change, by string) {
	w.Generation++
	w.Change, w.By, w.Time = change, by, time.Now().UTC()
}

// Settle drops agents that have followed and are to have the function no longer. It
// reports whether the wish is fulfilled and nothing has to be remembered of it.
func (w *Wish) Settle() (over bool) {
	w.At = slices.DeleteFunc(w.At, func(p Place) bool { return (p.Leaving || w.State == Removed) && !w.Behind(&p) })
	return w.State == Removed && len(w.At) == 0 && len(w.Untold) == 0
}

// Serves is the version that serves, or served before a stop; 0: there is none.
func (w *Wish) Serves() uint32 {
	if w == nil || w.State == Removed {
		return 0
	}
	return w.Version.Number
}

// Agents returns the agents that are to have the function.
func (w *Wish) Agents() (list []Place) {
	if w.State == Removed {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(w.At), func(p Place) bool { return p.Leaving })
}

// Settings are a function's, without what one deploy alone is about, and without values of
// secrets.
type Settings struct{ *proto.FunctionJson }

// Of returns the settings of a function, in a copy.
func Of(fn *proto.FunctionJson) Settings {
	kept := fn.Lasting()
	for name := range kept.GetSecrets() {
		kept.Secrets[name] = ""
	}
	return Settings{kept}
}

// MarshalJSON implements json.Marshaler.
func (s Settings) MarshalJSON() ([]byte, error) {
	if s.FunctionJson == nil {
		return []byte("null"), nil
	}
	return protojson.Marshal(Of(s.FunctionJson).FunctionJson)
}

// UnmarshalJSON implements json.Unmarshaler. Settings that this program does not know are
// those of a later one, and left out.
func (s *Settings) UnmarshalJSON(data []byte) error {
	s.FunctionJson = &proto.FunctionJson{}
	if string(data) == "null" {
		return nil
	}
	return protojson.UnmarshalOptions{DiscardUnknown: true}.Unmarshal(data, s.FunctionJson)
}
