#!/usr/bin/env bash
# amqtt 0.12.1 (PyPI) as a broker:
# - A retained message reaches a new subscriber twice while anybody else subscribes to the same topic.
# - With `allow_anonymous: True` nothing is kept for a client with clean session = 0 that is away, also when it gives a
#   name and subscribes with QoS 1; with `allow_anonymous: False` it is.
# Needs mosquitto-clients, python3-pip. Fails when what is seen has changed.
set -euo pipefail
work="$(mktemp -d)"
broker=
cleanup() {
  [[ -z "$broker" ]] || kill "$broker"
  rm -rf "$work"
}
trap cleanup EXIT
python3 -m pip install --quiet --root-user-action=ignore --disable-pip-version-check --no-warn-conflicts --target "$work/python" amqtt==0.12.1
export PYTHONPATH="$work/python"

# serve ANONYMOUS: starts the broker on a free port.
serve() {
  port="$(python3 -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])')"
  cat >"$work/broker.py" <<PYTHON
import asyncio
from amqtt.broker import Broker

async def serve():
    plugins = {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": $1}}
    await Broker({"listeners": {"default": {"type": "tcp", "bind": "127.0.0.1:$port"}}, "plugins": plugins}).start()
    await asyncio.Event().wait()

asyncio.run(serve())
PYTHON
  [[ -z "$broker" ]] || kill "$broker"
  python3 "$work/broker.py" 2>/dev/null &
  broker=$!
  for _ in $(seq 100); do
    (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null && return
    sleep 0.1
  done
  echo "the broker does not listen" >&2
  exit 1
}
publish() { mosquitto_pub -h 127.0.0.1 -p "$port" -u user -q 1 "$@"; }
# Messages until two seconds are over.
received() { mosquitto_sub -h 127.0.0.1 -p "$port" -u user -q 1 -W 2 -F '%t %p' "$@" 2>/dev/null || true; }
# A reader with a session that is kept, gone again.
missed() {
  received -c -i reader -t plant/verdict >/dev/null
  publish -t plant/verdict -m kept
  received -c -i reader -t plant/verdict | wc -l
}

{
  serve True
  publish -r -t plant/state -m online
  echo "the first subscriber gets $(received -t plant/state | wc -l)"
  mosquitto_sub -h 127.0.0.1 -p "$port" -q 1 -t plant/state -W 6 >/dev/null 2>&1 &
  other=$!
  sleep 1
  echo "beside another one, it gets $(received -t plant/state | wc -l)"
  wait "$other" || true
  echo "kept for a client that was away, anybody allowed: $(missed)"
  serve False
  echo "kept for a client that was away, with a name: $(missed)"
} >"$work/seen"
cat "$work/seen"

diff "$work/seen" - <<'EXPECTED' || { echo "what is seen has changed"; exit 1; }
the first subscriber gets 1
beside another one, it gets 2
kept for a client that was away, anybody allowed: 0
kept for a client that was away, with a name: 1
EXPECTED
echo "as described"
