package proto

import (
	"fmt"
	"slices"
)

// FindVersion returns the version of a number out of what Versions answered of a function,
// for 0 the newest. One that is not kept is an ErrNotFound.
func FindVersion(name string, list []*Version, number uint32) (*Version, error) {
	i := slices.IndexFunc(list, func(v *Version) bool {
		return v.GetVersion() > 0 && (number == 0 || v.GetVersion() == number)
	})
	if i < 0 {
		return nil, Errorf(ErrNotFound, "version %d of function %.100s is not kept", number, name).
			WithHint("proxyCli versions " + name + " shows which are")
	}
	return list[i], nil
}

// CheckServes returns an ErrConflict if f is to replace a version alone that does not serve. The
// one that serves is 0 where there is none.
func (f *FunctionJson) CheckServes(serves uint32, changing bool) error {
	if f == nil || f.IfVersion == nil {
		return nil
	}
	const hint = "look at what was deployed meanwhile: proxyCli versions %s; then deploy with the number that serves, or without ifVersion"
	switch want := f.GetIfVersion(); {
	case changing:
		return Errorf(ErrConflict, "function %s is being changed, so it is not known whether version %d goes on serving", f.GetName(), want).
			WithHint(fmt.Sprintf(hint, f.GetName()))
	case want == serves:
		return nil
	case serves == 0:
		return Errorf(ErrConflict, "no version of function %s serves, and ifVersion is %d", f.GetName(), want).WithHint("leave ifVersion out, or give 0")
	default:
		return Errorf(ErrConflict, "version %d of function %s serves, and ifVersion is %d", serves, f.GetName(), want).WithHint(fmt.Sprintf(hint, f.GetName()))
	}
}

// SourceGone is the error for a version whose package is stored nowhere any more.
func (v *Version) SourceGone(name string) error {
	return Errorf(ErrNotFound, "the source of version %d of function %.100s is not stored any more", v.GetVersion(), name).
		WithHint("its program is: it can serve all the same")
}
