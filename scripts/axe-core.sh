#!/usr/bin/env bash
# Puts the pinned axe-core, which judges whether everybody can use the page, under the user's cache directory and prints the file.
# Usage: AXE_CORE="$(scripts/axe-core.sh)" cargo test --test it page::
set -euo pipefail

version=4.14.1
# As npm gives it (`npm view axe-core@4.14.1 dist.integrity`), in hexadecimal.
sha512=1477dafa598d8d065f273d6af302aa203c02e83131707b7fa648cd41bd3d6b734f8c22a0dab86ee6a6f64b8afbe804b214d36db85a2826965edfb3a0b9d546b5
cache="${XDG_CACHE_HOME:-$HOME/.cache}/vcp-line"
target="$cache/axe-core-$version.min.js"

die() {
  printf 'axe-core: %s\n' "$*" >&2
  exit 1
}

if [[ -e "$target" ]]; then
  printf '%s\n' "$target"
  exit 0
fi
mkdir -p "$cache"
work="$(mktemp -d "$cache/.axe-core-XXXXXX")"
trap 'rm -rf "$work"' EXIT
printf 'axe-core: fetching %s (4 MB) into %s\n' "$version" "$target" >&2
# The Node.js that runs one of the brokers has npm with it.
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
node="$("$here/brokers.sh")/node"
PATH="$node/bin:$PATH" "$node/bin/node" "$node/lib/node_modules/npm/bin/npm-cli.js" pack "axe-core@$version" \
  --pack-destination "$work" --cache "$work/npm" --loglevel=error >&2 || die "the download failed; nothing was installed"
mv "$work/axe-core-$version.tgz" "$work/axe.tgz"
printf '%s  %s\n' "$sha512" "$work/axe.tgz" | sha512sum --check --quiet >&2 || die "the download is another file than the pinned one"
tar -xzf "$work/axe.tgz" -C "$work" package/axe.min.js
mv "$work/package/axe.min.js" "$target"
printf '%s\n' "$target"
