#!/usr/bin/env bash
# Builds a real kube-apiserver and kube-controller-manager, for Debian's etcd, from Debian 12's source package of
# Kubernetes 1.20, the only complete source of one that its repositories have, into target/apiserver,
# where they are kept for the next time.
#
# Three things are changed. EndpointSlices are served as discovery.k8s.io/v1, which is younger than
# 1.20: its v1beta1 has the same fields but for zones and hints, and is renamed. Two libraries are
# older than Debian's Go: one crashes and is replaced by Debian's, the other takes empty strings of
# custom resources for null (it compares what reflect.Value holds inside) and is told not to.
#
# Needs Debian 12, root for the packages, 3 GB of disk and, at first, five minutes.
set -euo pipefail
cd "$(dirname "$0")/../.."

fail() {
    echo "apiserver: $*" >&2
    exit 1
}
work=$PWD/target/apiserver
[ ! -e "$work/complete" ] || exit 0
[ "$(id -u)" = 0 ] || fail "needs root, to install packages; nothing was built"

apt-get update -qq
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
    golang-go golang-github-modern-go-reflect2-dev openssl curl iproute2

source=$work/src/k8s.io/kubernetes
rm -rf "$work"
mkdir -p "$work/lists/partial" "$source"
cd "$work"
# Not installed: Debian would start it as a service.
apt-get -o APT::Sandbox::User=root download -qq etcd-server
dpkg-deb --extract etcd-server_*.deb etcd-server
mv etcd-server/usr/bin/etcd .
# shellcheck disable=SC2016 # apt's own variables
mirror=$(apt-get indextargets --format '$(CODENAME) $(COMPONENT) $(REPO_URI)' \
    | awk '$1 == "bookworm" && $2 == "main" { print $3; exit }')
[ -n "$mirror" ] || fail "apt has no mirror of Debian 12 (bookworm): its kubernetes package is the last with a server"
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
echo "deb-src [signed-by=$keyring] $mirror bookworm main" >sources.list
apt=(-o "Dir::Etc::SourceList=$work/sources.list" -o Dir::Etc::SourceParts=-
    -o "Dir::State::Lists=$work/lists" -o APT::Sandbox::User=root)
apt-get "${apt[@]}" update -qq
apt-get "${apt[@]}" source -qq --download-only kubernetes
tar xf kubernetes_1.20.*.orig.tar.gz --strip-components=1 -C "$source"

export GOPATH=$work GO111MODULE=off CGO_ENABLED=0 GOCACHE=$work/cache
cd "$source"
sed -i 's/Version: "v1beta1"/Version: "v1"/' \
    staging/src/k8s.io/api/discovery/v1beta1/register.go pkg/apis/discovery/v1beta1/register.go
sed -i 's/if data == nil || reflect.DeepEqual(reflect.Zero.*{$/if data == nil {/' \
    vendor/k8s.io/kube-openapi/pkg/validation/validate/type.go
grep -q 'if data == nil {' vendor/k8s.io/kube-openapi/pkg/validation/validate/type.go
rm -r vendor/github.com/modern-go/reflect2
cp -rL /usr/share/gocode/src/github.com/modern-go/reflect2 vendor/github.com/modern-go/

# The one file that the source does not bring: the schemas of all kinds.
kinds=$(grep -rl '+k8s:openapi-gen=' --include='*.go' pkg staging/src/k8s.io \
    | grep -vE 'code-generator|sample-|/testdata/|generated/|apis/example' | xargs -n1 dirname | sort -u \
    | sed 's#^staging/src/#k8s.io/kubernetes/vendor/#; s#^pkg/#k8s.io/kubernetes/pkg/#' | paste -sd,)
go run ./vendor/k8s.io/kube-openapi/cmd/openapi-gen --logtostderr --input-dirs "$kinds" \
    --output-package k8s.io/kubernetes/pkg/generated/openapi --output-file-base zz_generated.openapi \
    --go-header-file hack/boilerplate/boilerplate.generatego.txt --report-filename "$work/violations"

version=k8s.io/kubernetes/vendor/k8s.io/component-base/version
flags="-s -w -X $version.gitVersion=v1.20.2 -X $version.gitMajor=1 -X $version.gitMinor=20"
for program in kube-apiserver kube-controller-manager; do
    go build -trimpath -ldflags "$flags" -o "$work/$program" "./cmd/$program"
done
cd "$work"
rm -rf src cache lists pkg kubernetes_* etcd-server*
touch complete
