#!/usr/bin/env bash
# Puts the pinned OpenVINO libraries under the user's cache directory and prints the folder that holds them.
# Usage: LD_LIBRARY_PATH="$(scripts/openvino.sh)" vcp-line …
set -euo pipefail

here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
requirements="${OPENVINO_REQUIREMENTS:-$here/openvino-requirements.txt}"
version="$(sed -n 's/^openvino==\([^ ]*\).*/\1/p' "$requirements")"
cache="${XDG_CACHE_HOME:-$HOME/.cache}/vcp-line"
target="$cache/openvino-$version"

say() { printf 'openvino: %s\n' "$*" >&2; }
die() {
  say "$*"
  exit 1
}

[[ -n "$version" ]] || die "$requirements names no version"

# The folder appears by one rename, so whatever is there is complete.
if [[ -e "$target/libopenvino_c.so" ]]; then
  printf '%s\n' "$target"
  exit 0
fi

machine="$(uname -m)"
[[ "$machine" == x86_64 ]] || die "no library is pinned for $machine: install OpenVINO $version and set OPENVINO_INSTALL_DIR"
python3 -m pip --version >/dev/null 2>&1 || die "python3-pip is missing: run scripts/setup-debian.sh"

mkdir -p "$cache"
work="$(mktemp -d "$cache/.openvino-XXXXXX")"
trap 'rm -rf "$work"' EXIT

say "fetching $version (about 60 MB) into $target"
python3 -m pip download --quiet --disable-pip-version-check --no-cache-dir --no-deps --only-binary=:all: --require-hashes \
  --platform manylinux_2_28_x86_64 --implementation cp --python-version 3.11 --abi cp311 \
  --dest "$work" --requirement "$requirements" >&2 || die "the download failed; nothing was installed"

python3 - "$work" <<'PYTHON'
import pathlib, shutil, sys, zipfile

work = pathlib.Path(sys.argv[1])
(wheel,) = work.glob("openvino-*.whl")
libs = work / "libs"
libs.mkdir()
with zipfile.ZipFile(wheel) as archive:
    for entry in archive.infolist():
        path = pathlib.PurePosixPath(entry.filename)
        if path.parts[:2] == ("openvino", "libs") and len(path.parts) == 3 and not entry.is_dir():
            with archive.open(entry) as source, open(libs / path.name, "wb") as target:
                shutil.copyfileobj(source, target)
            (libs / path.name).chmod(0o755 if ".so" in path.name else 0o644)
        elif "licens" in entry.filename.lower() and not entry.is_dir():
            (libs / "licenses").mkdir(exist_ok=True)
            with archive.open(entry) as source, open(libs / "licenses" / path.name, "wb") as target:
                shutil.copyfileobj(source, target)
PYTHON

# The loader asks for names without a version, which the wheel leaves out.
for library in "$work"/libs/lib*.so.*; do
  name="$(basename "$library")"
  ln -s "$name" "$work/libs/${name%%.so.*}.so"
done
[[ -e "$work/libs/libopenvino_c.so" ]] || die "the wheel holds no libopenvino_c"

# Whoever finished first wins; a second copy made at the same time is thrown away.
mv -T "$work/libs" "$target" 2>/dev/null || [[ -e "$target/libopenvino_c.so" ]] || die "$target is in the way: remove it"
printf '%s\n' "$target"
