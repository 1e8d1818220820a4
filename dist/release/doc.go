// Release makes what people download: for each platform an archive of the programs with
// their manual pages, completions and units, a list of what is linked into them, and for
// Linux packages for deb and rpm; and the sums of it all.
//
//	go run ./dist/release -tags TAGS -nfpm bin/tools/nfpm -out bin/release
//
// It knows nothing of the programs but what it is told by them: the manual is their help,
// and the list of modules is in each binary.
//
// The same commit gives the same bytes, wherever and whenever it is built by the same Go:
// programs hold no paths (-trimpath) and no build id, all times are the commit's
// (SOURCE_DATE_EPOCH names another), and modes, owners and order are fixed here rather
// than by the machine. .ci/release builds twice, in two folders with other times, languages
// and masks, and compares. A checkout with changes gives a version that ends in +dirty.
package main
