#!/usr/bin/env bash
# run.sh COMMAND...: runs a command between two real API servers, in a network namespace of their own.
# WEST and EAST name the kubeconfigs of their administrators. West has a controller manager; east has
# none, so that nothing depends on one. Nothing is left running, whatever the command does.
set -euo pipefail
cd "$(dirname "$0")/../.."

if [ -z "${INSIDE_APISERVERS:-}" ]; then
    exec env INSIDE_APISERVERS=1 unshare --net "$0" "$@"
fi
programs=$PWD/target/apiserver
address=10.78.0.1
rm -rf "$programs/failed"
work=$(mktemp -d)
pids=()
finish() {
    status=$?
    trap - EXIT
    # The last started first: a server without its etcd waits for it before it ends.
    for ((i = ${#pids[@]} - 1; i >= 0; i--)); do
        kill "${pids[i]}" 2>/dev/null || true
        wait "${pids[i]}" 2>/dev/null || true
    done
    if [ "$status" != 0 ]; then
        mkdir "$programs/failed"
        (cd "$work" && cp --parents ./*/*.log "$programs/failed")
        echo "apiserver: failed; the servers' logs are in $programs/failed" >&2
    fi
    rm -rf "$work"
    exit "$status"
}
trap finish EXIT
trap 'exit 130' INT TERM

ip link set lo up
ip addr add "$address/32" dev lo
ip route add default dev lo src "$address"

# start NAME PROGRAM ARGUMENT...: in the background, with its log in NAME.log of this directory.
start() {
    "${@:2}" >"$1.log" 2>&1 &
    pids+=($!)
}

# serve NAME PORT: an etcd, an API server, and NAME/kubeconfig.
serve() {
    local name=$1 port=$2
    local store=http://127.0.0.1:$((port + 1)) peers=http://127.0.0.1:$((port + 2))
    mkdir "$work/$name"
    cd "$work/$name"
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 -subj "/CN=$name CA" \
        -keyout ca.key -out ca.crt 2>/dev/null
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 -subj "/CN=$name" \
        -CA ca.crt -CAkey ca.key -addext "subjectAltName=IP:$address" \
        -addext basicConstraints=critical,CA:false -keyout tls.key -out tls.crt 2>/dev/null
    openssl genrsa -out accounts.key 2048 2>/dev/null
    token=$(openssl rand -hex 16)
    echo "$token,admin,admin,system:masters" >tokens.csv
    start etcd "$programs/etcd" --data-dir etcd --listen-client-urls "$store" --advertise-client-urls "$store" \
        --listen-peer-urls "$peers" --initial-advertise-peer-urls "$peers" --initial-cluster "default=$peers"
    start apiserver "$programs/kube-apiserver" --etcd-servers "$store" \
        --bind-address "$address" --secure-port "$port" --insecure-port 0 \
        --tls-cert-file tls.crt --tls-private-key-file tls.key --cert-dir . \
        --token-auth-file tokens.csv --authorization-mode RBAC \
        --service-account-issuer https://kubernetes.default.svc \
        --service-account-signing-key-file accounts.key --service-account-key-file accounts.key \
        --service-cluster-ip-range 10.96.0.0/16 \
        --enable-admission-plugins OwnerReferencesPermissionEnforcement \
        --disable-admission-plugins ServiceAccount \
        --feature-gates EndpointSliceTerminatingCondition=true,EndpointSliceNodeName=true
    cat >kubeconfig <<EOF
apiVersion: v1
kind: Config
current-context: $name
clusters: [{name: $name, cluster: {server: "https://$address:$port", certificate-authority-data: $(base64 -w0 ca.crt)}}]
users: [{name: admin, user: {token: $token}}]
contexts: [{name: $name, context: {cluster: $name, user: admin}}]
EOF
    for _ in $(seq 120); do
        curl -sf --cacert ca.crt -H "authorization: Bearer $token" "https://$address:$port/readyz" >/dev/null && return
        sleep 0.5
    done
    echo "apiserver: $name was not ready after 60 s; the end of its log:" >&2
    tail -n 5 apiserver.log >&2
    exit 1
}

home=$PWD
serve west 6443
start controllers "$programs/kube-controller-manager" --kubeconfig kubeconfig --leader-elect=false \
    --bind-address 127.0.0.1 --port 0 --secure-port 10257 --cert-dir . \
    --use-service-account-credentials=false --service-account-private-key-file accounts.key \
    --root-ca-file ca.crt --controllers "*,-nodelifecycle,-nodeipam,-cloud-node-lifecycle,-route,-service"
serve east 7443
cd "$home"
echo "apiserver: two servers of version 1.20 are ready"
WEST=$work/west/kubeconfig EAST=$work/east/kubeconfig "$@"
