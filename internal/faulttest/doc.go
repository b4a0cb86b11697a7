// Package faulttest runs a program and all that it starts, and decides at each
// system call of theirs that changes the file system whether it happens, fails,
// or is where they die.
//
// The kernel asks (seccomp_unotify(2)): a process with a filter stops in such a
// call until the one that has the listener answers. So nothing is built into
// what is tested, its children are tested with it (useradd, visudo), and not
// one call is missed.
//
// A test binary calls Main first in TestMain. Started with the environment of
// Plan.Env it is the supervisor: it starts itself once more, which takes the
// filter and then becomes the program on its command line. It needs root.
package faulttest
