package auth

import (
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// pass lets time pass in a bubble of synctest.
func pass(d time.Duration) { time.Sleep(d) } //nolint:forbidigo // of a clock that is not the world's
