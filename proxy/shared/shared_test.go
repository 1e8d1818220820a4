package shared_test

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/Ishan27g/ryo-faas/internal/state"
	"github.com/Ishan27g/ryo-faas/internal/testkit"
	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/proxy/shared"
	"github.com/Ishan27g/ryo-faas/proxy/store/storetest"
	"github.com/Ishan27g/ryo-faas/transport/auth"
	"github.com/Ishan27g/ryo-faas/transport/pki"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = testkit.Patience

// member is a proxy's side of what is shared.
type member struct {
	*shared.Settings
	dir *state.Dir
}

func join(t *testing.T, s *storetest.Fake, folder string) member {
	t.Helper()
	dir, err := state.Open(folder)
	require.NoError(t, err)
	t.Cleanup(func() { dir.Close() })
	settings, err := shared.New(s, dir, hclog.NewNullLogger())
	require.NoError(t, err)
	return member{settings, dir}
}

func TestWhatOneHasStoredOthersRead(t *testing.T) {
	s := storetest.New()
	a, b := join(t, s, t.TempDir()), join(t, s, t.TempDir())
	_, err := a.ReadFile("x.json")
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.NoError(t, a.WriteFile("x.json", []byte("1")))
	require.ErrorIs(t, b.WriteFile("x.json", []byte("2")), proto.ErrConflict, "it has not read what a has stored")
	data, err := b.ReadFile("x.json")
	require.NoError(t, err)
	assert.Equal(t, "1", string(data))
	require.NoError(t, b.WriteFile("x.json", []byte("2")))
	require.ErrorIs(t, a.WriteFile("x.json", []byte("3")), proto.ErrConflict)
	for _, m := range []member{a, b} {
		data, err := m.ReadFile("x.json")
		require.NoError(t, err)
		assert.Equal(t, "2", string(data))
	}
}

func TestAProxyThatGrowsIntoSeveralKeepsWhatItHas(t *testing.T) {
	s := storetest.New()
	old := t.TempDir()
	dir, err := state.Open(old)
	require.NoError(t, err)
	require.NoError(t, dir.WriteFile("x.json", []byte("mine")))
	dir.Close()
	_, err = join(t, s, t.TempDir()).ReadFile("x.json")
	require.ErrorIs(t, err, fs.ErrNotExist, "one that came first had nothing")
	data, err := join(t, s, old).ReadFile("x.json")
	require.NoError(t, err)
	assert.Equal(t, "mine", string(data))
	data, err = join(t, s, t.TempDir()).ReadFile("x.json")
	require.NoError(t, err)
	assert.Equal(t, "mine", string(data))
}

func TestWhatAFolderHadOfItsOwnIsSetAside(t *testing.T) {
	s := storetest.New()
	require.NoError(t, join(t, s, t.TempDir()).WriteFile("x.json", []byte("ours")))
	folder := t.TempDir()
	dir, err := state.Open(folder)
	require.NoError(t, err)
	require.NoError(t, dir.WriteFile("x.json", []byte("mine")))
	dir.Close()
	m := join(t, s, folder)
	data, err := m.ReadFile("x.json")
	require.NoError(t, err)
	assert.Equal(t, "ours", string(data))
	aside, err := filepath.Glob(filepath.Join(folder, "x.json?*"))
	require.NoError(t, err)
	require.Len(t, aside, 1)
	kept, err := os.ReadFile(aside[0])
	require.NoError(t, err)
	assert.Equal(t, "mine", string(kept))

	// From then on the folder has a copy, and differing from it is nothing to keep.
	require.NoError(t, m.Meet())
	m.dir.Close()
	other := join(t, s, t.TempDir())
	_, err = other.ReadFile("x.json")
	require.NoError(t, err)
	require.NoError(t, other.WriteFile("x.json", []byte("ours 2")))
	data, err = join(t, s, folder).ReadFile("x.json")
	require.NoError(t, err)
	assert.Equal(t, "ours 2", string(data))
	again, _ := filepath.Glob(filepath.Join(folder, "x.json?*"))
	assert.Equal(t, aside, again)
}

