#!/bin/sh
# Installs vcp-line as a service on this computer; may be run again at any time. Settings in /etc/vcp-line are kept.
#   install.sh [--binary=FILE] [--prefix=/usr] [--destdir=DIR] [--uninstall]
set -eu

here=$(cd "$(dirname "$0")" && pwd)
binary=$here/../target/release/vcp-line
prefix=/usr
destdir=
uninstall=no

for argument in "$@"; do
    case $argument in
        --binary=*) binary=${argument#*=} ;;
        --prefix=*) prefix=${argument#*=} ;;
        --destdir=*) destdir=${argument#*=} ;;
        --uninstall) uninstall=yes ;;
        *)
            echo "install.sh: unknown argument $argument; known: --binary= --prefix= --destdir= --uninstall" >&2
            exit 2
            ;;
    esac
done

bin=$destdir$prefix/bin/vcp-line
unit=$destdir$prefix/lib/systemd/system/vcp-line@.service
rules=$destdir$prefix/lib/udev/rules.d/99-vcp-line-cameras.rules
sysctl=$destdir$prefix/lib/sysctl.d/60-vcp-line-gige.conf
config=$destdir/etc/vcp-line

# With a destdir only files are placed: users, services and devices belong to the running system.
live() {
    [ -z "$destdir" ]
}

reload() {
    if live && [ -d /run/systemd/system ]; then
        systemctl daemon-reload
        udevadm control --reload
    fi
}

if [ "$uninstall" = yes ]; then
    if live && [ -d /run/systemd/system ]; then
        systemctl disable --now 'vcp-line@*.service' || true
    fi
    rm -f "$bin" "$unit" "$rules" "$sysctl"
    reload
    echo "vcp-line removed; $config and /var/lib/vcp-line are kept"
    exit 0
fi

if [ ! -f "$binary" ]; then
    echo "install.sh: $binary is not there; build it with: cargo build --release, or name it with --binary=FILE" >&2
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
mkdir -p "$(dirname "$unit")"
sed "s|/usr/bin/vcp-line|$prefix/bin/vcp-line|g" "$here/vcp-line@.service" >"$unit"
chmod 0644 "$unit"
install -D -m 0644 "$here/99-vcp-line-cameras.rules" "$rules"
install -D -m 0644 "$here/60-vcp-line-gige.conf" "$sysctl"
install -d -m 0750 "$config"
# A sample, not a line: nothing starts that nobody configured.
install -m 0640 "$here/example-line.toml" "$config/example.toml.sample"
if live; then
    chgrp -R vcp-line "$config"
fi
reload
echo "vcp-line installed; next: cp $config/example.toml.sample $config/NAME.toml, edit it, then"
echo "    vcp-line check $config/NAME.toml && systemctl enable --now vcp-line@NAME"
