#!/usr/bin/env bash
# RabbitMQ 3.10.8 (Debian 12) with its MQTT plugin:
# - A topic arrives as another one: a dot as a slash, `*` as `+`, which is no topic that MQTT lets anybody publish to.
# - When a client takes the name of another one, the last will of that one, whose connection was ended, is not published.
# Needs what rabbitmq-server needs (erlang), and mosquitto-clients. Fails when what is seen has changed.
set -euo pipefail
work="$(mktemp -d)"
children=()
cleanup() {
  for child in "${children[@]}"; do
    kill "$child" 2>/dev/null || true
    wait "$child" 2>/dev/null || true
  done
  rm -rf "$work"
}
trap cleanup EXIT
(cd "$work" && apt-get download -qq rabbitmq-server=3.10.8-1.1+deb12u1 2>/dev/null && dpkg -x rabbitmq-server_*.deb package)
server="$work/package/usr/lib/rabbitmq/lib/rabbitmq_server-3.10.8/sbin/rabbitmq-server"
free() { python3 -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
port="$(free)"
mapper="$(free)"
mkdir "$work"/{home,mnesia,logs}
printf 'listeners.tcp = none\nmqtt.listeners.tcp.1 = 127.0.0.1:%s\nmqtt.allow_anonymous = true\nlog.console = true\nlog.file = false\n' "$port" >"$work/rabbitmq.conf"
echo '[rabbitmq_mqtt].' >"$work/plugins"
touch "$work/env"
epmd -port "$mapper" -address 127.0.0.1 &
children=("$!")
# Otherwise it changes folder and user; RUNNING_UNDER_SYSTEMD makes the script become the broker.
env HOME="$work/home" ERL_EPMD_PORT="$mapper" RABBITMQ_NODENAME="finding$port@localhost" RABBITMQ_DIST_PORT="$(free)" \
  RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS='-kernel inet_dist_use_interface {127,0,0,1}' RABBITMQ_CONF_ENV_FILE="$work/env" \
  RABBITMQ_CONFIG_FILE="$work/rabbitmq.conf" RABBITMQ_ENABLED_PLUGINS_FILE="$work/plugins" \
  RABBITMQ_MNESIA_BASE="$work/mnesia" RABBITMQ_LOG_BASE="$work/logs" RUNNING_UNDER_SYSTEMD=true \
  "$server" >"$work/log" 2>&1 </dev/null &
children=("$!" "${children[@]}")
for _ in $(seq 600); do
  (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null && break
  sleep 0.1
done
publish() { mosquitto_pub -h 127.0.0.1 -p "$port" -q 1 "$@"; }
subscribe() { exec mosquitto_sub -h 127.0.0.1 -p "$port" -q 1 "$@"; }

(subscribe -v -t '#' -W 6 >"$work/heard" 2>/dev/null) &
reader=$!
sleep 1
publish -t 'hall.2/line' -m dot
publish -t 'hall/2*4' -m star
(subscribe -i killed -t none --will-topic will --will-payload 'of the one that is killed' 2>/dev/null) &
killed=$!
(subscribe -i same -t none --will-topic will --will-payload 'of the one that is taken over' 2>/dev/null) &
first=$!
sleep 1
kill -KILL "$killed"
(subscribe -i same -t none -W 1 2>/dev/null) || true
sleep 1
wait "$reader" || true
kill "$first"
{
  sed -n 's/.*RabbitMQ \([0-9.]*\)$/RabbitMQ \1/p' "$work/log" | head -1
  sed 's/^/heard: /' "$work/heard"
  grep -q "duplicate id 'same'" "$work/log" && echo "a connection was taken over"
} >"$work/seen"
cat "$work/seen"
diff "$work/seen" - <<'EXPECTED' || { echo "what is seen has changed"; exit 1; }
RabbitMQ 3.10.8
heard: hall/2/line dot
heard: hall/2+4 star
heard: will of the one that is killed
a connection was taken over
EXPECTED
echo "as described"
