package freeport

import (
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// Who asks at once gets different ones, none that is listened to, and none that the kernel
// would give to a connection.
func TestNobodyElseHasThem(t *testing.T) {
	taken, err := At("127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	next.offset = (taken - first + count - 3) % count // it comes fourth
	l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(taken)))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var mu sync.Mutex
	var all sync.WaitGroup
	given := map[int]bool{}
	for range 50 {
		all.Go(func() {
			port, err := At("127.0.0.1")
			mu.Lock()
			defer mu.Unlock()
			if err != nil || given[port] || port == taken || port < first || port >= 32768 {
				t.Errorf("%d: %v; given before %v, listened to %v", port, err, given[port], port == taken)
			}
			given[port] = true
		})
	}
	all.Wait()
}

func TestAnAddressOfAnotherMachineIsRefused(t *testing.T) {
	if port, err := At("192.0.2.1"); err == nil || !strings.Contains(err.Error(), "192.0.2.1") {
		t.Errorf("%d %v", port, err)
	}
}
