package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/cardea-ssh/cardea/internal/postgres"
)

// databaseCPU is that of all processes of a server, ended ones included; none
// takes none.
func databaseCPU(db *postgres.Server) (time.Duration, error) {
	if db == nil {
		return 0, nil
	}
	sum, err := cpuWithEnded(db.PID())
	if err != nil {
		return 0, err
	}
	pids, err := childrenOf(db.PID())
	for _, pid := range pids {
		one, gone := cpuOf(pid)
		if gone == nil {
			sum += one
		}
	}
	return sum, err
}

func childrenOf(pid int) (pids []int, err error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	for _, field := range strings.Fields(string(text)) {
		if n, err := strconv.Atoi(field); err == nil {
			pids = append(pids, n)
		}
	}
	return pids, err
}
