package wish

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	mathrand "math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/proxy/store"
)

// The limits of changes of records that others change at the same time.
const (
	maxTries = 20                    // each time another was faster; with pauses some seconds
	maxPause = 50 * time.Millisecond // between two tries, so that many do not go on in step
)

// Keeper keeps wishes in a store. What it read or wrote last it has in memory, too, so
// that calls, and what is told of agents, never wait for the store.
type Keeper struct {
	// LostAfter is how long a change of another process may stay untouched before it counts
	// as lost. Set it before Lost is called.
	LostAfter time.Duration
	// Alone says that no other process has the store: changes of others are lost ones, and
	// none has to be followed. Set it before anything else.
	Alone bool
	// Yield is called when another process waits for the end of a mending of this one.
	Yield func(path string)

	loads chan struct{} // holds a value while wishes are read for Fresh

	store   store.Store
	owner   string // of the changes of this process
	changed func(paths ...string)
	logger  hclog.Logger

	mu     sync.Mutex // guards the fields below:
	wishes map[string]kept
	own    map[string]change // under way here, by path
	seen   map[string]sight  // changes of others, by path
	next   *load             // that has not begun; nil: nobody waits for one
}

// load is a reading of all wishes.
type load struct {
	done chan struct{} // closed when err is set
	err  error
}

// kept is a wish, which is never changed, only replaced.
type kept struct {
	*Wish
	revision uint64
}

// New returns the keeper of a store. changed is called with the paths whose wishes have
// changed, by whomever, from any goroutine; it must not call the keeper for more than Get.
func New(s store.Store, changed func(paths ...string), logger hclog.Logger) *Keeper {
	return &Keeper{
		LostAfter: lostAfter, Yield: func(string) {}, loads: make(chan struct{}, 1), store: s, owner: rand.Text(), changed: changed, logger: logger,
		wishes: map[string]kept{}, own: map[string]change{}, seen: map[string]sight{},
	}
}

// Owner names this process among those that have the store.
func (k *Keeper) Owner() string { return k.owner }

// Get returns what is wished of a path, as far as this process knows; nil: nothing. It is
// not to be changed.
func (k *Keeper) Get(path string) *Wish {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.wishes[path].Wish
}

// All returns all wishes, as far as this process knows, by their paths.
func (k *Keeper) All() map[string]*Wish {
	k.mu.Lock()
	defer k.mu.Unlock()
	all := make(map[string]*Wish, len(k.wishes))
	for path, w := range k.wishes {
		all[path] = w.Wish
	}
	return all
}

// Some returns the wishes of some paths, as far as this process knows.
func (k *Keeper) Some(paths ...string) map[string]*Wish {
	k.mu.Lock()
	defer k.mu.Unlock()
	some := map[string]*Wish{}
	for _, path := range paths {
		if w := k.wishes[path].Wish; w != nil {
			some[path] = w
		}
	}
	return some
}

// Load reads all wishes.
func (k *Keeper) Load(ctx context.Context) error {
	entries, err := k.store.Registry(store.Functions).List(ctx, "")
	if err != nil {
		return err
	}
	found := make(map[string]bool, len(entries))
	for _, e := range entries {
		found[e.Key] = true
		if k.has(e) {
			continue
		}
		w, err := read(e)
		if err != nil { // it is not deleted: a later program may know better
			k.logger.Error("a wish cannot be read", "function", e.Key, "error", err)
			continue
		}
		k.set(e.Key, w, e.Revision)
	}
	for path := range k.All() {
		if !found[path] {
			k.forget(ctx, path)
		}
	}
	return nil
}

// Fresh returns once all wishes have been read that were stored before the call. Callers
// wait for one reading together.
func (k *Keeper) Fresh(ctx context.Context) error {
	k.mu.Lock()
	l, mine := k.next, k.next == nil
	if mine {
		l = &load{done: make(chan struct{})}
		k.next = l
	}
	k.mu.Unlock()
	if mine {
		l.err = ctx.Err()
		select {
		case k.loads <- struct{}{}:
			k.begun()
			l.err = k.Load(ctx)
			<-k.loads
		case <-ctx.Done():
			k.begun()
			l.err = ctx.Err()
		}
		close(l.done)
	}
	select {
	case <-l.done:
		return l.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// begun says that who comes now needs another reading.
func (k *Keeper) begun() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.next = nil
}

// has reports whether a record, or a later one, is known.
func (k *Keeper) has(e store.Entry) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.wishes[e.Key].revision >= e.Revision
}

