#!/usr/bin/env bash
# Everything that needs an NVIDIA GPU, on a machine with a driver and python3 and nothing else: tests, memory checks,
# timings, the same computation in PyTorch. Writes gpu-check.json and gpu-check.md into the folder given. No compiler is
# needed where both programs were built before (neither links GStreamer or OpenCV):
#   cargo test --release --no-default-features --features tensorrt --test gpu --no-run
#   cargo build --release --no-default-features --features tensorrt
#
# Usage: [GPU_TEST=PROGRAM] [GPU_PROGRAM=vcp-line] [GPU_LIBRARIES=DIR:DIR] tests/gpu-check.sh [DIR]
#   GPU_TEST        the compiled test program; absent: it is built here
#   GPU_PROGRAM     the compiled vcp-line; absent: it is built here
#   GPU_LIBRARIES   folders with TensorRT and NVRTC; absent: scripts/tensorrt.sh and scripts/cuda-nvrtc.sh fetch them, but
#                   not TensorRT for tensorrt-enterprise, whose folder must be on LD_LIBRARY_PATH
#   GPU_FEATURE     what is built here: tensorrt when absent; tensorrt-enterprise for data-centre GPUs and Jetson
#   GPU_SECONDS     time for all of it, seconds; 580 when absent. A part that it leaves no time for is named in the
#                   report
# The exit code is 0 when every part that ran passed, and the kernels' tests and timings are among those that ran.
set -euo pipefail

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
out="${1:-$root/target/gpu-check}"
limit="${GPU_SECONDS:-580}"
feature="${GPU_FEATURE:-tensorrt}"

say() { printf 'gpu-check: %s\n' "$*" >&2; }
die() {
  say "$*"
  exit 1
}

command -v nvidia-smi >/dev/null || die "no nvidia-smi: install the NVIDIA driver (580 or newer)"
command -v python3 >/dev/null || die "no python3: it writes the report"
card="$(nvidia-smi --query-gpu=name,compute_cap,driver_version,memory.total --format=csv,noheader | head -n 1)" ||
  die "nvidia-smi does not answer: load the driver"
capability="$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader | head -n 1)"
mkdir -p "$out"
out="$(cd "$out" && pwd)"
# Nothing of an earlier run may look like a result of this one.
rm -f "$out"/*.log "$out"/bench-*.json "$out"/baseline.json "$out"/gpu-check.{json,md} "$out/parts.tsv"
parts="$out/parts.tsv"
: >"$parts"

cd "$root"
test_program="${GPU_TEST:-}"
if [[ -z "$test_program" ]]; then
  say "building the test program"
  cargo test --release --no-default-features --features "$feature" --test gpu --no-run --message-format=json >"$out/build.json"
  test_program="$(sed -n 's/.*"name":"gpu".*"executable":"\([^"]*\)".*/\1/p' "$out/build.json" | tail -n 1)"
fi
program="${GPU_PROGRAM:-}"
if [[ -z "$program" && -z "${GPU_TEST:-}" ]]; then
  say "building vcp-line"
  cargo build --release --no-default-features --features "$feature" --message-format=json >"$out/build.json"
  program="$(sed -n 's/.*"name":"vcp-line".*"executable":"\([^"]*\)".*/\1/p' "$out/build.json" | tail -n 1)"
fi
[[ -x "$test_program" ]] || die "'$test_program' is no program: set GPU_TEST"
libraries="${GPU_LIBRARIES:-}"
if [[ -z "$libraries" ]]; then
  libraries="$(scripts/cuda-nvrtc.sh)"
  # TensorRT for data-centre GPUs is installed by hand, and on the path already.
  if [[ "$feature" == tensorrt ]]; then libraries="$(scripts/tensorrt.sh):$libraries"; fi
fi
export LD_LIBRARY_PATH="$libraries${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
# Where the test program looks for the golden numbers and the shipped model.
export CARGO_MANIFEST_DIR="$root"
# Compiling and fetching are not part of the time.
SECONDS=0

left() { printf '%s' "$((limit > SECONDS ? limit - SECONDS : 0))"; }

# A line of parts.tsv: name, result, seconds, remark.
note() { printf '%s\t%s\t%s\t%s\n' "$@" >>"$parts"; }

# part NAME SECONDS COMMAND…: runs it for at most so long, with its output in NAME.log. A part that fails is noted and
# the others go on.
part() {
  local name="$1" most="$2" start="$SECONDS" status=0 remaining
  shift 2
  remaining="$(left)"
  if ((remaining < 5)); then
    note "$name" "not run" 0 "no time was left"
    return
  fi
  say "$name"
  timeout --kill-after=5 "$((most < remaining ? most : remaining))" "$@" >"$out/$name.log" 2>&1 || status=$?
  local took="$((SECONDS - start))"
  case "$status" in
    0) note "$name" passed "$took" "" ;;
    3) note "$name" "not run" "$took" "$(tail -n 1 "$out/$name.log")" ;;
    124 | 137) note "$name" failed "$took" "out of time after $took s" ;;
    *) note "$name" failed "$took" "exit code $status; see $name.log" ;;
  esac
}

