package proto

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	_ "time/tzdata" // every program checks time zones, and machines may have none
)

// The values of the settings overlap and missed.
const (
	OverlapAllow   = "allow"   // a run begins although the one before goes on; the default
	OverlapForbid  = "forbid"  // it is left out
	OverlapReplace = "replace" // the one before is canceled

	MissedSkip = "skip" // a run whose time has passed is left out; the default
	MissedOnce = "once" // the last one is made up for
)

// DefaultTimezone is the time zone of schedules that name none.
const DefaultTimezone = "UTC"

const (
	// MinEvery is the shortest time between runs: each writes to the disk several times.
	MinEvery = time.Second
	// MaxEvery is the longest: a schedule by the calendar says more.
	MaxEvery = 365 * 24 * time.Hour
	// MaxJitter bounds how much later than its time a run may begin.
	MaxJitter = time.Hour

	// maxSchedule bounds a schedule in bytes; all minutes of an hour as a list are 169.
	maxSchedule = 256
	// searched is how far Next looks: 29 February is missing for eight years around a
	// century, and may have to be a certain day of the week besides.
	searched = 40 // years
)

// Schedule says when something is to be done. Its zero value never does.
type Schedule struct {
	every time.Duration // not 0: all else is empty

	minute, hour, day, month, weekday uint64 // bits
	anyDay, anyWeekday                bool   // the field begins with "*": the other one decides
	fixed                             bool   // hours are named, and each happens once a day
	zone                              *time.Location
}

var macros = map[string]string{
	"@yearly": "0 0 1 1 *", "@annually": "0 0 1 1 *", "@monthly": "0 0 1 * *", "@weekly": "0 0 * * 0",
	"@daily": "0 0 * * *", "@midnight": "0 0 * * *", "@hourly": "0 * * * *",
}

// cronField is one of the five fields of a schedule.
type cronField struct {
	name     string
	min, max int
	names    []string // of the values from min on
}

var cronFields = [5]cronField{
	{name: "minute", max: 59},
	{name: "hour", max: 23},
	{name: "day of the month", min: 1, max: 31},
	{name: "month", min: 1, max: 12, names: []string{"jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"}},
	{name: "day of the week", max: 7, names: []string{"sun", "mon", "tue", "wed", "thu", "fri", "sat", "sun"}},
}

// ParseSchedule reads a schedule: the five fields of crontab(5), in a time zone, such as
// "30 2 * * mon-fri", or @hourly and the like, or "@every 10m". If neither the day of the
// month nor that of the week begins with "*", either will do.
//
// Where clocks are put forward, what was to happen at an hour that is left out happens
// when they have been. Where they are put back, it happens the first time that the hour
// comes. If the field of hours begins with "*", the schedule is one of intervals: it
// happens each time that a clock shows it. "@every" begins at midnight, 1 January of the
// year 1, UTC, so that all proxies agree.
func ParseSchedule(text, zone string) (Schedule, error) {
	s := Schedule{}
	var err error
	if s.zone, err = parseZone(zone); err != nil {
		return Schedule{}, err
	}
	if len(text) > maxSchedule {
		return Schedule{}, fmt.Errorf("%.40q… is longer than %d bytes", text, maxSchedule)
	}
	words := strings.Fields(text)
	if len(words) == 2 && words[0] == "@every" {
		s.every, err = time.ParseDuration(words[1])
		if err != nil || s.every < MinEvery || s.every > MaxEvery || s.every%time.Second != 0 {
			return Schedule{}, fmt.Errorf("%q is not from 1s to 8760h, in whole seconds, such as @every 10m", text)
		}
		return s, nil
	}
	if len(words) == 1 {
		if m, ok := macros[words[0]]; ok {
			words = strings.Fields(m)
		}
	}
	switch {
	case len(words) > 0 && (strings.HasPrefix(words[0], "TZ=") || strings.HasPrefix(words[0], "CRON_TZ=")):
		return Schedule{}, fmt.Errorf("%q names a time zone, which the setting timezone does", text)
	case len(words) == 1 && strings.HasPrefix(words[0], "@"):
		return Schedule{}, fmt.Errorf("%q is not known; write @hourly, @daily, @weekly, @monthly, @yearly or @every 10m", text)
	case len(words) == 6:
		return Schedule{}, fmt.Errorf("%q has six fields; the five are minute, hour, day, month and weekday, and for seconds there is @every 10s", text)
	case len(words) != len(cronFields):
		return Schedule{}, fmt.Errorf("%q has %d fields, not the five of minute, hour, day, month and weekday, such as \"30 2 * * *\"", text, len(words))
	}
	var sets [5]uint64
	for i, f := range cronFields {
		if sets[i], err = f.parse(words[i]); err != nil {
			return Schedule{}, fmt.Errorf("%q: %w", text, err)
		}
	}
	s.minute, s.hour, s.day, s.month, s.weekday = sets[0], sets[1], sets[2], sets[3], sets[4]
	if has(s.weekday, 7) {
		s.weekday |= 1 // Sunday
	}
	s.anyDay, s.anyWeekday, s.fixed = words[2][0] == '*', words[4][0] == '*', words[1][0] != '*'
	if s.Next(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)).IsZero() {
		return Schedule{}, fmt.Errorf("%q never comes: no month of it has that day", text)
	}
	return s, nil
}

