package proto

import "slices"

// Nearest returns the candidate that word was probably meant to be, or "" when
// none is near: at most a third of the letters differ, without regard to case.
func Nearest(word string, candidates []string) string {
	best, bound := "", len(Path(word))/3+2
	for _, c := range slices.Sorted(slices.Values(candidates)) {
		if d := distance(Path(word), Path(c)); d < bound && 3*d <= max(len(word), len(c)) {
			best, bound = c, d
		}
	}
	return best
}

// distance is the number of single-byte edits, a swap of neighbours counting as
// one (the optimal string alignment distance).
func distance(a, b string) int {
	var prev2 []int
	prev := make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row := make([]int, len(b)+1)
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(prev[j]+1, row[j-1]+1, prev[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], prev2[j-2]+1)
			}
		}
		prev2, prev = prev, row
	}
	return prev[len(b)]
}
