package auth

import (
	"errors"
	"fmt"

	"github.com/Ishan27g/ryo-faas/internal/state"
)

// fileName is where the file store keeps the lists.
const fileName = "tokens.json"

// fileStore keeps the lists in a program's folder.
type fileStore struct{ dir *state.Dir }

// InFolder returns the store in a folder. Its file is readable by the owner alone.
func InFolder(dir *state.Dir) Store { return fileStore{dir} }

// Load implements Store. A damaged file is an error with the way out: started anew
// without it, nobody's token would hold, and nobody would know why.
func (s fileStore) Load() (*Lists, error) {
	lists := new(Lists)
	found, err := s.dir.Read(fileName, lists)
	switch {
	case errors.Is(err, state.ErrDamaged):
		return nil, fmt.Errorf("%w; move it away to start without tokens, then create new ones", err)
	case err != nil || !found:
		return nil, err
	case lists.Issuer == "":
		return nil, fmt.Errorf("read %s: %w: it has no issuer", s.dir.Path(fileName), state.ErrDamaged)
	}
	return lists, nil
}

// Save implements Store.
func (s fileStore) Save(lists *Lists) error { return s.dir.Write(fileName, lists) }

// OpenFolder returns the keeper and the record of a program's folder.
func OpenFolder(dir *state.Dir) (*Keeper, *Record, error) {
	keeper, err := Open(InFolder(dir))
	if err != nil {
		return nil, nil, err
	}
	record, err := OpenRecord(dir.Path("audit"))
	return keeper, record, err
}
