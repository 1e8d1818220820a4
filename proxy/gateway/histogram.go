package gateway

import (
	"math"
	"slices"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/Ishan27g/ryo-faas/proto"
)

// The buckets of a native histogram: a power of two of seconds is divided in 8, so that a
// quantile is at most 9 % off.
const (
	histogramSchema = 3 // in which perPower is 2^3
	perPower        = proto.TookPerPower
	lowestPower     = -20 // 1 µs; what is shorter counts as nothing
	highestPower    = 17  // 36 hours; what is longer counts as that
)

// fractions are the lower bounds of the buckets from 1/2 to 1.
var fractions = func() (list [perPower]float64) {
	for i := range list {
		list[i] = math.Exp2(float64(i)/perPower) / 2
	}
	return list
}()

// buckets are the upper bounds for readers that know no native histograms.
var buckets = [...]time.Duration{
	500 * time.Microsecond, time.Millisecond, 2500 * time.Microsecond, 5 * time.Millisecond, 10 * time.Millisecond, 25 * time.Millisecond,
	50 * time.Millisecond, 100 * time.Millisecond, 250 * time.Millisecond, 500 * time.Millisecond, time.Second, 2500 * time.Millisecond,
	5 * time.Second, 10 * time.Second, 30 * time.Second, time.Minute,
}

// histogram counts durations. Counting one takes no lock and allocates nothing, which
// prometheus.Histogram does: every call is counted.
type histogram struct {
	none     atomic.Uint64
	native   [(highestPower - lowestPower) * perPower]atomic.Uint64
	classic  [len(buckets)]atomic.Uint64
	sum      atomic.Int64 // nanoseconds
	exemplar atomic.Pointer[exemplar]
}

// exemplar is one call of those that a histogram counts.
type exemplar struct {
	trace string
	took  time.Duration
	at    time.Time
}

// add counts a duration.
func (h *histogram) add(took time.Duration) {
	h.sum.Add(int64(took))
	// Whoever reads them the other way round finds the calls of classic in native.
	if i := bucketOf(took); i < 0 {
		h.none.Add(1)
	} else {
		h.native[i].Add(1)
	}
	for i, bound := range &buckets {
		if took <= bound {
			h.classic[i].Add(1)
			return
		}
	}
}

// bucketOf returns the place of a duration in native, below 0 when it counts as nothing.
func bucketOf(took time.Duration) int {
	if took <= 0 {
		return -1
	}
	fraction, power := math.Frexp(took.Seconds())
	i := 0
	for i < perPower && fractions[i] < fraction {
		i++
	}
	return min((power-1-lowestPower)*perPower+i-1, len(histogram{}.native)-1)
}

// histogramMetric is a histogram as Prometheus reads it.
type histogramMetric struct {
	*histogram
	desc   *prometheus.Desc
	labels []*dto.LabelPair // in the order of their names
}

// Desc implements prometheus.Metric.
func (m histogramMetric) Desc() *prometheus.Desc { return m.desc }

// Write implements prometheus.Metric.
func (m histogramMetric) Write(out *dto.Metric) error {
	threshold, schema := math.Exp2(lowestPower), int32(histogramSchema)
	sum := time.Duration(m.sum.Load()).Seconds()
	h := &dto.Histogram{SampleSum: &sum, Schema: &schema, ZeroThreshold: &threshold}
	example := m.exemplar.Load()
	cumulative := uint64(0)
	for i, bound := range &buckets {
		cumulative += m.classic[i].Load()
		count, at := cumulative, bound.Seconds()
		bucket := &dto.Bucket{CumulativeCount: &count, UpperBound: &at}
		if example != nil && example.took <= bound && (i == 0 || example.took > buckets[i-1]) {
			bucket.Exemplar = example.message()
		}
		h.Bucket = append(h.Bucket, bucket)
	}
	if example != nil {
		h.Exemplars = []*dto.Exemplar{example.message()}
	}
	count := m.writeNative(h)
	h.SampleCount = &count
	out.Histogram, out.Label = h, slices.Clone(m.labels)
	return nil
}

// writeNative sets the native buckets, as runs of those that are not empty, each bucket by
// its difference to the one before. It returns how many durations there are.
func (m histogramMetric) writeNative(h *dto.Histogram) uint64 {
	none := m.none.Load()
	h.ZeroCount = &none
	total, last := none, int64(0)
	var run *dto.BucketSpan
	next := 0 // the bucket behind the run
	for i := range m.native {
		n := m.native[i].Load()
		if n == 0 {
			continue
		}
		if run == nil || i > next {
			gap, length := int32(i-next), uint32(0)
			if run == nil {
				gap += lowestPower*perPower + 1
			}
			run = &dto.BucketSpan{Offset: &gap, Length: &length}
			h.PositiveSpan = append(h.PositiveSpan, run)
		}
		*run.Length++
		h.PositiveDelta = append(h.PositiveDelta, int64(n)-last)
		total, last, next = total+n, int64(n), i+1
	}
	return total
}

func (e *exemplar) message() *dto.Exemplar {
	name, seconds := "trace_id", e.took.Seconds()
	return &dto.Exemplar{Label: []*dto.LabelPair{{Name: &name, Value: &e.trace}}, Value: &seconds, Timestamp: timestamppb.New(e.at)}
}
