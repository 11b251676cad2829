#!/usr/bin/env bash
# jpegenc 1.22.0 (gst-plugins-good, Debian 12) writes YUV as it comes. JFIF's samples go from 0 to 255; those of a camera
# that delivers YUY2, UYVY, NV12 or I420 (bt601, the default) from 16 to 235, and jpegenc neither stretches them nor says so.
# Pictures recorded with `… ! jpegenc` have black at 16 and white at 235, the frames of the same camera as RGB at 0 and 253:
# thresholds or memories made of the one do not fit the other. `videoconvert ! video/x-raw,format=RGB ! jpegenc` keeps them.
# Needs gstreamer1.0-tools, gstreamer1.0-plugins-base, gstreamer1.0-plugins-good, python3. Fails when what is seen has changed.
set -euo pipefail
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
version="$(gst-inspect-1.0 jpegenc | sed -n 's/^ *Version *//p')"
run() { timeout 20 gst-launch-1.0 -q "$@"; }
# level: the red sample in the middle of $work/rgb, a picture of 64 x 64.
level() { python3 -c 'import sys; print(open(sys.argv[1], "rb").read()[3 * (32 * 64 + 32)])' "$work/rgb"; }
# shown PATTERN FORMAT [ELEMENT…]: the level that stands in the JPEG, made through these elements.
shown() {
  local pattern="$1" format="$2"
  shift 2
  run videotestsrc num-buffers=1 "pattern=$pattern" ! "video/x-raw,format=$format,width=64,height=64" ! "$@" jpegenc quality=100 ! filesink "location=$work/jpeg"
  run filesrc "location=$work/jpeg" ! jpegdec ! videoconvert ! video/x-raw,format=RGB ! filesink "location=$work/rgb"
  level
}
# live PATTERN FORMAT: the level of the same frame as RGB, without JPEG.
live() {
  run videotestsrc num-buffers=1 "pattern=$1" ! "video/x-raw,format=$2,width=64,height=64" ! videoconvert ! video/x-raw,format=RGB ! filesink "location=$work/rgb"
  level
}
seen=
for format in YUY2 UYVY NV12 I420; do
  seen+="$format: live $(live black "$format") to $(live white "$format"), in a JPEG $(shown black "$format" videoconvert !) to $(shown white "$format" videoconvert !), "
  seen+="through RGB $(shown black "$format" videoconvert ! video/x-raw,format=RGB !) to $(shown white "$format" videoconvert ! video/x-raw,format=RGB !)"$'\n'
done
echo "jpegenc $version"
echo -n "$seen"
expected=
for format in YUY2 UYVY NV12 I420; do
  expected+="$format: live 0 to 253, in a JPEG 16 to 235, through RGB 0 to 253"$'\n'
done
[[ "$version" == 1.22.0 && "$seen" == "$expected" ]]