func TestTheCopyServesWhileTheStoreDoesNot(t *testing.T) {
	s := storetest.New()
	folder := t.TempDir()
	m := join(t, s, folder)
	require.NoError(t, m.WriteFile("x.json", []byte("1")))
	require.NoError(t, m.Meet())
	m.dir.Close()
	s.Fail(proto.Errorf(proto.ErrUnavailable, "no leader"))
	m = join(t, s, folder)
	data, err := m.ReadFile("x.json")
	require.NoError(t, err)
	assert.Equal(t, "1", string(data))
	require.ErrorIs(t, m.WriteFile("x.json", []byte("2")), proto.ErrUnavailable)
	_, err = m.ReadFile("y.json")
	require.ErrorIs(t, err, fs.ErrNotExist, "as at the last look")
	_, err = join(t, s, t.TempDir()).ReadFile("x.json")
	require.ErrorIs(t, err, proto.ErrUnavailable, "what was never read is not taken for missing")
	s.Fail(nil)
	_, err = m.ReadFile("x.json")
	require.NoError(t, err)
	require.NoError(t, m.WriteFile("x.json", []byte("2")))
}

// A folder that takes no copy, as on a full disk, keeps nothing from holding.
func TestWhatIsStoredHoldsWithoutACopy(t *testing.T) {
	s := storetest.New()
	folder := filepath.Join(t.TempDir(), "folder")
	a, b := join(t, s, folder), join(t, s, t.TempDir())
	require.NoError(t, os.RemoveAll(folder))
	require.NoError(t, os.WriteFile(folder, nil, 0o600)) // nothing can be made below it
	require.NoError(t, b.WriteFile("x.json", []byte("1")))
	_, err := a.ReadFile("x.json")
	require.NoError(t, err)
	require.NoError(t, a.WriteFile("x.json", []byte("2")))
	data, err := a.ReadFile("x.json")
	require.NoError(t, err)
	assert.Equal(t, "2", string(data))
}

// A copy that cannot be read is not needed where the store answers.
func TestADamagedCopyIsReplaced(t *testing.T) {
	s := storetest.New()
	folder := t.TempDir()
	m := join(t, s, folder)
	copied := filepath.Join(folder, "x.json")
	require.NoError(t, os.Symlink("elsewhere", copied))
	_, err := m.ReadFile("x.json")
	require.ErrorIs(t, err, state.ErrDamaged, "it might be all that there is")
	require.NoError(t, join(t, s, t.TempDir()).WriteFile("x.json", []byte("1")))
	data, err := m.ReadFile("x.json")
	require.NoError(t, err)
	assert.Equal(t, "1", string(data))
	data, err = os.ReadFile(copied)
	require.NoError(t, err)
	assert.Equal(t, "1", string(data))
}

func TestKeepersThatShareLoseNoToken(t *testing.T) {
	s := storetest.New()
	a, err := auth.Open(join(t, s, t.TempDir()).Tokens())
	require.NoError(t, err)
	b, err := auth.Open(join(t, s, t.TempDir()).Tokens())
	require.NoError(t, err)
	var all sync.WaitGroup
	const each = 10
	secrets := make(chan string, 2*each)
	for _, k := range []*auth.Keeper{a, b} {
		all.Go(func() {
			for i := range each {
				made, err := k.CreateToken(t.Context(), &proto.TokenRequest{Name: fmt.Sprint(i), Scopes: []string{"read"}})
				if assert.NoError(t, err) {
					secrets <- made.GetSecret()
				}
			}
		})
	}
	all.Wait()
	close(secrets)
	for _, k := range []*auth.Keeper{a, b} {
		require.NoError(t, k.Reload())
		list, err := k.Tokens(t.Context())
		require.NoError(t, err)
		assert.Len(t, list, 2*each)
	}
	for secret := range secrets {
		who, err := a.Verify(secret)
		require.NoError(t, err)
		other, err := b.Verify(secret)
		require.NoError(t, err)
		assert.Equal(t, who.ID, other.ID)
	}
	shareA, _ := a.Share()
	shareB, _ := b.Share()
	assert.Equal(t, shareA.GetIssuer(), shareB.GetIssuer(), "agents take them for one")

	_, changed := b.Share()
	list, _ := a.Tokens(t.Context())
	_, err = a.RevokeToken(t.Context(), list[0].GetId())
	require.NoError(t, err)
	require.NoError(t, b.Reload())
	select {
	case <-changed: // agents are told by b, too
	default:
		t.Error("what another has revoked is a change")
	}
	_, err = b.RevokeToken(t.Context(), list[0].GetId())
	assert.ErrorIs(t, err, proto.ErrNotFound)
}

