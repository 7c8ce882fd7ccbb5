# The image: one binary, the shared libraries that it needs, two lines of passwd. No shell, no
# package manager, not root, nothing that must be written to. `make image` builds it, `make
# image-test` builds and runs it without a container engine.

# Any image with Rust (rust-version in Cargo.toml or later), gcc, make and glibc.
ARG BUILD_IMAGE=rust:1-bookworm

FROM ${BUILD_IMAGE} AS build
WORKDIR /src
COPY . .
RUN cargo build --release --locked
# Line tables are for development; the symbol table stays, for profilers and backtraces.
RUN mkdir -p /image/usr/bin /image/etc/linkerd-gateway \
    && strip --strip-debug -o /image/usr/bin/linkerd-gateway target/release/linkerd-gateway \
    && ldd target/release/linkerd-gateway | grep -o '/[^ ]*' \
        | xargs -I '{}' cp --dereference --parents '{}' /image \
    && echo 'linkerd-gateway:x:2103:2103::/:/usr/bin/false' >/image/etc/passwd \
    && echo 'linkerd-gateway:x:2103:' >/image/etc/group

FROM scratch
LABEL org.opencontainers.image.title="linkerd-gateway" \
    org.opencontainers.image.description="A gateway between Kubernetes clusters joined with Linkerd multicluster" \
    org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /image/ /
# The UID of Linkerd's own gateway. A number, so that Kubernetes can check runAsNonRoot.
USER 2103:2103
# Gateway, admin and probes, metrics (admin.metrics_listen).
EXPOSE 4143 4191 9999
ENTRYPOINT ["/usr/bin/linkerd-gateway"]
CMD ["run", "--config", "/etc/linkerd-gateway/gateway.toml"]
