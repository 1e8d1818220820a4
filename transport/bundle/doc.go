// Package bundle turns the files of a function into one archive with a digest,
// and an archive back into files, within limits.
//
// # What is shipped
//
// Select decides without a Go toolchain. With a go.mod at or above the package's
// folder it takes
//
//   - that go.mod and go.sum
//   - the package, and every package of the module that it imports, directly or not
//   - the files that those packages embed, and what the function's include globs match
//   - imported packages of local modules: those that go.mod replaces by a folder, and
//     those of a go.work that uses the function's module. They may lie outside the
//     module: the bundle's root is the parent that all share. Their go.mod goes along
//     even when nothing is imported from there, for the go command reads it
//   - imported packages of other modules, with their assembly, from a vendor folder
//     with a modules.txt. Without one, those of private modules from the module cache
//     of this machine, when a client says where that is. They become a vendor folder of
//     the archive: a machine that builds has no credentials
//
// Without a go.mod it takes the whole tree of the package's folder, except files that
// hold keys or passwords by custom (*.pem, id_rsa, secrets.json) and those of more than
// 4 MiB, which an include must name.
//
// All non-test .go files of a package are taken, for whichever platform: the
// machine that packs is not the one that builds. Their C and assembly files are
// left out. From trees and include globs, names that begin with a dot, tests,
// node_modules, vendor and what the folder's .ryoignore lists are left out. Go files
// of packages and embedded files always go along, so that a program is the same as
// one that is built at home.
//
// A symbolic link among the files is refused by name: what it points to may not
// exist elsewhere, or may be a secret of this machine.
//
// # The archive
//
// An archive is a zip file: people can make one by hand. Pack writes it
// deterministically (sorted names, no times, one mode), so that the same files have the
// same digest and a redeploy uploads nothing. The digest is of the archive's bytes, so
// it depends on this program's compressor, too.
//
// # Reading archives of strangers
//
// An archive is foreign input: Extract believes no header. Names must be allowed
// by Go's own rules for modules and must stay apart on file systems that ignore
// case; entries must be regular files or folders that do not share bytes; files
// and bytes are counted while they are written, below an os.Root. Modes are
// ignored. When anything is wrong nothing stays on disk. Extract accepts whatever Pack
// writes.
//
// The package must never run a program, read credentials, follow a symbolic link
// below the root of a bundle, or keep more than one file's buffer in memory.
package bundle
