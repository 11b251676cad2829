#!/usr/bin/env bash
# GStreamer 1.22.0 (Debian 12): jpegdec makes a frame of full size of a JPEG that was cut off in the middle, with and
# without an end marker. The rest is filled up with one value; the buffer is not flagged corrupted, no warning or error is
# on the bus, and gst-launch-1.0 ends with 0, also with max-errors=0: nothing counts as an error.
# Needs gstreamer1.0-tools, gstreamer1.0-plugins-base, gstreamer1.0-plugins-good. Fails when what is seen has changed.
set -euo pipefail
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
cd "$work"
gst-launch-1.0 -q videotestsrc num-buffers=1 pattern=circular ! video/x-raw,width=320,height=240 ! jpegenc ! filesink location=whole.jpg
half=$(($(stat -c %s whole.jpg) / 2))
head -c "$half" whole.jpg >cut.jpg
{ cat cut.jpg; printf '\xff\xd9'; } >marked.jpg

# Buffers with their flags, warnings and errors.
decoded() {
  local status=0
  gst-launch-1.0 -v -m filesrc location="$1" blocksize=10000000 ! jpegdec max-errors=0 ! identity silent=false ! filesink location="$1.raw" \
    >"$1.log" 2>&1 || status=$?
  local frames corrupted warnings
  frames="$(grep -c 'last-message = chain' "$1.log" || true)"
  corrupted="$(grep -ci 'last-message.*corrupted' "$1.log" || true)"
  warnings="$(grep -Ec 'message: (warning|error)|GstMessage(Warning|Error)|\((warning|error)\)' "$1.log" || true)"
  # The last row of the luminance, 320 bytes.
  local values
  values="$(head -c 76800 "$1.raw" | tail -c 320 | od -An -v -t u1 -w1 | sort -u | wc -l)"
  echo "$1: exit $status, frames $frames, $(stat -c %s "$1.raw") bytes, values in the last row $values, corrupted $corrupted, warnings $warnings"
}
{
  gst-launch-1.0 --version | sed -n 's/^GStreamer /GStreamer /p'
  for file in whole.jpg cut.jpg marked.jpg; do decoded "$file"; done
} >seen
cat seen
diff seen - <<'EXPECTED' || { echo "what is seen has changed"; exit 1; }
GStreamer 1.22.0
whole.jpg: exit 0, frames 1, 115200 bytes, values in the last row 123, corrupted 0, warnings 0
cut.jpg: exit 0, frames 1, 115200 bytes, values in the last row 1, corrupted 0, warnings 0
marked.jpg: exit 0, frames 1, 115200 bytes, values in the last row 1, corrupted 0, warnings 0
EXPECTED
echo "as described"
