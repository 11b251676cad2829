#!/usr/bin/env bash
# Puts the pinned TensorRT-RTX libraries under the user's cache directory and prints the folder that holds them.
# Usage: LD_LIBRARY_PATH="$(scripts/tensorrt.sh)" vcp-line model build … --engine tensorrt
set -euo pipefail

here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
requirements="${TENSORRT_REQUIREMENTS:-$here/tensorrt-requirements.txt}"
version="$(sed -n 's/^tensorrt-rtx-cu13-libs==\([^ ]*\).*/\1/p' "$requirements")"
cache="${XDG_CACHE_HOME:-$HOME/.cache}/vcp-line"
target="$cache/tensorrt-rtx-$version"

say() { printf 'tensorrt: %s\n' "$*" >&2; }
die() {
  say "$*"
  exit 1
}

[[ -n "$version" ]] || die "$requirements names no version"

# The folder appears by one rename, so whatever is there is complete.
if [[ -e "$target/libtensorrt_rtx.so" ]]; then
  printf '%s\n' "$target"
  exit 0
fi

machine="$(uname -m)"
[[ "$machine" == x86_64 ]] || die "no library is pinned for $machine: install TensorRT-RTX ${version%.*} and put its lib folder on LD_LIBRARY_PATH"
python3 -m pip --version >/dev/null 2>&1 || die "python3-pip is missing: run scripts/setup-debian.sh"

mkdir -p "$cache"
work="$(mktemp -d "$cache/.tensorrt-XXXXXX")"
trap 'rm -rf "$work"' EXIT

say "fetching $version (about 95 MB, 240 MB unpacked) into $target"
python3 -m pip download --quiet --disable-pip-version-check --no-cache-dir --no-deps --only-binary=:all: --require-hashes \
  --platform manylinux_2_28_x86_64 --dest "$work" --requirement "$requirements" >&2 || die "the download failed; nothing was installed"

python3 - "$work" <<'PYTHON'
import pathlib, shutil, sys, zipfile

work = pathlib.Path(sys.argv[1])
(wheel,) = work.glob("tensorrt_rtx_cu13_libs-*.whl")
libs = work / "libs"
libs.mkdir()
with zipfile.ZipFile(wheel) as archive:
    for entry in archive.infolist():
        path = pathlib.PurePosixPath(entry.filename)
        library = path.parts[:1] == ("tensorrt_rtx_libs",) and ".so" in path.name
        licence = "licens" in entry.filename.lower() and not entry.is_dir()
        if not (library or licence):
            continue
        folder = libs / "licenses" if licence else libs
        folder.mkdir(exist_ok=True)
        with archive.open(entry) as source, open(folder / path.name, "wb") as target:
            shutil.copyfileobj(source, target)
        (folder / path.name).chmod(0o755 if library else 0o644)
PYTHON

# One name without a version, as a builder or an SDK has it; the wheel leaves it out.
for library in "$work"/libs/lib*.so.*; do
  name="$(basename "$library")"
  ln -s "$name" "$work/libs/${name%%.so.*}.so"
done
[[ -e "$work/libs/libtensorrt_rtx.so" ]] || die "the wheel holds no libtensorrt_rtx"
[[ -e "$work/libs/libtensorrt_onnxparser_rtx.so" ]] || die "the wheel holds no libtensorrt_onnxparser_rtx"

# Whoever finished first wins; a second copy made at the same time is thrown away.
mv -T "$work/libs" "$target" 2>/dev/null || [[ -e "$target/libtensorrt_rtx.so" ]] || die "$target is in the way: remove it"
say "NVIDIA's licence holds for these files: $target/licenses/LICENSE.txt; by using them you accept it, and they are not part of this project"
printf '%s\n' "$target"
