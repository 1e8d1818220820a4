package typed

import (
	"net/http"
	"slices"
)

// Numbers sums up a list of numbers.
type Numbers struct {
	Count  int     `json:"count"`
	Min    float64 `json:"min"`
	Median float64 `json:"median"`
	Mean   float64 `json:"mean"`
	Max    float64 `json:"max"`
}

// Summary is the function to deploy.
func Summary(numbers []float64) (Numbers, error) {
	n := len(numbers)
	if n == 0 {
		return Numbers{}, invalid("there are no numbers")
	}
	slices.Sort(numbers) // they belong to this call
	sum := 0.0
	for _, x := range numbers {
		sum += x
	}
	return Numbers{
		Count: n, Min: numbers[0], Max: numbers[n-1],
		Median: (numbers[(n-1)/2] + numbers[n/2]) / 2,
		Mean:   sum / float64(n),
	}, nil
}

// invalid is an error whose text callers get, with this status.
type invalid string

func (e invalid) Error() string { return string(e) }

func (invalid) StatusCode() int { return http.StatusBadRequest }
