//! Writes: one call each, with preconditions, a deadline, and a look at whether we may still write.
//!
//! Used by the reconcilers, and for the few other objects that the mirror keeps. POST creates, PUT
//! carries the resourceVersion that was read, DELETE uid and resourceVersion: what has changed
//! meanwhile, or was made by someone else, is never written over.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::api::core::v1::{Endpoints, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::Client;
use kube::api::{DeleteParams, PostParams, Preconditions};
use kube::core::Request;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::timeout;

use super::convert;
use super::lease::Hold;
use crate::control::kubernetes::error::{Failure, retry_after};
use crate::control::kubernetes::watch::chain;
use crate::model::kubernetes::object::{ObjectKey, Version};
use crate::model::mirror::object::{Kind, Object, Observed};
use crate::model::mirror::plan::Write;

/// One call.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// How writes are made.
#[derive(Debug)]
pub enum Writer {
    /// At the API server.
    Api,
    /// Nowhere: they are kept, for a plan.
    Record(Mutex<Vec<Planned>>),
}

/// A write that was not made.
#[derive(Clone, Debug)]
pub struct Planned {
    /// What is there now.
    pub before: Option<Object>,
    /// What would be written.
    pub write: Write,
}

/// Which Leases must be held for a write.
#[derive(Clone, Copy, Debug)]
pub struct Permit<'a> {
    /// All of them.
    pub holds: &'a [&'a Hold],
}

/// Why a write did not happen, or may not have.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// Only planned: something has that name.
    #[error("something has that name")]
    Taken,
    /// A Lease is not held any more.
    #[error("the lease is not held any more")]
    NotPermitted,
    /// No answer.
    #[error("no answer for {0:?}")]
    Timeout(Duration),
    /// The API server's answer.
    #[error("{}", chain(.0))]
    Api(#[from] kube::Error),
}

impl WriteError {
    /// What kind of failure it is; `None` when nothing was asked.
    pub fn failure(&self) -> Option<Failure> {
        match self {
            Self::NotPermitted => None,
            Self::Taken => Some(Failure::AlreadyExists),
            Self::Timeout(_) => Some(Failure::Unreachable),
            Self::Api(error) => Some(Failure::of(error)),
        }
    }

    /// True when the object itself is not acceptable (422): trying it again does not help. Admission
    /// webhooks, which may change their minds, say 400 or 403.
    pub fn is_of_the_object(&self) -> bool {
        matches!(self, Self::Api(kube::Error::Api(status)) if status.code == 422)
    }

    /// How long the server wants to be left alone.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Api(error) if Failure::of(error) == Failure::Busy => {
                Some(retry_after(error).unwrap_or(Duration::from_secs(1)))
            }
            Self::Api(error) => retry_after(error),
            _ => None,
        }
    }
}

impl Permit<'_> {
    /// How long a call may take that begins now: it must not outlast a Lease.
    fn limit(&self) -> Option<Duration> {
        self.holds.iter().try_fold(CALL_TIMEOUT, |least, hold| Some(least.min(hold.remaining()?)))
    }
}

impl Writer {
    /// Does one write. What is then there: nothing after a delete.
    ///
    /// # Errors
    /// [`WriteError`].
    pub async fn write(
        &self,
        client: &Client,
        write: &Write,
        permit: Permit<'_>,
    ) -> Result<Option<Observed<Object>>, WriteError> {
        if let Self::Record(writes) = self {
            return record(writes, client, write, permit).await;
        }
        match write {
            Write::Create(object) => {
                let request = Request::new(collection(object.kind(), &object.meta().key.namespace));
                let body = object.to_json(None).to_string().into_bytes();
                let request = request.create(&PostParams::default(), body);
                object_of(client, object.kind(), request, permit).await
            }
            Write::Update { object, version } => {
                let key = &object.meta().key;
                let request = Request::new(collection(object.kind(), &key.namespace));
                let body = object.to_json(Some(version)).to_string().into_bytes();
                let request = request.replace(&key.name, &PostParams::default(), body);
                object_of(client, object.kind(), request, permit).await
            }
            Write::Delete { kind, key, version } => {
                let request = Request::new(collection(*kind, &key.namespace));
                let request = request.delete(&key.name, &delete(version));
                call::<Value>(client, request, permit).await.map(|_| None)
            }
        }
    }
}

