// Package vhost makes virtual hosts out of Linux namespaces: each with its own
// name, address, processes, accounts, /etc, /home, /var and a real sshd on port
// 22, in about a tenth of a second, on a machine that stays as it was. The
// demo, the benchmarks and the server agent's tests run on them.
//
// A host shares the machine's programs (/usr) and nothing that can be changed:
// the folders that programs write to are overlays or empty, kept in memory.
// Its accounts are those that the operating system comes with, and root's home
// is empty. Syslog goes to /var/log/auth.log and /var/log/syslog. There is no
// systemd unless it is asked for; then the host is run by a real one.
//
// Nothing is left behind, not even after kill -9 of the process that made it:
// a host hangs on its first process, which the kernel kills when its maker
// dies; with it go the other processes, the mounts and the network interface,
// whose other end on the machine goes with it. That is also why every host has
// a link of its own and there is no bridge.
//
// It needs root, and does not defend against a root inside: it keeps honest
// programs from changing the machine, it is no container to lock anybody in.
package vhost
