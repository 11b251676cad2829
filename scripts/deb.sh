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
# Packages of an earlier version would be installed with them.
rm -f "$out"/vcp-line_*.deb "$out"/vcp-line-openvino_*.deb
"$(scripts/cargo-deb.sh)" deb --no-build --no-strip --quiet --compress-system "${fast[@]}" --output "$out/"

[[ $openvino == no ]] || scripts/openvino-deb.sh "${fast[@]}" "$out"
for package in "$out"/*.deb; do
  printf '%s %s kB installed\n' "$package" "$(dpkg-deb --field "$package" Installed-Size)"
done