// parseZone returns the time zone of a name, UTC for none.
func parseZone(name string) (*time.Location, error) {
	zone, err := time.LoadLocation(name)
	if err != nil || name == "Local" { // each machine has another one
		return nil, fmt.Errorf("%.50q is not the name of a time zone, such as Europe/Berlin", name)
	}
	return zone, nil
}

// parse returns the values of a field as bits.
func (f *cronField) parse(text string) (set uint64, err error) {
	for part := range strings.SplitSeq(text, ",") {
		span, step, stepped := strings.Cut(part, "/")
		from, to, ranged := strings.Cut(span, "-")
		first, last, by := f.min, f.max, 1
		if span != "*" {
			if first, err = f.value(from); err != nil {
				return 0, err
			}
			switch {
			case ranged:
				if last, err = f.value(to); err != nil {
					return 0, err
				}
				if last == 0 && f.max == 7 && first > 0 { // until Sunday
					last = 7
				}
			case !stepped:
				last = first
			}
		} else if f.max == 7 {
			last = 6 // Sunday once, so that steps are even
		}
		if stepped {
			if by, err = strconv.Atoi(step); err != nil || by < 1 || by > f.max || step[0] == '+' {
				return 0, fmt.Errorf("%s: %q is not a step, such as */5", f.name, part)
			}
		}
		if first > last {
			return 0, fmt.Errorf("%s: %q runs backwards; write %s-%d,%d-%s", f.name, part, from, f.max, f.min, to)
		}
		for v := first; v <= last; v += by {
			set |= 1 << v
		}
	}
	return set, nil
}

// value returns one value of a field.
func (f *cronField) value(text string) (int, error) {
	if i := slices.Index(f.names, strings.ToLower(text)); i >= 0 {
		return f.min + i, nil
	}
	v, err := strconv.Atoi(text)
	if err != nil || v < f.min || v > f.max || text[0] == '+' || text[0] == '-' {
		known := fmt.Sprintf("a number from %d to %d", f.min, f.max)
		if f.names != nil {
			known += fmt.Sprintf(", or %s to %s", f.names[0], f.names[len(f.names)-1])
		}
		return 0, fmt.Errorf("%s: %q is not %s", f.name, text, known)
	}
	return v, nil
}

func has(set uint64, v int) bool { return set&(1<<v) != 0 }

// Next returns the first time after t, zero if there is none within 40 years.
func (s Schedule) Next(t time.Time) time.Time {
	if s.every > 0 {
		return t.UTC().Truncate(s.every).Add(s.every)
	}
	if s.zone == nil {
		return time.Time{}
	}
	t = t.In(s.zone).Truncate(time.Minute).Add(time.Minute)
	start, end := t.ZoneBounds() // of the offset to UTC that holds at t
	for until := t.AddDate(searched, 0, 0); t.Before(until); {
		if !end.IsZero() && !t.Before(end) {
			t = end.In(s.zone)
			start, end = t.ZoneBounds()
		}
		if s.at(t, start) {
			return t
		}
		next := s.skip(t)
		if !end.IsZero() && next.After(end) { // what clocks leave out is looked at there
			next = end
		}
		t = next
	}
	return time.Time{}
}

