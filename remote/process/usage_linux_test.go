package process

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestParseStat(t *testing.T) {
	want := stat{state: 'S', session: 3, cpu: 11 + 12, start: 19, exit: 49}
	const rest = " S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31 32 33 34 35 36 37 38 39 40 41 42 43 44 45 46 47 48 49"
	for name, stat := range map[string]string{
		"plain":                  "7 (fn)" + rest,
		"spaces and parentheses": "7 (a) b) (c 9 9)" + rest,
		"a newline":              "7 (a\nb)" + rest,
	} {
		t.Run(name, func(t *testing.T) {
			got, err := parseStat([]byte(stat))
			require.NoError(t, err)
			assert.Equal(t, want, got)
		})
	}
	for _, stat := range []string{"", ")", "7 (fn", "7 (fn) S 1 2", "7 (fn) S 1 2 x" + rest, "7 (fn) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 -19 20", "7 (fn)" + strings.Replace(rest, " 19", " -19", 1)} {
		_, err := parseStat([]byte(stat))
		require.Error(t, err, stat)
	}
}

func FuzzParseStat(f *testing.F) {
	f.Add([]byte("7 (fn) S" + strings.Repeat(" 1", 50)))
	f.Add([]byte("7 (fn) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20"))
	f.Add([]byte("7 (a) b) (c 9 9) S 1"))
	f.Add([]byte(")"))
	f.Add([]byte("0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0"))
	f.Fuzz(func(t *testing.T, stat []byte) {
		if _, err := parseStat(stat); err == nil && len(stat) < 100 {
			t.Errorf("%q has too few fields", stat)
		}
	})
}