# compute-sanitizer ends with 9 where it found something, and with the program's own code (101) where a test failed; with
# another it could not look.
# shellcheck disable=SC2317 # `part` calls it through bash -c
sanitize() {
  local tool="$1" status=0
  compute-sanitizer --tool "$tool" --error-exitcode 9 "$test_program" kernels::small_ --test-threads=1 || status=$?
  case "$status" in
    0 | 9 | 101) return "$status" ;;
    *) printf 'compute-sanitizer could not look (exit code %s)\n' "$status" && return 3 ;;
  esac
}
export -f sanitize
export test_program

# The shipped model in one precision: a plan, what a frame takes alone, and what a part takes on a line. The plan goes, the figures stay.
# shellcheck disable=SC2317 # `part` calls it through bash -c
bench_model() {
  local precision="$1" model="$root/engines/vcp-demo" folder status=0
  folder="$(mktemp -d)"
  local scales="$root/tests/fixtures/scales/vcp-demo.json" plan="$folder/$precision.plan"
  local engine=(--engine tensorrt --precision "$precision" --plan "$plan" --scales "$scales")
  {
    "$program" model build "$model" --precision "$precision" --scales "$scales" --sm "$capability" -o "$plan" &&
      "$program" bench engine --model "$model" "${engine[@]}" --frames 200 --json "$out/bench-engine-$precision.json" &&
      "$program" bench pipeline --model "$model" "${engine[@]}" --seconds 5
  } || status=$?
  rm -rf "$folder"
  return "$status"
}
export -f bench_model
export root out program capability

# One test at a time: timings and free memory belong to one.
run_tests=("$test_program" --test-threads=1 --nocapture)

part kernels 120 "${run_tests[@]}" kernels::

if [[ -x "$program" ]]; then
  part bench-kernels 60 "$program" bench kernels --json "$out/bench-kernels.json"
else
  note bench-kernels "not run" 0 "GPU_PROGRAM names no vcp-line"
fi

part baseline 90 python3 tests/gpu-baseline.py --json "$out/baseline.json"

if "$test_program" --exact engine::this_tensorrt_makes_plans_for_this_card >"$out/covers.log" 2>&1; then
  part engine 240 "${run_tests[@]}" engine::
  part line 60 "${run_tests[@]}" line::
  part eight-bits 150 "${run_tests[@]}" eight_bits::
  for precision in fp16 int8 fp8; do
    name="bench-engine-$precision"
    # Floats of 8 bits are there from Ada on.
    if [[ "$precision" == fp8 ]] && awk -v sm="$capability" 'BEGIN { exit !(sm + 0 < 8.9) }'; then
      note "$name" "not run" 0 "compute capability $capability has no floats of 8 bits"
    elif [[ -x "$program" ]]; then
      part "$name" 60 bash -c "bench_model $precision"
    else
      note "$name" "not run" 0 "GPU_PROGRAM names no vcp-line"
    fi
  done
else
  reason="$(sed -n 's/^not covered: //p' "$out/covers.log" | head -n 1)"
  if [[ -n "$reason" ]]; then
    for name in engine line eight-bits bench-engine-{fp16,int8,fp8}; do note "$name" "not run" 0 "$reason"; done
  else
    for name in engine line eight-bits bench-engine-{fp16,int8,fp8}; do
      note "$name" failed 0 "TensorRT's part could not start; see covers.log"
    done
  fi
fi

for tool in memcheck racecheck; do
  if command -v compute-sanitizer >/dev/null; then
    part "$tool" 90 bash -c "sanitize $tool"
  else
    note "$tool" "not run" 0 "compute-sanitizer is not installed"
  fi
done

python3 tests/gpu-report.py "$out" "$card" "$SECONDS" || die "the report could not be written; logs are in $out"
cat "$out/gpu-check.md"

status=0
if grep -q $'^[^\t]*\tfailed\t' "$parts"; then status=1; fi
for required in kernels bench-kernels; do
  grep -q "^$required"$'\tpassed\t' "$parts" || status=1
done
exit "$status"
