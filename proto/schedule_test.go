package proto

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// at reads a time of a zone, with its offset to UTC.
func at(t *testing.T, text string) time.Time {
	t.Helper()
	got, err := time.Parse("2006-01-02 15:04:05 -0700", text)
	require.NoError(t, err)
	return got
}

func TestSchedules(t *testing.T) {
	for _, tt := range []struct {
		name, schedule, zone, after string
		want                        []string
	}{
		{"each minute", "* * * * *", "", "2026-03-01 10:00:30 +0000", []string{"2026-03-01 10:01:00 +0000", "2026-03-01 10:02:00 +0000"}},
		{"a time is not its own next", "* * * * *", "", "2026-03-01 10:00:00 +0000", []string{"2026-03-01 10:01:00 +0000"}},
		{"steps", "*/20 * * * *", "", "2026-03-01 10:30:00 +0000", []string{"2026-03-01 10:40:00 +0000", "2026-03-01 11:00:00 +0000", "2026-03-01 11:20:00 +0000"}},
		{"steps of a range", "10-30/10 9 * * *", "", "2026-03-01 09:10:00 +0000", []string{"2026-03-01 09:20:00 +0000", "2026-03-01 09:30:00 +0000", "2026-03-02 09:10:00 +0000"}},
		{"steps from a value", "50/5 9 * * *", "", "2026-03-01 09:10:00 +0000", []string{"2026-03-01 09:50:00 +0000", "2026-03-01 09:55:00 +0000", "2026-03-02 09:50:00 +0000"}},
		{"lists and names", "0 8,20 * jan,JUL Mon", "", "2026-02-01 00:00:00 +0000", []string{"2026-07-06 08:00:00 +0000", "2026-07-06 20:00:00 +0000", "2026-07-13 08:00:00 +0000"}},
		{"Sunday is 0 and 7", "0 0 * * 7", "", "2026-03-01 00:00:00 +0000", []string{"2026-03-08 00:00:00 +0000"}},
		{"until Sunday", "0 0 * * sat-sun", "", "2026-03-02 00:00:00 +0000", []string{"2026-03-07 00:00:00 +0000", "2026-03-08 00:00:00 +0000", "2026-03-14 00:00:00 +0000"}},
		{"every other weekday", "0 0 * * */2", "", "2026-03-01 00:00:00 +0000", []string{"2026-03-03 00:00:00 +0000", "2026-03-05 00:00:00 +0000", "2026-03-07 00:00:00 +0000", "2026-03-08 00:00:00 +0000"}},
		{"either day", "0 0 13 * fri", "", "2026-03-01 00:00:00 +0000", []string{"2026-03-06 00:00:00 +0000", "2026-03-13 00:00:00 +0000", "2026-03-20 00:00:00 +0000"}},
		{"both days", "0 0 */2 * mon", "", "2026-03-01 00:00:00 +0000", []string{"2026-03-09 00:00:00 +0000", "2026-03-23 00:00:00 +0000"}},
		{"29 February", "0 0 29 2 *", "", "2096-03-01 00:00:00 +0000", []string{"2104-02-29 00:00:00 +0000"}},
		{"31st", "0 0 31 * *", "", "2026-03-31 00:00:00 +0000", []string{"2026-05-31 00:00:00 +0000", "2026-07-31 00:00:00 +0000"}},
		{"hourly", "@hourly", "", "2026-12-31 23:10:00 +0000", []string{"2027-01-01 00:00:00 +0000"}},
		{"yearly", "@yearly", "Asia/Tokyo", "2026-12-31 14:00:00 +0000", []string{"2027-01-01 00:00:00 +0900"}},
		{"every", "@every 90s", "", "2026-03-01 00:00:10 +0000", []string{"2026-03-01 00:01:30 +0000", "2026-03-01 00:03:00 +0000"}},
		{"a zone", "30 9 * * *", "Asia/Kolkata", "2026-03-01 00:00:00 +0000", []string{"2026-03-01 09:30:00 +0530"}},

		// Berlin: 29 March 2026 02:00 → 03:00, 25 October 2026 03:00 → 02:00.
		{"an hour that is left out", "30 2 * * *", "Europe/Berlin", "2026-03-28 02:30:00 +0100", []string{"2026-03-29 03:00:00 +0200", "2026-03-30 02:30:00 +0200"}},
		{"several times of it, once", "*/10 2 * * *", "Europe/Berlin", "2026-03-28 02:50:00 +0100", []string{"2026-03-29 03:00:00 +0200", "2026-03-30 02:00:00 +0200"}},
		{"and the time that comes instead, once", "0 2,3 * * *", "Europe/Berlin", "2026-03-28 03:00:00 +0100", []string{"2026-03-29 03:00:00 +0200", "2026-03-30 02:00:00 +0200"}},
		{"on another day it is not looked for", "30 2 30 3 *", "Europe/Berlin", "2026-03-01 00:00:00 +0100", []string{"2026-03-30 02:30:00 +0200"}},
		{"an hour that comes twice", "30 2 * * *", "Europe/Berlin", "2026-10-24 12:00:00 +0200", []string{"2026-10-25 02:30:00 +0200", "2026-10-26 02:30:00 +0100"}},
		{"after its second time", "30 2 * * *", "Europe/Berlin", "2026-10-25 02:10:00 +0100", []string{"2026-10-26 02:30:00 +0100"}},
		{"intervals go on over both", "0 * * * *", "Europe/Berlin", "2026-10-25 01:00:00 +0200", []string{"2026-10-25 02:00:00 +0200", "2026-10-25 02:00:00 +0100", "2026-10-25 03:00:00 +0100"}},
		{"intervals are not made up for", "30 * * * *", "Europe/Berlin", "2026-03-29 01:00:00 +0100", []string{"2026-03-29 01:30:00 +0100", "2026-03-29 03:30:00 +0200"}},
		// New York: 1 November 2026 02:00 → 01:00.
		{"1:30 twice", "30 1 * * *", "America/New_York", "2026-10-31 12:00:00 -0400", []string{"2026-11-01 01:30:00 -0400", "2026-11-02 01:30:00 -0500"}},
		// Santiago: 6 September 2026 00:00 → 01:00, so that there is no midnight.
		{"a midnight that is left out", "@daily", "America/Santiago", "2026-09-05 12:00:00 -0400", []string{"2026-09-06 01:00:00 -0300", "2026-09-07 00:00:00 -0300"}},
		{"a day without midnight is found", "15 9 6 9 *", "America/Santiago", "2026-01-01 12:00:00 -0300", []string{"2026-09-06 09:15:00 -0300"}},
		// Lord Howe: half an hour, 4 October 2026 02:00 → 02:30.
		{"half an hour that is left out", "15 2 * * *", "Australia/Lord_Howe", "2026-10-03 12:00:00 +1030", []string{"2026-10-04 02:30:00 +1100"}},
		// Apia had no 30 December 2011.
		{"a day that is left out", "0 12 * * *", "Pacific/Apia", "2011-12-29 12:00:00 -1000", []string{"2011-12-31 00:00:00 +1400", "2011-12-31 12:00:00 +1400"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, err := ParseSchedule(tt.schedule, tt.zone)
			require.NoError(t, err)
			next := at(t, tt.after)
			for _, want := range tt.want {
				before := next
				next = s.Next(next)
				assert.True(t, next.Equal(at(t, want)), "got %s, want %s", next, want)
				assert.True(t, s.Last(before, next).Equal(next))
				assert.True(t, s.Last(before, next.Add(-time.Second)).IsZero())
			}
		})
	}
	assert.True(t, Schedule{}.Next(time.Now()).IsZero())
}

