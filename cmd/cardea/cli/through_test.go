package cli

import "testing"

func TestAddressesThatBecomeArgumentsOfSSH(t *testing.T) {
	for address, ok := range map[string]bool{
		"10.0.0.7:22": true, "[2001:db8::1]:2222": true, "web-1.example.com:22": true,
		"": false, "web-1": false, ":22": false, "10.0.0.7:": false, "10.0.0.7:x": false, "10.0.0.7:65536": false, "-oProxyCommand=id:22": false,
		"a b:22": false, "$(id):22": false, "10.0.0.7:22 -o x": false, "a\nb:22": false,
	} {
		if err := checkDialled(address); (err == nil) != ok {
			t.Errorf("%q: %v", address, err)
		}
	}
}
