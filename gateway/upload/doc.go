// Package upload brings files to a bucket, and says that one is there only after it
// was read back from it.
//
// An object that is there already is compared, never overwritten: the same bytes mean
// that it is done, as after an answer that was lost; others mean that somebody has to
// look. Everything else that can go wrong is tried again, for ever: a store that is
// away for a week loses nothing. No file waits for another one that cannot be stored.
package upload
