#!/usr/bin/env bash
# The Debian package on a box: installed, upgraded, downgraded, removed and purged over a throw-away copy of this computer's files.
#   deb.sh OLDER.deb NEWER.deb
# Each finding is a line that begins with "ok" or "FAIL". Exit code 1 after a FAIL, 77 after "MISSING …".
set -euo pipefail

# shellcheck source=tests/support/box.sh
. "$(dirname "$0")/box.sh"
[[ $EUID -eq 0 ]] || missing "root"
if [[ ${DEB_TEST:-} != alone ]]; then
  unshare --mount true 2>/dev/null || missing "the right to make mount namespaces"
  DEB_TEST=alone exec unshare --mount "$0" "$@"
fi
older=$1 newer=$2
work=$(mktemp -d)
trap 'umount --lazy "$work" 2>/dev/null || true; rmdir "$work" 2>/dev/null || true' EXIT
mount -t tmpfs tmpfs "$work"
mkdir "$work"/{upper,under,box}
mount -t overlay overlay -o "lowerdir=/,upperdir=$work/upper,workdir=$work/under" "$work/box" 2>/dev/null || missing "overlayfs"
mkdir -p "$work/box/root/debs"
mount -t proc proc "$work/box/proc" 2>/dev/null || true
cp "$older" "$work/box/root/debs/older.deb"
cp "$newer" "$work/box/root/debs/newer.deb"

box() { chroot "$work/box" "$@"; }
# Libraries of cameras are found on this computer or are not: this is about the package's own files and scripts.
put() { box dpkg --force-depends --force-confold -i "/root/debs/$1.deb" 2>&1; }
# shellcheck disable=SC2016  # dpkg-query's own format
version() { box dpkg-query -W -f '${db:Status-Abbrev} ${Version}' vcp-line | tr -s ' '; }

said=$(put older) || { echo "$said"; }
older_version=$(dpkg-deb --field "$older" Version) newer_version=$(dpkg-deb --field "$newer" Version)
expect "installed" "$(version)" "ii $older_version"
expect "it says what comes next" "$(grep -c 'enable --now vcp-line@NAME' <<<"$said")" 1
expect "the user" "$(box getent passwd vcp-line | cut -d: -f6,7)" "/var/lib/vcp-line:/usr/sbin/nologin"
expect "the settings' folder" "$(box stat -c '%a %U:%G' /etc/vcp-line)" "2750 root:vcp-line"
expect "the sample" "$(box stat -c '%a %U:%G' /etc/vcp-line/example.toml.sample)" "640 root:vcp-line"
expect "the program runs" "$(box vcp-line --version >/dev/null && echo yes)" yes
expect "the unit is one" "$(box systemd-analyze verify --man=no /usr/lib/systemd/system/vcp-line@.service 2>&1 | grep -c vcp-line@)" 0
expect "the man page is found" "$(box test -s /usr/share/man/man1/vcp-line.1.gz && echo yes)" yes
expect "a command is completed" "$(box bash -c '. /usr/share/bash-completion/completions/vcp-line; complete -p vcp-line' | grep -c _vcp)" 1

echo 'line = "caps"' >"$work/box/etc/vcp-line/caps.toml"
mkdir -p "$work/box/var/lib/vcp-line/caps/outbox"
echo waits >"$work/box/var/lib/vcp-line/caps/outbox/verdict"
echo '# ours' >>"$work/box/etc/vcp-line/example.toml.sample"
put newer >/dev/null || true
expect "upgraded" "$(version)" "ii $newer_version"
put older >/dev/null || true
expect "downgraded" "$(version)" "ii $older_version"
expect "what somebody has changed stays" "$(tail -n1 "$work/box/etc/vcp-line/example.toml.sample")" "# ours"
said=$(box dpkg -r vcp-line 2>&1)
expect "removed" "$(version)" "rc $older_version"
expect "it says what it leaves" "$(grep -c 'is kept' <<<"$said")" 2
expect "the program is gone" "$(box test -e /usr/bin/vcp-line || echo gone)" gone
expect "settings stay" "$(cat "$work/box/etc/vcp-line/caps.toml")" 'line = "caps"'
said=$(box dpkg -P vcp-line 2>&1)
expect "purged, settings go" "$(box test -e /etc/vcp-line || echo gone)" gone
expect "verdicts stay" "$(cat "$work/box/var/lib/vcp-line/caps/outbox/verdict")" waits
expect "and it says so" "$(grep -c '/var/lib/vcp-line is kept' <<<"$said")" 1
exit "$failed"
