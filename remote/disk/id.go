package disk

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/Ishan27g/ryo-faas/internal/state"
)

// idFile has the agent's id.
const idFile = "id"

// idSize is that of an id, in bytes: no two agents ever get the same.
const idSize = 16

// ID returns the id of the folder's agent, which it makes if it is missing. A damaged
// one is set aside: to proxies this is another agent from then on.
func (d Folder) ID() (string, error) {
	text, err := d.ReadFile(idFile)
	id := strings.TrimSpace(string(text))
	if raw, bad := hex.DecodeString(id); err == nil && (bad != nil || len(raw) != idSize) {
		err = fmt.Errorf("%w: it is no id", state.ErrDamaged)
	}
	if errors.Is(err, state.ErrDamaged) {
		damage := Damage{
			File: d.Path(idFile), Why: err.Error(),
			Way: "nothing is lost; proxies take this for a new agent, and one that has joined must join again",
		}
		if damage.Aside, err = d.SetAside(idFile); err != nil {
			return "", err
		}
		d.report(damage)
		err = fs.ErrNotExist
	}
	if errors.Is(err, fs.ErrNotExist) {
		raw := make([]byte, idSize)
		_, _ = rand.Read(raw) // it never fails
		id = hex.EncodeToString(raw)
		err = d.WriteFile(idFile, []byte(id+"\n"))
	}
	if err != nil {
		return "", fmt.Errorf("the agent's id: %w", err)
	}
	return id, nil
}