func TestAuthoritiesThatShareAreOne(t *testing.T) {
	s := storetest.New()
	a, err := pki.OpenAuthority(join(t, s, t.TempDir()))
	require.NoError(t, err)
	b, err := pki.OpenAuthority(join(t, s, t.TempDir()))
	require.NoError(t, err)
	tokenA, _, err := a.Token()
	require.NoError(t, err)
	tokenB, _, err := b.Token()
	require.NoError(t, err, "though a has made one meanwhile")
	require.NoError(t, a.Reload())
	assert.NoError(t, a.Valid(tokenB.Secret))
	assert.NoError(t, b.Valid(tokenA.Secret))
}

func TestChangesAreNoticed(t *testing.T) {
	s := storetest.New()
	a, b := join(t, s, t.TempDir()), join(t, s, t.TempDir())
	ctx, cancel := context.WithCancel(t.Context())
	changes := make(chan struct{}, 100)
	var watching sync.WaitGroup
	watching.Go(func() { b.Watch(ctx, func() { changes <- struct{}{} }) })
	defer watching.Wait()
	defer cancel()
	<-changes // the first
	require.NoError(t, a.WriteFile("x.json", []byte("1")))
	select {
	case <-changes:
	case <-time.After(patience):
		t.Fatal("not noticed")
	}
}

func TestAuditIsOneForAll(t *testing.T) {
	s := storetest.New()
	records := make([]*auth.Record, 2)
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	for i := range records {
		r, err := auth.OpenRecord(t.TempDir())
		require.NoError(t, err)
		all := shared.NewAudit(s, hclog.NewNullLogger())
		r.Share(all)
		running.Go(func() { all.Run(ctx) })
		records[i] = r
	}
	s.Fail(proto.Errorf(proto.ErrUnavailable, "no leader"))
	require.NoError(t, records[0].Done(&proto.AuditEntry{Call: "Deploy", Who: "a"}))
	list, err := records[0].Last(10)
	require.NoError(t, err)
	assert.Len(t, list, 1, "the folder has it while the store is away")
	s.Fail(nil)
	require.NoError(t, records[1].Done(&proto.AuditEntry{Call: "Stop", Who: "b"}))
	require.NoError(t, records[1].Refused(&proto.AuditEntry{Call: "Deploy", Who: "c"}))
	for _, r := range records {
		require.Eventually(t, func() bool {
			list, err = r.Last(10)
			return err == nil && len(list) == 3
		}, patience, 5*time.Millisecond)
		assert.Equal(t, []string{"c", "b", "a"}, []string{list[0].GetWho(), list[1].GetWho(), list[2].GetWho()}, "newest first")
	}
	list, err = records[0].Last(2)
	require.NoError(t, err)
	assert.Len(t, list, 2)
}

func TestFilesAreLockedByOne(t *testing.T) {
	s := storetest.New()
	a, b := shared.NewFiles(s, "acme"), shared.NewFiles(s, "acme")
	unlock, err := a.Lock(t.Context(), "x")
	require.NoError(t, err)
	short, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	_, err = b.Lock(short, "x")
	require.ErrorIs(t, err, context.DeadlineExceeded)
	unlock()
	unlock, err = b.Lock(t.Context(), "x")
	require.NoError(t, err)
	unlock()
}
