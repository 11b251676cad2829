#!/usr/bin/env bash
# Puts the pinned programs that tests run against `vcp-line serve` and engine "remote" (tritonclient, mlserver, ONNX Runtime)
# under the user's cache directory and prints the folder for PYTHONPATH.
# Usage: scripts/inference.sh
set -euo pipefail

here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)/inference"
cache="${XDG_CACHE_HOME:-$HOME/.cache}/vcp-line"
# Another pin is another folder.
pins="$(sha256sum <"$here/requirements.txt")"
target="$cache/inference-${pins:0:12}"

say() { printf 'inference: %s\n' "$*" >&2; }
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
[[ "$machine" == x86_64 ]] || die "nothing is pinned for $machine: the tests remote_peers:: need it"
python3 -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || die "the pins are for Python 3.11, as Debian 12 has it"
python3 -m pip --version >/dev/null 2>&1 || die "python3-pip is missing: run scripts/setup-debian.sh"

mkdir -p "$cache"
work="$(mktemp -d "$cache/.inference-XXXXXX")"
trap 'rm -rf "$work"' EXIT

say "fetching tritonclient, mlserver and ONNX Runtime (about 90 MB) into $target"
python3 -m pip install --quiet --disable-pip-version-check --no-cache-dir --no-deps --only-binary=:all: --require-hashes \
  --no-warn-conflicts --no-compile --root-user-action=ignore --target "$work/made" --requirement "$here/requirements.txt" >&2 ||
  die "the download failed; nothing was installed"

# Whoever finished first wins; a second copy made at the same time is thrown away.
mv -T "$work/made" "$target" 2>/dev/null || [[ -d "$target" ]] || die "$target is in the way: remove it"
printf '%s\n' "$target"
