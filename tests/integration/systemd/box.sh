#!/bin/sh
# Boots the machine's own systemd in namespaces over a throw-away overlay, and runs the test inside.
# Usage: box.sh HEDDLED BROKER UNIT SYSUSERS TEST; exit status 77 where that is not possible.
set -eu
heddled=$1 broker=$2 unit=$3 sysusers=$4 test=$5

skip() {
    echo "SKIPPED a real service manager: $1"
    exit 77
}

[ "$(id -u)" = 0 ] || skip "only root can build the box"
for tool in unshare nsenter systemctl python3; do
    command -v $tool >/dev/null || skip "$tool is missing"
done
[ -x /lib/systemd/systemd ] || skip "systemd is not installed"

box=$(mktemp -d /tmp/heddle-box.XXXXXX)
# A group of its own below the version 2 tree, so that none of systemd's stay behind.
groups=$(findmnt -t cgroup2 -n -o TARGET | head -n 1)
[ -n "$groups" ] || skip "no cgroup2 tree is mounted"
group=$groups/heddle-box.$$
mkdir "$group" 2>/dev/null || skip "no cgroup can be made"
init=
clean() {
    [ -z "$init" ] || kill -KILL "$init" 2>/dev/null || true
    wait 2>/dev/null || true
    for _ in $(seq 50); do  # the killed are still leaving
        find "$group" -depth -type d -exec rmdir {} \; 2>/dev/null || true
        [ -d "$group" ] || break
        sleep 0.1
    done
    umount "$box" 2>/dev/null || true
    rmdir "$box" 2>/dev/null || true
}
trap clean EXIT
trap 'exit 1' INT TERM
mount -t tmpfs tmpfs "$box" 2>/dev/null || skip "no tmpfs may be mounted"
mkdir "$box/upper" "$box/work" "$box/root"

place() {
    mkdir -p "$box/upper$(dirname "$2")"
    cp "$1" "$box/upper$2"
}
place "$heddled" /usr/bin/heddled
place "$broker" /usr/libexec/heddle/heddle-broker
place "$sysusers" /usr/lib/sysusers.d/heddle.conf
place "$test" /box/test.py
# The unit as installed under /usr. Controllers that the box lacks are not what is tested.
mkdir -p "$box/upper/usr/lib/systemd/system"
sed 's|^ExecStart=.*|ExecStart=/usr/bin/heddled|; /^IPAddress/d' "$unit" \
    >"$box/upper/usr/lib/systemd/system/heddled.service"

cat >"$box/upper/box/init.sh" <<'INIT'
set -eu
root=$1
mount --make-rprivate /
mount -t overlay overlay -o "lowerdir=/,upperdir=$2/upper,workdir=$2/work" "$root"
mount -t proc proc "$root/proc"
mount -t sysfs -o ro sysfs "$root/sys"
mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
for place in run tmp dev; do mount -t tmpfs tmpfs "$root/$place"; done
for node in null zero full random urandom tty; do
    touch "$root/dev/$node"
    mount --bind "/dev/$node" "$root/dev/$node"
done
mkdir "$root/dev/pts" "$root/dev/shm" "$root/run/old"
mount -t devpts -o newinstance,ptmxmode=0666 devpts "$root/dev/pts"
ln -s pts/ptmx "$root/dev/ptmx"
ln -s /proc/self/fd "$root/dev/fd"
mount -t tmpfs tmpfs "$root/dev/shm"
cd "$root"
pivot_root . run/old
umount -l /run/old
exec env -i container=other PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd \
    systemd.unit=basic.target systemd.show_status=no
INIT
sh -c 'echo $$ >"$1/cgroup.procs" && shift && exec "$@"' sh "$group" \
    unshare --pid --fork --mount --uts --ipc --net --cgroup --kill-child=SIGKILL \
    sh "$box/upper/box/init.sh" "$box/root" "$box" >"$box/console" 2>&1 </dev/null &
init=$!

inside() {
    # The child of unshare is process 1 of the box.
    nsenter -t "$(cat "/proc/$init/task/$init/children" 2>/dev/null | tr -d ' ')" -a "$@"
}
booted=
for _ in $(seq 100); do
    state=$(inside systemctl is-system-running 2>/dev/null) || true
    case $state in running | degraded) booted=yes && break ;; esac
    kill -0 "$init" 2>/dev/null || break
    sleep 0.1
done
[ -n "$booted" ] || skip "systemd does not boot here: $(tail -n 3 "$box/console" | tr '\n' ' ')"
inside python3 /box/test.py
