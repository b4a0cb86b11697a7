package faulttest

import "golang.org/x/sys/unix"

const auditArch = unix.AUDIT_ARCH_AARCH64

func allCalls() map[int]shape { return calls }
