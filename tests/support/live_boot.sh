#!/usr/bin/env bash
# An edge box: boots a real systemd over a throw-away copy of a root file system, installs vcp-line in it as its
# instructions say, and lets happen to the service what happens on a plant floor.
#   live_boot.sh PACKAGE OPENVINO VERDICTS [ROOT]
# VERDICTS is the file that gets every verdict a reader has seen. ROOT is what minimal_root.sh has made with these packages; where
# none is named it is this computer's own, which has to have the libraries of cameras. Nothing below it is written to, no service
# of this computer is touched, and nothing is loaded from a network. Findings, FAIL and MISSING as in box.sh.
# shellcheck disable=SC2317  # the functions that wait are given to until_true by name
set -euo pipefail

# shellcheck source=tests/support/box.sh
. "$(dirname "$0")/box.sh"
alone "$0" "$@"

verdicts=$3 below=${4:-/}
: >"$verdicts"
packages=(/srv/vcp-line.deb /srv/vcp-line-openvino.deb)
# shellcheck disable=SC2034  # what `boot` shows to the box
binds=("$1:${packages[0]}" "$2:${packages[1]}")

shows() { inside systemctl show -P "$1" vcp-line@demo; }
state() { echo "$(shows ActiveState)/$(shows SubState)/$(shows NRestarts)"; }
is() { [[ $(state) == "$1" ]]; }
log() { inside journalctl -b -u vcp-line@demo -o cat; }
events() { wc -l <"$verdicts"; }
more_events_than() { [[ $(events) -gt $1 ]]; }
waiting() { inside vcp-line outbox /var/lib/vcp-line/demo/outbox | sed -n 's/^events that wait *//p'; }
few_wait() { [[ $(waiting) =~ ^[0-2]$ ]]; }

verdicts_come_again() {
  local before
  before=$(events)
  until_true 20 more_events_than "$before" || true
  expect "verdicts come again" "$(more_events_than "$before" && echo yes)" yes
}

# Over this computer's files without apt, which would want all that the package asks for and this computer may lack.
is_installed() {
  if [[ $below == / ]]; then
    answer=$(inside sh -c 'umask 077; exec dpkg --force-depends -i "$@"' dpkg "${packages[@]}" 2>&1) || answer="exit code $?: $answer"
  else
    get install "${packages[@]}" mosquitto gstreamer1.0-tools procps
    inside systemctl start dbus.socket
  fi
  quoted "$(grep -A5 '^vcp-line: ' <<<"$answer")"
  expect "installed" "$(version | cut -d' ' -f1)" ii
  is_set_up_as_told demo synthetic.toml
  inside sed -i 's/^line = .*/line = "demo"/' /etc/vcp-line/demo.toml
  inside sh -c 'printf "fps = 10.0\n[commands]\nsnapshots = \"snapshots\"\n" >>/etc/vcp-line/demo.toml'
  expect "settings copied without a thought" \
    "$(inside sh -c 'umask 027; cp /etc/vcp-line/demo.toml /etc/vcp-line/more.toml; stat -c %G:%a /etc/vcp-line/more.toml')" \
    vcp-line:640
  expect "every key is shown on the box" \
    "$(inside sh -c 'grep -c "^bundle = \"/var/lib/vcp-line/models/vcp-clip\"" /usr/share/vcp-line/pipelines/reference.toml')" 1
}

starts() {
  local began
  # A hang is noticed within seconds here: thirty would only make this longer.
  inside mkdir -p /etc/systemd/system/vcp-line@demo.service.d
  inside sh -c 'printf "[Service]\nWatchdogSec=5\n" >/etc/systemd/system/vcp-line@demo.service.d/quick.conf'
  inside systemctl daemon-reload
  inside systemctl enable --quiet --now mosquitto
  listen 'vcp-line/demo/+/verdict' "$verdicts"
  began=$(now)
  inside systemctl enable --quiet --now vcp-line@demo || true
  within "READY" $(($(now) - began)) 30000
  expect "the service" "$(state)" active/running/0
  expect "its status" "$(shows StatusText | sed 's/ [a-z0-9]*$//')" "1 camera, engine openvino"
  expect "the outbox belongs to" "$(inside stat -c %U:%a /var/lib/vcp-line/demo/outbox)" vcp-line:750
}

# By hand, as root: what is tested is what the service has, before it has ever run and while it runs.
is_checked() {
  local said
  said=$(inside vcp-line check /etc/vcp-line/demo.toml 2>&1 || true)
  while read -r line; do echo "      $line"; done <<<"$said"
  expect "check by hand, $1, ends with" "$(tail -n 1 <<<"$said")" ready
  expect "it is checked as the service" "$(grep -c '^note  checked as the service runs, with its user' <<<"$said")" 1
}

