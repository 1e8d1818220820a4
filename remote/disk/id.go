package disk

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/Ishan27g/ryo-faas/internal/state"
)

const (
	idFile     = "id"     // has the agent's id
	holderFile = "holder" // has what nobody can guess of the path of the holder's socket
)

// idSize is that of an id, in bytes: no two agents ever get the same.
const idSize = 16

// ID returns the id of the folder's agent, which it makes if it is missing. A damaged
// one is set aside: to proxies this is another agent from then on.
func (d Folder) ID() (string, error) {
	id, err := d.once(idFile, "nothing is lost; proxies take this for a new agent, and one that has joined must join again")
	if err != nil {
		return "", fmt.Errorf("the agent's id: %w", err)
	}
	return id, nil
}

// HolderSocket returns the path of the holder's socket. Its name is secret: a function
// that is allowed unix sockets, and runs as the agent's user, may connect to each that
// it knows of, but not look into this folder. With a damaged name a new holder is
// started.
func (d Folder) HolderSocket() (string, error) {
	name, err := d.once(holderFile, "nothing is lost but for functions that ran on: they are started again")
	if err != nil {
		return "", fmt.Errorf("the name of the holder's socket: %w", err)
	}
	path := d.Path("holder-" + name + ".sock")
	// A holder whose socket has gone exits, and gives the ports of its sockets back.
	for _, other := range d.others(path) {
		_ = os.Remove(other)
	}
	return path, nil
}

// others are the sockets of holders that nothing leads to, those of earlier versions
// among them.
func (d Folder) others(path string) []string {
	found, _ := filepath.Glob(d.Path("holder*.sock")) // the pattern is right
	return slices.DeleteFunc(found, func(other string) bool { return other == path })
}

// once returns the random text in a file, which is made if it is missing or damaged.
// The way is what that costs.
func (d Folder) once(file, way string) (string, error) {
	text, err := d.ReadFile(file)
	id := strings.TrimSpace(string(text))
	if raw, bad := hex.DecodeString(id); err == nil && (bad != nil || len(raw) != idSize) {
		err = fmt.Errorf("%w: it is no id", state.ErrDamaged)
	}
	if errors.Is(err, state.ErrDamaged) {
		damage := Damage{File: d.Path(file), Why: err.Error(), Way: way}
		if damage.Aside, err = d.SetAside(file); err != nil {
			return "", err
		}
		d.report(damage)
		err = fs.ErrNotExist
	}
	if errors.Is(err, fs.ErrNotExist) {
		raw := make([]byte, idSize)
		_, _ = rand.Read(raw) // it never fails
		id = hex.EncodeToString(raw)
		err = d.WriteFile(file, []byte(id+"\n"))
	}
	if err != nil {
		return "", err
	}
	return id, nil
}
