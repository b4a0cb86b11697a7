package ident

import "strings"

// Canary is the account name that the server agent's probe uses to prove that
// sshd accepts what it should and nothing else. No person may have it.
const Canary = "cardea-canary"

// Reserved reports whether s names an account or group that comes with an
// operating system, that gives power to whoever holds it, or that Cardea uses.
//
// The privileged groups matter for logins too: a new account brings a group of
// its own name, and a sudoers file that says %admin then means that person.
func Reserved(s string) bool {
	// systemd makes such accounts by itself, also for services not yet known.
	if strings.HasPrefix(s, "systemd-") || listed(s, ourAccounts+everyUnix+privileged+packaged+services) {
		return true
	}
	// Debian and the BSDs put an underscore before newer ones: _apt, _chrony.
	bare, ok := strings.CutPrefix(s, "_")
	return ok && listed(bare, packaged)
}

// listed looks for a whole word. A certificate's login is checked several times,
// so it splits the list only for the few names that are part of a word in it.
func listed(s, list string) bool {
	if !strings.Contains(list, s) {
		return false
	}
	for word := range strings.FieldsSeq(list) {
		if word == s {
			return true
		}
	}
	return false
}

// Each list ends with a space, so that they can be strung together.
const (
	ourAccounts = Canary + ` cardea-control cardea-gateway cardea-server-agent `
	// What every Unix has, and words that other programs read as more than a name.
	everyUnix = `root toor bin daemon sys adm lp sync shutdown halt mail news uucp operator games gopher
		ftp nobody nogroup nfsnobody man proxy list irc gnats backup tty disk mem kmem dialout fax voice
		cdrom floppy tape audio video dip utmp plugdev users staff src lock smmsp console all none default `
	// Groups that are as good as root, or that read what only root may.
	privileged = `sudo wheel admin admins sudoers shadow docker podman lxd lxc libvirt libvirtd kvm incus
		incus-admin wireshark systemd ssl-cert crontab input render netdev bluetooth lpadmin sambashare
		ssh-keys vboxusers microk8s `
	// Accounts of Debian, Ubuntu, Fedora and SUSE packages that a plain server has.
	packaged = `apt ssh sshd messagebus dbus polkitd tss uuidd tcpdump landscape pollinate fwupd-refresh rtkit
		avahi avahi-autoipd colord geoclue saned pulse usbmux whoopsie syslog kernoops statd rpc rpcuser
		chrony ntp ntpsec openntpd dnsmasq unbound sssd cockpit-ws cockpit-wsinstance setroubleshoot abrt
		pesign unscd nscd postfix postdrop sasl exim debian-exim dovecot dovenull www-data www apache
		httpd nginx haproxy squid named bind clamupdate flatpak gdm lightdm sddm dhcpcd dhcpd laurel puppet `
	// Services that run as an account of their name, and the first account of cloud images,
	// which has sudo without a password.
	services = `postgres mysql mariadb redis valkey mongodb memcache memcached rabbitmq elasticsearch
		opensearch kafka zookeeper etcd consul vault nomad prometheus grafana loki jenkins gitlab-runner
		git gitea zabbix nagios telegraf influxdb tomcat minio ceph gluster slurm munge openvpn wireguard
		ubuntu debian centos fedora rocky almalinux ec2-user cloud-user core vagrant azureuser opc `
)
