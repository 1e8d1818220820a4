// Package e2e tests the three programs together, as users run them: real
// processes of the programs as they are built for users, real sockets, real builds.
//
// It has no code of its own; it may import every program, which nothing else may.
package e2e
