#!/bin/sh
# Makes a certificate authority for one plant, and a certificate for its broker, where nobody else issues them.
#   broker-certificates.sh HOST [DIR]
# HOST is the broker's name as it stands in [mqtt] url. DIR (default .) gets ca.pem for every client, broker.pem and
# broker.key for the broker, and ca.key, which belongs into a safe place and on no broker. Run again, with ca.key brought
# back, it renews broker.pem and broker.key; owner and rights stay as they were given to the files before.
set -eu

if [ $# -lt 1 ] || [ $# -gt 2 ]; then
    echo "usage: broker-certificates.sh HOST [DIR]" >&2
    exit 2
fi
host=$1
directory=${2:-.}
case $host in
    '' | *[!A-Za-z0-9.-]*)
        echo "broker-certificates.sh: \"$host\" is no host name" >&2
        exit 2
        ;;
esac
command -v openssl >/dev/null || {
    echo "broker-certificates.sh: openssl is missing; install the package openssl" >&2
    exit 1
}
mkdir -p "$directory"
cd "$directory"
for half in pem key; do
    [ "$half" = pem ] && other=key || other=pem
    if [ -f "ca.$half" ] && [ ! -f "ca.$other" ]; then
        echo "broker-certificates.sh: $directory holds ca.$half without its ca.$other: bring ca.$other back for the renewal," \
            "or name another DIR for a new authority, which every client then has to be given" >&2
        exit 1
    fi
done
umask 077
settings=$(mktemp)
request=$(mktemp)
trap 'rm -f "$settings" "$request" ca.key.new ca.pem.new ca.srl.new broker.key.new broker.pem.new' EXIT
printf '[req]\ndistinguished_name=dn\n[dn]\n' >"$settings"

# put MODE FILE: FILE.new takes the place of FILE, with its owner and rights; MODE is for one that is not there yet.
put() {
    if [ -e "$2" ]; then
        cp --attributes-only --preserve=mode,ownership "$2" "$2.new"
    else
        chmod "$1" "$2.new"
    fi
    mv -f "$2.new" "$2"
}

if [ ! -f ca.key ]; then
    openssl req -config "$settings" -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 3650 \
        -subj "/CN=vcp-line plant authority" -addext basicConstraints=critical,CA:TRUE \
        -addext keyUsage=critical,keyCertSign,cRLSign -keyout ca.key.new -out ca.pem.new 2>/dev/null
    put 0600 ca.key
    put 0644 ca.pem
fi
openssl req -config "$settings" -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj "/CN=$host" \
    -addext "subjectAltName=DNS:$host" -addext extendedKeyUsage=serverAuth -keyout broker.key.new -out "$request" 2>/dev/null
[ ! -f ca.srl ] || cp ca.srl ca.srl.new
openssl x509 -req -in "$request" -CA ca.pem -CAkey ca.key -CAserial ca.srl.new -CAcreateserial -days 730 \
    -copy_extensions copy -out broker.pem.new 2>/dev/null
put 0600 ca.srl
put 0600 broker.key
put 0644 broker.pem
echo "broker.pem and broker.key are for $host until $(openssl x509 -in broker.pem -noout -enddate | cut -d= -f2)"
