package main

import (
	"cmp"
	"math"
	"slices"
)

// figure sums up the measurements of several rounds.
type figure struct {
	Median float64
	P95    float64
	P99    float64
	Min    float64
	Max    float64
	N      int
}

func summarize(samples []float64) figure {
	if len(samples) == 0 {
		return figure{}
	}
	s := slices.Sorted(slices.Values(samples))
	return figure{
		Median: (quantile(s, 0.5) + quantile(s, math.Nextafter(0.5, 1))) / 2,
		P95:    quantile(s, 0.95),
		P99:    quantile(s, 0.99),
		Min:    s[0],
		Max:    s[len(s)-1],
		N:      len(s),
	}
}

// quantile is the smallest value for which at least a share q of the sorted values is
// no larger (the nearest rank, so always a value that was measured).
func quantile[T cmp.Ordered](sorted []T, q float64) T {
	rank := int(math.Ceil(q * float64(len(sorted))))
	return sorted[min(max(rank, 1), len(sorted))-1]
}