// forget drops a wish from memory if the store does not have it either: it may have been
// made while the others were listed.
func (k *Keeper) forget(ctx context.Context, path string) {
	_, err := k.store.Registry(store.Functions).Get(ctx, path)
	if !errors.Is(err, proto.ErrNotFound) {
		return
	}
	k.mu.Lock()
	delete(k.wishes, path)
	k.mu.Unlock()
	k.changed(path)
}

// set notes a wish, unless a later one is known.
func (k *Keeper) set(path string, w *Wish, revision uint64) {
	k.mu.Lock()
	news := revision > k.wishes[path].revision
	if news {
		k.wishes[path] = kept{w, revision}
	}
	k.mu.Unlock()
	if news {
		k.changed(path)
	}
}

// Follow reads wishes again soon after other processes may have changed some, until ctx is
// done.
func (k *Keeper) Follow(ctx context.Context) {
	if k.Alone {
		return
	}
	changes := make(chan struct{}, 1)
	var watching sync.WaitGroup
	defer watching.Wait()
	watching.Go(func() {
		for ctx.Err() == nil {
			_ = k.store.Registry(store.Functions).Watch(ctx, "", func() {
				select {
				case changes <- struct{}{}:
				default:
				}
			})
			rest(ctx)
		}
	})
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
			return
		case <-changes:
		}
		_ = k.Load(ctx) // what fails is read at the next look
		rest(ctx)
	}
}

// rest waits for a second: what this process changes it knows at once, and of what others
// change one look may see a lot.
func rest(ctx context.Context) {
	select {
	case <-ctx.Done():
	case <-time.After(time.Second):
	}
}

// Read reads a wish and its revision from the store; nil and 0 where there is none.
func (k *Keeper) Read(ctx context.Context, path string) (*Wish, uint64, error) {
	e, err := k.store.Registry(store.Functions).Get(ctx, path)
	if errors.Is(err, proto.ErrNotFound) {
		return nil, 0, nil
	}
	if err != nil {
		return nil, 0, err
	}
	w, err := read(e)
	return w, e.Revision, err
}

// Fresher reads a wish from the store and takes it over.
func (k *Keeper) Fresher(ctx context.Context, path string) (*Wish, error) {
	w, revision, err := k.Read(ctx, path)
	if err != nil {
		return nil, err
	}
	if w == nil {
		k.forget(ctx, path)
		return nil, nil //nolint:nilnil // there is none
	}
	k.set(path, w, revision)
	return w, nil
}

func read(e store.Entry) (*Wish, error) {
	w := &Wish{}
	return w, json.Unmarshal(e.Value, w)
}

// ErrSame is what an edit returns that leaves a wish as it is.
var ErrSame = errors.New("nothing is to be changed")

// Edit changes a wish on what it is now, again if somebody else was faster. edit gets a
// copy, one without a generation where there is none. The wish is removed when it is over.
// Edit returns the wish as it is then, nil when it was removed.
func (k *Keeper) Edit(ctx context.Context, path string, edit func(*Wish) error) (*Wish, error) {
	var last error
	for range maxTries {
		w, revision, err := k.Read(ctx, path)
		if err != nil {
			return nil, err
		}
		if w == nil {
			w = &Wish{}
		}
		if err := edit(w); errors.Is(err, ErrSame) {
			if revision == 0 {
				return nil, nil //nolint:nilnil // there is no wish, as before
			}
			k.set(path, w, revision)
			return w, nil
		} else if err != nil {
			return nil, err
		}
		w.Epoch = k.store.Epoch()
		after, err := k.write(ctx, path, w, revision)
		if err == nil || !errors.Is(err, proto.ErrConflict) {
			return after, err
		}
		last = err
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(mathrand.N(maxPause)):
		}
	}
	return nil, last
}