# Settings of a second line, with these lines for its broker.
more_settings() {
  inside sed -e 's/^line = .*/line = "more"/' -e "s#^url = .*#$1#" /etc/vcp-line/demo.toml >"$work/more.toml"
  inside sh -c 'cat >/etc/vcp-line/more.toml' <"$work/more.toml"
}
# Exit code of a check of them.
more_is_checked() {
  local code=0
  inside vcp-line check --json /etc/vcp-line/more.toml >"$work/said" 2>&1 || code=$?
  echo "$code $(sed -n 's/^  "ready": \([a-z]*\).*/\1/p' "$work/said")"
}

# Nothing is left of it, and it sees what only the service sees.
is_checked_before_it_runs() {
  inside systemctl start mosquitto
  is_checked "before its first start"
  expect "folders made by the check" "$(inside sh -c 'ls -d /var/lib/vcp-line/demo /var/cache/vcp-line/demo 2>/dev/null' | wc -l)" 0
  more_settings 'url = "mqtt://127.0.0.1:1"'
  expect "check without a broker" "$(more_is_checked)" "1 false"
  more_settings 'url = "mqtt://127.0.0.1"\nusername = "line"\npassword_file = "mqtt-password"'
  expect "check without the credential that is named" "$(more_is_checked)" "78 false"
  inside sh -c 'umask 077; mkdir -p /etc/credstore; echo secret >/etc/credstore/vcp-line.more.mqtt-password'
  expect "check with a credential that only root can read" "$(more_is_checked)" "0 true"
  inside rm /etc/vcp-line/more.toml /etc/credstore/vcp-line.more.mqtt-password
}

inspects() {
  until_true 20 more_events_than 3 || true
  expect "verdicts reach the broker" "$(more_events_than 3 && echo yes)" yes
  expect "the state at the broker" "$(nsenter --target "$leader" --net mosquitto_sub -h 127.0.0.1 -W 5 -C 1 \
    -t vcp-line/demo/state | sed -n 's/.*"state":"\([a-z]*\)".*/\1/p')" online
}

# A folder that is named without a place lies in the line's state folder, which alone it may write to.
keeps_snapshots() {
  local answer
  nsenter --target "$leader" --net mosquitto_sub -h 127.0.0.1 -W 10 -C 1 -t vcp-line/demo/ack >"$work/answer" 2>&1 &
  local listener=$!
  sleep 0.5
  nsenter --target "$leader" --net mosquitto_pub -h 127.0.0.1 -q 1 -t vcp-line/demo/cmd/snapshot -m '{"correlation_id":"s"}'
  wait "$listener" || true
  answer=$(sed -n 's/.*"path":"\([^"]*\)".*/\1/p' "$work/answer")
  expect "a snapshot lies in" "$(dirname "$answer")" /var/lib/vcp-line/demo/snapshots
  expect "and belongs to" "$(inside stat -c %U "$answer")" vcp-line
}

speaks() {
  expect "the journal tells the start" "$(log | grep -c '1 camera, engine openvino')" 1
  expect "escape sequences in the journal" "$(log | grep -c $'\e' || true)" 0
  expect "systemd complains of the unit or its folders" \
    "$(inside journalctl -b -o cat | grep 'vcp-line' | grep -c 'already exists but\|Unknown key\|Failed to parse' || true)" 0
}

# By journald's own protocol: what happened to a part, and what kind of message it is.
is_asked_by_name() {
  local part
  part=$(inside journalctl -b -u vcp-line@demo -o json VERDICT=fail VERDICT=no_verdict | sed -n 1p)
  expect "a verdict in the journal names" "$(grep -oE '"(CAMERA|VERDICT|EVENT_ID|MESSAGE_ID)"' <<<"$part" | wc -l)" 4
  expect "its event was published" "$(grep -c "$(sed -n 's/.*"EVENT_ID":"\([^"]*\)".*/\1/p' <<<"$part")" "$verdicts")" 1
  expect "lines without a priority" "$(inside journalctl -b -u vcp-line@demo -o json | grep -c -v '"PRIORITY"' || true)" 0
}

is_confined() {
  local exposure
  exposure=$(inside systemd-analyze security vcp-line@demo --no-pager | sed -n 's/.*Overall exposure level.*: \([0-9.]*\) .*/\1/p')
  expect "exposure $exposure is at most 2" "$(awk -v exposure="$exposure" 'BEGIN { print (exposure != "" && exposure <= 2) }')" 1
}

is_watched() {
  local began
  began=$(now)
  inside kill -STOP "$(shows MainPID)"
  until_true 30 is active/running/1 || true
  expect "a service that hangs is started again" "$(state)" active/running/1
  within "and that" $(($(now) - began)) 20000
  expect "because of the watchdog" "$(inside journalctl -b -u vcp-line@demo -o cat | grep -c '^vcp-line@demo.service: Watchdog timeout')" 1
  verdicts_come_again
}

