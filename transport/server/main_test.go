package server

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/Ishan27g/ryo-faas/internal/testkit"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(testkit.Guarded(m)) }
