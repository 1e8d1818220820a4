package proto

import "time"

// MaxPast bounds how far back a duration of LogsRequest reaches: nothing is kept
// that long.
const MaxPast = 10 * 365 * 24 * time.Hour

// After returns the time before which lines are left out; the zero time leaves
// none out. A since that is neither a time nor a duration is an ErrInvalid.
func (r *LogsRequest) After(now time.Time) (time.Time, error) {
	text := r.GetSince()
	if text == "" {
		return time.Time{}, nil
	}
	if at, err := time.Parse(time.RFC3339, text); err == nil {
		return at, nil
	}
	ago, err := time.ParseDuration(text)
	if err != nil || ago < 0 || ago > MaxPast {
		return time.Time{}, Errorf(ErrInvalid, "since %.40q is neither a time nor a duration", text).
			WithHint("such as 10m, or 2026-01-02T15:04:05Z")
	}
	return now.Add(-ago), nil
}
