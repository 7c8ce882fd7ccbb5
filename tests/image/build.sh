#!/usr/bin/env bash
# Builds the image from the Dockerfile and runs it: no container engine, no registry.
#
# The Dockerfile is built by buildah in a chroot. Its builder image cannot be pulled here, so it is
# made: Debian by debootstrap from the mirror that apt uses, with gcc and make, and this machine's
# Rust toolchain and downloaded crates mounted into the build. Everything else is the Dockerfile's
# own: the release build runs inside, from the files that .dockerignore lets in.
#
# Needs root. Takes as long as a release build and two minutes more; what debootstrap made is kept
# in target/image for the next time.
set -euo pipefail
cd "$(dirname "$0")/../.."

fail() {
    echo "image-test: $*" >&2
    exit 1
}
[ "$(id -u)" = 0 ] || fail "needs root, for chroot and namespaces; nothing was built"

need=()
command -v buildah >/dev/null || need+=(buildah)
command -v debootstrap >/dev/null || need+=(debootstrap)
command -v curl >/dev/null || need+=(curl)
command -v ip >/dev/null || need+=(iproute2)
if [ ${#need[@]} -gt 0 ]; then
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${need[@]}"
fi

work=$PWD/target/image
mkdir -p "$work"
storage=(--storage-driver vfs --root "$work/storage" --runroot "$work/run")
image=linkerd-gateway:test
builder=linkerd-gateway-build:test

# The builder: no more than the Dockerfile asks of BUILD_IMAGE.
if [ ! -e "$work/base/complete" ]; then
    # shellcheck source=/dev/null # the system's own
    suite=$(. /etc/os-release && echo "$VERSION_CODENAME")
    mirror=$(apt-get indextargets --format '$(CODENAME) $(COMPONENT) $(REPO_URI)' \
        | awk -v suite="$suite" '$1 == suite && $2 == "main" { print $3; exit }')
    [ -n "$mirror" ] || fail "apt has no mirror for $suite main"
    rm -rf "$work/base"
    debootstrap --variant=minbase --include=gcc,g++,make,libc6-dev "$suite" "$work/base" "$mirror" \
        >"$work/debootstrap.log" 2>&1 || fail "debootstrap failed, see $work/debootstrap.log"
    rm -rf "$work/base/var/cache/apt" "$work/base/var/lib/apt/lists"
    touch "$work/base/complete"
fi
if ! buildah "${storage[@]}" inspect --type image "$builder" >/dev/null 2>&1; then
    container=$(buildah "${storage[@]}" from scratch)
    buildah "${storage[@]}" copy --quiet "$container" "$work/base" / >/dev/null
    buildah "${storage[@]}" config --env PATH=/opt/rust/bin:/usr/sbin:/usr/bin:/sbin:/bin \
        --env CARGO_HOME=/opt/cargo --env CARGO_NET_OFFLINE=true "$container"
    buildah "${storage[@]}" commit --quiet --rm "$container" "$builder" >/dev/null
fi

# The crates, in a copy: the build may not write to the machine's own.
cargo fetch --locked
rm -rf "$work/cargo"
mkdir -p "$work/cargo"
cp -a "${CARGO_HOME:-$HOME/.cargo}/registry" "$work/cargo/registry"

begun=$SECONDS
buildah "${storage[@]}" bud --isolation chroot --build-arg "BUILD_IMAGE=$builder" \
    --volume "$(rustc --print sysroot):/opt/rust:ro" --volume "$work/cargo:/opt/cargo" \
    --tag "$image" --file Dockerfile .
echo "image-test: built in $((SECONDS - begun)) s"

container=$(buildah "${storage[@]}" from "$image")
root=$(buildah "${storage[@]}" mount "$container")
trap 'buildah "${storage[@]}" rm "$container" >/dev/null' EXIT
config() {
    buildah "${storage[@]}" inspect --type image --format "{{.OCIv1.Config.$1}}" "$image"
}
[ "$(config User)" = 2103:2103 ] || fail "the image's user is $(config User)"
[ "$(config Entrypoint)" = "[/usr/bin/linkerd-gateway]" ] || fail "entrypoint: $(config Entrypoint)"
command=$(config Cmd)
command=${command#[}
# The release binary, linked as the tests' binary is.
HARDENING_BINARY=$root/usr/bin/linkerd-gateway cargo test --quiet --test hardening
# Namespaces of its own: the ports are the real ones, and all mounts go when it ends.
# shellcheck disable=SC2086 # one word per argument
unshare --net --mount tests/image/run.sh "$root" "$work/files" ${command%]}
