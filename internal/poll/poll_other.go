//go:build !linux

package poll

// Poll watches nothing here.
type Poll[T any] struct{ Tell func(T) }

// Left returns 0: it cannot.
func (*Poll[T]) Left(Control, T) uint64 { return 0 }

// Once returns 0: it cannot.
func (*Poll[T]) Once(Control, T) uint64 { return 0 }

// Forget does nothing.
func (*Poll[T]) Forget(uint64) {}

// End does nothing.
func (*Poll[T]) End(uint64, Control) {}

// Close does nothing.
func (*Poll[T]) Close() {}
