package proto

import "slices"

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

// SourceGone is the error for a version whose package is stored nowhere any more.
func (v *Version) SourceGone(name string) error {
	return Errorf(ErrNotFound, "the source of version %d of function %.100s is not stored any more", v.GetVersion(), name).
		WithHint("its program is: it can serve all the same")
}
