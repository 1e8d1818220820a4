package gateway

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestHistogramIsThatOfPrometheus(t *testing.T) {
	ours := &histogram{}
	var bounds []float64
	for _, b := range buckets {
		bounds = append(bounds, b.Seconds())
	}
	theirs := prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: "x", Buckets: bounds, NativeHistogramBucketFactor: 1.1, NativeHistogramZeroThreshold: 0x1p-20,
	})
	durations := []time.Duration{0, 1, 953, 954, 1000, time.Microsecond, time.Millisecond, time.Second, 2 * time.Second, 4 * time.Second, time.Minute, time.Hour}
	for range 1000 {
		durations = append(durations, time.Duration(rand.Int64N(int64(1)<<rand.IntN(45))))
	}
	for _, d := range durations {
		ours.add(d)
		theirs.Observe(d.Seconds())
	}
	var got, want dto.Metric
	require.NoError(t, histogramMetric{histogram: ours}.Write(&got))
	require.NoError(t, theirs.Write(&want))
	g, w := got.GetHistogram(), want.GetHistogram()
	assert.Equal(t, w.GetSchema(), g.GetSchema())
	assert.Equal(t, w.GetSampleCount(), g.GetSampleCount())
	assert.InEpsilon(t, w.GetSampleSum(), g.GetSampleSum(), 1e-9)
	assert.Equal(t, w.GetZeroCount(), g.GetZeroCount())
	assert.Equal(t, filled(w), filled(g))
	for i, b := range w.GetBucket() {
		assert.Equal(t, b.GetCumulativeCount(), g.GetBucket()[i].GetCumulativeCount(), b.GetUpperBound())
	}
}

// filled returns the native buckets that are not empty.
func filled(h *dto.Histogram) map[int32]int64 {
	all := map[int32]int64{}
	at, count, next := int32(0), int64(0), 0
	for _, span := range h.GetPositiveSpan() {
		at += span.GetOffset()
		for range span.GetLength() {
			if count += h.GetPositiveDelta()[next]; count > 0 {
				all[at] = count
			}
			at++
			next++
		}
	}
	return all
}
