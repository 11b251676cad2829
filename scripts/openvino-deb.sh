#!/usr/bin/env bash
# Makes the Debian package vcp-line-openvino: the pinned runtime, where the unit vcp-line@ looks for it.
# Usage: scripts/openvino-deb.sh [--fast] OUT      --fast does not compress it
set -euo pipefail

here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
compress=-Zxz
if [[ ${1:-} == --fast ]]; then
  compress=-Znone
  shift
fi
out="$1"

libs="$("$here/openvino.sh")"
version="$(basename "$libs")"
version="${version#openvino-}"
# As the other package says it.
maintainer="$(sed -n 's/^maintainer = "\(.*\)"$/\1/p' "$here/../Cargo.toml")"
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/usr/lib/vcp-line" "$work/usr/share/doc/vcp-line-openvino" "$work/DEBIAN"
cp -a "$libs" "$work/usr/lib/vcp-line/openvino"
{
  printf 'Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\nUpstream-Name: OpenVINO\n'
  printf 'Source: wheel openvino %s of the Python Package Index\n\nFiles: *\nCopyright: Intel Corporation\nLicense: Apache-2.0\n' "$version"
  printf ' The full text is in /usr/share/common-licenses/Apache-2.0; those of what it holds are in\n /usr/lib/vcp-line/openvino/licenses.\n'
} >"$work/usr/share/doc/vcp-line-openvino/copyright"
chmod -R u=rwX,go=rX "$work"
cat >"$work/DEBIAN/control" <<CONTROL
Package: vcp-line-openvino
Version: $version-1
Architecture: amd64
Maintainer: $maintainer
Section: libs
Priority: optional
Installed-Size: $(du -sk "$work/usr" | cut -f1)
Depends: libc6 (>= 2.28), libstdc++6
Enhances: vcp-line
Description: OpenVINO runtime for vcp-line
 The libraries of the wheel openvino $version, whose hash scripts/openvino-requirements.txt pins, where the
 unit vcp-line@ looks for them. Nothing else of this computer uses them.
CONTROL
dpkg-deb --root-owner-group "$compress" --build "$work" "$out" >&2
