package queue

import (
	"context"
	"time"

	"github.com/Ishan27g/ryo-faas/proto"
)

const (
	sweepEvery = time.Hour
	// The ages at which blobs are removed that nobody has removed before: no record leads to
	// a result after a day, nor to a body once the call's age is over and then that of its
	// dead letter.
	resultAge  = 25 * time.Hour
	payloadAge = maxDelay + proto.MaxAge + 8*24*time.Hour
)

// sweep removes old blobs now and then, as one proxy of all, until ctx is done.
func (q *Queue) sweep(ctx context.Context) {
	_ = q.store.Lead(ctx, "calls", func(ctx context.Context, _ uint64) {
		for {
			q.sweepOnce(ctx, time.Now())
			if !wait(ctx, sweepEvery) {
				return
			}
		}
	})
}

func (q *Queue) sweepOnce(ctx context.Context, now time.Time) {
	for prefix, age := range map[string]time.Duration{payloads: payloadAge, results: resultAge} {
		list, err := q.store.Blobs().List(ctx, prefix)
		if err != nil {
			q.Logger.Debug("old bodies cannot be listed", "error", err)
			continue
		}
		for _, b := range list {
			if now.Sub(b.Time) > age {
				q.discard(ctx, b.Name)
			}
		}
	}
}
