//! Tokens of service accounts: TokenRequest, with the rights that RBAC objects in the store give.
//! Called by `http`.

use serde_json::{Value, json};

use super::error::ApiError;
use super::rbac::Rules;
use super::resources::Kind;
use super::server::{Account, Shared};
use super::store::Store;
use super::write::Target;

/// Gives the account a token. Its rights are those of now: bindings that come later do not count.
pub fn request_token(shared: &Shared, store: &Store, target: &Target) -> Result<Value, ApiError> {
    target.find(store)?;
    let account = format!("{}/{}", target.namespace, target.name);
    let rules = Rules::bound(&rbac_objects(store), &account);
    let name = format!("system:serviceaccount:{}:{}", target.namespace, target.name);
    let token = shared.new_token(Account { name, rules });
    Ok(json!({
        "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "metadata": {},
        "status": { "token": token },
    }))
}

fn rbac_objects(store: &Store) -> Vec<Value> {
    let kinds = [Kind::ClusterRole, Kind::ClusterRoleBinding, Kind::Role, Kind::RoleBinding];
    let mut found = Vec::new();
    for place in kinds.into_iter().filter_map(|kind| store.place_of(kind)) {
        let Some(resource) = store.resource(place) else { continue };
        for object in store.all(place, "") {
            found.push(object.view(resource, 0));
        }
    }
    found
}
