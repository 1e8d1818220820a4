package main

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestSummarize(t *testing.T) {
	tests := []struct {
		name    string
		samples []float64
		want    figure
	}{
		{"nothing", nil, figure{}},
		{"one", []float64{3}, figure{Median: 3, P95: 3, P99: 3, Min: 3, Max: 3, N: 1}},
		{"odd, unsorted", []float64{5, 1, 3}, figure{Median: 3, P95: 5, P99: 5, Min: 1, Max: 5, N: 3}},
		{"even", []float64{4, 1, 2, 3}, figure{Median: 2.5, P95: 4, P99: 4, Min: 1, Max: 4, N: 4}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			assert.Equal(t, tt.want, summarize(tt.samples))
		})
	}
}

func TestQuantileIsAMeasuredValue(t *testing.T) {
	hundred := make([]int, 100)
	for i := range hundred {
		hundred[i] = i + 1
	}
	assert.Equal(t, 50, quantile(hundred, 0.5))
	assert.Equal(t, 99, quantile(hundred, 0.99))
	assert.Equal(t, 1, quantile(hundred, 0))
	assert.Equal(t, 100, quantile(hundred, 1))
}
