#!/usr/bin/env bash
# An edge box that knows nothing of vcp-line: a bare Debian boots, its packages are installed as deploy/operate.md says, a GigE
# camera is inspected, a second line shares its cores, new and old versions come while they run, and all of it goes again.
#   package_boot.sh ROOT PACKAGE NEWER OPENVINO VERDICTS
# ROOT is what minimal_root.sh has made with these packages, which lie in its /root; VERDICTS is the file that gets every
# verdict a reader has seen. Findings, FAIL and MISSING as in box.sh.
# shellcheck disable=SC2317  # the functions that wait are given to until_true by name
set -euo pipefail

# shellcheck source=tests/support/box.sh
. "$(dirname "$0")/box.sh"
command -v chromium >/dev/null || missing "chromium: install the Debian package chromium"
alone "$0" "$@"
below=$1 older=/root/$(basename "$2") newer=/root/$(basename "$3") openvino=/root/$(basename "$4") verdicts=$5
: >"$verdicts"

lines=(gige synthetic)
shows() { inside systemctl show -P "$2" "vcp-line@$1"; }
state() { echo "$(shows "$1" ActiveState)/$(shows "$1" SubState)/$(shows "$1" NRestarts)"; }
verdicts_of() { grep -c "\"line\":\"$1\"" "$verdicts" || true; }
more_than() { [[ $(verdicts_of "$1") -gt $2 ]]; }
judges() {
  local before
  before=$(verdicts_of "$1")
  until_true 30 more_than "$1" "$((before + 3))" || true
  expect "verdicts of $1 $2" "$(more_than "$1" "$((before + 3))" && echo come)" come
}
waiting() { inside vcp-line outbox "/var/lib/vcp-line/$1/outbox" | sed -n 's/^events that wait *//p'; }
few_wait() { [[ $(waiting "$1") =~ ^[0-2]$ ]]; }
is_bare() {
  expect "the box knows the program" "$(inside sh -c 'command -v vcp-line' || echo no)" no
  expect "and has libraries of cameras" "$(inside sh -c 'ls /usr/lib/*/gstreamer-1.0 2>/dev/null' || echo no)" no
}

is_installed() {
  get install "$older" "$openvino" mosquitto aravis-tools gstreamer1.0-tools
  expect "installed" "$(version)" "ii $(inside dpkg-deb --field "$older" Version)"
  finds_its_libraries
}

# As the package says and deploy/operate.md: copy the example of the camera's kind, change what is yours.
is_set_up() {
  is_set_up_as_told gige gige.toml
  inside cp /usr/share/vcp-line/pipelines/synthetic.toml /etc/vcp-line/
  inside sed -i -e 's#^bundle = .*#bundle = "/usr/share/vcp-line/engines/vcp-demo"#' -e 's#^camera = .*#camera = "127.0.0.1"#' \
    -e '/^trigger_source/d' /etc/vcp-line/gige.toml
  inside sh -c 'printf "\n[http]\nlisten = \"127.0.0.1:8090\"\n" >>/etc/vcp-line/gige.toml; echo "fps = 5.0" >>/etc/vcp-line/synthetic.toml'
  expect "settings that were copied belong to" "$(inside stat -c %G /etc/vcp-line/synthetic.toml)" vcp-line
  inside systemctl start mosquitto
  inside systemd-run --quiet --unit=camera arv-fake-gv-camera-0.8 -i 127.0.0.1 -s GV01
  listen 'vcp-line/+/+/verdict' "$verdicts"
  # Recommended with the package, but its unit is static, and such a one deb-systemd-invoke leaves to the next boot.
  expect "check without a running system bus says what it needs" \
    "$(inside vcp-line check /etc/vcp-line/synthetic.toml 2>&1 | grep -c 'system bus: apt-get install dbus && systemctl start dbus.socket')" 1
  inside systemctl start dbus.socket
  local line
  for line in "${lines[@]}"; do
    quoted "$(inside vcp-line check "/etc/vcp-line/$line.toml" 2>&1 || true)" >"$work/said"
    expect "check of $line ends with" "$(tail -n 1 "$work/said" | tr -d ' ')" ready
    grep -q ready "$work/said" || cat "$work/said"
  done
  # Looking for plugins anew is half of a first start from a slow disk: whoever checks has it done then.
  expect "check keeps GStreamer's list of plugins" \
    "$(inside test -s /var/cache/vcp-line/gige/gstreamer-1.0/registry.x86_64.bin && echo kept)" kept
}

