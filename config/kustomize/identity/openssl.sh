#!/bin/sh
# Signs the gateway's identity with the mesh's issuer: openssl.sh ISSUER_CRT ISSUER_KEY ANCHORS OUT
#
# The name is that of the Service's annotation in ../base/service.yaml, the one that other clusters
# expect. OUT gets tls.crt (leaf, then issuer), tls.key and ca.crt. Linkerd keeps its issuer in the
# Secret linkerd-identity-issuer and its anchors in the ConfigMap linkerd-identity-trust-roots,
# both in the namespace linkerd. DAYS is the validity, 365.
set -eu
[ $# = 4 ] || {
    echo "usage: openssl.sh ISSUER_CRT ISSUER_KEY ANCHORS OUT" >&2
    exit 64
}
issuer=$1 issuer_key=$2 anchors=$3 out=$4
service=$(dirname "$0")/../base/service.yaml
identity=$(sed -n 's/^ *mirror\.linkerd\.io\/gateway-identity: *//p' "$service")
[ -n "$identity" ] || {
    echo "openssl.sh: $service has no annotation mirror.linkerd.io/gateway-identity" >&2
    exit 64
}

# The key is for its owner only, from the first moment.
umask 077
mkdir -p "$out"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cat >"$work/extensions" <<EOF
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth, clientAuth
subjectAltName = critical, DNS:$identity
EOF
# No common name: it may have 64 letters, and nobody reads it.
openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj / \
    -keyout "$out/tls.key" -out "$work/request" 2>"$work/log" || { cat "$work/log" >&2; exit 1; }
openssl x509 -req -in "$work/request" -CA "$issuer" -CAkey "$issuer_key" -days "${DAYS:-365}" \
    -set_serial "0x$(openssl rand -hex 16)" -sha256 -extfile "$work/extensions" \
    -out "$work/leaf" 2>"$work/log" || { cat "$work/log" >&2; exit 1; }
cat "$work/leaf" "$issuer" >"$out/tls.crt"
cat "$anchors" >"$out/ca.crt"

echo "$out is $identity; next:"
echo "kubectl -n linkerd-multicluster create secret generic linkerd-gateway-identity \\"
echo "  --from-file=$out/tls.crt --from-file=$out/tls.key --from-file=$out/ca.crt"
