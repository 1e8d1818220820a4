// Package clientgen writes clients of typed functions, in Go and in TypeScript, of the JSON
// Schema that a version says (Version.types).
//
// A client is one file without dependencies, for people to read and keep. Its types have the
// names of those of the function. A schema that it does not understand becomes any, so that
// a later agent may say more. What comes from the schema is never written as it is: names
// are made identifiers, texts are quoted.
package clientgen
