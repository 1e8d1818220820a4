package funcfw_test

import (
	"os"
	"testing"

	"github.com/Ishan27g/ryo-faas/internal/testkit"
)

func TestMain(m *testing.M) { os.Exit(testkit.Guarded(m).Run()) }