func TestTheLastTimeOfManyIsFound(t *testing.T) {
	now := at(t, "2026-03-01 10:30:30 +0000")
	for schedule, want := range map[string]string{
		"* * * * *": "2026-03-01 10:30:00 +0000", "@every 1s": "2026-03-01 10:30:30 +0000",
		"@monthly": "2026-03-01 00:00:00 +0000", "0 0 29 2 *": "2024-02-29 00:00:00 +0000",
	} {
		s, err := ParseSchedule(schedule, "")
		require.NoError(t, err)
		got := s.Last(now.AddDate(-20, 0, 0), now)
		assert.True(t, got.Equal(at(t, want)), "%s: %s", schedule, got)
	}
}

func TestSchedulesThatAreNone(t *testing.T) {
	for schedule, says := range map[string]string{
		"":                         "has 0 fields",
		"* * * *":                  "has 4 fields",
		"0 * * * * *":              "@every 10s",
		"60 * * * *":               `minute: "60" is not a number from 0 to 59`,
		"* 24 * * *":               "hour",
		"* * 0 * *":                "day of the month",
		"* * * 13 *":               "or jan to dec",
		"* * * * 8":                "day of the week",
		"* * * * fryday":           "fryday",
		"*/0 * * * *":              "step",
		"*/-1 * * * *":             "step",
		"*/+1 * * * *":             "step",
		"+1 * * * *":               "minute",
		"5- * * * *":               "minute",
		"5-1 * * * *":              "5-59,0-1",
		",1 * * * *":               "minute",
		"* * L * *":                "day of the month",
		"* * ? * *":                "day of the month",
		"0 0 30 2 *":               "never comes",
		"0 0 31 apr,jun,sep,nov *": "never comes",
		"@reboot":                  "@hourly",
		"@every 10":                "10m",
		"@every 10ms":              "1s",
		"@every 1.5s":              "whole seconds",
		"@every -1s":               "1s",
		"@every 9000h":             "8760h",
		"TZ=UTC * * * * *":         "timezone",
		"CRON_TZ=UTC 0 0 1 * *":    "timezone",
	} {
		_, err := ParseSchedule(schedule, "")
		if assert.Error(t, err, schedule) {
			assert.Contains(t, err.Error(), says, schedule)
		}
	}
	for _, zone := range []string{"Local", "Europe/Berlln", "../etc/passwd", "CEST+1"} {
		err := (&FunctionJson{Name: "F", Schedule: "@daily", Timezone: zone}).Check()
		require.ErrorIs(t, err, ErrInvalid)
		assert.ErrorContains(t, err, "timezone: ")
	}
	require.ErrorIs(t, (&FunctionJson{Name: "F", Schedule: "daily"}).Check(), ErrInvalid)
	require.ErrorIs(t, (&FunctionJson{Name: "F", Overlap: "never"}).Check(), ErrInvalid)
	require.ErrorIs(t, (&FunctionJson{Name: "F", Missed: "all"}).Check(), ErrInvalid)
	require.ErrorIs(t, (&FunctionJson{Name: "F", Jitter: "2h"}).Check(), ErrInvalid)
	require.NoError(t, (&FunctionJson{
		Name: "F", Schedule: "@daily", Timezone: "Europe/Berlin", Overlap: "replace", Missed: "once", Jitter: "5m", Subscribe: []string{"a.*"},
	}).Check())
}

