// Package poll waits for what happens to many descriptors with one goroutine, where a
// goroutine for each would cost several KiB: one epoll(7) has all of them. Elsewhere than on
// Linux nothing can be watched, and callers must do without.
package poll

// Control calls do with a descriptor, unless it is closed already, and keeps it open
// meanwhile.
type Control = func(do func(fd uintptr))
