#!/usr/bin/env bash
# mosquitto 2.0.11 (Debian 12) closes an MQTT 5 connection whose client identifier another one takes without a word.
# MQTT 5 (MQTT-3.1.4-3) has the server send DISCONNECT with reason code 0x8E, session taken over, before. A client that
# tells a second client with its name from a broken cable by that reason code never does.
# Needs mosquitto, python3. Fails when what is seen has changed.
set -euo pipefail
work="$(mktemp -d)"
broker=
cleanup() {
  [[ -z "$broker" ]] || kill "$broker"
  rm -rf "$work"
}
trap cleanup EXIT
program="$(PATH="$PATH:/usr/sbin" command -v mosquitto)"
version="$({ "$program" -h || true; } | sed -n '1s/mosquitto version //p')"
port="$(python3 -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])')"
printf 'listener %s 127.0.0.1\nallow_anonymous true\n' "$port" >"$work/conf"
"$program" -c "$work/conf" 2>/dev/null &
broker=$!
cat >"$work/two.py" <<'PYTHON'
import socket
import sys
import time


def connected(port):
    def text(value):
        return len(value).to_bytes(2, "big") + value

    # Version 5, clean start, keep alive 60 s, no properties.
    body = text(b"MQTT") + bytes([5, 2, 0, 60, 0]) + text(b"the same name")
    for attempt in range(50):
        try:
            stream = socket.create_connection(("127.0.0.1", port))
            break
        except ConnectionRefusedError:
            time.sleep(0.1)
    stream.sendall(bytes([0x10, len(body)]) + body)
    stream.settimeout(5)
    answer = stream.recv(100)
    assert answer[0] == 0x20 and answer[3] == 0, answer.hex()
    return stream


first = connected(int(sys.argv[1]))
second = connected(int(sys.argv[1]))
packet = first.recv(100)
print("the first connection gets", packet.hex() or "its end and no DISCONNECT")
PYTHON
{
  echo "mosquitto $version"
  python3 "$work/two.py" "$port"
} >"$work/seen"
cat "$work/seen"
diff "$work/seen" - <<'EXPECTED' || { echo "what is seen has changed"; exit 1; }
mosquitto 2.0.11
the first connection gets its end and no DISCONNECT
EXPECTED
echo "as described"
