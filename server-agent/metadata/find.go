package metadata

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
)

// ErrNoCloud: the host runs on no cloud that is known here.
var ErrNoCloud = errors.New("this host runs on none of aws, gcp and azure, as far as its firmware tells")

// azureChassis is what Azure writes into the chassis of all its machines; other
// machines of Microsoft's hypervisor have the same vendor and not this.
const azureChassis = "7783-7084-3265-9085-8269-3286-77"

// maxFirmware bounds what is read of one entry of the firmware, in bytes.
const maxFirmware = 256

// Find says on which cloud this host runs. It asks the firmware's tables and not
// the network: at home or in a data centre anything may answer at the address.
func Find(context.Context) (Cloud, error) { return find("/sys") }

func find(sys string) (Cloud, error) {
	read := func(name string) string {
		f, err := os.Open(filepath.Join(sys, "class/dmi/id", name))
		if err != nil {
			return ""
		}
		defer f.Close()
		b := make([]byte, maxFirmware)
		n, _ := f.Read(b)
		return strings.TrimSpace(string(b[:n]))
	}
	vendor, product := read("sys_vendor"), read("product_name")
	bios := strings.ToLower(read("bios_version"))
	switch {
	// Nitro machines say it as vendor, older Xen ones in the BIOS's version.
	case vendor == "Amazon EC2", strings.HasSuffix(bios, ".amazon"):
		return AWS, nil
	case vendor == "Google", product == "Google Compute Engine":
		return GCP, nil
	case vendor == "Microsoft Corporation" && read("chassis_asset_tag") == azureChassis:
		return Azure, nil
	}
	return "", ErrNoCloud
}
