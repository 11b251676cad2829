#!/usr/bin/env bash
# A minimal Debian in a folder, from the packages that this computer's own sources name: what an edge box has before anybody
# has cared for it.
#   minimal_root.sh ROOT PACKAGE.deb|NAME…
# (about 500 MB; exit code 77 after "MISSING …" where it cannot be made)
# Nothing of the packages is installed, but lies there with all that they need and recommend, so that a box without a network can
# do it with `apt-get install`; the packages themselves are in /root.
set -euo pipefail

missing() {
  echo "MISSING $*"
  exit 77
}

[[ $EUID -eq 0 ]] || missing "root"
command -v mmdebstrap >/dev/null || missing "mmdebstrap: install the Debian package mmdebstrap"
# What its hooks mount goes with this namespace.
if [[ ${MINIMAL_ROOT:-} != alone ]]; then
  unshare --mount true 2>/dev/null || missing "the right to make mount namespaces"
  MINIMAL_ROOT=alone exec unshare --mount "$0" "$@"
fi

root=$1
shift
sources=()
for file in /etc/apt/sources.list /etc/apt/sources.list.d/debian.sources; do
  grep -qs '^[^#]*deb' "$file" && sources+=("$file")
done
[[ ${#sources[@]} -gt 0 ]] || missing "Debian's sources in /etc/apt"
# How this computer reaches them, and nothing else of its settings.
reach=$(mktemp)
trap 'rm -f "$reach"' EXIT
apt-config dump | grep -E '^Acquire::(https?|Check-|Retries|ForceIPv)' >"$reach" || true

# shellcheck source=/dev/null
suite=$(. /etc/os-release && echo "$VERSION_CODENAME")
files=() names=()
for package in "$@"; do
  case $package in
    *.deb) files+=("'$package'") names+=("/root/$(basename "$package")") ;;
    *) names+=("$package") ;;
  esac
done
# What has been fetched stays: lists and archives.
made=("--include=systemd,systemd-sysv" --skip=cleanup/apt
  --customize-hook="copy-in ${files[*]} /root"
  --customize-hook="chroot \"\$1\" apt-get install --yes --quiet --download-only --install-recommends ${names[*]}")
mmdebstrap --quiet --mode=root --variant=minbase --aptopt="$reach" --dpkgopt=force-unsafe-io "${made[@]}" \
  "$suite" "$root" "${sources[@]}"
