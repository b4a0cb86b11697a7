// Package filelock takes a lock that a process has by a file: the kernel drops it when the
// file is closed or the process ends, however it ends.
package filelock
