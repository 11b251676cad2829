#!/usr/bin/env bash
# A minimal Debian in a folder, from the packages that this computer's own sources name: what an edge box has before anybody
# has cared for it.
#   minimal_root.sh REPOSITORY ROOT [PACKAGE.deb|NAME]…
# (about 900 MB; exit code 77 after "MISSING …" where it cannot be made)
# Without packages, it has a broker and what `setup-debian.sh run` brings: one that is forgotten there is missed here. With
# packages nothing of them is installed, but lies there with all that they need, so that a box without a network can do it
# with `apt-get install`; the packages themselves are in /root.
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

repository=$1 root=$2
shift 2
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
# shellcheck disable=SC2016  # mmdebstrap's shell expands it
if [[ $# -eq 0 ]]; then
  # What its documents say fills no disk of a test.
  made=("--include=systemd,systemd-sysv,mosquitto" --dpkgopt='path-exclude=/usr/share/doc/*'
    --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*'
    --customize-hook="copy-in '$repository/scripts/setup-debian.sh' /root"
    --customize-hook='chroot "$1" /root/setup-debian.sh run')
else
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
fi
mmdebstrap --quiet --mode=root --variant=minbase --aptopt="$reach" --dpkgopt=force-unsafe-io "${made[@]}" \
  "$suite" "$root" "${sources[@]}"
