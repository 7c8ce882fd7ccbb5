//! What is said of one mirrored Service.

/// The condition `Mirrored` of one remote Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MirrorCondition {
    /// Whether it is mirrored.
    pub is_mirrored: bool,
    /// Why.
    pub reason: Reason,
    /// What happened and what to do; empty when all is well.
    pub message: String,
}

/// Why a Service is mirrored or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// An object that is not ours has a name that we need.
    Conflict,
    /// A write failed, or something that it depends on is wrong or not known.
    Error,
    /// This Service cannot be mirrored.
    InvalidService,
    /// It is.
    Mirrored,
    /// Its namespace does not exist here.
    MissingNamespace,
    /// Not yet: something is still to be learnt.
    Pending,
}

impl Reason {
    /// Every reason.
    pub const ALL: [Self; 6] = [
        Self::Conflict,
        Self::Error,
        Self::InvalidService,
        Self::Mirrored,
        Self::MissingNamespace,
        Self::Pending,
    ];

    /// The value of `reason`.
    pub fn label(self) -> &'static str {
        match self {
            Self::Conflict => "Conflict",
            Self::Error => "Error",
            Self::InvalidService => "InvalidService",
            Self::Mirrored => "Mirrored",
            Self::MissingNamespace => "MissingNamespace",
            Self::Pending => "Pending",
        }
    }
}

impl MirrorCondition {
    /// All is well.
    pub fn mirrored() -> Self {
        Self { is_mirrored: true, reason: Reason::Mirrored, message: String::new() }
    }

    /// Its namespace does not exist here.
    pub fn missing_namespace(namespace: &str) -> Self {
        let message = format!(
            "namespace {namespace} does not exist here: create it, or set mirror.create_namespaces"
        );
        Self::failed(Reason::MissingNamespace, message)
    }

    /// It is not mirrored.
    pub fn failed(reason: Reason, message: impl Into<String>) -> Self {
        Self { is_mirrored: false, reason, message: message.into() }
    }
}
