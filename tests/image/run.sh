#!/usr/bin/env bash
# Runs a built image: called by build.sh in network and mount namespaces of its own, with the
# image's root, a directory for files, and the image's command.
set -euo pipefail
root=$1 files=$2
shift 2

fail() {
    echo "image-test: $*" >&2
    exit 1
}
target=echo.test.svc.cluster.local:7
# What `certs` gives the gateway unless told otherwise.
identity=linkerd-gateway.linkerd-multicluster.serviceaccount.identity.linkerd.cluster.local
binary=/usr/bin/linkerd-gateway

# Nothing in it can be executed but the gateway and what it is linked to.
stray=$(find "$root" -type f -perm /111 ! -path "$root$binary" ! -name '*.so*')
[ -z "$stray" ] || fail "the image has programs beside the gateway: $stray"
[ -z "$(find "$root" -perm /6000)" ] || fail "the image has setuid files"
size=$(du -sm "$root" | cut -f 1)
echo "image-test: $size MB, files: $(cd "$root" && find . -type f | tr '\n' ' ')"

# Files as Kubernetes mounts them: the configuration and the Secret, readable by UID 2103 only.
rm -rf "$files"
mkdir -p "$files"
mount --bind "$root" "$root"
mkdir -p "$root/etc/linkerd-gateway"
mount --bind "$files" "$root/etc/linkerd-gateway"
chroot "$root" "$binary" certs --out /etc/linkerd-gateway/certs >/dev/null
cat >"$files/gateway.toml" <<EOF
[gateway]
lame_duck = "1s"
[identity]
certificate = "/etc/linkerd-gateway/certs/gateway/tls.crt"
key = "/etc/linkerd-gateway/certs/gateway/tls.key"
trust_anchors = ["/etc/linkerd-gateway/certs/ca.crt"]
[[route]]
target = "$target"
endpoints = ["127.0.0.1:7007"]
EOF
chown -R 2103:2103 "$files"
mount -o remount,ro,bind "$root/etc/linkerd-gateway"
mount -o remount,ro,bind "$root"

# Nothing can be written, not even by root.
if answer=$(chroot "$root" "$binary" man --out /written 2>&1); then
    fail "the root could be written to"
fi
[[ $answer == *"Read-only file system"* ]] || fail "writing failed, but said: $answer"

ip link set lo up
perl -MIO::Socket::INET -e '
    my $server = IO::Socket::INET->new(LocalAddr => "127.0.0.1:7007", Listen => 5) or die $!;
    while (my $client = $server->accept) { while (<$client>) { print $client $_ } close $client }
' &
echo=$!
# As a container runs: the first process of its PID namespace, which gets no signal by default.
unshare --pid --fork --kill-child chroot --userspec=2103:2103 --groups= "$root" "$binary" "$@" \
    2>"$files.log" &
parent=$!
trap 'kill $echo $parent 2>/dev/null || true' EXIT

for _ in $(seq 100); do
    code=$(curl -s -o /dev/null -w '%{http_code}' http://127.0.0.1:4191/ready || true)
    [ "$code" != 200 ] || break
    sleep 0.1
done
[ "$code" = 200 ] || fail "/ready says $code; its log: $(cat "$files.log")"

pid=$(tr -d ' ' <"/proc/$parent/task/$parent/children")
status=$(awk '/^(Uid|Gid|NSpid):/ { print $1, $2, $NF }' "/proc/$pid/status" | tr '\n' ' ')
[ "$status" = "Uid: 2103 2103 Gid: 2103 2103 NSpid: $pid 1 " ] || fail "it runs as $status"

answer=$(echo hello | timeout 10 chroot "$root" "$binary" connect 127.0.0.1:4143 \
    --ca /etc/linkerd-gateway/certs/ca.crt --certs /etc/linkerd-gateway/certs/client \
    --identity "$identity" --target "$target")
[ "$answer" = hello ] || fail "through the gateway came: $answer"

kill -TERM "$pid"
code=0
wait "$parent" || code=$?
[ "$code" = 0 ] || fail "TERM ended it with $code; its log: $(cat "$files.log")"
kill $echo
echo "image-test: ok: /ready, an authenticated echo, UID 2103 as PID 1, read-only root, TERM ends with 0"
