#!/bin/sh
# The first process of a virtual host, in fresh namespaces. It turns the
# machine's file tree into the host's own, says "ready", and then sleeps, or
# becomes systemd: the host lives as long as it does. From its maker it gets NAME,
# ADDR, BINDS (lines of: from TAB to TAB ro or rw), INSTALL and SYSTEMD (yes or
# nothing).
set -eu
umask 022
mount --make-rprivate /
hostname "$NAME"

# Everything the host writes is in this tmpfs. Its mount is taken out of sight
# at the end; the overlays keep it alive.
stage=/mnt
mount -t tmpfs -o mode=0755 cardea-vhost $stage

# Set aside what is to be bound in, before /tmp, /run and /home disappear.
mkdir $stage/bind
n=0
tab=$(printf '\t')
printf '%s\n' "$BINDS" | while IFS=$tab read -r from to access; do
	[ -n "$from" ] || continue
	n=$((n + 1))
	if [ -d "$from" ]; then mkdir $stage/bind/$n; else : >$stage/bind/$n; fi
	mount --bind "$from" $stage/bind/$n
	[ "$access" = rw ] || mount -o remount,bind,ro $stage/bind/$n
done

usr=usr/local
[ -z "$INSTALL" ] || usr=usr
for dir in etc var $usr opt srv; do
	[ -d /$dir ] || continue
	mkdir -p $stage/$dir/upper $stage/$dir/work
	mount -t overlay -o lowerdir=/$dir,upperdir=$stage/$dir/upper,workdir=$stage/$dir/work overlay /$dir
done
mount -t tmpfs -o mode=0755 tmpfs /home
mount -t tmpfs -o mode=0700 tmpfs /root
mount -t tmpfs -o mode=0755 tmpfs /run
mount -t tmpfs -o mode=1777 tmpfs /tmp
mount -t tmpfs -o mode=1777 tmpfs /var/tmp
mkdir -p -m 0755 /run/sshd /run/user /run/lock
mount -t proc proc /proc

# A /dev of its own: terminals and /dev/log must not be the machine's.
mkdir $stage/dev
mount -t tmpfs -o mode=0755 tmpfs $stage/dev
for node in null zero full random urandom tty; do
	: >$stage/dev/$node
	mount --bind /dev/$node $stage/dev/$node
done
mkdir $stage/dev/pts $stage/dev/shm
ln -s pts/ptmx $stage/dev/ptmx
ln -s /proc/self/fd $stage/dev/fd
ln -s fd/0 $stage/dev/stdin
ln -s fd/1 $stage/dev/stdout
ln -s fd/2 $stage/dev/stderr
mount --move $stage/dev /dev
mount -t devpts -o newinstance,ptmxmode=0666,mode=0620,gid=5 devpts /dev/pts
mount -t tmpfs -o mode=1777 tmpfs /dev/shm

n=0
printf '%s\n' "$BINDS" | while IFS=$tab read -r from to access; do
	[ -n "$from" ] || continue
	n=$((n + 1))
	if [ -d $stage/bind/$n ]; then mkdir -p "$to"; else mkdir -p "$(dirname "$to")" && : >"$to"; fi
	mount --bind $stage/bind/$n "$to"
	[ "$access" = rw ] || mount -o remount,bind,ro "$to"
done

# The control group in which systemd shall be at home, among the machine's.
if [ -n "$SYSTEMD" ]; then
	mkdir $stage/groups
	mount -t cgroup2 groups $stage/groups
	group=$stage/groups/cardea-vhost-$NAME-$(cat /proc/sys/kernel/random/uuid)
	tries=0
	until mkdir -p "$group" && echo 0 >"$group/cgroup.procs"; do
		tries=$((tries + 1)) # another host's end may have swept it away, being empty
		[ $tries -lt 5 ]
	done
	umount -l $stage/groups
fi
umount -l $stage

# Only the accounts that systems come with: the machine's people stay out.
keep() { # FILE AWK-CONDITION
	kept=$(awk -F: "$2" /etc/"$1") && printf '%s\n' "$kept" >/etc/"$1"
}
system='$3 < 1000 || $3 >= 65534'
keep passwd "$system"
keep group "$system"
names=$(cut -d: -f1 /etc/passwd /etc/group | sort -u | tr '\n' ' ')
member='BEGIN { n = split("'$names'", a, " "); for (i = 1; i <= n; i++) ok[a[i]] = 1 } ok[$1]'
keep shadow "$member"
[ ! -f /etc/gshadow ] || keep gshadow "$member"
for f in /etc/subuid /etc/subgid; do [ ! -f $f ] || : >$f; done

