// Package stage puts a whole team on one machine: a control plane, gateways,
// servers that are virtual hosts with a real sshd and a server agent, and
// people with homes of their own. The demonstration walks on it, the
// end-to-end tests break it, the benchmarks measure it.
//
// Everything runs from the real binaries. Everything that is written lies in
// one folder, and every process ends with the one that made the stage.
package stage
