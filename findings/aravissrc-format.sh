#!/usr/bin/env bash
# aravissrc of Aravis 0.8.26 (Debian 12) changes the camera: where the caps leave a choice it does not take the format
# that the camera is set to, but writes another one into it. The simulated camera, set to RGB8, delivers BayerBG8 without
# caps and Mono8 with video/x-raw, and is still set so for whoever opens it next.
# Needs root (a network namespace), aravis-tools, aravis-tools-cli, gstreamer1.0-tools, libaravis-0.8-0, iproute2. Fails when what is seen
# has changed.
set -euo pipefail
work="$(mktemp -d)"
name="finding$$"
camera=
cleanup() {
  [[ -z "$camera" ]] || kill "$camera"
  ip netns delete "$name" 2>/dev/null || true
  rm -rf "$work"
}
trap cleanup EXIT
ip netns add "$name"
ip link add "v$$" mtu 9000 type veth peer name camera mtu 9000 netns "$name"
ip address add 10.98.7.2/24 dev "v$$"
ip link set "v$$" up
ip -n "$name" address add 10.98.7.1/24 dev camera
ip -n "$name" link set camera up
ip -n "$name" link set lo up
ip netns exec "$name" arv-fake-gv-camera-0.8 -i 10.98.7.1 -s finding >"$work/camera" 2>&1 &
camera=$!
sleep 1
format() { arv-tool-0.8 -a 10.98.7.1 control PixelFormat 2>/dev/null | sed -n 's/^PixelFormat = \([A-Za-z0-9]*\).*/\1/p'; }
# stored PIPELINE…: what the camera is set to after RGB8 was written into it and this pipeline has run.
stored() {
  arv-tool-0.8 -a 10.98.7.1 control PixelFormat=RGB8 >/dev/null
  [[ "$(format)" == RGB8 ]] || echo "the camera does not take RGB8"
  timeout 30 gst-launch-1.0 -q aravissrc camera-name=10.98.7.1 num-buffers=3 packet-size=8000 auto-packet-size=false "$@" ! fakesink \
    >"$work/launch" 2>&1 || true
  format
}
{
  dpkg-query -W -f '${Package} ${Version}\n' libaravis-0.8-0
  echo "any caps: $(stored)"
  echo "video/x-raw: $(stored ! video/x-raw)"
  echo "video/x-raw,format=RGB: $(stored ! video/x-raw,format=RGB)"
} >"$work/seen"
cat "$work/seen"
diff "$work/seen" - <<'EXPECTED' || { echo "what is seen has changed"; exit 1; }
libaravis-0.8-0 0.8.26-1
any caps: BayerBG8
video/x-raw: Mono8
video/x-raw,format=RGB: RGB8
EXPECTED
echo "as described"
