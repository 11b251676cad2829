#!/usr/bin/env bash
# Makes the Debian packages: vcp-line (program, unit, rules, man pages, completions, licences, bill of materials) and
# vcp-line-openvino (the pinned runtime).
# Usage: scripts/deb.sh [--binary=FILE] [--without-openvino] [--fast] [OUT]      OUT: target/debian
# --fast compresses less.
# Without --binary the release profile is built, with cargo-auditable where that is installed.
set -euo pipefail

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
cd "$root"
out=target/debian
binary=
openvino=yes
fast=()
for argument in "$@"; do
  case $argument in
    --binary=*) binary="$(realpath "${argument#*=}")" ;;
    --without-openvino) openvino=no ;;
    --fast) fast=(--fast) ;;
    --*)
      echo "deb.sh: unknown argument $argument; known: --binary= --without-openvino --fast" >&2
      exit 2
      ;;
    *) out="$argument" ;;
  esac
done
mkdir -p "$out"
out="$(realpath "$out")"

if [[ -z "$binary" ]]; then
  # The crates inside the program can be read out of it again: cargo audit bin /usr/bin/vcp-line.
  # Relocations in the short form (glibc from 2.36 on, which Debian 12 has) and equal functions once take 2 MB off.
  auditable=()
  if cargo auditable --version >/dev/null 2>&1; then auditable=(auditable); fi
  cargo "${auditable[@]}" rustc --release --locked --bin vcp-line -- -C link-arg=-Wl,-z,pack-relative-relocs -C link-arg=-Wl,--icf=all
  binary="${CARGO_TARGET_DIR:-target}/release/vcp-line"
fi

# Where [package.metadata.deb] of Cargo.toml looks.
stage=target/package
rm -rf "$stage"
mkdir -p "$stage"
strip -o "$stage/vcp-line" "$binary"
"$stage/vcp-line" manual "$stage"
gzip -9n "$stage"/man/*.1
scripts/bill.py "$stage" >&2
gzip -9nk "$stage/vcp-line.cdx.json"
"$(scripts/cargo-deb.sh)" deb --no-build --no-strip --quiet --compress-system "${fast[@]}" --output "$out/"

if [[ $openvino == yes ]]; then
  libs="$(scripts/openvino.sh)"
  version="$(basename "$libs")"
  version="${version#openvino-}"
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
Maintainer: the authors of vcp-line <vcp-line@localhost>
Section: libs
Priority: optional
Installed-Size: $(du -sk "$work/usr" | cut -f1)
Depends: libc6 (>= 2.28), libstdc++6
Enhances: vcp-line
Description: OpenVINO runtime for vcp-line
 The libraries of the wheel openvino $version, whose hash scripts/openvino-requirements.txt pins, where the
 unit vcp-line@ looks for them. Nothing else of this computer uses them.
CONTROL
  dpkg-deb --root-owner-group -Zxz --build "$work" "$out" >&2
fi
for package in "$out"/*.deb; do
  printf '%s %s kB installed\n' "$package" "$(dpkg-deb --field "$package" Installed-Size)"
done
