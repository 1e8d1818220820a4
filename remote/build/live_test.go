package build

import (
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/Ishan27g/ryo-faas/proto"
)

// parts remembers what was written at what time.
type parts struct {
	mu    sync.Mutex
	began time.Time
	text  []string
	at    []time.Duration
}

func (p *parts) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.began.IsZero() {
		p.began = time.Now()
	}
	p.text, p.at = append(p.text, string(b)), append(p.at, time.Since(p.began))
	return len(b), nil
}

func same(line string) string { return line }

func TestLiveOutputComesInLinesAndNotTooOften(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var to parts
		l := newLive(&to, same)
		say := func(text string) {
			_, err := l.Write([]byte(text))
			require.NoError(t, err)
		}
		say("one\ntw")
		say("o\nthree\n")
		say("fo")
		time.Sleep(250 * time.Millisecond) //nolint:forbidigo // of a clock that is not the world's
		say("ur\n")
		say("the last")
		l.close()
		assert.Equal(t, []string{"one\n", "two\nthree\n", "four\n", "the last"}, to.text)
		assert.Equal(t, []time.Duration{0, liveEvery, 250 * time.Millisecond, 250 * time.Millisecond}, to.at)
		synctest.Wait()
		assert.Len(t, to.text, 4)
	})
}

func TestLiveOutputIsBounded(t *testing.T) {
	var to parts
	l := newLive(&to, same)
	for range 100 {
		_, err := l.Write([]byte(strings.Repeat("x", 10_000) + "\n"))
		require.NoError(t, err)
	}
	l.close()
	all := strings.Join(to.text, "")
	assert.Less(t, len(all), maxLive+100)
	assert.True(t, strings.HasSuffix(all, "x\n(more was said)\n"))

	l = newLive(nil, same) // nobody listens
	for range 100 {
		_, err := l.Write([]byte(strings.Repeat("x", 10_000)))
		require.NoError(t, err)
	}
	assert.LessOrEqual(t, len(l.line), maxLive)
	l.close()
}

// counts are what a build that takes over a second says in between, as each does on
// a busy machine.
var counts = regexp.MustCompile(`(?m)^(packages built|modules fetched) .*\n`)

// said is what a build told, less its counts.
func said(to *parts) string { return counts.ReplaceAllString(strings.Join(to.text, ""), "") }

func TestBuildsSayWhatTheyDo(t *testing.T) {
	<-builder.tried // else they tell of the cache too
	for name, c := range map[string]struct {
		body, live string
		fails      bool
	}{
		"a quick one":     {body: " lib.L() }\n", live: ""},
		"compiler errors": {body: " lib.L(1) }\n", live: "# example.com/app\np.go:8:56: too many arguments in call to lib.L\n\thave (number)\n\twant ()\n", fails: true},
	} {
		t.Run(name, func(t *testing.T) {
			var to parts
			spec := files{
				"go.mod": gomod, "p.go": head1 + "\t\"example.com/app/lib\"\n)\n\n" + fn + c.body,
				// New at each run, so that it is compiled.
				"lib/l.go": "package lib\n\nfunc L() { println(\"" + t.TempDir() + "\") }\n",
			}.spec(t, ".", "F")
			spec.Output = &to
			err := builder.Build(t.Context(), spec)
			assert.Equal(t, c.live, said(&to))
			if !c.fails {
				require.NoError(t, err)
				return
			}
			var failure *Failure
			require.ErrorAs(t, err, &failure)
			assert.Equal(t, "p.go:8:56: too many arguments in call to lib.L\n\thave (number)\n\twant ()", failure.Output)
		})
	}
}

func TestBuildsWithoutAGoModNameThePackageAsItsUserDoes(t *testing.T) {
	<-builder.tried // else they tell of the cache too
	for _, name := range []string{"greet", "errors", "grüße"} {
		t.Run(name, func(t *testing.T) {
			var to parts
			spec := files{"p.go": "package " + name + "\n\nimport \"net/http\"\n\nfunc F(http.ResponseWriter, *http.Request) { return 1 }\n"}.spec(t, ".", "F")
			spec.Output = &to
			require.ErrorIs(t, builder.Build(t.Context(), spec), proto.ErrInvalid)
			assert.Equal(t, "# "+name+"\np.go:5:53: too many return values\n\thave (number)\n\twant ()\n", said(&to))
		})
	}
}
