#!/bin/sh
# Installs vcp-line as a service on this computer; may be run again at any time. Settings in /etc/vcp-line are kept.
#   install.sh [--binary=FILE] [--openvino=DIR] [--prefix=/usr] [--destdir=DIR] [--uninstall]
# --openvino=DIR copies the OpenVINO libraries in DIR to where the unit looks for them; scripts/openvino.sh prints its DIR.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
binary=$here/../target/release/vcp-line
prefix=/usr
destdir=
openvino=
uninstall=no

for argument in "$@"; do
    case $argument in
        --binary=*) binary=${argument#*=} ;;
        --openvino=*) openvino=${argument#*=} ;;
        --prefix=*) prefix=${argument#*=} ;;
        --destdir=*) destdir=${argument#*=} ;;
        --uninstall) uninstall=yes ;;
        *)
            echo "install.sh: unknown argument $argument; known: --binary= --openvino= --prefix= --destdir= --uninstall" >&2
            exit 2
            ;;
    esac
done

bin=$destdir$prefix/bin/vcp-line
unit=$destdir$prefix/lib/systemd/system/vcp-line@.service
rules=$destdir$prefix/lib/udev/rules.d/99-vcp-line-cameras.rules
sysctl=$destdir$prefix/lib/sysctl.d/60-vcp-line-gige.conf
libraries=$destdir$prefix/lib/vcp-line
share=$destdir$prefix/share/vcp-line
config=$destdir/etc/vcp-line
models=$destdir/var/lib/vcp-line/models

# With a destdir only files are placed: users, services and devices belong to the running system.
live() {
    [ -z "$destdir" ]
}

# tell NEXT-STEP COMMAND…: every file is in its place by then, so one that does not answer (a container has no udevd, and
# its kernel settings belong to the host) stops nothing; it is said, with what brings it about all the same.
tell() {
    next=$1
    shift
    said=$("$@" 2>&1) || echo "install.sh: \`$*\` has failed ($(echo "$said" | head -n 1)); $next" >&2
}

reload() {
    if live && [ -d /run/systemd/system ]; then
        tell "systemd knows the unit after a restart of this computer" systemctl daemon-reload
        tell "cameras get their rights when they are plugged in again" udevadm control --reload
        tell "cameras get their rights when they are plugged in again" \
            udevadm trigger --subsystem-match=usb --subsystem-match=video4linux
        [ ! -f "$sysctl" ] || tell "GigE Vision needs these values: set them on the host" sysctl --quiet --load "$sysctl"
    fi
}

# Copies a text, whose paths follow the prefix.
place() {
    mkdir -p "$(dirname "$3")"
    sed -e "s|/usr/bin/vcp-line|$prefix/bin/vcp-line|g" -e "s|/usr/lib/vcp-line|$prefix/lib/vcp-line|g" \
        -e "s|/usr/share/vcp-line|$prefix/share/vcp-line|g" "$2" >"$3"
    chmod "$1" "$3"
}

if [ "$uninstall" = yes ]; then
    if live && [ -d /run/systemd/system ]; then
        # Patterns stop running lines, but do not disable them.
        systemctl stop 'vcp-line@*.service' || true
        for link in /etc/systemd/system/*.wants/vcp-line@*.service; do
            [ ! -L "$link" ] || tell "remove $link" systemctl disable "${link##*/}"
        done
    fi
    rm -f "$bin" "$unit" "$rules" "$sysctl"
    rm -rf "$libraries" "$share"
    reload
    echo "vcp-line removed; $config and /var/lib/vcp-line are kept"
    exit 0
fi

if [ ! -f "$binary" ]; then
    echo "install.sh: $binary is not there; build it with: cargo build --release, or name it with --binary=FILE" >&2
    exit 1
fi
if [ -n "$openvino" ] && [ ! -e "$openvino/libopenvino_c.so" ]; then
    echo "install.sh: $openvino holds no libopenvino_c.so; name the folder that scripts/openvino.sh prints" >&2
    exit 1
fi
if live && [ "$(id -u)" != 0 ]; then
    echo "install.sh: must be run as root, or with --destdir=DIR" >&2
    exit 1
fi

if live; then
    for group in plugdev render video; do
        getent group "$group" >/dev/null || groupadd --system "$group"
    done
    if ! getent passwd vcp-line >/dev/null; then
        useradd --system --user-group --home-dir /var/lib/vcp-line --shell /usr/sbin/nologin vcp-line
    fi
fi

install -D -m 0755 "$binary" "$bin"
if [ -n "$openvino" ]; then
    mkdir -p "$libraries"
    rm -rf "$libraries/openvino"
    cp -a "$openvino" "$libraries/openvino"
    chmod -R a+rX "$libraries"
fi
# The model that `vcp-line demo` takes when none is named.
if [ -d "$here/../engines/vcp-demo" ]; then
    mkdir -p "$share/engines"
    rm -rf "$share/engines/vcp-demo"
    cp -R "$here/../engines/vcp-demo" "$share/engines/vcp-demo"
    chmod -R a+rX "$share"
fi
place 0644 "$here/vcp-line@.service" "$unit"
place 0644 "$here/RUNBOOK.md" "$share/RUNBOOK.md"
# One example for each kind of camera, and reference.toml with every key.
rm -rf "$share/pipelines"
for example in "$here"/../pipelines/*.toml; do
    place 0644 "$example" "$share/pipelines/${example##*/}"
done
install -D -m 0644 "$here/99-vcp-line-cameras.rules" "$rules"
install -D -m 0644 "$here/60-vcp-line-gige.conf" "$sysctl"
install -d -m 0755 "$models"
# Set-group-id: whatever root puts there belongs to the service's group, and to nobody else.
install -d -m 2750 "$config"
# A sample, not a line: nothing starts that nobody configured.
place 0640 "$here/example-line.toml" "$config/example.toml.sample"
if ! live; then
    echo "vcp-line placed in $destdir; users, groups and the rights of $config are made by install.sh without --destdir"
    exit 0
fi
chgrp -R vcp-line "$config"
reload
echo "vcp-line installed; next, with this sample or an example of $share/pipelines:"
echo "    install -m 0640 -g vcp-line $config/example.toml.sample $config/NAME.toml"
echo "and, when $config/NAME.toml describes your line:"
echo "    vcp-line check $config/NAME.toml && systemctl enable --now vcp-line@NAME"
