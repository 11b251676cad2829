#!/usr/bin/env bash
# Puts the pinned CUDA kernel compiler under the user's cache directory and prints the folder that holds it.
# Usage: LD_LIBRARY_PATH="$(scripts/cuda-nvrtc.sh)" vcp-line …
set -euo pipefail

here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
requirements="${CUDA_NVRTC_REQUIREMENTS:-$here/cuda-nvrtc-requirements.txt}"
version="$(sed -n 's/^nvidia-cuda-nvrtc==\([^ ]*\).*/\1/p' "$requirements")"
cache="${XDG_CACHE_HOME:-$HOME/.cache}/vcp-line"
target="$cache/cuda-nvrtc-$version"

say() { printf 'cuda-nvrtc: %s\n' "$*" >&2; }
die() {
  say "$*"
  exit 1
}

[[ -n "$version" ]] || die "$requirements names no version"

# The folder appears by one rename, so whatever is there is complete.
if [[ -e "$target/libnvrtc.so" ]]; then
  printf '%s\n' "$target"
  exit 0
fi

machine="$(uname -m)"
[[ "$machine" == x86_64 ]] || die "no library is pinned for $machine: install NVRTC ${version%.*} from NVIDIA's CUDA toolkit"
python3 -m pip --version >/dev/null 2>&1 || die "python3-pip is missing: run scripts/setup-debian.sh"

mkdir -p "$cache"
work="$(mktemp -d "$cache/.cuda-nvrtc-XXXXXX")"
trap 'rm -rf "$work"' EXIT

say "fetching $version (about 90 MB) into $target"
python3 -m pip download --quiet --disable-pip-version-check --no-cache-dir --no-deps --only-binary=:all: --require-hashes \
  --platform manylinux2010_x86_64 --implementation py --python-version 3.11 \
  --dest "$work" --requirement "$requirements" >&2 || die "the download failed; nothing was installed"

python3 - "$work" <<'PYTHON'
import pathlib, shutil, sys, zipfile

work = pathlib.Path(sys.argv[1])
(wheel,) = work.glob("nvidia_cuda_nvrtc-*.whl")
libs = work / "libs"
(libs / "licenses").mkdir(parents=True)
with zipfile.ZipFile(wheel) as archive:
    for entry in archive.infolist():
        path = pathlib.PurePosixPath(entry.filename)
        if path.parent.name == "lib" and ".so." in path.name and ".alt." not in path.name:
            target = libs / path.name
        elif path.name.lower().startswith("licens"):
            target = libs / "licenses" / path.name
        else:
            continue
        with archive.open(entry) as source, open(target, "wb") as copy:
            shutil.copyfileobj(source, copy)
        target.chmod(0o755 if ".so" in path.name else 0o644)
PYTHON

# The loader asks for the name without a version, which the wheel leaves out.
for library in "$work"/libs/libnvrtc.so.*; do
  ln -s "$(basename "$library")" "$work/libs/libnvrtc.so"
done
[[ -e "$work/libs/libnvrtc.so" ]] || die "the wheel holds no libnvrtc"

# Whoever finished first wins; a second copy made at the same time is thrown away.
mv -T "$work/libs" "$target" 2>/dev/null || [[ -e "$target/libnvrtc.so" ]] || die "$target is in the way: remove it"
printf '%s\n' "$target"
