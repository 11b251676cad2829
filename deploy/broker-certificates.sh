#!/bin/sh
# Makes a certificate authority for one plant, and a certificate for its broker, where nobody else issues them.
#   broker-certificates.sh HOST [DIR]
# HOST is the broker's name as it stands in [mqtt] url. DIR (default .) gets ca.pem for every client, broker.pem and
# broker.key for the broker, and ca.key, which belongs into a safe place and on no broker. Run again it renews broker.pem.
set -eu

if [ $# -lt 1 ] || [ $# -gt 2 ]; then
    echo "usage: broker-certificates.sh HOST [DIR]" >&2
    exit 2
fi
host=$1
directory=${2:-.}
case $host in
    *[!A-Za-z0-9.-]*)
        echo "broker-certificates.sh: \"$host\" is no host name" >&2
        exit 2
        ;;
esac
mkdir -p "$directory"
cd "$directory"
umask 077
settings=$(mktemp)
request=$(mktemp)
trap 'rm -f "$settings" "$request"' EXIT
printf '[req]\ndistinguished_name=dn\n[dn]\n' >"$settings"

if [ ! -f ca.key ]; then
    openssl req -config "$settings" -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 3650 \
        -subj "/CN=vcp-line plant authority" -addext basicConstraints=critical,CA:TRUE \
        -addext keyUsage=critical,keyCertSign,cRLSign -keyout ca.key -out ca.pem 2>/dev/null
fi
openssl req -config "$settings" -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj "/CN=$host" \
    -addext "subjectAltName=DNS:$host" -addext extendedKeyUsage=serverAuth -keyout broker.key.new -out "$request" 2>/dev/null
openssl x509 -req -in "$request" -CA ca.pem -CAkey ca.key -CAcreateserial -days 730 -copy_extensions copy \
    -out broker.pem.new 2>/dev/null
mv broker.key.new broker.key
mv broker.pem.new broker.pem
chmod 0644 ca.pem broker.pem
echo "broker.pem and broker.key are for $host until $(openssl x509 -in broker.pem -noout -enddate | cut -d= -f2)"
