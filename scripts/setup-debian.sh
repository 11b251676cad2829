#!/usr/bin/env bash
# Installs the Debian packages that building, running and testing need. Does nothing when they are there.
# Usage: scripts/setup-debian.sh [build] [run] [test]    (all three when none is named)
set -euo pipefail

build=(
  build-essential clang libclang-dev pkg-config
  libgstreamer1.0-dev libgstreamer-plugins-base1.0-dev libopencv-dev
  python3 python3-pip ca-certificates
)
# What the program is linked with, the plugins of its cameras, and the authorities that TLS trusts (tests/run_packages.rs).
run=(
  libopencv-core406 libopencv-imgproc406 libgstreamer1.0-0 libgstreamer-plugins-base1.0-0 ca-certificates
  gstreamer1.0-plugins-base gstreamer1.0-plugins-good gstreamer1.0-plugins-bad gstreamer1.0-plugins-ugly
  gstreamer1.0-libav gstreamer1.0-tools libaravis-0.8-0
)
test=(
  g++ libgstrtspserver-1.0-dev aravis-tools mosquitto mosquitto-clients openssl iproute2 nftables shellcheck
  systemd systemd-container mmdebstrap procps rabbitmq-server prometheus
  chromium fonts-dejavu-core
)

die() {
  printf 'setup: %s\n' "$*" >&2
  exit 1
}

wanted=()
for group in "${@:-build run test}"; do
  for name in $group; do
    case "$name" in
      build) wanted+=("${build[@]}") ;;
      run) wanted+=("${run[@]}") ;;
      test) wanted+=("${test[@]}") ;;
      *) die "no group '$name': build, run, test" ;;
    esac
  done
done

missing=()
for package in "${wanted[@]}"; do
  state="$(dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null || true)"
  [[ "$state" == installed ]] || missing+=("$package")
done
[[ ${#missing[@]} -eq 0 ]] && exit 0

printf 'setup: installing %s\n' "${missing[*]}" >&2
root=()
if [[ $EUID -ne 0 ]]; then
  command -v sudo >/dev/null || die "not root and no sudo: as root, run 'apt-get install ${missing[*]}'"
  root=(sudo)
fi

# Tests start their own broker, and want only Prometheus' tool; freshly installed services must not take their ports. A policy that is there stays.
policy=/usr/sbin/policy-rc.d
if [[ " ${missing[*]} " =~ \ (mosquitto|rabbitmq-server|prometheus)\  && ! -e $policy ]]; then
  printf '#!/bin/sh\nexit 101\n' | "${root[@]}" install -m 755 /dev/stdin "$policy"
  trap '"${root[@]}" rm -f "$policy"' EXIT
fi
"${root[@]}" apt-get update -qq
"${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >&2
