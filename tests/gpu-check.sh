#!/usr/bin/env bash
# Everything that needs an NVIDIA GPU, on a machine with a driver and nothing else: tests, memory check, timings.
# Writes gpu-check.json and gpu-check.md into the folder given. No compiler is needed where the program was built before:
#   cargo test --no-default-features --features tensorrt --test gpu --no-run
#
# Usage: [GPU_TEST=PROGRAM] [GPU_LIBRARIES=DIR:DIR] tests/gpu-check.sh [DIR]
#   GPU_TEST        the compiled test program; absent: it is built here
#   GPU_LIBRARIES   folders with TensorRT and NVRTC; absent: scripts/tensorrt.sh and scripts/cuda-nvrtc.sh fetch them
#   GPU_SECONDS     time for all of it, seconds; 450 when absent
set -euo pipefail

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
out="${1:-$root/target/gpu-check}"
limit="${GPU_SECONDS:-450}"

say() { printf 'gpu-check: %s\n' "$*" >&2; }
die() {
  say "$*"
  exit 1
}
left() { printf '%s' "$((limit > SECONDS ? limit - SECONDS : 1))"; }

command -v nvidia-smi >/dev/null || die "no nvidia-smi: install the NVIDIA driver (580 or newer)"
card="$(nvidia-smi --query-gpu=name,compute_cap,driver_version,memory.total --format=csv,noheader | head -n 1)" ||
  die "nvidia-smi does not answer: load the driver"
mkdir -p "$out"
out="$(cd "$out" && pwd)"

cd "$root"
program="${GPU_TEST:-}"
if [[ -z "$program" ]]; then
  say "building the test program"
  cargo test --no-default-features --features tensorrt --test gpu --no-run --message-format=json >"$out/build.json"
  program="$(sed -n 's/.*"name":"gpu".*"executable":"\([^"]*\)".*/\1/p' "$out/build.json" | tail -n 1)"
  # Compiling is not part of the time.
  SECONDS=0
fi
[[ -x "$program" ]] || die "'$program' is no program: set GPU_TEST"
libraries="${GPU_LIBRARIES:-$(scripts/tensorrt.sh):$(scripts/cuda-nvrtc.sh)}"
export LD_LIBRARY_PATH="$libraries${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
# Where the program looks for the golden numbers and the shipped model.
export CARGO_MANIFEST_DIR="$root"

status=0
say "tests and timings on $card"
# One at a time: timings and free memory belong to one test.
timeout "$(left)" "$program" --test-threads=1 --nocapture >"$out/tests.log" 2>&1 || status=$?

sanitizer=absent
if command -v compute-sanitizer >/dev/null; then
  say "compute-sanitizer"
  sanitizer=passed
  timeout "$(left)" compute-sanitizer --tool memcheck --error-exitcode 9 "$program" --test-threads=1 \
    maps_are_the_golden_ones >"$out/sanitizer.log" 2>&1 || sanitizer="failed ($?)"
fi

summary="$(grep '^test result:' "$out/tests.log" | tail -n 1 || true)"
result=passed
[[ "$status" == 0 ]] || result="failed ($status)"
[[ -n "$summary" ]] || summary="no result: out of time or ended by a signal"

python3 - "$out" "$card" "$result" "$sanitizer" "$summary" "$SECONDS" <<'PYTHON' || die "the report could not be written"
import json, pathlib, re, sys

out, card, result, sanitizer, summary, seconds = sys.argv[1:]
folder = pathlib.Path(out)
log = (folder / "tests.log").read_text(errors="replace")
measured = dict(re.findall(r"measured: (\S+) = (\S+)", log))
failures = sorted(set(re.findall(r"^    ([\w:]+)$", log, re.M)))
report = {
    "card": card,
    "tests": result,
    "summary": summary,
    "failed": failures,
    "compute_sanitizer": sanitizer,
    "seconds": int(seconds),
    "measured": {name: float(value) for name, value in measured.items()},
}
(folder / "gpu-check.json").write_text(json.dumps(report, indent=2) + "\n")
lines = [f"# GPU check: {card}", "", f"Tests: {result}. {summary}", f"compute-sanitizer: {sanitizer}. {seconds} s in all.", ""]
lines += [f"- failed: `{name}`" for name in failures] + ["", "| figure | value |", "|---|---|"]
lines += [f"| {name} | {value} |" for name, value in measured.items()]
(folder / "gpu-check.md").write_text("\n".join(lines) + "\n")
PYTHON

cat "$out/gpu-check.md"
[[ "$status" == 0 && "$sanitizer" != failed* ]]