printf '%s\n' "$NAME" >/etc/hostname
printf '127.0.0.1 localhost\n%s %s\n' "$ADDR" "$NAME" >/etc/hosts

# sshd, sudo and the message of the day as a new installation has them.
rm -rf /etc/ssh/ssh_host_* /etc/ssh/sshd_config.d /etc/ssh/ssh_config.d /etc/ssh/cardea /etc/cardea /etc/update-motd.d /etc/sudoers.d /var/lib/cardea-*
mkdir -p /etc/ssh/sshd_config.d /etc/ssh/ssh_config.d
mkdir -m 0750 /etc/sudoers.d
cat >/etc/ssh/sshd_config <<'CONFIG'
Include /etc/ssh/sshd_config.d/*.conf
KbdInteractiveAuthentication no
UsePAM yes
X11Forwarding yes
PrintMotd no
AcceptEnv LANG LC_*
Subsystem sftp /usr/lib/openssh/sftp-server
CONFIG
if [ -e /etc/sudoers ]; then
	cat >/etc/sudoers <<'SUDOERS'
Defaults env_reset
Defaults mail_badpass
Defaults secure_path="/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
root ALL=(ALL:ALL) ALL
%sudo ALL=(ALL:ALL) ALL
@includedir /etc/sudoers.d
SUDOERS
fi
[ ! -x /usr/bin/ssh-keygen ] || ssh-keygen -q -t ed25519 -N '' -C "root@$NAME" -f /etc/ssh/ssh_host_ed25519_key
: >/var/log/auth.log
: >/var/log/syslog
chmod 0640 /var/log/auth.log /var/log/syslog

if [ -n "$SYSTEMD" ]; then
	# Nothing of what the machine starts or mounts, and nothing that would set
	# the kernel's switches, which are one for all, or tidy up /tmp.
	rm -rf /etc/systemd/system
	mkdir /etc/systemd/system
	for unit in /usr/lib/systemd/system/sysinit.target.wants/* /lib/systemd/system/sysinit.target.wants/*; do
		case ${unit##*/} in
		systemd-journald.service) ;;
		*) ln -sf /dev/null "/etc/systemd/system/${unit##*/}" ;;
		esac
	done
	for unit in systemd-tmpfiles-clean.timer systemd-networkd.service systemd-resolved.service ssh.socket; do
		ln -sf /dev/null /etc/systemd/system/$unit
	done
	cat >/etc/systemd/system/default.target <<-'TARGET'
		[Unit]
		Description=A virtual host
		Requires=basic.target
		Wants=multi-user.target dbus.service systemd-logind.service
		After=basic.target multi-user.target
		AllowIsolate=yes
	TARGET
	# multi-user.target of the machine wants what the machine is for.
	printf '[Unit]\nDescription=What was installed\nAfter=basic.target\n' >/etc/systemd/system/multi-user.target
	for unit in /usr/lib/systemd/system/multi-user.target.wants/* /lib/systemd/system/multi-user.target.wants/*; do
		case ${unit##*/} in
		systemd-logind.service | dbus.service) ;;
		*) ln -sf /dev/null "/etc/systemd/system/${unit##*/}" ;;
		esac
	done
	: >/etc/fstab
	tr -d - </proc/sys/kernel/random/uuid >/etc/machine-id
	rm -rf /var/log/journal /var/lib/systemd/linger
	mkdir -p /etc/default
	if /usr/sbin/sshd -t -oPerSourcePenalties=no 2>/dev/null; then echo 'SSHD_OPTS=-oPerSourcePenalties=no' >/etc/default/ssh; fi
	umount -l /sys
	mount -t sysfs -o ro,nosuid,nodev,noexec sysfs /sys
	echo ready
	# No fork: it has to be the first process.
	exec unshare --cgroup -- /bin/sh -c 'mount -t cgroup2 cgroup2 /sys/fs/cgroup && exec env -i container=cardea-vhost \
		PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 /lib/systemd/systemd --system --log-target=journal' >/dev/null 2>&1
fi

echo ready
# Orphans become children of this process; ignoring the signal makes the kernel
# reap them. It is not the shell's trap, because dash never ignores this one.
exec env --ignore-signal=CHLD sleep infinity >/dev/null 2>&1
