// Package scaffold makes the folder of a new function from a template: source, test,
// definition, go.mod and .ryoignore.
//
// A template is a folder below templates. NAMEFN, NAMEPKG and NAMEPATH in its files stand
// for the function's name, its package's and its path. Files end with .txt where the go
// command would take them for a part of this module. What a template does not have is made
// here: a go.mod without requirements, and the definition.
//
// It never changes a file that exists, and leaves nothing behind when it fails. Templates
// with modules of others have the go.mod and go.sum of an example of this repository, which
// a test compares.
package scaffold
