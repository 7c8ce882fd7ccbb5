//! The labels and annotations of Linkerd multicluster that mirrors carry.

/// Label of everything mirrored: `true`.
pub const MIRRORED: &str = "mirror.linkerd.io/mirrored-service";
/// Label of mirrors: the target cluster.
pub const CLUSTER: &str = "mirror.linkerd.io/cluster-name";
/// Label of the mirror of one host: the name of its headless mirror.
pub const HEADLESS_ROOT: &str = "mirror.linkerd.io/headless-mirror-svc-name";
/// Label of the probe Service: `true`.
pub const MIRRORED_GATEWAY: &str = "mirror.linkerd.io/mirrored-gateway";
/// Annotation of mirror Services: the version of the remote object.
pub const REMOTE_VERSION: &str = "mirror.linkerd.io/remote-resource-version";
/// Annotation of all mirrors: the remote Service's full name.
pub const REMOTE_NAME: &str = "mirror.linkerd.io/remote-svc-fq-name";
/// Annotation of Endpoints and EndpointSlices: the identity that the gateway proves.
pub const GATEWAY_IDENTITY: &str = "mirror.linkerd.io/remote-gateway-identity";
/// Label of flat mirrors (the cluster), annotation of federated Services (the members).
pub const REMOTE_DISCOVERY: &str = "multicluster.linkerd.io/remote-discovery";
/// Label of flat mirrors: the remote Service's name.
pub const REMOTE_SERVICE: &str = "multicluster.linkerd.io/remote-service";
/// Annotation of federated Services: the local member.
pub const LOCAL_DISCOVERY: &str = "multicluster.linkerd.io/local-discovery";
/// Annotation that is always copied.
pub const OPAQUE_PORTS: &str = "config.linkerd.io/opaque-ports";
/// Label of Endpoints that Kubernetes must not copy into EndpointSlices: `true`.
pub const SKIP_MIRROR: &str = "endpointslice.kubernetes.io/skip-mirror";
/// Label of EndpointSlices: who writes them.
pub const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
/// The value of [`MANAGED_BY`] in ours.
pub const MANAGER: &str = "linkerd-gateway";
/// Label of EndpointSlices: their Service.
pub const SERVICE_NAME: &str = "kubernetes.io/service-name";
/// The value of labels that are only there or not.
pub const TRUE: &str = "true";
