# shellcheck shell=bash
# A box that boots for a test: a real systemd over a throw-away copy of a root file system. Sourced by the scripts that let
# something happen to it. Each finding is a line that begins with "ok" or "FAIL"; `failed` is 1 after a FAIL, and
# "MISSING …" with exit code 77 says why this cannot be tried here.

missing() {
  echo "MISSING $*"
  exit 77
}

# Namespaces of its own: whatever ends the script, no mount and no process stays behind.
#   alone SCRIPT ARGUMENTS…
alone() {
  [[ $EUID -eq 0 ]] || missing "root"
  for tool in systemd-nspawn:systemd-container nsenter:util-linux pgrep:procps mosquitto:mosquitto \
    mosquitto_sub:mosquitto-clients; do
    command -v "${tool%:*}" >/dev/null || missing "${tool%:*}: install the Debian package ${tool#*:}"
  done
  for kind in overlay cgroup2; do
    grep -qw "$kind" /proc/filesystems || modprobe -q "$kind" || missing "a kernel with $kind"
  done
  if [[ ${BOX:-} != alone ]]; then
    unshare --mount --pid --fork true 2>/dev/null || missing "the right to make mount and process namespaces"
    BOX=alone exec unshare --mount --pid --fork --kill-child --mount-proc "$@"
  fi
}

failed=0
expect() {
  if [[ $2 == "$3" ]]; then
    echo "ok    $1: $2"
  else
    echo "FAIL  $1: $2, not $3"
    # shellcheck disable=SC2034  # the scripts' exit code
    failed=1
  fi
}
# within WHAT MILLISECONDS MOST
within() { expect "$1 in $2 ms, at most $3" "$(($2 <= $3))" 1; }
now() { date +%s%3N; }
# until_true SECONDS COMMAND…
until_true() {
  local last=$(($(now) + $1 * 1000))
  shift
  until "$@"; do
    [[ $(now) -lt $last ]] || return 1
    sleep 0.2
  done
}
# quoted WHAT: what a program said, set off from the findings.
quoted() {
  local line
  while read -r line; do echo "      $line"; done <<<"$1"
}

work='' name='' nspawn='' leader='' reader='' binds=()
throw_away() {
  [[ -z $nspawn ]] || kill -TERM "$nspawn" 2>/dev/null || true
  umount --lazy "$work" 2>/dev/null || true
  rmdir "$work" 2>/dev/null || true
}

