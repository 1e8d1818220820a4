package storetest_test

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/Ishan27g/ryo-faas/proxy/store"
	"github.com/Ishan27g/ryo-faas/proxy/store/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestFake(t *testing.T) {
	storetest.Suite(t, func(*testing.T) store.Store {
		f := storetest.New()
		f.Backlog = storetest.Backlog
		return f
	})
}
