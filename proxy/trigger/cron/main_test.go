package cron

import (
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// pass lets the clock of a synctest go on.
func pass(d time.Duration) { <-time.After(d) }
