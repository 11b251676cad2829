#!/usr/bin/env bash
# A minimal Debian in a folder, from the packages that this computer's own sources name: what an edge box has before anybody
# has cared for it, a broker, and what `setup-debian.sh run` brings. A package that is forgotten there is missed here.
#   minimal_root.sh REPOSITORY ROOT      (about 900 MB; exit code 77 after "MISSING …" where it cannot be made)
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
mmdebstrap --quiet --mode=root --variant=minbase --include=systemd,systemd-sysv,mosquitto --aptopt="$reach" \
  --dpkgopt=force-unsafe-io --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
  --dpkgopt='path-exclude=/usr/share/locale/*' \
  --customize-hook="copy-in '$repository/scripts/setup-debian.sh' /root" \
  --customize-hook='chroot "$1" /root/setup-debian.sh run' \
  "$suite" "$root" "${sources[@]}"
