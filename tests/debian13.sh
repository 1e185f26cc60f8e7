#!/bin/sh
# Builds and tests against Debian 13's libraries (oneDNN 3, Open MPI 5, HDF5 1.14) in a folder made with
# debootstrap. Needs root and a Debian mirror; by hand, not part of the suite.
#   tests/debian13.sh [FOLDER]      FOLDER: kept and used again, default /var/tmp/dltrain-debian13
#   tests/debian13.sh FOLDER unit   the unit tests alone
set -eu
cd "$(dirname "$0")/.."
root=${1:-/var/tmp/dltrain-debian13}
[ "$(id -u)" = 0 ] || { echo "debootstrap and chroot need root"; exit 69; }
command -v debootstrap >/dev/null || apt-get install -y -qq debootstrap
[ -e "$root/etc/debian_version" ] || debootstrap --variant=minbase --include=ca-certificates trixie "$root"
rm -rf "$root/src"
mkdir -p "$root/src" "$root/proc" "$root/dev/shm"
git ls-files -z --cached --others --exclude-standard | tar -c --null -T - | tar -x -C "$root/src"
cp /etc/resolv.conf "$root/etc/resolv.conf"
mounted=
undo() { for place in $mounted; do umount -R "$place"; done; }
trap undo EXIT INT TERM
# A root that is a mount point, so that tests inside can make mount name spaces of their own.
mountpoint -q "$root" || { mount --bind "$root" "$root" && mount --make-private "$root" && mounted=$root; }
for place in proc dev sys; do
    mountpoint -q "$root/$place" && continue
    mount --rbind "/$place" "$root/$place" 2>/dev/null && mount --make-rslave "$root/$place" && mounted="$root/$place $mounted"
done
if [ "${2:-}" = unit ]; then
    run='sh launcher/setup.sh && build/dltrain --version && build/dltests'
else
    run='sh tests/run.sh'
fi
chroot "$root" sh -c "cd /src && $run"
