package proto

import "math"

// TookPerPower is how many buckets of Took there are from each power of two to the next.
const TookPerPower = 8

// Middle returns the middle of a bucket, in seconds.
func (t *Took) Middle() float64 { return math.Exp2((float64(t.GetBucket()) - 0.5) / TookPerPower) }