is_restarted() {
  local began
  began=$(now)
  inside kill -KILL "$(shows MainPID)"
  until_true 30 is active/running/2 || true
  expect "a service that is killed is started again" "$(state)" active/running/2
  within "and that" $(($(now) - began)) 15000
  verdicts_come_again
}

survives_a_hangup() {
  local process
  process=$(shows MainPID)
  inside systemctl reload vcp-line@demo
  sleep 4
  expect "a reload does not end it" "$(shows ActiveState) $(shows MainPID)" "active $process"
  expect "and the journal says so" "$(log | grep -c 'SIGHUP: the settings are read again')" 1
  expect "and what came of it" "$(($(log | grep -c reload) >= 1))" 1
}

refuses_wrong_settings() {
  inside cp -p /etc/vcp-line/demo.toml /root/demo.toml
  inside sed -i 's/^defect_threshold/defect_treshold/' /etc/vcp-line/demo.toml
  inside systemctl restart vcp-line@demo 2>/dev/null || true
  until_true 10 is failed/failed/0 || true
  # Longer than RestartSec=.
  sleep 3
  expect "wrong settings end it for good" "$(state)/$(shows ExecMainStatus)" failed/failed/0/78
  expect "and the journal names the key" "$(($(log | grep -c defect_treshold) >= 1))" 1
  inside cp -p /root/demo.toml /etc/vcp-line/demo.toml
  inside systemctl start vcp-line@demo
  expect "with right ones it runs again" "$(state)" active/running/0
  verdicts_come_again
}

stops_in_time() {
  local began
  began=$(now)
  inside systemctl stop vcp-line@demo
  within "stopped" $(($(now) - began)) 5000
  expect "the result" "$(shows ActiveState)/$(shows Result)" inactive/success
  inside systemctl start vcp-line@demo
  verdicts_come_again
}

keeps_verdicts_while_the_broker_is_away() {
  local began
  inside systemctl stop mosquitto
  sleep 3
  expect "without a broker" "$(state)" active/running/0
}

tells_systemd_what_ails_it() {
  expect "its status tells the broker is away" "$(shows StatusText | grep -c broker)" 1
}

ranks_its_lines() {
  local warnings
  warnings=$(inside journalctl -b -u vcp-line@demo -o cat -p warning | grep -c 'broker' || true)
  expect "the journal knows warnings from the rest" "$((warnings >= 1))" 1
}

keeps_across_a_reboot() {
  local began kept code=0
  began=$(now)
  inside systemctl stop vcp-line@demo
  # deadline_s, and what systemd is told on top of it.
  within "stopped without a broker" $(($(now) - began)) 15000
  kept=$(waiting)
  expect "verdicts wait on disk" "$((kept >= 3))" 1
  kill "$reader" 2>/dev/null || true
  inside systemctl reboot --no-wall 2>/dev/null || true
  wait "$nspawn" || code=$?
  nspawn=''
  # systemd-nspawn(1): the container has asked for a reboot.
  expect "the box ends for a reboot with" "$code" 133
  boot
  listen 'vcp-line/demo/+/verdict' "$verdicts"
  until_true 30 is active/running/0 || true
  expect "the line starts by itself" "$(state)" active/running/0
  expect "what the outbox held" "$(log | sed -n 's/.*has not delivered.*waiting=\([0-9]*\).*/\1/p')" "$kept"
  until_true 20 few_wait || true
  expect "is delivered" "$(few_wait && echo yes)" yes
  verdicts_come_again
}

is_removed() {
  inside dpkg --force-depends -r vcp-line vcp-line-openvino >/dev/null 2>&1 || expect "dpkg -r" "$?" 0
  expect "the line has ended" "$(shows ActiveState)" inactive
  expect "no file of the program is left" \
    "$(inside sh -c 'ls -d /usr/bin/vcp-line /usr/lib/vcp-line /usr/share/vcp-line /usr/lib/systemd/system/vcp-line@.service \
      /etc/systemd/system/multi-user.target.wants/vcp-line@demo.service 2>/dev/null' | wc -l)" 0
  expect "settings and verdicts are" "$(inside sh -c 'ls -d /etc/vcp-line/demo.toml /var/lib/vcp-line/demo/outbox' | wc -l)" 2
  power_off
}

box "$below"
boot
is_installed
finds_its_libraries
is_checked_before_it_runs
starts
is_checked "while it runs"
inspects
keeps_snapshots
speaks
is_asked_by_name
is_confined
is_watched
is_restarted
survives_a_hangup
refuses_wrong_settings
stops_in_time
keeps_verdicts_while_the_broker_is_away
tells_systemd_what_ails_it
ranks_its_lines
keeps_across_a_reboot
is_removed
exit "$failed"