/// Reads one object as it is now.
///
/// # Errors
/// [`WriteError`]; one that is not there is `None`.
pub async fn look(
    client: &Client,
    kind: Kind,
    key: &ObjectKey,
    permit: Permit<'_>,
) -> Result<Option<Observed<Object>>, WriteError> {
    let request = Request::new(collection(kind, &key.namespace));
    let request = request.get(&key.name, &kube::api::GetParams::default());
    match object_of(client, kind, request, permit).await {
        Err(error) if error.failure() == Some(Failure::NotFound) => Ok(None),
        other => other,
    }
}

/// Makes one call.
///
/// # Errors
/// [`WriteError`].
pub async fn call<T: DeserializeOwned>(
    client: &Client,
    request: Result<http::Request<Vec<u8>>, kube::core::request::Error>,
    permit: Permit<'_>,
) -> Result<T, WriteError> {
    let request = request.map_err(kube::Error::BuildRequest)?;
    let limit = permit.limit().ok_or(WriteError::NotPermitted)?;
    match timeout(limit, client.request(request)).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(WriteError::Timeout(limit)),
    }
}

/// The path of a kind in a namespace.
pub fn collection(kind: Kind, namespace: &str) -> String {
    match kind {
        Kind::Service => format!("/api/v1/namespaces/{namespace}/services"),
        Kind::Endpoints => format!("/api/v1/namespaces/{namespace}/endpoints"),
        Kind::Slice => {
            format!("/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices")
        }
    }
}

async fn object_of(
    client: &Client,
    kind: Kind,
    request: Result<http::Request<Vec<u8>>, kube::core::request::Error>,
    permit: Permit<'_>,
) -> Result<Option<Observed<Object>>, WriteError> {
    Ok(match kind {
        Kind::Service => convert::mirror_service(call::<Service>(client, request, permit).await?),
        Kind::Endpoints => {
            convert::mirror_endpoints(call::<Endpoints>(client, request, permit).await?)
        }
        Kind::Slice => convert::mirror_slice(call::<EndpointSlice>(client, request, permit).await?),
    })
}

fn delete(version: &Version) -> DeleteParams {
    let preconditions = Preconditions {
        uid: Some(version.uid.to_string()),
        resource_version: Some(version.resource_version.to_string()),
    };
    DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() }
}

/// Keeps a write instead of making it, with what is there now.
async fn record(
    writes: &Mutex<Vec<Planned>>,
    client: &Client,
    write: &Write,
    permit: Permit<'_>,
) -> Result<Option<Observed<Object>>, WriteError> {
    let (kind, key) = write.target();
    let is_deleted = {
        let writes = writes.lock().unwrap_or_else(PoisonError::into_inner);
        let last = writes.iter().rev().find(|planned| planned.write.target() == (kind, key));
        last.is_some_and(|planned| matches!(planned.write, Write::Delete { .. }))
    };
    let before = match is_deleted {
        true => None,
        false => look(client, kind, key, permit).await?.map(|found| found.object),
    };
    if before.is_some() && matches!(write, Write::Create(_)) {
        return Err(WriteError::Taken);
    }
    let planned_write = Planned { before, write: write.clone() };
    writes.lock().unwrap_or_else(PoisonError::into_inner).push(planned_write);
    Ok(planned(write))
}

/// What a write would leave, so that a plan goes on from there.
fn planned(write: &Write) -> Option<Observed<Object>> {
    let (object, version) = match write {
        Write::Create(object) => {
            let uid = format!("planned-{}", object.meta().key).into();
            (object, Version { uid, resource_version: "0".into() })
        }
        Write::Update { object, version } => (object, version.clone()),
        Write::Delete { .. } => return None,
    };
    Some(Observed { version, object: object.clone() })
}
