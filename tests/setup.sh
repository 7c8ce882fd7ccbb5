#!/bin/sh
# Installs the programs that tests run against: openssl, curl, ip, ss, libfaketime, systemd-analyze.
# Needs root for what is missing; without root it says what to install. Two tests want what Debian
# has not or what is large, and are skipped without it: kubectl (renders the overlays), promtool
# (reads the alert rules).
set -eu

missing=""
command -v openssl >/dev/null || missing="$missing openssl"
command -v curl >/dev/null || missing="$missing curl"
command -v ip >/dev/null || missing="$missing iproute2"
command -v ss >/dev/null || missing="$missing iproute2"
[ -n "$(find /usr/lib -name libfaketime.so.1 2>/dev/null)" ] || missing="$missing faketime"
# Without it two checks of the units are skipped: no reason to stop.
[ "$(id -u)" != 0 ] || command -v systemd-analyze >/dev/null || missing="$missing systemd"
command -v kill >/dev/null || missing="$missing procps"

if [ -n "$missing" ]; then
    if [ "$(id -u)" != 0 ]; then
        echo "tests/setup.sh: the tests need:$missing; install them, or run this as root" >&2
        exit 1
    fi
    apt-get update -qq
    # shellcheck disable=SC2086 # one word per package
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq $missing
fi
