package fleet

import (
	"cmp"
	"fmt"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/proxy/place"
)

// Misplaced says why a function that the proxy places stays on an agent without the labels
// that it asks for: no agent that answers has them. It is "" where it is as it should be,
// or about to be.
func (f *Fleet) Misplaced(row *proto.FunctionJsonRsp) string {
	wanted := row.GetPlacement()
	if len(wanted) == 0 || row.GetReplicas() == "" {
		return ""
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	at := f.agents[row.GetAtAgent()]
	if at == nil || at.client == nil || place.Has(at.info.GetLabels(), wanted) {
		return ""
	}
	for _, a := range f.agents {
		if a.client != nil && !a.draining && place.Has(a.info.GetLabels(), wanted) {
			return ""
		}
	}
	text := proto.LabelsText(wanted)
	return fmt.Sprintf("no agent that could have it has the labels %s, so it stays on this one, which has %s: start an agent with -labels %[1]s, and it moves there",
		text, cmp.Or(proto.LabelsText(at.info.GetLabels()), "none"))
}