// at reports whether something is to be done at t, in the offset to UTC that holds since
// start.
func (s Schedule) at(t, start time.Time) bool {
	if !s.fixed || start.IsZero() {
		return s.shown(t)
	}
	_, before := start.Add(-time.Second).Zone()
	_, now := start.Zone()
	put := time.Duration(now-before) * time.Second
	if put < 0 && t.Sub(start) < -put { // clocks show it for the second time
		return false
	}
	if s.shown(t) {
		return true
	}
	if put <= 0 || !t.Equal(start) {
		return false
	}
	clock := time.Date(t.Year(), t.Month(), t.Day(), t.Hour(), t.Minute(), 0, 0, time.UTC)
	for left := clock.Add(-put); left.Before(clock); left = left.Add(time.Minute) {
		if s.shown(left) {
			return true
		}
	}
	return false
}

// shown reports whether a clock that shows t shows a time of the schedule.
func (s Schedule) shown(t time.Time) bool {
	return s.date(t) && has(s.hour, t.Hour()) && has(s.minute, t.Minute())
}

// date reports whether the schedule has a time on the day of t.
func (s Schedule) date(t time.Time) bool {
	day, weekday := has(s.day, t.Day()), has(s.weekday, int(t.Weekday()))
	if s.anyDay || s.anyWeekday {
		return has(s.month, int(t.Month())) && day && weekday
	}
	return has(s.month, int(t.Month())) && (day || weekday)
}

// skip returns the next time to look at, after t.
func (s Schedule) skip(t time.Time) time.Time {
	next := t.Add(time.Minute)
	switch {
	case !has(s.month, int(t.Month())):
		next = time.Date(t.Year(), t.Month()+1, 1, 0, 0, 0, 0, s.zone)
	case !s.date(t):
		next = time.Date(t.Year(), t.Month(), t.Day()+1, 0, 0, 0, 0, s.zone)
	case !has(s.hour, t.Hour()):
		next = t.Add(time.Duration(60-t.Minute()) * time.Minute)
	}
	if !next.After(t) { // there is no such midnight
		return t.Add(time.Minute)
	}
	return next
}

// Last returns the last time up to t, and after from, zero if there is none.
func (s Schedule) Last(from, t time.Time) (last time.Time) {
	for back := time.Hour; ; back *= 4 {
		begin := t.Add(-back)
		if !begin.After(from) || back > MaxEvery*searched {
			begin = from
		}
		for next := s.Next(begin); !next.IsZero() && !next.After(t); next = s.Next(next) {
			last = next
		}
		if !last.IsZero() || begin.Equal(from) {
			return last
		}
	}
}

// Clock is when the function is to be called, zero for never.
func (f *FunctionJson) Clock() (Schedule, error) {
	if f.GetSchedule() == "" {
		return Schedule{}, nil
	}
	zone := f.GetTimezone()
	if _, err := parseZone(zone); err != nil {
		zone = "" // its own check says so
	}
	s, err := ParseSchedule(f.GetSchedule(), zone)
	if err != nil {
		return Schedule{}, f.invalid("schedule", "%v", err)
	}
	return s, nil
}

func (f *FunctionJson) checkSchedule() error {
	_, err := f.Clock()
	return err
}

func (f *FunctionJson) checkTimezone() error {
	if _, err := parseZone(f.GetTimezone()); err != nil {
		return f.invalid("timezone", "%v", err)
	}
	return nil
}

func (f *FunctionJson) checkOverlap() error {
	return f.oneOf("overlap", f.GetOverlap(), OverlapAllow, OverlapForbid, OverlapReplace)
}

func (f *FunctionJson) checkMissed() error {
	return f.oneOf("missed", f.GetMissed(), MissedSkip, MissedOnce)
}

// oneOf checks a setting that is one of some words, or empty.
func (f *FunctionJson) oneOf(name, value string, words ...string) error {
	if value == "" || slices.Contains(words, value) {
		return nil
	}
	return f.invalid(name, "%.40q is not known; use one of %s", value, strings.Join(words, ", "))
}

// JitterLimit is how much later than its time a run may begin.
func (f *FunctionJson) JitterLimit() (time.Duration, error) {
	return f.duration("jitter", f.GetJitter(), 0, 0, MaxJitter)
}