# The copy, its upper layer in memory: nothing below it is written to.      box ROOT
box() {
  work=$(mktemp -d)
  name=vcp-live-$(basename "$work" | tr -d .)
  trap throw_away EXIT
  mount -t tmpfs -o size=3g,mode=755 "$name" "$work"
  mkdir "$work/up" "$work/tmp" "$work/root"
  mount -t overlay "$name" -o "lowerdir=$1,upperdir=$work/up,workdir=$work/tmp" "$work/root" ||
    missing "the right to mount an overlay"
  # Of this computer nothing starts, and the box is none that was there before.
  rm -rf "$work"/root/etc/systemd/system/*.wants "$work"/root/etc/vcp-line "$work"/root/var/lib/vcp-line \
    "$work"/root/var/log/journal "$work"/root/var/lib/mosquitto/* "$work"/root/etc/mosquitto/conf.d/*
  : >"$work/root/etc/machine-id"
}

inside() {
  nsenter --target "$leader" --all \
    env -i HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 SYSTEMD_PAGER= SYSTEMD_COLORS=0 DEBIAN_FRONTEND=noninteractive "$@"
}
# A program of this computer in the network of the box.
beside() { nsenter --target "$leader" --net "$@"; }

came_up() {
  leader=$(pgrep -P "$nspawn" | head -n 1) && [[ -n $leader ]] || return 1
  case $(inside systemctl is-system-running 2>/dev/null || true) in running | degraded) ;; *) return 1 ;; esac
}

# With `binds`, files of this computer that the box sees at another place and cannot change.
boot() {
  local began
  began=$(now)
  SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1 systemd-nspawn --quiet --directory="$work/root" --boot --register=no --keep-unit \
    --private-network --machine="$name" --resolv-conf=off --timezone=off --console=pipe "${binds[@]/#/--bind-ro=}" \
    </dev/null >"$work/console" 2>&1 &
  nspawn=$!
  if ! until_true 60 came_up; then
    echo "FAIL  systemd did not come up:"
    cat "$work/console"
    exit 1
  fi
  echo "      booted in $(($(now) - began)) ms: $(inside systemctl --version | head -n 1)"
}

# A reader with a session of its own: the broker keeps for it what it has not seen.      listen TOPIC FILE
listen() {
  beside mosquitto_sub -h 127.0.0.1 -i judge -c -q 1 -t "$1" >>"$2" 2>/dev/null &
  reader=$!
}

power_off() {
  [[ -z $reader ]] || kill "$reader" 2>/dev/null || true
  inside systemctl poweroff --no-wall 2>/dev/null || true
  wait "$nspawn" || true
  nspawn=''
}

# By apt, from what lies on the box alone: it has no network. What it has said is in `answer`.      get ARGUMENTS…
answer=''
get() {
  local said code=0
  said=$(inside sh -c 'umask 077; exec apt-get --yes --quiet "$@"' get "$@" 2>&1) || code=$?
  [[ $code -eq 0 ]] || quoted "$said"
  expect "apt-get $1 ${*: -1} ends with" "$code" 0
  # apt lets scripts speak to a terminal of its own.
  answer=${said//$'\r'/}
}
# shellcheck disable=SC2016  # dpkg-query's own format
version() { inside dpkg-query -W -f '${db:Status-Abbrev} ${Version}' vcp-line | tr -s ' '; }

finds_its_libraries() {
  expect "libraries that are missing" "$(inside ldd /usr/bin/vcp-line | grep -c 'not found' || true)" 0
  local element
  for element in v4l2src rtspsrc aravissrc filesrc videotestsrc decodebin rtph264depay h264parse avdec_h264 avdec_h265 \
    jpegdec qtdemux bayer2rgb videoconvert appsink; do
    inside gst-inspect-1.0 "$element" >/dev/null 2>&1 || expect "GStreamer element $element" missing there
  done
}

# What the package's script could not do here is said in `answer`, with what brings it about; its last words make the settings
# of a line that the service can read, also for a root whose files nobody else may read.      is_set_up_as_told LINE EXAMPLE
is_set_up_as_told() {
  local last sysctl=/usr/lib/sysctl.d/60-vcp-line-gige.conf said=0 key value
  while read -r key _ value; do
    [[ $(inside sysctl -n "$key" 2>/dev/null || echo 0) -ge $value ]] || said=$((said + 1))
  done < <(inside sed -n '/^net/p' "$sysctl")
  expect "kernel settings that cannot be made are said" "$(grep -c '^vcp-line: GigE Vision needs .*set it on the host' <<<"$answer" || true)" "$said"
  if ! inside udevadm control --reload >/dev/null 2>&1; then
    expect "rules that cannot be read yet are said" "$(grep -c '^vcp-line: .udevadm control .*plugged in again' <<<"$answer" || true)" 1
  fi
  expect "it says how the line is started" "$(grep -c 'vcp-line check /etc/vcp-line/NAME.toml && systemctl enable --now vcp-line@NAME' <<<"$answer")" 1
  last=$(sed -n 's/^ *\(install -m .*\)$/\1/p' <<<"$answer")
  last=${last//NAME/$1}
  last=${last/\/etc\/vcp-line\/example.toml.sample/\/usr\/share\/vcp-line\/pipelines\/$2}
  inside sh -c "umask 077; $last" || true
  expect "the settings of $1 belong to" "$(inside stat -c %U:%G:%a "/etc/vcp-line/$1.toml" || true)" root:vcp-line:640
}
