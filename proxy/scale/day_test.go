package scale

import (
	"bufio"
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write testdata/day.txt anew")

// dayFile has the calls a second of each minute of a day. Nobody's traffic was recorded: the
// generator below wrote it, with what days of web services have in common.
const dayFile = "testdata/day.txt"

// day makes up a day: quiet nights, a rise in the morning, a dip at noon, the peak in the
// evening, noise that lasts for minutes, bursts that begin at once, and a quarter of an hour
// without calls, as when something in front of the service fails.
func day(seed uint64) []int {
	r := rand.New(rand.NewPCG(seed, 2)) //nolint:gosec // it need not be secret
	bump := func(hour, at, width float64) float64 {
		return math.Exp(-(hour - at) * (hour - at) / (2 * width * width))
	}
	rates, noise, burst := make([]int, 24*60), 0.0, 0.0
	for minute := range rates {
		hour := float64(minute) / 60
		rate := 15 + 260*bump(hour, 10.5, 2) + 180*bump(hour, 15, 2) + 420*bump(hour, 20.5, 1.6)
		noise = 0.9*noise + 0.05*r.NormFloat64()
		if burst *= 0.7; r.Float64() < 0.01 {
			burst = 0.5 + r.Float64()
		}
		rate *= max(0.2, 1+noise+burst)
		if minute >= 13*60+20 && minute < 13*60+35 {
			rate = 0
		}
		rates[minute] = int(rate)
	}
	return rates
}

func readDay(t *testing.T) (rates []float64) {
	t.Helper()
	if *update {
		var text strings.Builder
		text.WriteString("# calls a second, a line for each minute of a day; made up by day_test.go, seed 1\n")
		for _, rate := range day(1) {
			fmt.Fprintln(&text, rate)
		}
		require.NoError(t, os.MkdirAll("testdata", 0o750))
		require.NoError(t, os.WriteFile(dayFile, []byte(text.String()), 0o600))
	}
	file, err := os.Open(dayFile)
	require.NoError(t, err)
	defer file.Close()
	for lines := bufio.NewScanner(file); lines.Scan(); {
		if strings.HasPrefix(lines.Text(), "#") {
			continue
		}
		rate, err := strconv.ParseFloat(lines.Text(), 64)
		require.NoError(t, err)
		rates = append(rates, rate)
	}
	require.Len(t, rates, 24*60)
	return rates
}

// TestADay prints what a day costs beside fixed sizes. A minute of it lasts two seconds, so
// that loads change thirty times as fast as on a real day; with E2E_SOAK a minute is one.
func TestADay(t *testing.T) {
	minute := 2 * time.Second
	if os.Getenv("E2E_SOAK") != "" {
		minute = time.Minute
	}
	rates := readDay(t)
	rate := func(at time.Duration) float64 { return rates[min(int(at/minute), len(rates)-1)] }
	length := time.Duration(len(rates)) * minute
	scaled := simulate(1, length, rate, 1, New(Windows{}, 1))
	average := simulate(1, length, rate, max(1, int(math.Ceil(scaled.cost))), nil)
	peak := simulate(1, length, rate, scaled.peak, nil)
	t.Logf("\nscaled                      %s\nfixed, for the same cost    %s\nfixed, what the peak needs  %s", scaled, average, peak)
	assert.Less(t, scaled.cost, 0.75*peak.cost, "it costs less than what the peak needs")
	assert.LessOrEqual(t, scaled.p99, peak.p99+100*time.Millisecond, "calls do not wait for that")
	assert.Zero(t, scaled.failed)
}