starts() {
  local began line
  for line in "${lines[@]}"; do
    began=$(now)
    inside systemctl enable --quiet --now "vcp-line@$line" || inside journalctl -b -u "vcp-line@$line" -o cat | tail -n 20
    echo "      $line READY after $(($(now) - began)) ms, $(shows "$line" StatusText)"
    expect "$line" "$(state "$line")" active/running/0
    judges "$line" "after the start"
  done
}

# By a real browser in the network of the box.
has_a_page() {
  local page
  page=$(beside timeout 90 "$(dirname "$0")/page_text.py" http://127.0.0.1:8090/ 10 "$work/browser" || true)
  expect "the page names the line" "$(grep -cx gige <<<"$page")" 1
  expect "and its state" "$(grep -cx connected <<<"$page")" 1
  expect "and shows verdicts" "$(grep -cE '^shape (pass|fail)$' <<<"$page" | sed 's/^[1-9].*/yes/')" yes
}

# comes VERSION ARGUMENTS…: while both lines run.
comes() {
  local before=() line began wanted=$1
  shift
  for line in "${lines[@]}"; do before+=("$(shows "$line" MainPID)"); done
  began=$(now)
  get "$@"
  echo "      apt-get took $(($(now) - began)) ms"
  expect "then it is" "$(version)" "ii $wanted"
  for line in "${lines[@]}"; do
    expect "$line runs the new files" "$(state "$line") $([[ $(shows "$line" MainPID) != "${before[0]}" ]] && echo anew)" \
      "active/running/0 anew"
    before=("${before[@]:1}")
    expect "$line drained in time" "$(inside journalctl -b -u "vcp-line@$line" -o cat | grep -c 'State .stop-sigterm. timed out' || true)" 0
    judges "$line" "of version $wanted"
  done
}

is_upgraded_and_downgraded() {
  local old new
  old=$(inside dpkg-deb --field "$older" Version) new=$(inside dpkg-deb --field "$newer" Version)
  inside sed -i 's/^defect_threshold.*/defect_threshold = 0.3 # ours/' /etc/vcp-line/gige.toml
  comes "$new" install "$newer"
  expect "settings are kept" "$(inside grep -c '# ours' /etc/vcp-line/gige.toml)" 1
  comes "$old" install --allow-downgrades "$older"
}

keeps_verdicts_while_the_broker_is_away() {
  inside systemctl stop mosquitto
  sleep 3
  get install "$newer"
  local line
  for line in "${lines[@]}"; do
    expect "$line without a broker" "$(state "$line")" active/running/0
    expect "and what it has found waits" "$(($(waiting "$line") >= 3))" 1
  done
  inside systemctl start mosquitto
  kill "$reader" 2>/dev/null || true
  listen 'vcp-line/+/+/verdict' "$verdicts"
  for line in "${lines[@]}"; do
    until_true 30 few_wait "$line" || true
    expect "$line has delivered" "$(few_wait "$line" && echo yes)" yes
  done
}

is_removed() {
  get remove vcp-line
  expect "it says what it keeps" "$(grep -c 'is kept' <<<"$answer")" 2
  local line
  for line in "${lines[@]}"; do
    expect "$line has ended" "$(shows "$line" ActiveState)" inactive
    until_true 20 test "$(verdicts_of "$line")" -gt 0 || true
  done
  expect "settings and outboxes are there" \
    "$(inside sh -c 'ls -d /etc/vcp-line/gige.toml /var/lib/vcp-line/gige/outbox /var/lib/vcp-line/synthetic/outbox' | wc -l)" 3
  expect "lines that start with the box" "$(inside sh -c 'ls /etc/systemd/system/multi-user.target.wants/' | grep -c vcp-line || true)" 0
  get purge vcp-line
  expect "purged, settings are gone" "$(inside test -e /etc/vcp-line || echo gone)" gone
  expect "verdicts are not" "$(inside test -e /var/lib/vcp-line/gige/outbox && echo kept)" kept
}

box "$below"
boot
began=$(now)
is_bare
is_installed
is_set_up
starts
has_a_page
within "from a bare box to verdicts and a page" $(($(now) - began)) 900000
is_upgraded_and_downgraded
keeps_verdicts_while_the_broker_is_away
is_removed
sleep 2
power_off
exit "$failed"
