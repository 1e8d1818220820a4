package build

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestStatusCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var to parts
		s := newStatus(&to, same, nil)
		say := func(lines ...string) {
			time.Sleep(sayEvery) //nolint:forbidigo // of a clock that is not the world's
			for _, line := range lines {
				_, err := s.Write([]byte(line + "\n"))
				require.NoError(t, err)
			}
		}
		stop := s.fetching([]string{t.TempDir(), "/missing/a", "/missing/b"}, time.Hour, func() { t.Error("given up") })
		say("go: downloading example.org/X v1.0.0", "go: downloading example.org/y v1.0.0")
		time.Sleep(sayEvery) //nolint:forbidigo // of a clock that is not the world's
		stop()
		var list packages
		_, err := list.Write([]byte("fmt \nexample.org/X example.org/X v1.0.0\nexample.org/X/a example.org/X v1.0.0\nexample.org/z example.org/z v1.0.0\n"))
		require.NoError(t, err)
		s.expect(&list)
		say("fmt", "example.org/X", "# example.com/app", "p.go:1:2: undefined: x")
		say("example.org/X/a")
		s.close()
		assert.Equal(t, []string{
			"modules fetched 1 of 3", "modules fetched 1 of 3", "packages built 1 of 2", "# example.com/app", "p.go:1:2: undefined: x", "packages built 2 of 2", "",
		}, strings.Split(strings.Join(to.text, ""), "\n"))
	})
}
