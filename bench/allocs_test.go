package main

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestParseAllocations(t *testing.T) {
	all, err := parseAllocations(`goos: linux
BenchmarkInvoke-2         	    1000	     28012 ns/op	    7050 B/op	      77 allocs/op
BenchmarkLookup/miss      	    1000	        12.5 ns/op	  80.1 MB/s	       0 B/op	       0 allocs/op
BenchmarkWithoutMemory-2  	    1000	        12 ns/op
PASS
`)
	require.NoError(t, err)
	assert.Equal(t, []allocations{
		{Benchmark: "BenchmarkInvoke", Count: 77, Bytes: 7050},
		{Benchmark: "BenchmarkLookup/miss"},
	}, all)
}