func (k *Keeper) write(ctx context.Context, path string, w *Wish, revision uint64) (*Wish, error) {
	functions := k.store.Registry(store.Functions)
	if w.Settle() {
		if err := functions.Delete(ctx, path, revision); err != nil {
			return nil, err
		}
		k.mu.Lock()
		delete(k.wishes, path)
		k.mu.Unlock()
		k.changed(path)
		return nil, nil //nolint:nilnil // the wish is over
	}
	value, err := json.Marshal(w)
	if err != nil {
		return nil, err
	}
	if revision == 0 {
		revision, err = functions.Create(ctx, path, value)
	} else {
		revision, err = functions.Update(ctx, path, value, revision)
	}
	if err != nil {
		return nil, err
	}
	k.set(path, w, revision)
	return w, nil
}

// How often a process shows that its changes are under way, and for how long it may fail
// to. The clock is that of whoever looks.
const (
	TouchEvery = 3 * time.Second
	lostAfter  = 10 * time.Second
)

// Change is a change of a function that is under way.
type Change struct {
	ID    string    `json:"id"`
	Owner string    `json:"owner"` // the process that makes it
	By    string    `json:"by"`    // who asked for it
	Time  time.Time `json:"time"`
	// Generation is that of the wish that the change is made on; 0: there was none.
	Generation uint64 `json:"generation"`
	// Function is what is deployed; null for other changes.
	Function Settings `json:"function"`
	Canary   uint32   `json:"canary,omitempty"` // percentage of the calls of what is deployed
	Note     string   `json:"note,omitempty"`
	// Keep is the settings whose values the agents have; of secrets alone, since others are
	// in Function.
	Keep []string `json:"keep,omitempty"`
	// Given says that values of secrets were given: Sealed.
	Given  bool   `json:"given,omitempty"`
	Sealed Sealed `json:"sealed,omitempty"`
	Placed bool   `json:"placed,omitempty"`
	// Mending says that agents are brought to what is wished, which ends for the sake of any
	// other change. Wanted says that one waits for that.
	Mending bool     `json:"mending,omitempty"`
	Wanted  bool     `json:"wanted,omitempty"`
	Agents  []string `json:"agents"` // all of them, also those that do not answer
	// Steps, and those Taken of changes that this one replaces, as package rollout writes
	// them.
	Steps json.RawMessage `json:"steps"`
	Taken json.RawMessage `json:"taken,omitempty"`
	// Replaces is the notice of the change that this one replaces.
	Replaces *Notice `json:"replaces,omitempty"`
}

type change struct {
	Change
	revision uint64
}

// sight is a change of another process, since when it is as it is.
type sight struct {
	revision uint64
	at       time.Time
}

// NewID returns the id of a change.
func NewID() string { return "c_" + rand.Text() }