// What is read has next times, in order, and nothing between two of them.
func FuzzSchedule(f *testing.F) {
	for _, text := range []string{"* * * * *", "*/7 2-5 29 2 mon", "0 0 31 12 fri", "@every 36h", "59 23 1-7/2 */5 sat-sun", "30 2 * * *"} {
		f.Add(text, "Europe/Berlin", int64(1_774_700_000))
		f.Add(text, "", int64(951_700_000))
	}
	f.Fuzz(func(t *testing.T, text, zone string, from int64) {
		s, err := ParseSchedule(text, zone)
		if err != nil || from < 0 || from > 4e9 {
			return
		}
		after := time.Unix(from, 0)
		next := s.Next(after)
		if !next.IsZero() && !next.After(after) {
			t.Fatalf("%q: %s is not after %s", text, next, after)
		}
		for seen, end := after, after.Add(3*24*time.Hour); s.every == 0 && seen.Before(end); seen = seen.Add(time.Minute) {
			clock := seen.In(s.zone).Truncate(time.Minute)
			if clock.After(after) && clock.Before(next) && s.shown(clock) && !s.fixed {
				t.Fatalf("%q: %s is left out between %s and %s", text, clock, after, next)
			}
		}
	})
}

func BenchmarkSchedule(b *testing.B) {
	s, err := ParseSchedule("0 0 29 2 *", "Europe/Berlin")
	require.NoError(b, err)
	now := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	for b.Loop() {
		s.Next(now)
	}
}
