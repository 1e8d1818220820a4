package proto

import "time"

// MaxWait bounds how long the end of a call is waited for in one request: gateways in
// between cut longer ones off.
const MaxWait = 5 * time.Minute

// WaitLimit is how long the caller waits for the end of a call.
func (r *CallRequest) WaitLimit() (time.Duration, error) { return ParseWait(r.GetWait()) }

// ParseWait reads how long the end of a call is waited for; "": not at all.
func ParseWait(text string) (time.Duration, error) {
	if text == "" {
		return 0, nil
	}
	d, err := time.ParseDuration(text)
	switch {
	case err != nil || d < 0:
		return 0, Errorf(ErrInvalid, "wait: %.40q is not a duration, such as 30s", text)
	case d > MaxWait:
		return 0, Errorf(ErrInvalid, "wait: %.40q is longer than %s", text, plain(MaxWait)).WithHint("ask again when it is over")
	}
	return d, nil
}
