#!/usr/bin/env bash
# Installs the pinned cargo-deb under the user's cache directory, once, and prints the program.
set -euo pipefail

version=3.6.4
cache="${XDG_CACHE_HOME:-$HOME/.cache}/vcp-line"
target="$cache/cargo-deb-$version"

if [[ ! -x "$target/bin/cargo-deb" ]]; then
  mkdir -p "$cache"
  work="$(mktemp -d "$cache/.cargo-deb-XXXXXX")"
  trap 'rm -rf "$work"' EXIT
  printf 'cargo-deb: building %s into %s\n' "$version" "$target" >&2
  cargo install cargo-deb --version "$version" --locked --debug --quiet --root "$work" --target-dir "$work/build" >&2
  rm -rf "$work/build"
  # The folder appears by one rename, so whatever is there is complete.
  mv -T "$work" "$target" 2>/dev/null || [[ -x "$target/bin/cargo-deb" ]]
fi
printf '%s\n' "$target/bin/cargo-deb"
