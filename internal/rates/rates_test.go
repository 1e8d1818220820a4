package rates

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestABurstIsTakenThenTheRate(t *testing.T) {
	l := Limiter{Every: 10 * time.Millisecond, Burst: 500, Most: 10}
	now := time.Now()
	for range l.Burst {
		require.Zero(t, l.Take("a", now))
	}
	assert.Equal(t, l.Every, l.Take("a", now))
	assert.Equal(t, l.Every, l.Take("a", now), "what was refused does not count")
	assert.Zero(t, l.Take("b", now), "each has its own")
	now = now.Add(time.Second)
	for range 100 {
		require.Zero(t, l.Take("a", now))
	}
	assert.NotZero(t, l.Take("a", now))
	now = now.Add(time.Hour)
	for range l.Burst {
		require.Zero(t, l.Take("a", now), "no more comes back than there was")
	}
	assert.NotZero(t, l.Take("a", now))
}

func TestTheCallersThatAreRememberedAreBounded(t *testing.T) {
	l := Limiter{Every: 10 * time.Millisecond, Burst: 500, Most: 64}
	now := time.Now()
	for range l.Burst {
		require.Zero(t, l.Take("busy", now))
	}
	for i := range 20 * l.Most {
		require.Zero(t, l.Take(fmt.Sprint(i), now))
		require.LessOrEqual(t, len(l.full), l.Most)
	}
	assert.NotZero(t, l.Take("busy", now), "others do not push out who asks too much")
}

func BenchmarkTake(b *testing.B) {
	l := Limiter{Every: time.Nanosecond, Burst: 1000, Most: 4096}
	callers := make([]string, 10_000)
	for i := range callers {
		callers[i] = fmt.Sprint("192.0.2.", i)
	}
	for i := 0; b.Loop(); i++ {
		l.Take(callers[i%len(callers)], time.Now())
	}
}