// Begin stores a change that begins, in the place of one of this process. One of another
// process is an ErrConflict that says whose it is; but Begin waits until a mending has ended.
func (k *Keeper) Begin(ctx context.Context, path string, c Change) error {
	c.Owner, c.Time = k.owner, time.Now().UTC()
	value, err := json.Marshal(c)
	if err != nil {
		return err
	}
	k.mu.Lock()
	revision := k.own[path].revision
	k.mu.Unlock()
	changes := k.store.Registry(store.Rollouts)
	if revision > 0 {
		revision, err = changes.Update(ctx, path, value, revision)
	}
	if revision == 0 || errors.Is(err, proto.ErrConflict) {
		revision, err = changes.Create(ctx, path, value)
	}
	for errors.Is(err, proto.ErrConflict) {
		if e, now, readErr := k.stored(ctx, path); readErr == nil && now.Owner == k.owner { // it was touched meanwhile
			revision, err = changes.Update(ctx, path, value, e.Revision)
			continue
		}
		if c.Mending || !k.ask(ctx, path) {
			return k.conflict(ctx, path, err)
		}
		revision, err = changes.Create(ctx, path, value)
	}
	if err != nil {
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.own[path] = change{c, revision}
	return nil
}

// stored returns the record of a change.
func (k *Keeper) stored(ctx context.Context, path string) (e store.Entry, c Change, err error) {
	if e, err = k.store.Registry(store.Rollouts).Get(ctx, path); err == nil {
		err = json.Unmarshal(e.Value, &c)
	}
	return e, c, err
}

// askEvery is how often somebody looks who waits for the end of a mending.
const askEvery = 50 * time.Millisecond

// ask waits until another process has ended a mending. It reports false if it is none.
func (k *Keeper) ask(ctx context.Context, path string) bool {
	changes := k.store.Registry(store.Rollouts)
	ctx, cancel := context.WithTimeout(ctx, 2*lostAfter) // whoever leads takes over what is lost
	defer cancel()
	for {
		e, err := changes.Get(ctx, path)
		if errors.Is(err, proto.ErrNotFound) {
			return true
		}
		var other Change
		if err != nil || json.Unmarshal(e.Value, &other) != nil || !other.Mending {
			return false
		}
		if !other.Wanted {
			other.Wanted = true
			if value, err := json.Marshal(other); err == nil {
				_, _ = changes.Update(ctx, path, value, e.Revision) // else it is tried again
			}
		}
		select {
		case <-ctx.Done():
			return false
		case <-time.After(askEvery):
		}
	}
}

// ReasonChange is the reason of the ErrConflict that says whose change is under way.
const ReasonChange = "change"

// conflict says whose change is under way.
func (k *Keeper) conflict(ctx context.Context, path string, err error) error {
	e, readErr := k.store.Registry(store.Rollouts).Get(ctx, path)
	var other Change
	if readErr != nil || json.Unmarshal(e.Value, &other) != nil {
		return err
	}
	return proto.Errorf(proto.ErrConflict, "function %s is being changed through another proxy: change %s by %s, since %s",
		path, other.ID, other.By, other.Time.UTC().Format(time.RFC3339)).
		WithHint("wait until proxyCli list shows that it is settled; a change whose proxy is gone is completed or undone within half a minute").
		From("proxy", ReasonChange)
}

// Ours returns the id of the change of a path that is under way here, "" without one.
func (k *Keeper) Ours(path string) string { return k.Own(path).ID }

// Own returns the change of a path that is under way here, one without an id if there is none.
func (k *Keeper) Own(path string) Change {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.own[path].Change
}

// End removes a change of this process that has ended.
func (k *Keeper) End(ctx context.Context, path, id string) error {
	k.mu.Lock()
	c := k.own[path]
	k.mu.Unlock()
	if c.ID != id {
		return nil
	}
	err := k.store.Registry(store.Rollouts).Delete(ctx, path, c.revision)
	if errors.Is(err, proto.ErrConflict) {
		if e, now, readErr := k.stored(ctx, path); readErr == nil && now.ID == id && now.Owner == k.owner {
			k.touched(path, c, e.Revision) // it was touched meanwhile, or somebody waits for it
			return k.End(ctx, path, id)
		}
	}
	if err != nil && !errors.Is(err, proto.ErrConflict) {
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.own[path].ID == id {
		delete(k.own, path)
	}
	return nil
}

// Touch shows that the changes of this process are under way.
func (k *Keeper) Touch(ctx context.Context) {
	k.mu.Lock()
	own := make(map[string]change, len(k.own))
	for path, c := range k.own {
		own[path] = c
	}
	k.mu.Unlock()
	for path, c := range own {
		value, err := json.Marshal(c.Change)
		if err == nil {
			var revision uint64
			if revision, err = k.store.Registry(store.Rollouts).Update(ctx, path, value, c.revision); err == nil {
				k.touched(path, c, revision)
				continue
			}
		}
		if c.Mending && errors.Is(err, proto.ErrConflict) && k.wanted(ctx, path, c) {
			k.Yield(path)
			continue
		}
		if ctx.Err() == nil {
			k.logger.Warn("a change is not known to be under way", "function", path, "error", err)
		}
	}
}

// wanted reports whether another process waits for the end of a mending.
func (k *Keeper) wanted(ctx context.Context, path string, c change) bool {
	e, now, err := k.stored(ctx, path)
	if err != nil || now.ID != c.ID || !now.Wanted {
		return false
	}
	k.touched(path, c, e.Revision)
	return true
}

func (k *Keeper) touched(path string, c change, revision uint64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.own[path].revision == c.revision {
		k.own[path] = change{c.Change, revision}
	}
}

// Lost takes over the changes whose processes are gone, and those of this process that
// running does not know. They are this process's then. busy is the paths that others
// change now.
func (k *Keeper) Lost(ctx context.Context, running func(path string) bool) (lost map[string]Change, busy map[string]bool, err error) {
	entries, err := k.store.Registry(store.Rollouts).List(ctx, "")
	if err != nil {
		return nil, nil, err
	}
	lost, busy = map[string]Change{}, map[string]bool{}
	seen := make(map[string]sight, len(entries))
	for _, e := range entries {
		var c Change
		if err := json.Unmarshal(e.Value, &c); err != nil {
			k.logger.Error("a change cannot be read", "function", e.Key, "error", err)
			busy[e.Key] = true
			continue
		}
		if c.Owner == k.owner {
			if running(e.Key) {
				continue
			}
			// It may have ended since the list was made: then its record is gone.
			if now, err := k.store.Registry(store.Rollouts).Get(ctx, e.Key); err == nil && now.Revision == e.Revision {
				k.adopt(e, c, e.Revision)
				lost[e.Key] = c
			}
			continue
		}
		k.mu.Lock()
		was := k.seen[e.Key]
		k.mu.Unlock()
		if was.revision != e.Revision {
			was = sight{e.Revision, time.Now()}
		}
		seen[e.Key] = was
		if !k.Alone && time.Since(was.at) < k.LostAfter {
			busy[e.Key] = true
			continue
		}
		c.Owner = k.owner
		value, err := json.Marshal(c)
		if err != nil {
			return nil, nil, err
		}
		revision, err := k.store.Registry(store.Rollouts).Update(ctx, e.Key, value, e.Revision)
		if err != nil { // another was faster, or it goes on
			busy[e.Key] = true
			continue
		}
		k.adopt(e, c, revision)
		lost[e.Key] = c
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.seen = seen
	return lost, busy, nil
}

func (k *Keeper) adopt(e store.Entry, c Change, revision uint64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.own[e.Key].ID != c.ID { // else it is under way here, and may be at a later revision
		k.own[e.Key] = change{c, revision}
	}
}

// keptVersions is how many versions of a function are kept, as agents do.
const keptVersions = 10

// sweepAfter is how long a package is kept that nothing refers to: a change that begins
// stores it first.
const sweepAfter = time.Hour

// PutVersion stores a version of a path, and drops the oldest ones beyond what is kept.
func (k *Keeper) PutVersion(ctx context.Context, path string, v Version) error {
	versions := k.store.Registry(store.Versions)
	value, err := json.Marshal(v)
	if err != nil {
		return err
	}
	key := versionKey(path, v.Number)
	_, err = versions.Create(ctx, key, value)
	if errors.Is(err, proto.ErrConflict) {
		var e store.Entry
		if e, err = versions.Get(ctx, key); err == nil && !bytes.Equal(e.Value, value) {
			_, err = versions.Update(ctx, key, value, e.Revision)
		}
	}
	if err != nil {
		return err
	}
	all, err := versions.List(ctx, path)
	if err != nil {
		return err
	}
	for _, e := range all[:max(0, len(all)-keptVersions)] {
		if err := versions.Delete(ctx, e.Key, e.Revision); err != nil {
			return err
		}
	}
	return nil
}

// versionKey is such that keys are ordered as numbers are.
func versionKey(path string, number uint32) string {
	const digits = "0123456789"
	text := make([]byte, len("4294967295"))
	for i := range slices.Backward(text) {
		text[i] = digits[number%10]
		number /= 10
	}
	return path + "/" + string(text)
}

// GetVersion returns a version of a path, an ErrNotFound where it is not kept.
func (k *Keeper) GetVersion(ctx context.Context, path string, number uint32) (Version, error) {
	var v Version
	e, err := k.store.Registry(store.Versions).Get(ctx, versionKey(path, number))
	if err == nil {
		err = json.Unmarshal(e.Value, &v)
	}
	return v, err
}

// DropVersions removes the versions of a path.
func (k *Keeper) DropVersions(ctx context.Context, path string) error {
	versions := k.store.Registry(store.Versions)
	all, err := versions.List(ctx, path)
	for _, e := range all {
		err = errors.Join(err, versions.Delete(ctx, e.Key, e.Revision))
	}
	return err
}

// packages is what the names of packages begin with, among the blobs.
const packages = "packages/"

func blobName(digest string) string { return packages + strings.TrimPrefix(digest, "sha256:") }
