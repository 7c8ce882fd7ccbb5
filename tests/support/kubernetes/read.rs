//! GET of one object and of lists, whole or in pieces of one moment. Called by `http` under the
//! store's lock.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};

use super::error::ApiError;
use super::resources::Resource;
use super::selectors::Selector;
use super::store::{Form, Store, Stored};
use super::write::Target;

/// The parameters of a list.
#[derive(Clone, Debug, Default)]
pub struct ListQuery {
    pub selector: Selector,
    /// Objects of one answer; 0 for all.
    pub limit: usize,
    /// Where an earlier answer ended; empty for the beginning.
    pub proceed: String,
    /// `resourceVersion`, empty for the newest.
    pub version: String,
    /// `resourceVersionMatch`.
    pub matching: String,
    /// `PartialObjectMetadata` is wanted.
    pub is_partial: bool,
}

/// One object as JSON.
pub fn get(store: &Store, target: &Target, is_partial: bool) -> Result<Bytes, ApiError> {
    let form = if is_partial { Form::Metadata } else { Form::Whole };
    Ok(target.find(store)?.render(&target.resource, target.version, form))
}

/// A list as JSON.
pub fn list(store: &mut Store, target: &Target, query: &ListQuery) -> Result<Bytes, ApiError> {
    let (version, kept, from) = begin(store, target, query)?;
    // A list that may be old comes from the watch cache, which has no pieces.
    let limit = if query.version == "0" { 0 } else { query.limit };
    let objects = match &kept {
        Some((_, objects)) => Arc::clone(objects),
        None => {
            let mut objects = store.all(target.place, &target.namespace);
            objects.retain(|object| query.selector.matches(&object.value));
            Arc::new(objects)
        }
    };
    let rest = objects.get(from..).unwrap_or_default();
    let shown = if limit == 0 { rest } else { rest.get(..limit).unwrap_or(rest) };
    let left = rest.len() - shown.len();
    let mut meta = format!(r#""resourceVersion":"{version}""#);
    if left > 0 {
        let name = kept.map_or_else(|| store.keep(Arc::clone(&objects)), |(name, _)| name);
        let next = from + shown.len();
        meta += &format!(r#","continue":"{version}.{name}.{next}""#);
        if query.selector.is_empty() {
            meta += &format!(r#","remainingItemCount":{left}"#);
        }
    }
    Ok(write(target, shown, &meta, query.is_partial))
}

/// A list that is being read in pieces, and its name.
type Kept = Option<(u64, Arc<Vec<Arc<Stored>>>)>;

/// The version that the list shows, the list if it is being read in pieces, and where to go on.
fn begin(
    store: &Store,
    target: &Target,
    query: &ListQuery,
) -> Result<(u64, Kept, usize), ApiError> {
    if !query.proceed.is_empty() {
        return proceed(store, target, query);
    }
    if query.version.is_empty() {
        if query.matching.is_empty() {
            return Ok((store.version, None, 0));
        }
        let message = "resourceVersionMatch is forbidden unless resourceVersion is provided";
        return Err(ApiError::bad_request(message));
    }
    let Ok(asked) = query.version.parse::<u64>() else {
        let message = format!("Invalid value: \"{}\": invalid resource version", query.version);
        return Err(ApiError::bad_request(message));
    };
    match asked {
        _ if asked > store.version => Err(ApiError::too_large_version(asked, store.version)),
        _ if query.matching == "Exact" && asked != store.version => {
            // Old states are not kept, as if they had just been compacted.
            Err(ApiError::expired("The resourceVersion for the provided list is too old."))
        }
        _ => Ok((store.version, None, 0)),
    }
}

fn proceed(
    store: &Store,
    target: &Target,
    query: &ListQuery,
) -> Result<(u64, Kept, usize), ApiError> {
    if !query.version.is_empty() && query.version != "0" {
        let message = "specifying resource version is not allowed when using continue";
        return Err(ApiError::bad_request(message));
    }
    let parts: Result<Vec<u64>, _> = query.proceed.split('.').map(str::parse).collect();
    let Ok([version, name, from]) = parts.as_deref() else {
        return Err(ApiError::bad_request("continue key is not valid"));
    };
    let Some(objects) = store.kept(*name).filter(|_| *version >= store.compacted) else {
        let message = format!(
            "The provided continue parameter is too old to display a consistent list result of {}. \
             You must start a new list without the continue parameter.",
            target.resource.plural
        );
        return Err(ApiError::expired(&message));
    };
    Ok((*version, Some((*name, objects)), *from as usize))
}

fn write(target: &Target, objects: &[Arc<Stored>], meta: &str, is_partial: bool) -> Bytes {
    let (resource, version) = (&target.resource, target.version);
    let (kind, api_version) = list_type(resource, version, is_partial);
    let head = format!(
        r#"{{"kind":"{kind}","apiVersion":"{api_version}","metadata":{{{meta}}},"items":["#
    );
    let form = if is_partial { Form::Metadata } else { Form::Item };
    let mut out = BytesMut::from(head.as_bytes());
    for (index, object) in objects.iter().enumerate() {
        if index > 0 {
            out.put_u8(b',');
        }
        out.extend_from_slice(&object.render(resource, version, form));
    }
    out.extend_from_slice(b"]}\n");
    out.freeze()
}

fn list_type(resource: &Resource, version: usize, is_partial: bool) -> (String, String) {
    if is_partial {
        return ("PartialObjectMetadataList".into(), "meta.k8s.io/v1".into());
    }
    (format!("{}List", resource.kind), resource.api_version(version))
}
